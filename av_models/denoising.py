"""One sampling step: what the network predicts, what guidance makes of it, and the states that follow."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from .branch_runner import BranchRunner
from .clock import Clock
from .contract import AVLatent, AVTime, Prediction, predictions_of
from .guidance import Guidance, Step
from .known_parts import KnownParts
from .noise import NoiseSource
from .parameterization import state_of

Pair = tuple[float, float]


@dataclass(frozen=True)
class GuidedPrediction:
    """What guidance returned at a step.

    x: the network's input. kinds: what is predicted of the video and of the audio. memory: the strategy's state for the
    next step. skipped: the strategy ran no branch, and the step changes nothing.
    """

    step: Step
    x: AVLatent
    kinds: tuple[Prediction, Prediction]
    guided: AVLatent
    memory: Any
    skipped: bool = False


@dataclass(frozen=True)
class Denoising:
    """The parts of a sampling run that each step uses. `initial`: the noise that the run started from."""

    guidance: Guidance
    network: BranchRunner
    video: Clock
    audio: Clock
    known: KnownParts
    initial: AVLatent
    noise: NoiseSource
    eta: float

    def start(self) -> AVLatent:
        """The schedulers' first states."""
        return AVLatent(self.video.start(self.initial.video), self.audio.start(self.initial.audio))

    def with_known(self, step: Step, latent: AVLatent) -> AVLatent:
        """The states before the step, with the known parts of the clip put in."""
        return self.known.noised(latent, self.initial, *self._paths_before(step))

    def predict(self, step: Step, latent: AVLatent, memory: Any) -> GuidedPrediction:
        """The guided prediction for the schedulers' states `latent`."""
        i = step.index
        x = AVLatent(self.video.network_input(i, latent.video), self.audio.network_input(i, latent.audio))
        times = _row_times(self.video.network_times[i], self.audio.network_times[i], x)
        predictions = self.network.predict(self.guidance.branches(step), x, step, self.known.times(times))
        if not predictions:
            return GuidedPrediction(step, x, ("flow", "flow"), x.each(torch.zeros_like), memory, skipped=True)
        kinds = (self.guidance.space,) * 2 if self.guidance.space else self._kinds("main")
        same = {b: self._convert(i, x, p, self._kinds(b.model), kinds) for b, p in predictions.items()}
        same = {b: self.known.without_known(p) for b, p in same.items()}
        return GuidedPrediction(step, x, kinds, *self.guidance.combine(same, step, memory))

    def converted(self, p: GuidedPrediction, kind: Prediction) -> AVLatent:
        """The guided prediction as another kind, such as the clean estimate "x0"."""
        return self._convert(p.step.index, p.x, p.guided, p.kinds, (kind, kind))

    def clean(self, p: GuidedPrediction) -> AVLatent:
        """x̂_0, the clean estimate, with the known parts as they are."""
        return self.known.restored(self.converted(p, "x0"))

    def advance(self, p: GuidedPrediction, latent: AVLatent) -> AVLatent:
        """The states after the step: the schedulers' own, or with η the state α x̂_0 + σ ε with some new noise in ε."""
        i, (kind_v, kind_a) = p.step.index, p.kinds
        if self.eta:
            return latent if p.skipped else state_of(self.converted(p, "x0"), self.noise_after(p), *self._paths_after(p))
        return AVLatent(
            self.video.step(i, kind_v, p.guided.video, p.x.video, latent.video),
            self.audio.step(i, kind_a, p.guided.audio, p.x.audio, latent.audio),
        )

    def noise_after(self, p: GuidedPrediction) -> AVLatent:
        """ε in the states after the step: √(1 − s²) ε̂ + s z, with s the share of new noise z (arXiv 2010.02502, eq. 12)."""
        predicted, i = self.converted(p, "epsilon"), p.step.index
        if not self.eta or p.skipped:
            return predicted
        new = self.noise.fresh(predicted, draw=i + 1)
        shares = [min(1.0, self.eta * clock.ancestral_share(i)) for clock in (self.video, self.audio)]
        parts = zip((predicted.video, predicted.audio), (new.video, new.audio), shares)
        return AVLatent(*((1 - share**2) ** 0.5 * old + share * fresh.to(old.dtype) for old, fresh, share in parts))

    def clean_with_fixed_noise(self, p: GuidedPrediction) -> Callable[[AVLatent], AVLatent]:
        """x̂_0 = (x − σ ε)/α as a function of the state x after the step, with its noise ε held constant."""
        noise, paths = self.noise_after(p), self._paths_after(p)

        def clean(x: AVLatent) -> AVLatent:
            parts = zip((x.video, x.audio), (noise.video, noise.audio), paths)
            return self.known.restored(AVLatent(*((part - sigma * e) / alpha for part, e, (alpha, sigma) in parts)))

        return clean

    def clean_after_steps(self, steps: Sequence[Step], memory: Any, latent: AVLatent) -> AVLatent:
        """x̂_0 from new predictions at `steps`, joined by DDIM steps (arXiv 2010.02502, eq. 12, η = 0)."""
        for now, following in zip(steps[:-1], steps[1:]):
            p = self.predict(now, self.with_known(now, latent), memory)
            latent = state_of(self.converted(p, "x0"), self.converted(p, "epsilon"), *self._paths_before(following))
        return self.clean(self.predict(steps[-1], self.with_known(steps[-1], latent), memory))

    def _kinds(self, model: str) -> tuple[Prediction, Prediction]:
        return predictions_of(self.network.models[model].denoiser)

    def _paths_before(self, step: Step) -> tuple[Pair, Pair]:
        return self.video.state_path(step.index), self.audio.state_path(step.index)

    def _paths_after(self, p: GuidedPrediction) -> tuple[Pair, Pair]:
        return self.video.path_after(p.step.index), self.audio.path_after(p.step.index)

    def _convert(self, index: int, x: AVLatent, prediction: AVLatent, source: tuple, target: tuple) -> AVLatent:
        return AVLatent(
            self.video.convert(index, source[0], target[0], prediction.video, x.video),
            self.audio.convert(index, source[1], target[1], prediction.audio, x.audio),
        )


def _row_times(video: float, audio: float, x: AVLatent) -> AVTime:
    """These times for every row of `x`."""
    return AVTime(*(torch.full((x.rows,), t, dtype=torch.float32, device=x.video.device) for t in (video, audio)))
