"""The joint sampler: one plain loop over a joint denoiser, one diffusers scheduler per modality.

Coupled, one grid of times drives both schedulers (t_uni: what the joint model was trained on), unless the sound is
given a shift of its own. In parity mode the joint parameters are dropped and each modality runs on its own scheduler's
grid, as its own pipeline would.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

import torch

from .branch_runner import BranchRunner
from .clock import Clock, make_clock, time_grid
from .contract import AVCondition, AVLatent, AVTime, JointDenoiser, LatentShape, Prediction, predictions_of
from .guidance import Cost, Guidance, Step, cost_of, require_able
from .joint.single_stream import skip_known_streams
from .known_parts import KnownParts
from .noise import AUDIO, VIDEO, Seed, audio_noise, video_noise
from .parameterization import state_of
from .path import FLOW

Callback = Callable[[int, int, AVLatent], None]


@dataclass(frozen=True)
class BadModel:
    """A worse version of the model, and the same prompts as its own text encoders give them."""

    denoiser: JointDenoiser
    positive: AVCondition
    negative: AVCondition


class Alignment(Protocol):
    """What moves latents and prompts while they are sampled (see `aligner`). `skipped`: moves left out for NaN;
    `through_denoiser`: clean estimates are new predictions, with their gradient, `inner_steps` of them for a step's moves."""

    skipped: int
    through_denoiser: bool
    inner_steps: int
    steps_ahead: int

    def active(self, step: Step) -> bool: ...

    def tunes(self, step: Step) -> bool: ...

    def moved(self, latent: AVLatent, clean: Callable[[AVLatent], AVLatent]) -> AVLatent: ...

    def tuned(self, cond: AVCondition, estimate: Callable[[AVCondition], AVLatent]) -> AVCondition: ...


@dataclass(frozen=True)
class SampleResult:
    """What sampling made and what it ran: `branches_per_step` network rows per sample, `forwards_per_step` calls.

    Both are means over the steps, counted as they ran. `warnings`: plain sentences for the user.
    """

    latent: AVLatent
    steps: int
    branches_per_step: float
    forwards_per_step: float
    warnings: tuple[str, ...] = ()


def sampling_cost(
    guidance: Guidance,
    steps: int,
    *,
    shift: float = 1.0,
    audio_shift: float | None = None,
    parity: bool = False,
    batch_branches: bool = True,
    alignment: Alignment | None = None,
) -> Cost:
    """What `sample` will run with these settings, known before it runs (schedulers of one evaluation a step)."""
    guidance = replace(guidance, removed=guidance.removed or parity)
    plan = [Step(i, steps, *times) for i, times in enumerate(zip(*_grids(steps, shift, audio_shift)))]
    looks = _looks(plan, alignment) if alignment else ()
    return replace(cost_of(guidance, [*plan, *looks], batch_branches), steps=len(plan))


@torch.no_grad()
def sample(
    model: JointDenoiser,
    start: LatentShape | AVLatent,
    positive: AVCondition,
    negative: AVCondition,
    guidance: Guidance,
    *,
    steps: int = 20,
    video_seed: Seed = 0,
    audio_seed: Seed = 0,
    video_scheduler=None,
    audio_scheduler=None,
    shift: float = 1.0,
    audio_shift: float | None = None,
    eta: float = 0.0,
    parity: bool = False,
    batch_branches: bool = True,
    bad_model: BadModel | None = None,
    given: KnownParts | None = None,
    alignment: Alignment | None = None,
    callback: Callback | None = None,
    check_interrupt: Callable[[], None] | None = None,
) -> SampleResult:
    """Denoises a picture and its sound together.

    start: the size to draw noise for, float32 on the conditions' device, or that noise itself.
    positive, negative: one row each, or as many as the latents have.
    video_seed, audio_seed: of the whole batch, or one for each row, which gets what it would get alone.
    video_scheduler, audio_scheduler: diffusers schedulers for the model's noise worlds, left untouched; where None, flow
        matching's Euler for a flow, and Euler for EDM and DDPM.
    shift: bends the grid of times (`time_grid`). audio_shift: the sound's own; None: as the picture's. With the lower shift
        it is ahead of its picture, which can then be aligned to a sound that is there already.
    eta: how much of its noise each step draws anew: DDIM's η (arXiv 2010.02502, eq. 16), for either modality's own noise.
        0 is the schedulers' own steps, 1 ancestral sampling. What a network got wrong early it can then mend later. Above 1
        more is drawn, at most all of it: clips get surer, and vary less than what the model was trained on.
    parity: every branch `removed`, each modality on its own scheduler's grid for `steps` steps: the result of each expert's
        own pipeline (but for a trained JointDiT, which keeps its feed-forwards), bit for bit with branches in turn, float32
        latents and a scheduler that does not round its timesteps (within 1e-5 otherwise).
    batch_branches: all branches of a step in one network call; on running out of memory, in turn from there on.
    bad_model: the second model of strategies that need one.
    given: parts of the clip that are known; they come out as they went in. With the joint parameters dropped, the network
        of a stream that is given as a whole does not run.
    alignment: moves the latents after each step so that a binder finds them to agree (`Aligner.begin`).
    callback(step, steps, x0): at each step (1 is the first), with the clean estimates.
    check_interrupt(): before every network call; what it raises passes through.

    Raises ValueError, in one line, for bad numbers, schedulers that cannot share a clock, and a guidance that the
    model cannot do.
    """
    grids = _grids(steps, shift, audio_shift)
    guidance = replace(guidance, removed=guidance.removed or parity)
    video = make_clock(model.paths[0], video_scheduler, VIDEO, video_seed)
    audio = make_clock(model.paths[1], audio_scheduler, AUDIO, audio_seed)
    _check_shifts(shift, audio_shift, parity)
    _check_eta(eta, parity or video_scheduler is not None or audio_scheduler is not None)
    _set((video, audio), grids, parity)
    plan = [Step(i, len(video.times), *times) for i, times in enumerate(zip(video.times, audio.times))]
    models, texts = {"main": model}, {"main": {"positive": positive, "negative": negative}}
    if bad_model is not None:
        if bad_model.denoiser.paths != model.paths:
            raise ValueError("the bad model knows noise of another kind; give a worse version of the same model")
        models["bad"] = bad_model.denoiser
        texts["bad"] = {"positive": bad_model.positive, "negative": bad_model.negative}
    require_able(guidance, plan, models)
    noise = _noise(start, video_seed, audio_seed, positive.video.tokens.device)
    given = given or _nothing(noise)
    _require_same_size(given, noise)
    if given.has_clean_parts and model.paths != (FLOW, FLOW):
        raise ValueError("this model cannot be given clean parts; give them renoised")
    if guidance.removed:
        models = {name: skip_known_streams(each, given) for name, each in models.items()}
    network = BranchRunner(models, texts, noise.rows, batch_branches, check_interrupt)
    run = _Denoising(guidance, models, network, video, audio, given, noise, eta, (video_seed, audio_seed))
    latent, memory = AVLatent(video.start(noise.video), audio.start(noise.audio)), None
    for step, coming in zip(plan, [*plan[1:], None]):
        latent = run.with_known(step, latent)
        if alignment and alignment.tunes(step):
            ahead = _ahead(plan, step, alignment)
            asked = partial(run.clean_if_asked, step, latent, memory, ahead)
            positive = alignment.tuned(positive.spread(noise.rows), asked)
            network.ask(positive)
        predicted = run.predict(step, latent, memory)
        if callback is not None:
            callback(step.index + 1, step.count, given.restored(run.converted(predicted, "x0")))
        latent, memory = run.advance(predicted, latent), predicted.memory
        if alignment and alignment.active(step):
            clean = run.clean_after(predicted)
            if coming and alignment.through_denoiser:
                ahead = _ahead(plan, coming, alignment)
                clean = partial(run.clean_at, coming, memory, ahead=ahead)
            latent = alignment.moved(latent, clean)
    latent = given.restored(latent)
    cost = Cost(len(plan), network.branches, network.forwards)
    warnings = (*network.warnings, *_not_finite(latent, alignment), *_skipped(alignment))
    return SampleResult(latent, len(plan), cost.branches_per_step, cost.forwards_per_step, warnings)


@dataclass(frozen=True)
class _Predicted:
    """What guidance made of the predictions at a step: of which `kinds`, and from which network input `x`."""

    step: Step
    x: AVLatent
    kinds: tuple[Prediction, Prediction]
    guided: AVLatent
    memory: Any
    still: bool = False


@dataclass(frozen=True)
class _Denoising:
    """Everything that a step needs."""

    guidance: Guidance
    models: Mapping[str, JointDenoiser]
    network: BranchRunner
    video: Clock
    audio: Clock
    given: KnownParts
    noise: AVLatent
    eta: float
    seeds: tuple[Seed, Seed]

    def with_known(self, step: Step, latent: AVLatent) -> AVLatent:
        """The schedulers' states before the step, what is known of the clip put in."""
        paths = (clock.state_path(step.index) for clock in (self.video, self.audio))
        return self.given.noised(latent, self.noise, *paths)

    def predict(self, step: Step, latent: AVLatent, memory: Any) -> _Predicted:
        """The guided prediction from schedulers' states; a step without branches stands still."""
        i = step.index
        x = AVLatent(self.video.network_input(i, latent.video), self.audio.network_input(i, latent.audio))
        times = _times(self.video.network_times[i], self.audio.network_times[i], x)
        predictions = self.network.predict(self.guidance.branches(step), x, step, self.given.times(times))
        if not predictions:
            return _Predicted(step, x, ("flow", "flow"), x.each(torch.zeros_like), memory, still=True)
        kinds = (self.guidance.space,) * 2 if self.guidance.space else predictions_of(self.models["main"])
        alike = {b: self._convert(i, x, p, predictions_of(self.models[b.model]), kinds) for b, p in predictions.items()}
        alike = {b: self.given.unknown(p) for b, p in alike.items()}
        return _Predicted(step, x, kinds, *self.guidance.combine(alike, step, memory))

    def converted(self, p: _Predicted, kind: Prediction) -> AVLatent:
        """The guided prediction as one of `kind`, such as the clean estimate."""
        return self._convert(p.step.index, p.x, p.guided, p.kinds, (kind, kind))

    def advance(self, p: _Predicted, latent: AVLatent) -> AVLatent:
        """The states after the step: the schedulers' own, or α x̂_0 + σ ε where some of ε is fresh."""
        i, (kind_v, kind_a) = p.step.index, p.kinds
        if self.eta:
            return latent if p.still else state_of(self.converted(p, "x0"), self.noise_after(p), *self._paths_after(p))
        return AVLatent(
            self.video.step(i, kind_v, p.guided.video, p.x.video, latent.video),
            self.audio.step(i, kind_a, p.guided.audio, p.x.audio, latent.audio),
        )

    def noise_after(self, p: _Predicted) -> AVLatent:
        """ε in the states after the step: what was predicted, a share s of it drawn anew: √(1 − s²) ε̂ + s z."""
        noise, i = self.converted(p, "epsilon"), p.step.index
        if not self.eta or p.still:
            return noise
        shape = LatentShape(tuple(noise.video.shape), tuple(noise.audio.shape))
        fresh = _noise(shape, *self.seeds, noise.video.device, draw=i + 1)
        shares = [min(1.0, self.eta * clock.ancestral_share(i)) for clock in (self.video, self.audio)]
        parts = zip((noise.video, noise.audio), (fresh.video, fresh.audio), shares)
        return AVLatent(*((1 - share**2) ** 0.5 * old + share * new.to(old.dtype) for old, new, share in parts))

    def _paths_after(self, p: _Predicted) -> tuple[tuple[float, float], tuple[float, float]]:
        return self.video.path_after(p.step.index), self.audio.path_after(p.step.index)

    def clean_after(self, p: _Predicted) -> Callable[[AVLatent], AVLatent]:
        """x̂_0 = (x − σ ε)/α of a state x after the step, the noise that went into it taken as constant."""
        noise, paths = self.noise_after(p), self._paths_after(p)

        def clean(x: AVLatent) -> AVLatent:
            parts = zip((x.video, x.audio), (noise.video, noise.audio), paths)
            return self.given.restored(AVLatent(*((part - sigma * e) / alpha for part, e, (alpha, sigma) in parts)))

        return clean

    def clean_at(self, step: Step, memory: Any, latent: AVLatent, ahead: Sequence[Step] = ()) -> AVLatent:
        """A new prediction's clean estimate, `ahead`: where DDIM (arXiv 2010.02502, eq. 12, η = 0) leads by these steps."""
        for now, coming in zip([step, *ahead], [*ahead, None]):
            predicted = self.predict(now, self.with_known(now, latent), memory)
            clean = self.converted(predicted, "x0")
            if coming is None:
                return self.given.restored(clean)
            noise = self.converted(predicted, "epsilon")
            latent = state_of(clean, noise, *(clock.state_path(coming.index) for clock in (self.video, self.audio)))

    def clean_if_asked(self, step: Step, latent: AVLatent, memory: Any, ahead: Sequence[Step], asked: AVCondition) -> AVLatent:
        """The clean estimate that other prompts would lead to."""
        self.network.ask(asked)
        return self.clean_at(step, memory, latent, ahead)

    def _convert(self, index: int, x: AVLatent, prediction: AVLatent, source, target) -> AVLatent:
        return AVLatent(
            self.video.convert(index, source[0], target[0], prediction.video, x.video),
            self.audio.convert(index, source[1], target[1], prediction.audio, x.audio),
        )


def _grids(steps: int, shift: float, audio_shift: float | None) -> tuple[list[float], list[float]]:
    """Times of the picture and of the sound, before any scheduler."""
    video = time_grid(steps, shift)
    return video, video if audio_shift is None else time_grid(steps, audio_shift, "audio_shift")


def _set(clocks: tuple[Clock, Clock], grids: tuple[list[float], list[float]], parity: bool) -> None:
    """Sets each clock to its grid, or, in parity mode, to its scheduler's own."""
    for clock, grid in zip(clocks, grids):
        if parity:
            clock.own(len(grid))
        else:
            clock.share(grid)
    counts = [len(clock.times) for clock in clocks]
    if counts[0] != counts[1]:
        raise ValueError(f"the schedulers take {counts[0]} (video) and {counts[1]} (audio) network evaluations; "
                         "choose two that take the same number")  # fmt: skip


def _check_shifts(shift: float, audio_shift: float | None, parity: bool) -> None:
    for name, value in (("shift", shift), ("audio_shift", audio_shift)):
        if parity and value not in (None, 1):
            raise ValueError(f"{name} is {value}; in parity mode leave it 1 and give each scheduler its own")


def _check_eta(eta: float, bound: bool) -> None:
    if not 0 <= eta < math.inf:
        raise ValueError(f"eta is {eta}; give 0 (no noise is drawn anew), 1 (ancestral sampling) or more")
    if eta and bound:
        raise ValueError(f"eta is {eta}; leave it 0 in parity mode and for schedulers of your own")


def _noise(start: LatentShape | AVLatent, video_seed: Seed, audio_seed: Seed, device: torch.device, draw: int = 0) -> AVLatent:
    if isinstance(start, AVLatent):
        return start
    video, audio = video_noise(start.video, video_seed, draw), audio_noise(start.audio, audio_seed, draw)
    return AVLatent(video.to(device), audio.to(device))


def _ahead(plan: Sequence[Step], step: Step, alignment: Alignment) -> list[Step]:
    """The steps that lead from `step` to a clean estimate: `steps_ahead` of those that come, evenly."""
    rest = plan[step.index + 1 :]
    count = min(alignment.steps_ahead, len(rest))
    return [rest[round((i + 1) * len(rest) / (count + 1)) - 1] for i in range(count)] if count else []


def _looks(plan: Sequence[Step], alignment: Alignment) -> Iterator[Step]:
    """The steps at which an alignment asks the network, beside the plan's own."""
    for step, coming in zip(plan, [*plan[1:], None]):
        if alignment.tunes(step):
            yield from (step, *_ahead(plan, step, alignment))
        if coming and alignment.active(step) and alignment.through_denoiser:
            yield from [coming, *_ahead(plan, coming, alignment)] * alignment.inner_steps


def _skipped(alignment: Alignment | None) -> list[str]:
    if not alignment or not alignment.skipped:
        return []
    return [f"{alignment.skipped} of the aligner's moves had NaN in their gradient and were left out; lower its rates"]


def _nothing(latent: AVLatent) -> KnownParts:
    none = AVLatent(*(x.new_zeros((1,) * x.ndim, dtype=torch.bool) for x in (latent.video, latent.audio)))
    return KnownParts(latent, none, "clean")


def _require_same_size(given: KnownParts, latent: AVLatent) -> None:
    for name, part, x in (("picture", given.latent.video, latent.video), ("sound", given.latent.audio, latent.audio)):
        if part.shape != x.shape:
            sizes = ("×".join(map(str, each)) for each in (part.shape, x.shape))
            raise ValueError("the given {} is {}, the clip's {}; encode it for this clip".format(name, *sizes))


def _times(video: float, audio: float, x: AVLatent) -> AVTime:
    """These times for every row of `x`."""
    return AVTime(*(torch.full((x.rows,), t, dtype=torch.float32, device=x.video.device) for t in (video, audio)))


def _not_finite(latent: AVLatent, alignment: Alignment | None) -> list[str]:
    parts = {"picture": latent.video, "sound": latent.audio}
    bad = [name for name, x in parts.items() if not bool(torch.isfinite(x).all())]
    what_to_lower = "the guidance scale, or the aligner's rates" if alignment else "the guidance scale"
    return [f"the {name} came out with NaN or infinite values; lower {what_to_lower}" for name in bad]
