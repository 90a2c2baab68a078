"""Puts the parts of joint models on the device when they are needed: encoders, denoiser, codecs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import ceil
from typing import TYPE_CHECKING, Any

from torch import Tensor

from ..av_models.contract import AVLatent
from ..av_models.memory import estimate_decoding
from ..av_models.memory_plan import MemoryPlan, plan_sampling
from ..av_models.shapes import AVShape
from .host import free_device_memory, offload_part, on_device, on_gpu

if TYPE_CHECKING:
    from ..av_models.contract import LatentShape
    from ..av_models.guidance import Cost

CODECS = ("video_codec", "audio_codec")


def load_encoders(model, text_encoders: bool = True) -> None:
    """Loads what encodes prompts, with room for the text encoders, which are on the device only while they encode.

    text_encoders: whether the model's own are needed.
    """
    on_device(model, parts=model.encoding_parts, memory=getattr(model.conditioner, "encoder_bytes", 0) if text_encoders else 0)


def load_codecs(model, latents: LatentShape | None = None) -> None:
    """Loads the codecs. latents: of the clips that will be decoded."""
    on_device(model, parts=CODECS, memory=0 if latents is None else estimate_decoding(model.video_codec, latents.video))


def decode_clips(model, latent: AVLatent, shape: AVShape, say: Callable[[str], None]) -> tuple[Tensor, Tensor]:
    """Decodes clips of `shape` to frames [B, F, H, W, 3] and a waveform [B, C, samples]. say: called when memory runs out."""
    load_codecs(model, model.latent_shape(shape, latent.rows))
    return model.decode(latent, shape, say)


def load_denoiser(
    model, latents: LatentShape, cost: Cost, others: Sequence[Any] = (), codecs: bool = False, previews: bool = False
) -> MemoryPlan:
    """Loads the denoiser, offloaded if it does not fit. Returns what it needs.

    others: networks and joint models that are needed at the same time. codecs: load the codecs too. previews: load them if the
    denoiser fits.
    """
    rows = latents.video[0] * ceil(cost.branches_per_step / cost.forwards_per_step)
    plan = plan_sampling(model, latents, rows, free_device_memory(), can_offload=on_gpu())
    if plan.offloaded:
        offload_part(model, "denoiser")
    codecs = codecs or previews and not plan.offloaded
    on_device(model, *others, parts=("denoiser", *(CODECS if codecs else ())), memory=plan.activations)
    return plan
