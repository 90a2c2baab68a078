"""One sampling step: the network's predictions, the guided prediction, and the schedulers' next states."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from .branch_runner import BranchRunner
from .clock import Clock
from .contract import AVLatent, AVTime, Prediction, prediction_types
from .guidance import Guidance, Step
from .known_parts import KnownParts
from .noise import NoiseSource
from .parameterization import add_noise

Pair = tuple[float, float]


@dataclass(frozen=True)
class GuidedPrediction:
    """The guided prediction of a step.

    x: the network's input.
    kinds: the prediction types of video and audio.
    guided: the guided prediction, of these types.
    guidance_state: the guidance strategy's state for the next step.
    skipped: whether the strategy ran no branch. The step then leaves the latents unchanged.
    """

    step: Step
    x: AVLatent
    kinds: tuple[Prediction, Prediction]
    guided: AVLatent
    guidance_state: Any
    skipped: bool = False


@dataclass(frozen=True)
class Denoising:
    """The steps of one sampling run. video, audio: the schedulers. initial: the initial noise. eta: see `SamplingSchedule`."""

    guidance: Guidance
    network: BranchRunner
    video: Clock
    audio: Clock
    known: KnownParts
    initial: AVLatent
    noise: NoiseSource
    eta: float

    def start(self) -> AVLatent:
        """Return the schedulers' first states."""
        return AVLatent(self.video.start(self.initial.video), self.audio.start(self.initial.audio))

    def with_known(self, step: Step, latent: AVLatent) -> AVLatent:
        """Return the states before the step, with the known parts of the clip inserted."""
        return self.known.insert_noisy(latent, self.initial, *self._paths_before(step))

    def predict(self, step: Step, latent: AVLatent, guidance_state: Any) -> GuidedPrediction:
        """Return the guided prediction for the schedulers' states `latent`."""
        i = step.index
        x = AVLatent(self.video.network_input(i, latent.video), self.audio.network_input(i, latent.audio))
        times = _row_times(self.video.network_times[i], self.audio.network_times[i], x)
        predictions = self.network.predict(self.guidance.branches(step), x, step, self.known.times(times))
        if not predictions:
            return GuidedPrediction(step, x, ("flow", "flow"), x.each(torch.zeros_like), guidance_state, skipped=True)
        kinds = (self.guidance.space,) * 2 if self.guidance.space else self._kinds("main")
        same = {b: self._convert(i, x, p, self._kinds(b.model), kinds) for b, p in predictions.items()}
        same = {b: self.known.zero_known(p) for b, p in same.items()}
        return GuidedPrediction(step, x, kinds, *self.guidance.combine(same, step, guidance_state))

    def converted(self, p: GuidedPrediction, kind: Prediction) -> AVLatent:
        """Return the guided prediction converted to another type, such as the clean estimate "x0"."""
        i, (kind_v, kind_a) = p.step.index, p.kinds
        return AVLatent(
            self.video.estimate(i, kind_v, kind, p.guided.video, p.x.video),
            self.audio.estimate(i, kind_a, kind, p.guided.audio, p.x.audio),
        )

    def clean(self, p: GuidedPrediction) -> AVLatent:
        """Return x̂_0, the clean estimate, with the known parts restored."""
        return self.known.restore(self.converted(p, "x0"))

    def advance(self, p: GuidedPrediction, latent: AVLatent) -> AVLatent:
        """Return the states after the step: those of the schedulers, or α x̂_0 + σ ε with new noise in ε if η > 0."""
        i, (kind_v, kind_a) = p.step.index, p.kinds
        if self.eta:
            return latent if p.skipped else add_noise(self._split_after(p)[0], self.noise_after(p), *self._paths_after(p))
        return AVLatent(
            self.video.step(i, kind_v, p.guided.video, p.x.video, latent.video),
            self.audio.step(i, kind_a, p.guided.audio, p.x.audio, latent.audio),
        )

    def noise_after(self, p: GuidedPrediction) -> AVLatent:
        """Return ε of the states after the step: √(1 − s²) ε̂ + s z with the share s of new noise z (arXiv 2010.02502, eq. 12)."""
        predicted, i = self._split_after(p)[1], p.step.index
        if not self.eta or p.skipped:
            return predicted
        new = self.noise.fresh(predicted, draw=i + 1)
        shares = [min(1.0, self.eta * clock.ancestral_share(i)) for clock in (self.video, self.audio)]
        parts = zip((predicted.video, predicted.audio), (new.video, new.audio), shares)
        return AVLatent(*((1 - share**2) ** 0.5 * old + share * fresh.to(old.dtype) for old, fresh, share in parts))

    def _split_after(self, p: GuidedPrediction) -> tuple[AVLatent, AVLatent]:
        """Return the clean estimate and the noise of the states after the step, without new noise."""
        i, (kind_v, kind_a) = p.step.index, p.kinds
        video = self.video.split_after(i, kind_v, p.guided.video, p.x.video)
        audio = self.audio.split_after(i, kind_a, p.guided.audio, p.x.audio)
        return AVLatent(video[0], audio[0]), AVLatent(video[1], audio[1])

    def clean_with_fixed_noise(self, p: GuidedPrediction) -> Callable[[AVLatent], AVLatent]:
        """Return the function x̂_0 = (x − σ ε)/α of the state x after the step, with its noise ε as a constant."""
        noise, paths = self.noise_after(p), self._paths_after(p)

        def clean(x: AVLatent) -> AVLatent:
            parts = zip((x.video, x.audio), (noise.video, noise.audio), paths)
            return self.known.restore(AVLatent(*((part - sigma * e) / alpha for part, e, (alpha, sigma) in parts)))

        return clean

    def clean_after_steps(self, steps: Sequence[Step], guidance_state: Any, latent: AVLatent) -> AVLatent:
        """Return x̂_0 from new predictions at `steps`, with DDIM steps between them (arXiv 2010.02502, eq. 12, η = 0)."""
        for now, following in zip(steps[:-1], steps[1:]):
            p = self.predict(now, self.with_known(now, latent), guidance_state)
            latent = add_noise(self.converted(p, "x0"), self.converted(p, "epsilon"), *self._paths_before(following))
        return self.clean(self.predict(steps[-1], self.with_known(steps[-1], latent), guidance_state))

    def _kinds(self, model: str) -> tuple[Prediction, Prediction]:
        return prediction_types(self.network.models[model].denoiser)

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
    """Return these times for every row of `x`."""
    return AVTime(*(torch.full((x.rows,), t, dtype=torch.float32, device=x.video.device) for t in (video, audio)))
