"""Known parts of a clip, which the sampler keeps: a first frame, the video, the audio, the start, all but a segment.

A model that was trained with clean known parts gets them without noise, and t = 0 for a modality that is known completely. A
model with a timestep for each frame gets whole known frames without noise, each with t = 0. Any other model gets known parts at
the current noise level, as in RePaint (arXiv 2201.09865, eq. 8, without its resampling).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor

from .contract import AVLatent, AVTime, StreamName
from .parameterization import add_noise
from .path import FLOW, Path

KnownMode = Literal["clean", "renoised", "frames"]
MODES = ("clean", "renoised", "frames")
STREAMS: tuple[StreamName, StreamName] = ("video", "audio")


@dataclass(frozen=True)
class KnownParts:
    """A clip's latents and which of them are known.

    latent: the clip; only its values where `known` is True are used.
    known: bool masks, broadcastable to the latents.
    mode: the noise of the known parts in the network's input: "clean" (none), "renoised" (the current level) or "frames" (none
        in latent frames or steps that are known as a whole, which get the timestep 0; else the current level). Use
        `JointModel.known_mode`.
    audio_mode: the mode of the audio; None: as `mode`. Use `JointModel.known_modes`.

    Raises ValueError, with one line, if nothing is left to sample, sizes do not fit, or known values are not finite.
    """

    latent: AVLatent
    known: AVLatent
    mode: KnownMode
    audio_mode: KnownMode | None = None

    def __post_init__(self) -> None:
        for name, mode in (("mode", self.mode), ("audio_mode", self.audio_mode or self.mode)):
            if mode not in MODES:
                raise ValueError(f"{name} is {mode!r}; use 'clean', 'renoised' or 'frames'")
        for name, x, known in self._streams():
            if known.dtype != torch.bool or not _fits(known, x):
                raise ValueError(f"the {name}'s mask is {_size(known)} of {known.dtype}; use booleans that fit {_size(x)}")
            if not bool(torch.isfinite(torch.where(known, x, torch.zeros_like(x))).all()):
                raise ValueError(f"the given {name} has NaN or infinite values; use one without")
        if bool(self.known.video.all() & self.known.audio.all()):
            raise ValueError("video and audio are both given completely, so nothing is left to sample; give only part of them")

    @classmethod
    def nothing(cls, like: AVLatent) -> KnownParts:
        """Return no known parts, for latents of the size of `like`."""
        none = AVLatent(*(x.new_zeros((1,) * x.ndim, dtype=torch.bool) for x in (like.video, like.audio)))
        return cls(like, none, "clean")

    def require_fits(self, latent: AVLatent, paths: tuple[Path, Path]) -> None:
        """Raise ValueError unless the sizes are those of `latent`, and a model with these noise schedules supports the mode."""
        for name, part, x in (("picture", self.latent.video, latent.video), ("audio", self.latent.audio, latent.audio)):
            if part.shape != x.shape:
                raise ValueError(f"the given {name} is {_size(part)}, the clip's {_size(x)}; encode it for this clip")
        if self.has_clean_parts and paths != (FLOW, FLOW):
            raise ValueError("this model cannot use clean known parts; use mode 'renoised'")

    def _streams(self) -> tuple[tuple[str, Tensor, Tensor], ...]:
        return ("video", self.latent.video, self.known.video), ("audio", self.latent.audio, self.known.audio)

    def insert_noisy(self, x: AVLatent, noise: AVLatent, video: tuple[float, float], audio: tuple[float, float]) -> AVLatent:
        """Return `x` with the known parts at the noise level (α, σ) of `video` and `audio`: α x_0 + σ ε. Clean ones get none."""
        if all(self._mode(stream) == "clean" for stream in STREAMS):
            return self.restore(x)
        renoised = self._put_into(x, add_noise(self.latent, noise, video, audio))
        return self._put(self.latent, self.clean, renoised) if self.has_clean_parts else renoised

    def restore(self, x: AVLatent) -> AVLatent:
        """Return `x` with the known parts as they were given, without noise."""
        return self._put_into(x, self.latent)

    def zero_known(self, prediction: AVLatent) -> AVLatent:
        """Return `prediction` with zeros at clean known parts, which the network is not trained to predict.

        In mode "frames" they stay, as in these models' own pipelines: the rescaling of a guided prediction depends on them.
        """
        if not self.has_clean_parts:
            return prediction
        clean = AVLatent(*(getattr(self.clean, each) & (self._mode(each) == "clean") for each in STREAMS))
        return self._put(prediction.each(torch.zeros_like), clean, prediction)

    @cached_property
    def has_clean_parts(self) -> bool:
        """Whether any part of the network's input is clean."""
        return bool(self.clean.video.any() | self.clean.audio.any())

    @cached_property
    def clean(self) -> AVLatent:
        """Bool masks of the known parts that the network gets without noise, broadcastable to the latents."""
        return AVLatent(*(self._clean(stream) for stream in STREAMS))

    def known_frames(self, stream: StreamName) -> Tensor:
        """Return which latent frames (or steps) of each row are known as a whole, bool [B, T]."""
        known, x = getattr(self.known, stream), getattr(self.latent, stream)
        return known.expand(len(x), *known.shape[1:2], *x.shape[2:]).movedim(2, 1).flatten(2).all(2)

    def times(self, t: AVTime) -> AVTime:
        """Return the network's timesteps: those in `t`, but 0 for a modality that is completely known and clean.

        A modality of mode "frames" with a clean frame gets a timestep for each frame, [B, T], 0 at clean ones.
        """
        return AVTime(*(_zero_where(zero, getattr(t, stream)) for stream, zero in zip(STREAMS, self._at_zero)))

    @cached_property
    def _at_zero(self) -> tuple[Tensor | None, Tensor | None]:
        """Which timesteps of each modality are 0: bool [B] or [1] for rows, [B, T] for latent frames; None: no timestep is."""
        return self._zero_times("video"), self._zero_times("audio")

    def _mode(self, stream: StreamName) -> KnownMode:
        return (stream == "audio" and self.audio_mode) or self.mode

    def _clean(self, stream: StreamName) -> Tensor:
        mode, known = self._mode(stream), getattr(self.known, stream)
        if mode == "frames":
            frames = self.known_frames(stream)
            return frames.view(len(frames), 1, -1, *[1] * (known.ndim - 3))
        return known if mode == "clean" else torch.zeros_like(known)

    def _zero_times(self, stream: StreamName) -> Tensor | None:
        mode = self._mode(stream)
        if mode == "frames":
            frames = self.known_frames(stream)
            return frames if bool(frames.any()) else None
        return getattr(self.known, stream).flatten(1).all(1) if mode == "clean" else None

    def _put_into(self, x: AVLatent, known: AVLatent) -> AVLatent:
        return self._put(known, self.known, x)

    @staticmethod
    def _put(values: AVLatent, where: AVLatent, x: AVLatent) -> AVLatent:
        video = torch.where(where.video, values.video.to(x.video.dtype), x.video)
        return AVLatent(video, torch.where(where.audio, values.audio.to(x.audio.dtype), x.audio))


def _zero_where(zero: Tensor | None, t: Tensor) -> Tensor:
    """Return the timesteps `t` [B] with 0 where `zero` says so, [B], or [B, T] if it is for latent frames."""
    if zero is None:
        return t
    return (t if zero.ndim == 1 else t[:, None]) * ~zero


def _fits(known: Tensor, x: Tensor) -> bool:
    return known.ndim == x.ndim and all(k in (1, n) for k, n in zip(known.shape, x.shape))


def _size(x: Tensor) -> str:
    return "×".join(map(str, x.shape))
