"""What our nodes need of ComfyUI, in small, for running them without it. `host.py` chooses between the two.

Names and meanings are those of ComfyUI's V3 node interface; anything that our nodes do not use is left out.
"""

from __future__ import annotations

from . import io, ui
from .io import ComfyExtension
from .session import Folders, Session, session
from .video import InputImpl, Types, VideoComponents, VideoFromComponents, VideoFromFile

__all__ = [
    "ComfyExtension",
    "Folders",
    "InputImpl",
    "Session",
    "Types",
    "VideoComponents",
    "VideoFromComponents",
    "VideoFromFile",
    "io",
    "session",
    "ui",
]
