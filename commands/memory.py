"""Configure glibc's allocator to keep large freed blocks.

By default, glibc returns freed blocks above 32 MiB to the system, and each new large tensor waits until its pages are zeroed.
The backward pass runs in another thread, whose arena would do the same. Use this only in the `duet` process, never when ComfyUI
imports the package.
"""

from __future__ import annotations

import ctypes
import sys

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -2, -4, -8
_MIB = 1 << 20


def keep_large_blocks() -> bool:
    """Apply the settings; return whether this succeeded. Only glibc has `mallopt`."""
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    settings = {_M_MMAP_MAX: 0, _M_TRIM_THRESHOLD: 2047 * _MIB, _M_TOP_PAD: 64 * _MIB, _M_ARENA_MAX: 1}
    return all(mallopt(name, value) == 1 for name, value in settings.items())
