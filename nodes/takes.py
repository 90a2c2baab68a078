"""Makes takes of a clip, each sampled, decoded and measured once, and keeps them for the next run of the node."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any
from weakref import ref

import torch
from torch import Tensor

from ..av_models.binders.ensemble import list_binders
from ..av_models.contract import AVLatent
from ..av_models.fingerprint import fingerprint
from .host import check_interrupt
from .kept_clips import Key, clip_keys
from .latents import STORAGE_DEVICE
from .placement import load_codecs
from .run_sampler import Settings
from .sockets import AlignerInput, GuidanceInput, Prompts

if TYPE_CHECKING:
    from ..av_models.metrics.agreement import AgreementSettings
    from ..av_models.metrics.score import Score
    from ..av_models.sampling import SampleResult
    from ..av_models.shapes import AVShape
    from ..av_models.takes import Ranking


@dataclass(frozen=True)
class Measured:
    """A decoded take. asked: what the binder was asked. shown: a few small frames. frames: all of them, of the best take only.

    waveform: [C, samples].
    """

    asked: Key | None
    score: Score
    shown: Tensor
    waveform: Tensor
    frames: Tensor | None


@dataclass(frozen=True)
class Take:
    """A sampled take. latent: on the CPU. measured: None if it was cancelled before."""

    latent: AVLatent
    branches_per_step: float
    forwards_per_step: float
    warnings: tuple[str, ...]
    measured: Measured | None = None


@dataclass
class Takes:
    """Makes the takes with `keys` that are not kept yet.

    kept: the takes of the last run by key; new ones are added as soon as they are sampled, and again when they are measured.
    asked: what identifies the question to the binder; settings: makes it, when the first take is measured.
    """

    model: Any
    shape: AVShape
    kept: dict[Key, Take]
    keys: Sequence[Key]
    asked: Key | None
    settings: Callable[[], AgreementSettings | None]
    ranking: Ranking
    say: Callable[[str], None]

    def make(self, sample: Callable[[int, int, int], SampleResult]) -> list[int]:
        """Make what is missing and return the numbers of the takes, best first.

        sample: samples take number `number`, as number `run` of `runs`.
        """
        missing = [i for i, key in enumerate(self.keys) if key not in self.kept and key not in self.keys[:i]]
        for number, key in enumerate(self.keys):
            if key not in self.kept:
                self.kept[key] = _take(sample(number, missing.index(number), len(missing)))
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
        return measured is not None and measured.asked == self.asked

    @torch.no_grad()
    def _measure(self, key: Key) -> None:
        """Decode and measure a take."""
        from ..av_models.metrics.score import score_clip
        from ..av_models.metrics.sheet import shrink_frames

        take = self.kept[key]
        frames = self._decode_video(take)
        if take.measured is None:
            load_codecs(self.model, self.model.latent_shape(self.shape))
            waveform = self.model.decode_audio(take.latent.audio, self.shape)[0].float().cpu()
        else:
            waveform = take.measured.waveform
        settings = self.settings()
        sound = waveform, self.shape.audio.sample_rate
        score = score_clip(frames, self.shape.video.fps, *sound, check_interrupt, settings)
        self.kept[key] = replace(take, measured=Measured(self.asked, score, shrink_frames(frames), waveform, frames))

    @torch.no_grad()
    def _decode_video(self, take: Take) -> Tensor:
        """Return the frames [F, H, W, 3] of a take: of another one if its video is the same, as under a kept video."""
        for other in self.kept.values():
            held = other.measured and other.measured.frames
            if held is not None and torch.equal(other.latent.video, take.latent.video):
                return held
        load_codecs(self.model, self.model.latent_shape(self.shape))
        return self.model.decode_video(take.latent.video, self.shape, self.say)[0].float().cpu()

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


def _take(result: SampleResult) -> Take:
    return Take(result.latent.to(STORAGE_DEVICE), result.branches_per_step, result.forwards_per_step, result.warnings)


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
