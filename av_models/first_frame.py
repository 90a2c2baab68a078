"""A known first frame, for models that were trained to get it as a condition beside the noisy frames."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from torch import Tensor

from .branch_runner import PromptedModel
from .contract import AVCondition, AVLatent
from .known_parts import KnownParts


def show_first_frame(models: Mapping[str, PromptedModel], known: KnownParts) -> tuple[dict[str, PromptedModel], KnownParts]:
    """Return the models and known parts, with a known first frame as a condition of models that take one so.

    These models have `takes_first_frame`. Both prompts then have the frame's latent [B, C, 1, h, w] as `image` of the video. If
    nothing else of a row's video is known, its frame is generated with the others, as in these models' own pipelines, and comes
    out close to the given one. Else it is kept unchanged, like every known part; so it is where not every row has one.
    """
    if not getattr(models["main"].denoiser, "takes_first_frame", False):
        return dict(models), known
    frames = known.known_frames("video")
    if not bool(frames[:, 0].all()):
        return dict(models), known
    image = known.latent.video[:, :, :1]
    shown = {name: _with_image(model, image) for name, model in models.items()}
    more = known.known.video.expand(known.latent.video.shape)[:, :, 1:].flatten(1).any(1)  # rows of which more is known
    if not bool(more.all()):
        kept = known.known.video & more.view(-1, 1, 1, 1, 1)
        known = replace(known, known=AVLatent(kept, known.known.audio))
    return shown, known


def _with_image(model: PromptedModel, image: Tensor) -> PromptedModel:
    if not getattr(model.denoiser, "takes_first_frame", False):
        return model
    positive, negative = (_condition_with(each, image) for each in (model.positive, model.negative))
    return replace(model, positive=positive, negative=negative)


def _condition_with(cond: AVCondition, image: Tensor) -> AVCondition:
    return replace(cond.expand(len(image)), video=replace(cond.video.expand(len(image)), image=image))
