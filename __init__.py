"""Duet: joint generation of video and sound for ComfyUI and the command line."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .nodes.extension import DuetExtension

WEB_DIRECTORY = "./web"


async def comfy_entrypoint() -> DuetExtension:
    """ComfyUI calls this to get the nodes. Importing the package loads nothing else."""
    from .nodes.extension import DuetExtension

    return DuetExtension()
