"""Generates and measures the clips of the hearing study, and stores the measurements."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...av_models.clip_latent import encode_clip, everything, make_known_masks, nothing
from ...av_models.contract import AVLatent
from ...av_models.guidance import make_guidance
from ...av_models.joint_model import JointModel
from ...av_models.known_parts import KnownParts
from ...av_models.metrics.frechet import frechet_distance
from ...av_models.schedule import SamplingSchedule
from ..binder import BounceBind
from ..measure.evaluate import true_clips
from ..measure.generate import Prompt, SampleInputs, sample_latents
from ..measure.hearing_measures import measure_frames
from ..shipped import load_joint_model
from ..world.captions import captions
from ..world.render import render
from ..world.world import FPS, FRAMES, Worlds, simulate
from .hearing_arms import Arm
from .hearing_loss import measure_audio_use, validation_loss
from .json_lines import LineFile, ResultStore
from .train_arm import Progress, checkpoint_path

TRUTH = "truth"
SCALE, STEPS, SHIFT = 2.5, 12, 5.0  # CFG for all models: other strategies need the other modality
REFERENCE_CLIPS = 2000


@dataclass(frozen=True)
class ClipMeasurements:
    """The measurements of all models on the prompts of `worlds`, stored in `folder`.

    clips/NAME.jsonl has the measures of each clip, features/NAME.jsonl its embedding, and figures.jsonl the figures of a
    whole model. The features are not part of the repository and are computed again where they are missing.
    """

    folder: Path
    worlds: Worlds
    binder: BounceBind
    progress: Progress

    @property
    def figures(self) -> ResultStore:
        return ResultStore(self.folder / "figures.jsonl")

    def figures_of(self, name: str) -> dict[str, Any]:
        """Returns the Fréchet distance and, for a model, the validation loss. Raises KeyError if they are not stored."""
        return self.figures.results[self._figures_key(name)]

    def is_complete(self, name: str, hears: bool = False) -> bool:
        """Whether all clips of a model are measured; with `hears`, also its use of the audio."""
        keys = {self._figures_key(name)} | ({_audio_use_key(name)} if hears else set())
        return len(self._clips(name).lines) >= len(self.worlds) and keys <= self.figures.results.keys()

    def measure_audio_use(self, name: str, model: str | Path) -> dict[str, Any]:
        """Returns the use of the audio by the model in a file (see `hearing_loss.measure_audio_use`)."""
        return self.figures.get(_audio_use_key(name), lambda: measure_audio_use(load_joint_model(model)))

    def measure_arm(self, arm: Arm) -> list[dict[str, Any]]:
        """Returns the measures of each clip of a trained model (see `measure_frames`)."""
        if not self.is_complete(arm.name):
            model = load_joint_model(checkpoint_path(arm.name, self.folder))
            self._measure_clips(arm.name, lambda first: generate_frames(model, arm, self.worlds, first))
            self._store_figures(arm.name, lambda: {"validation_loss": validation_loss(model, arm.hears)})
        return self._clips(arm.name).lines[: len(self.worlds)]

    def measure_truth(self) -> list[dict[str, Any]]:
        """Returns the measures of each simulated clip. They show the errors of the tracker."""
        if not self.is_complete(TRUTH):
            self._measure_clips(TRUTH, lambda first: (frames for frames, *_ in true_clips(self.worlds[first:])))
            self._store_figures(TRUTH, dict)
        return self._clips(TRUTH).lines[: len(self.worlds)]

    def _measure_clips(self, name: str, frames_from: Callable[[int], Iterator[Tensor]]) -> None:
        """Measures the clips without features. Existing measures are kept.

        frames_from: called with the number of the first clip, returns the frames [F, H, W, 3] of each clip from there on.
        """
        clips, features = self._clips(name), self._features(name)
        first = len(features.lines)
        for row, frames in enumerate(frames_from(first), first):
            if row >= len(clips.lines):
                clips.add(measure_frames(frames.numpy(), self.worlds, row))
            features.add(self._embed(frames))
            self.progress(f"measuring {name}", row + 1, len(self.worlds))

    def _store_figures(self, name: str, measure: Callable[[], dict[str, float]]) -> None:
        """Stores the Fréchet distance of the clips to simulated clips, and the figures that `measure` returns."""

        def figures() -> dict[str, float]:
            made = [line["features"] for line in self._features(name).lines[: len(self.worlds)]]
            return {"frechet": frechet_distance(np.array(made), self._reference_features())} | measure()

        self.figures.get(self._figures_key(name), figures)

    def _reference_features(self) -> np.ndarray:
        features = self._features("reference")
        if len(features.lines) < REFERENCE_CLIPS:
            worlds = simulate(REFERENCE_CLIPS, "val", seed=1)
            for row in range(len(features.lines), REFERENCE_CLIPS):
                frames = torch.from_numpy(render(worlds[row : row + 1], 64)[0, :FRAMES]).float() / 255
                features.add(self._embed(frames))
                self.progress("features of simulated clips", row + 1, REFERENCE_CLIPS)
        return np.array([line["features"] for line in features.lines])

    @torch.no_grad()
    def _embed(self, frames: Tensor) -> dict[str, Any]:
        return {"features": [round(float(x), 5) for x in self.binder.embed_video(frames[None], FPS)[0]]}

    def _clips(self, name: str) -> LineFile:
        return LineFile(self.folder / "clips" / f"{name}.jsonl")

    def _features(self, name: str) -> LineFile:
        return LineFile(self.folder / "features" / f"{name}.jsonl")

    def _figures_key(self, name: str) -> str:
        return f"{name} {len(self.worlds)}"


def _audio_use_key(name: str) -> str:
    return f"{name} use of sound"


def generate_frames(model: JointModel, arm: Arm, worlds: Worlds, first: int) -> Iterator[Tensor]:
    """Yields the frames [F, H, W, 3] for each prompt from number `first` on.

    A model that was trained without audio gets known audio, which has no effect, so that the audio expert does not run.
    """
    prompts = [Prompt(*pair) for pair in zip(*captions(worlds, 0, drop=0.0))]
    guidance = make_guidance("cfg", video_scale=SCALE, audio_scale=SCALE, removed=not arm.hears)
    shape = model.shape()

    def known_audio(start: int, stop: int) -> KnownParts:
        clips = AVLatent.cat([encode_clip(model, shape, None, None)] * (stop - start))
        return KnownParts(clips, make_known_masks(model, shape, nothing, everything).to(model.device), *model.known_modes)

    schedule, inputs = SamplingSchedule(STEPS, SHIFT), SampleInputs(known=None if arm.hears else known_audio)
    for latent in sample_latents(model, prompts[first:], guidance, schedule, seed=1_000_000 + first, inputs=inputs):
        yield from model.decode_video(latent.video, shape)
