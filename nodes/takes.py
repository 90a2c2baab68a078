"""Makes takes of a clip, each sampled, decoded and measured once, and keeps them for the next run of the node."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Protocol
from weakref import ref

import torch
from torch import Tensor

from ..av_models.binders.ensemble import list_binders
from ..av_models.fingerprint import fingerprint
from . import model_cache
from .host import check_interrupt, on_device
from .kept_clips import Key, clip_keys
from .latents import unpack_latent
from .model_cache import NONE
from .placement import load_codecs
from .run_sampler import Settings
from .sockets import AlignerInput, GuidanceInput, Prompts

ROUNDING = 1e-5  # of the largest value

if TYPE_CHECKING:
    from ..av_models.compare_guidances import HasCost
    from ..av_models.metrics.agreement import AgreementSettings
    from ..av_models.metrics.score import Score
    from ..av_models.shapes import AVShape
    from ..av_models.takes import Ranking


@dataclass(frozen=True)
class Measured:
    """A decoded take. asked: what the binder was asked. shown: a few small frames. frames: all of them, of the best take only.

    waveform: [C, samples] at `sample_rate` Hz.
    """

    asked: Key | None
    score: Score
    shown: Tensor
    waveform: Tensor
    sample_rate: int
    frames: Tensor | None


@dataclass(frozen=True)
class Take:
    """A sampled take. latent: its LATENT. measured: None if it was cancelled before."""

    latent: dict[str, Any]
    branches_per_step: float
    forwards_per_step: float
    warnings: tuple[str, ...]
    measured: Measured | None = None

    @staticmethod
    def of(latent: dict[str, Any], cost: HasCost) -> Take:
        """Return a take that has just been sampled. cost: what that has cost."""
        return Take(latent, cost.branches_per_step, cost.forwards_per_step, cost.warnings)

    @property
    def video(self) -> Tensor:
        """The latent of the video."""
        return unpack_latent(self.latent).video


class Decoder(Protocol):
    """What decodes the LATENT of a take. fps: frames per second of its video."""

    fps: Fraction

    def decode_video(self, latent: dict[str, Any]) -> Tensor:
        """Returns the frames [F, H, W, 3]."""

    def decode_audio(self, latent: dict[str, Any]) -> tuple[Tensor, int]:
        """Returns the waveform [C, samples] and its sample rate."""


@dataclass
class Takes:
    """Makes the takes with `keys` that are not kept yet.

    kept: the takes of the last run by key; new ones are added as soon as they are sampled, and again when they are measured.
    question: what the binder is asked about each.
    """

    decoder: Decoder
    kept: dict[Key, Take]
    keys: Sequence[Key]
    question: Question
    ranking: Ranking

    def make(self, sample: Callable[[int, int, int], Take]) -> list[int]:
        """Make what is missing and return the numbers of the takes, best first.

        sample: samples take number `number`, as number `run` of `runs`.
        """
        missing = [i for i, key in enumerate(self.keys) if key not in self.kept and key not in self.keys[:i]]
        for number, key in enumerate(self.keys):
            if key not in self.kept:
                self.kept[key] = sample(number, missing.index(number), len(missing))
            if not self._is_measured(key):
                self._measure(key)
                self._keep_the_best_frames()
        self._keep_the_best_frames()
        order = self.ranking.order([self.measured(i).score for i in range(len(self.keys))])
        best = self.keys[order[0]]
        if self.measured(order[0]).frames is None:
            self._set(best, frames=self._decode_video(self.kept[best]))
        return order

    def measured(self, number: int) -> Measured:
        """Return a take that was made."""
        measured = self.kept[self.keys[number]].measured
        assert measured is not None
        return measured

    def _is_measured(self, key: Key) -> bool:
        measured = self.kept[key].measured if key in self.kept else None
        return measured is not None and measured.asked == self.question.key

    @torch.no_grad()
    def _measure(self, key: Key) -> None:
        """Decode and measure a take."""
        from ..av_models.metrics.score import score_clip
        from ..av_models.metrics.sheet import shrink_frames

        take, last = self.kept[key], self.kept[key].measured
        frames = self._decode_video(take)
        if last is None:
            waveform, rate = self.decoder.decode_audio(take.latent)
            waveform = waveform.float().cpu()
        else:
            waveform, rate = last.waveform, last.sample_rate
        score = score_clip(frames, self.decoder.fps, waveform, rate, check_interrupt, self.question.settings())
        measured = Measured(self.question.key, score, shrink_frames(frames), waveform, rate, frames)
        self.kept[key] = replace(take, measured=measured)

    @torch.no_grad()
    def _decode_video(self, take: Take) -> Tensor:
        """Return the frames [F, H, W, 3] of a take: of another one if its video is the same, as under a kept video."""
        for other in self.kept.values():
            held = other.measured and other.measured.frames
            if held is not None and _is_same(other.video, take.video):
                return held
        return self.decoder.decode_video(take.latent).float().cpu()

    def _keep_the_best_frames(self) -> None:
        """Forget the frames of all takes but the best so far: those of many takes may not fit into memory."""
        done = [key for key in dict.fromkeys(self.keys) if self._is_measured(key)]
        scores = [measured.score for key in done if (measured := self.kept[key].measured)]
        best = done[self.ranking.order(scores)[0]]
        for key in done:
            if key != best:
                self._set(key, frames=None)

    def _set(self, key: Key, frames: Tensor | None) -> None:
        take = self.kept[key]
        assert take.measured is not None
        self.kept[key] = replace(take, measured=replace(take.measured, frames=frames))


def _is_same(one: Tensor, other: Tensor) -> bool:
    """Returns whether two latents are equal, but for the rounding of samplers that scale what a mask keeps, and back."""
    return one.shape == other.shape and bool((one - other).abs().max() <= ROUNDING * one.abs().max())


class Question:
    """What a binder is asked about each take. binder: its name, or NONE. words: the prompts of video and audio."""

    def __init__(self, binder: str, words: tuple[str, str]) -> None:
        self.binder, self.words = binder, words
        self.key = None if binder == NONE else (model_cache.fingerprint(binder), words)
        self._settings: AgreementSettings | None = None

    def settings(self) -> AgreementSettings | None:
        """Returns the question, with the binder on its device; None without a binder."""
        from ..av_models.metrics.agreement import AgreementSettings

        if self.binder == NONE:
            return None
        if self._settings is None:
            model = model_cache.load_binder(self.binder)
            self._settings = AgreementSettings(model, *(self.words if "text" in model.modalities else ("", "")))
        on_device(self._settings.binder)
        return self._settings

    def licence(self) -> list[str]:
        """Returns the licence of the binder, or none."""
        licence = "" if self.binder == NONE else model_cache.load_binder(self.binder).licence
        return [licence] if licence else []


@dataclass(frozen=True)
class ModelDecoder:
    """Decodes with the codecs of a Duet model. say: called when memory runs out."""

    model: Any
    shape: AVShape
    say: Callable[[str], None]

    @property
    def fps(self) -> Fraction:
        """The frame rate of the clip."""
        return self.shape.video.fps

    def decode_video(self, latent: dict[str, Any]) -> Tensor:
        """Returns the frames [F, H, W, 3]."""
        load_codecs(self.model, self.model.latent_shape(self.shape))
        return self.model.decode_video(unpack_latent(latent).video, self.shape, self.say)[0]

    def decode_audio(self, latent: dict[str, Any]) -> tuple[Tensor, int]:
        """Returns the waveform [C, samples] and its sample rate."""
        load_codecs(self.model, self.model.latent_shape(self.shape))
        return self.model.decode_audio(unpack_latent(latent).audio, self.shape)[0], self.shape.audio.sample_rate


def take_keys(
    model: Any, prompts: Prompts, latent: dict, guidance: GuidanceInput, settings: Sequence[Settings], aligned: AlignerInput | None
) -> list[Key]:
    """Returns everything that the sampling of each take depends on."""
    return [("take", key, _aligner_key(aligned)) for key in clip_keys(model, prompts, latent, [guidance], settings)[0]]


def _aligner_key(aligned: AlignerInput | None) -> Key | None:
    """Returns the settings and the reference of an aligner, and which binders it has, as weak references."""
    if aligned is None:
        return None
    binders = list_binders(aligned.aligner.binder)
    values = {each.name: getattr(aligned.aligner, each.name) for each in fields(aligned.aligner) if each.name != "binder"}
    return tuple(ref(binder) for binder in binders), fingerprint(list(binders), values, aligned.reference)
