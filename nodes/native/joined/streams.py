"""The two models of a joined MODEL, and the parts of its latent that belong to each."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import comfy.model_sampling
import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ....av_models.carried import Carrying, noise_to_signal
from .kinds import StreamKind

ADDED_NOISE = (comfy.model_sampling.EPS, comfy.model_sampling.V_PREDICTION_DDPM, comfy.model_sampling.COSMOS_RFLOW)


@dataclass(frozen=True)
class Stream:
    """One model of the pair, between its own latents and their part of the joint latent.

    carrying: None for the video, whose σ is the sampler's.
    """

    kind: StreamKind
    patcher: ModelPatcher
    carrying: Carrying | None = None

    @property
    def model(self) -> Any:
        """ComfyUI's `BaseModel`."""
        return self.patcher.model

    @property
    def sampling(self) -> Any:
        """ComfyUI's model sampling, with the changes of nodes such as ModelSamplingSD3."""
        return self.patcher.get_model_object("model_sampling")

    @property
    def scale(self) -> float:
        """The factor c by which clean values are carried."""
        return 1.0 if self.carrying is None else self.carrying.scale

    def sigma(self, sigma: Tensor) -> Tensor:
        """Returns the model's σ at that of the sampler."""
        return sigma if self.carrying is None else self.carrying.audio_sigma(sigma)

    def factor(self, sigma: Tensor) -> Tensor | None:
        """Returns the factor by which the model's noisy latent is carried, or None for 1."""
        return None if self.carrying is None or self.carrying.same else self.carrying.factor(sigma)

    def to_model(self, part: Tensor) -> Tensor:
        """Returns a part of the joint latent in the shape that the model takes: [B, C, F, h, w] as [B F, C, h, w] for SVD."""
        return part.movedim(2, 1).flatten(0, 1) if self.kind.frames_in_batch else part

    def from_model(self, part: Tensor, batch: int) -> Tensor:
        """The inverse of `to_model`."""
        return part.unflatten(0, (batch, -1)).movedim(1, 2) if self.kind.frames_in_batch else part

    def rows(self, sigma: Tensor, part: Tensor) -> Tensor:
        """Returns the σ [B] of the sampler as the model's σ, one for each row of its latent."""
        own = self.sigma(sigma)
        return own if own.ndim == 0 or len(own) == len(part) else own.repeat_interleave(len(part) // len(own))


@dataclass
class JoinedStreams:
    """Both models, and the sizes of the joint latent of the current run."""

    video: Stream
    audio: Stream
    shapes: Sequence[Sequence[int]] | None = field(default=None, init=False)

    def __iter__(self):
        return iter((self.video, self.audio))

    def split(self, packed: Any) -> list[Tensor]:
        """Returns the parts of a packed latent [B, 1, N], or of a nested one, in the shapes that the models take."""
        if getattr(packed, "is_nested", False):
            return [stream.to_model(part) for stream, part in zip(self, packed.unbind())]
        assert self.shapes is not None, "the sizes are set when a run begins"
        sizes = [math.prod(shape[1:]) for shape in self.shapes]
        parts = packed.split(sizes, dim=-1)
        return [
            stream.to_model(part.reshape(len(packed), *shape[1:]))
            for stream, part, shape in zip(self, parts, self.shapes)
        ]  # fmt: skip

    def pack(self, parts: Sequence[Tensor], batch: int) -> Tensor:
        """Packs parts in the shapes that the models take as ComfyUI does: [B, 1, N], the video first."""
        ours = [stream.from_model(part, batch).reshape(batch, 1, -1) for stream, part in zip(self, parts)]
        return torch.cat(ours, dim=-1)


def make_carrying(video: Any, audio: Any, sound_ahead: float) -> Carrying:
    """Returns how the audio is carried, for the model samplings of both models.

    sound_ahead: 1: halfway through its own schedule each has the noise that its own model has there. Above 1: the audio has so many
        times less noise.
    """
    flows = is_flow(video), is_flow(audio)
    half = [noise_to_signal(float(each.percent_to_sigma(0.5)), flow) for each, flow in zip((video, audio), flows)]
    noise = 1.0 if flows[1] else 1 / float(audio.sigma_max)
    ratio = half[0] / half[1] if flows[1] else half[0] * (1 / half[1] - noise)
    scale = float(f"{sound_ahead * ratio:.6g}")  # the ratio of two shifts, without rounding errors
    return Carrying(flows[0], scale, noise)


def is_flow(sampling: Any) -> bool:
    """Returns whether a model is sampled at (1 − σ) x_0 + σ ε; False for x_0 + σ ε. Raises ValueError for another form."""
    if isinstance(sampling, comfy.model_sampling.CONST) and not isinstance(sampling, comfy.model_sampling.IMG_TO_IMG_FLOW):
        return True
    if isinstance(sampling, ADDED_NOISE) and not isinstance(sampling, comfy.model_sampling.X0):
        return False
    kind = type(sampling).__mro__[1].__name__
    raise ValueError(f"a model is sampled with {kind}, which cannot be joined; use a flow, EDM, v or ε model")


def describe(streams: JoinedStreams) -> list[str]:
    """Returns lines for the report: both models, and the audio's σ when the video is halfway through its schedule."""
    middle = float(streams.video.sampling.percent_to_sigma(0.5))
    audio = float(streams.audio.sigma(torch.tensor(middle)))
    return [
        f"{streams.video.kind.name} + {streams.audio.kind.name}",
        f"halfway, the video is at σ {middle:.3g} and the audio at σ {audio:.3g}",
        "no coupling: the models generate independently",
    ]
