"""The memory of this process, as Linux counts it."""

from __future__ import annotations

from pathlib import Path

SELF = Path("/proc/self")


def resident() -> int:
    """Returns the bytes of memory that are in use."""
    return _status("VmRSS")


def peak() -> int:
    """Returns the most bytes that were in use since `forget_peak`."""
    return _status("VmHWM")


def forget_peak() -> None:
    """Starts measuring the peak anew."""
    (SELF / "clear_refs").write_text("5")


def _status(field: str) -> int:
    (line,) = (line for line in (SELF / "status").read_text().splitlines() if line.startswith(f"{field}:"))
    return int(line.split()[1]) * 1024
