"""Reports the steps of ComfyUI's samplers to the page, with live previews where they are shown."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ...av_models.preview import MAX_SIZE, make_sheet
from ...av_models.shapes import VideoShape
from ..host import check_interrupt, report_progress, send_preview, wants_previews
from ..live_preview import preview_payload
from .guider_inputs import GuiderInputs

SHOW_EVERY = 0.3  # seconds between two previews


def step_reporter(guider: Any, inputs: GuiderInputs, node_id: str, run: int, runs: int) -> Callable:
    """Returns a callback for each step of a sampler, of run number `run` of the `runs` that a node makes one after another."""
    latent_format = guider.model_patcher.model.latent_format
    shown = time.monotonic() if wants_previews() and latent_format.latent_rgb_factors is not None else None

    def report_step(step: int, x0: Any, x: Any, steps: int) -> None:
        nonlocal shown
        check_interrupt()
        done, total = run * steps + step + 1, runs * steps
        report_progress(done, total)
        if shown is None or (time.monotonic() - shown < SHOW_EVERY and done < total):
            return
        frames = paint(x0.unbind()[0][0], latent_format)
        if frames is not None:
            send_preview({"step": done, "steps": total, **_payload(frames, inputs)}, node_id)
        shown = time.monotonic()

    return report_step


def paint(latent: Tensor, latent_format: Any) -> Tensor | None:
    """Paints a latent [C, F, H, W] as frames [F, H', W', 3] of 8 bits, as ComfyUI's previews do. None if it has other channels."""
    factors = torch.tensor(latent_format.latent_rgb_factors, dtype=latent.dtype, device=latent.device)
    if len(factors) != len(latent):
        return None
    bias = latent_format.latent_rgb_factors_bias
    colors = F.linear(latent.movedim(0, -1), factors.T, None if bias is None else torch.tensor(bias).to(factors))
    zoom = max(1, MAX_SIZE // max(latent.shape[-2:]))
    pixels = F.interpolate(colors.movedim(-1, 1).float(), scale_factor=zoom, mode="bilinear").movedim(1, -1)
    return ((pixels.nan_to_num() + 1) / 2).clamp(0, 1).mul(255).byte().cpu()


def _payload(frames: Tensor, inputs: GuiderInputs) -> dict[str, Any]:
    """Returns the fields of a preview. Its frames are shown as long as those of the decoded clip."""
    count, height, width, _ = frames.shape
    ratio = getattr(inputs.vae, "upscale_ratio", None)
    decoded = ratio[0](count) if isinstance(ratio, tuple) and callable(ratio[0]) else count
    return preview_payload(make_sheet(frames, VideoShape(count, height, width, inputs.fps * count / max(1, decoded)), 1.0))
