"""Gives damaged input to the readers, each case in a child process: a result or one line, never a crash, a hang or half a file.

python -m duet_av.tests.fuzz media|cards|workflows|configs [--count N] [--seed N] [--only NAME]

Prints the cases that fail, each with the name that `--only` takes. Cases depend on the seed only.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from io import StringIO
from pathlib import Path

from duet_av.benchmarks.file_cells import fault_of_line, is_ours
from duet_av.benchmarks.forked import describe, run_in_children

SECONDS, GIGABYTES = 30, 2  # limits of a case; the memory is that above what is imported
KINDS = ("media", "cards", "workflows", "configs")


@dataclass(frozen=True)
class Case:
    """act: called with an empty folder. It raises AssertionError, or anything but a ValueError or OSError, if the case fails."""

    name: str
    act: Callable[[Path], None]


def failures(cases: Sequence[Case]) -> Iterator[str]:
    """Runs each case and yields what is wrong with it, one line each."""
    acts = [partial(_in_new_folder, case.act) for case in cases]
    for case, ended in zip(cases, run_in_children(acts, SECONDS, GIGABYTES)):
        if ended.error:
            yield f"{case.name}: {ended.error}"


def _in_new_folder(act: Callable[[Path], None]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        act(Path(folder))


def result_or_line(act: Callable[[], object], *lines: type[Exception]) -> bool:
    """Calls `act`; returns whether it had a result. Checks that an error is one line of ours with a remedy.

    lines: further exceptions whose message is shown as one line.
    """
    try:
        act()
    except (ValueError, OSError, *lines) as error:
        assert is_ours(error) or type(error) in lines, describe(error)
        _check_line(str(error), describe(error))
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
    fault = fault_of_line(text)
    assert not fault, f"{fault}: {text[:300]!r} ({where[:300]})"


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
        chosen = [each for each in cases(Path(folder), args.count, args.seed) if args.only in each.name]
        for line in failures(chosen):
            failed += 1
            print(line, flush=True)
    return min(failed, 1)


if __name__ == "__main__":
    sys.exit(main())
