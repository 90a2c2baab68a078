"""Reports the steps of a sampler to the page, with live previews where they are shown."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from ..av_models.contract import AVLatent
from ..av_models.shapes import AVShape
from .host import preview_audio_asked, report_progress, send_preview, wants_previews

if TYPE_CHECKING:
    from ..av_models.preview import Preview, Previewer


def step_reporter(model, shape: AVShape, node_id: str, run: int = 0, runs: int = 1) -> Callable[[int, int, AVLatent], None]:
    """Returns a callback for each step of the sampler, of run number `run` of the `runs` that a node makes one after another."""
    previewer = _make_previewer(model, shape) if wants_previews() else None

    def report_step(step: int, steps: int, x0: AVLatent) -> None:
        nonlocal previewer
        done, total = run * steps + step, runs * steps
        report_progress(done, total)
        if previewer is None:
            return
        try:
            preview = previewer.render_if_due(step, steps, x0, lambda: preview_audio_asked(node_id))
        except torch.OutOfMemoryError:  # sampling itself has enough
            previewer = None
            return
        if preview is not None:
            send_preview({"step": done, "steps": total, **preview_payload(preview)}, node_id)

    return report_step


def _make_previewer(model, shape: AVShape) -> Previewer:
    from ..av_models.preview import Previewer  # imports PIL: only where previews are shown

    return Previewer(model, shape)


def preview_payload(preview: Preview) -> dict[str, Any]:
    """Returns the fields of a preview in the event for the page."""
    return {
        "sheet": _data_url("image/jpeg", preview.sheet), "columns": preview.columns, "count": preview.count,
        "width": preview.width, "height": preview.height, "fps": preview.fps,
        "audio": None if preview.audio is None else _data_url("audio/wav", preview.audio),
    }  # fmt: skip


def _data_url(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{b64encode(content).decode()}"
