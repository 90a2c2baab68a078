"""glibc's allocator, told to keep large blocks.

It hands every block above 32 MiB back to the system when freed, and zeroing fresh pages is what big tensors then wait
for; backward passes run in a thread of their own, whose arena would do the same. Only for our own process: never when
ComfyUI imports us.
"""

from __future__ import annotations

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -2, -4, -8
_MIB = 1 << 20


def keep_large_blocks() -> bool:
    """Whether it could be set: only glibc has `mallopt`."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    settings = {_M_MMAP_MAX: 0, _M_TRIM_THRESHOLD: 2047 * _MIB, _M_TOP_PAD: 64 * _MIB, _M_ARENA_MAX: 1}
    return all(mallopt(name, value) == 1 for name, value in settings.items())
