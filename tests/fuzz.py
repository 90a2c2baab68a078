"""Gives damaged input to the readers, each case in a child process: a result or one line, never a crash, a hang or half a file.

python -m duet_av.tests.fuzz media|cards|workflows|configs [--count N] [--seed N] [--only NAME]

Prints the cases that fail, each with the name that `--only` takes. Cases depend on the seed only.
"""

from __future__ import annotations

import argparse
import os
import resource
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable, Iterable, Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from importlib import import_module
from io import StringIO
from pathlib import Path

SECONDS, GIGABYTES = 30, 2  # limits of a case; the memory is that above what is imported
KINDS = ("media", "cards", "workflows", "configs")
LINE_LENGTH = 1000


@dataclass(frozen=True)
class Case:
    """act: called with an empty folder. It raises AssertionError, or anything but a ValueError or OSError, if the case fails."""

    name: str
    act: Callable[[Path], None]


def failures(cases: Iterable[Case]) -> Iterator[str]:
    """Runs each case and yields what is wrong with it, one line each."""
    for case in cases:
        with tempfile.TemporaryDirectory() as folder:
            wrong = run_forked(case.act, Path(folder))
        if wrong:
            yield f"{case.name}: {wrong}"


def run_forked(act: Callable[[Path], None], folder: Path) -> str:
    """Calls `act(folder)` in a child process with limits; returns what went wrong, or nothing."""
    said = folder / "said"
    child = os.fork()
    if not child:
        os._exit(_in_child(act, folder, said))
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    if code < 0:
        return f"hangs for {SECONDS} s" if code == -signal.SIGALRM else f"crashes with {signal.Signals(-code).name}"
    return said.read_text(encoding="utf-8").strip() if code else ""


def _in_child(act: Callable[[Path], None], folder: Path, said: Path) -> int:
    signal.alarm(SECONDS)
    limit = _address_space() + GIGABYTES * 2**30
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1), os.dup2(null, 2)
    work = folder / "work"
    work.mkdir()
    os.chdir(work)
    try:
        act(work)
    except BaseException as error:
        said.write_text(_where(error), encoding="utf-8", errors="backslashreplace")
        return 1
    return 0


def _where(error: BaseException) -> str:
    if isinstance(error, AssertionError):
        return " ".join(str(error).split())
    last = traceback.extract_tb(error.__traceback__)[-3:]
    places = " > ".join(f"{Path(each.filename).name}:{each.lineno}" for each in last)
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]} ({places})"


def _address_space() -> int:
    pages = Path("/proc/self/statm")
    return int(pages.read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE") if pages.exists() else 2**34


def result_or_line(act: Callable[[], object], *lines: type[Exception]) -> bool:
    """Calls `act`; returns whether it had a result. Checks that an error is one line of ours with a remedy.

    lines: further exceptions whose message is shown as one line.
    """
    try:
        act()
    except (ValueError, OSError, *lines) as error:
        kind = type(error)
        assert not kind.__module__.startswith(("av", "safetensors", "json")) and kind is not UnicodeDecodeError, _where(error)
        _check_line(str(error), _where(error))
        return False
    return True


def printed_or_line(command: Callable[[], int]) -> bool:
    """Calls a `duet` command; returns whether it succeeded. Checks that it prints one line if it does not."""
    said, shown = StringIO(), StringIO()
    with redirect_stderr(said), redirect_stdout(shown):
        code = command()
    if not code:
        text = shown.getvalue().replace("\n", "")
        assert text.isprintable(), f"prints control characters: {text[:300]!r}"
        return True
    _check_line(said.getvalue().rpartition("duet: ")[2].removesuffix("\n"), said.getvalue())
    return False


def _check_line(text: str, where: str) -> None:
    assert "\n" not in text and text.isprintable(), f"not one printable line: {text[:300]!r}"
    assert "; " in text or ": use " in text, f"no remedy: {where[:300]}"
    assert len(text) <= LINE_LENGTH, f"{len(text)} characters: {text[:200]}…"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=KINDS)
    parser.add_argument("--count", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", metavar="NAME", default="")
    args = parser.parse_args()
    import torch

    torch.set_num_threads(1)  # no threads before the fork
    cases = import_module(f"{__package__}.fuzz_{args.kind}").cases
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        for line in failures(each for each in cases(Path(folder), args.count, args.seed) if args.only in each.name):
            failed += 1
            print(line, flush=True)
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
