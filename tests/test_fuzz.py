"""Damaged files, model cards, workflows and configs give a result or one line. DUET_FUZZ=10 tries ten times as many."""

import os
import subprocess
import sys

import pytest

CASES = {"media": 60, "cards": 200, "workflows": 200, "configs": 50}


@pytest.fixture(scope="module")
def started():
    """All kinds at the same time."""
    times = int(os.environ.get("DUET_FUZZ", "1"))
    processes = {kind: _start(kind, count * times) for kind, count in CASES.items()}
    yield processes
    for process in processes.values():
        process.kill()


def _start(kind: str, count: int) -> subprocess.Popen:
    command = [sys.executable, "-m", "duet_av.tests.fuzz", kind, "--count", str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


@pytest.mark.parametrize("kind", CASES)
def test_damaged_input_gives_a_result_or_one_line(started, kind):
    said, _ = started[kind].communicate(timeout=600)
    assert (started[kind].returncode, said) == (0, "")


CRASHES = """
import ctypes, time
from pathlib import Path
from duet_av.tests.fuzz import Case, failures, printed_or_line, result_or_line
import duet_av.tests.fuzz as fuzz

def fails(message, kind=ValueError):
    raise kind(message)

fuzz.SECONDS = 1
cases = [
    Case("good", lambda folder: result_or_line(lambda: fails("x is 1; give 2"))),
    Case("crash", lambda folder: ctypes.string_at(0)),
    Case("hang", lambda folder: time.sleep(9)),
    Case("memory", lambda folder: bytearray(5 * 2**30)),
    Case("traceback", lambda folder: result_or_line(lambda: {}["clip"])),
    Case("no remedy", lambda folder: result_or_line(lambda: fails("x is 1"))),
    Case("two lines", lambda folder: result_or_line(lambda: fails("x is 1;\\n give 2"))),
    Case("good", lambda folder: None),
]
print("\\n".join(failures(cases)))
"""


def test_each_kind_of_fault_is_found():
    said = subprocess.run([sys.executable, "-c", CRASHES], capture_output=True, text=True, timeout=120)
    found = [line.partition(" (")[0].strip() for line in said.stdout.splitlines()]
    assert found == [
        "crash: crashes with SIGSEGV", "hang: hangs for 1 s", "memory: MemoryError:", "traceback: KeyError: 'clip'",
        "no remedy: no remedy: 'x is 1'", "two lines: not one printable line: 'x is 1;\\n give 2'",
    ], said.stderr  # fmt: skip
