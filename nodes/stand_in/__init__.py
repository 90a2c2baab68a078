"""A small replacement for the parts of ComfyUI that Duet's nodes use, for running them without ComfyUI.

Names and behaviour follow ComfyUI's V3 node API. Parts that Duet's nodes do not use are left out.
`host.py` chooses between ComfyUI and this package.
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
