"""Open encoders without a trace on the process: SVT-AV1 sets real-time priority as root, and logs to stderr."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_TASKS = "/proc/self/task"  # Linux: one folder per thread of this process
_one_at_a_time = threading.Lock()  # another thread's environment and threads would be taken for the state before


@contextmanager
def no_traces() -> Iterator[None]:
    """Open an encoder inside. Afterwards, this thread and those that started inside have this thread's former priority."""
    with _one_at_a_time, _svt_logs_nothing(), _priority_kept():
        yield


@contextmanager
def _priority_kept() -> Iterator[None]:
    if not (hasattr(os, "sched_setscheduler") and os.path.isdir(_TASKS)):
        yield
        return
    policy, others = _policy(0), _threads() - {threading.get_native_id()}
    try:
        yield
    finally:
        for thread in _threads() - others:
            with suppress(ProcessLookupError):  # the thread has ended
                if _policy(thread) != policy:
                    os.sched_setscheduler(thread, policy[0], os.sched_param(policy[1]))


def _threads() -> set[int]:
    return {int(name) for name in os.listdir(_TASKS)}


def _policy(thread: int) -> tuple[int, int]:
    """Return the scheduler policy and the priority of a thread; 0 is this one."""
    return os.sched_getscheduler(thread), os.sched_getparam(thread).sched_priority


@contextmanager
def _svt_logs_nothing() -> Iterator[None]:
    """SVT-AV1 logs to stderr itself, not through FFmpeg, at the level in the environment when it opens. Errors are raised."""
    if "SVT_LOG" in os.environ:
        yield
        return
    os.environ["SVT_LOG"] = "0"
    try:
        yield
    finally:
        os.environ.pop("SVT_LOG", None)
