"""Calls a function in a child process with limits of time and memory, so that a crash or a hang ends that call alone."""

from __future__ import annotations

import json
import os
import resource
import signal
import tempfile
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Ended:
    """value: what the call returned. error: how it failed instead: a signal, a hang, or an exception and where it came from."""

    value: Any = None
    error: str = ""


def run_in_child(act: Callable[[], Any], seconds: int = 30, gigabytes: float = 2) -> Ended:
    """Calls `act` in a forked process; what it returns must be JSON.

    Fork before the parent uses threads: import all modules, and leave FFmpeg and parallel arithmetic to children. What the child
    prints is dropped. gigabytes: memory that the child may take above that of the parent.
    """
    (ended,) = run_in_children([act], seconds, gigabytes)
    return ended


def run_in_children(acts: Sequence[Callable[[], Any]], seconds: int = 30, gigabytes: float = 2) -> Iterator[Ended]:
    """Calls each of `acts` like `run_in_child`, but one after another in the same process until one of them fails."""
    waiting = list(acts)
    while waiting:
        with tempfile.TemporaryFile() as answers:
            child = os.fork()
            if not child:
                os._exit(_in_child(waiting, answers.fileno(), seconds, gigabytes))
            code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
            answers.seek(0)
            said = [Ended(**json.loads(line)) for line in answers]
        if code < 0:
            reason = f"hangs for {seconds} s" if code == -signal.SIGALRM else f"crashes with {signal.Signals(-code).name}"
            said.append(Ended(error=reason))
        yield from said
        waiting = waiting[len(said) :]


def _in_child(acts: Sequence[Callable[[], Any]], answers: int, seconds: int, gigabytes: float) -> int:
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.dup2(null, 2)
    for act in acts:
        signal.alarm(seconds)
        _limit_memory(gigabytes)
        try:
            ended = {"value": act()}
        except BaseException as error:
            ended = {"error": describe(error)}
        os.write(answers, f"{json.dumps(ended)}\n".encode())
        if "error" in ended:
            return 1
    return 0


def describe(error: BaseException) -> str:
    """Returns an error and where it came from, in one line."""
    text = " ".join(str(error).split())
    if isinstance(error, AssertionError) and text:
        return text
    last = traceback.extract_tb(error.__traceback__)[-3:]
    places = " > ".join(f"{Path(each.filename).name}:{each.lineno}" for each in last)
    return f"{type(error).__name__}: {text[:200]} ({places})"


def _limit_memory(gigabytes: float) -> None:
    """Limits the address space to `gigabytes` more than is in use, where that is known."""
    pages = Path("/proc/self/statm")
    if pages.exists():
        taken = int(pages.read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
        resource.setrlimit(resource.RLIMIT_AS, (taken + int(gigabytes * 2**30), resource.RLIM_INFINITY))
