"""The alignment of one clip by the diffusion latent aligner (Seeing and Hearing, CVPR 2024, arXiv 2402.17723)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from .aligner_settings import GENERATED, PAIRS, AlignerSettings
from .binders.base import Embedded, Modality, Track, cosine_distance, embed_audio, embed_video, time_distance
from .clip_decoding import ClipDecoding
from .contract import AVCondition, AVLatent, Condition
from .guidance import Step
from .latent_moves import KEEP, Adam


@dataclass
class Alignment:
    """The alignment of one clip.

    decoding: decodes its clean latents.
    known: embeddings of the prompts and of the reference, by name.
    tracks: what the binder sees or hears of the reference over time.
    losses: the loss before each move.
    skipped: number of moves that were skipped because their gradient had NaN.
    evaluations: number of loss evaluations, for latents and prompts.
    moments: Adam's state for each modality and prompt.
    """

    aligner: AlignerSettings
    decoding: ClipDecoding
    known: dict[str, Tensor]
    tracks: tuple[Track, ...] = ()
    losses: list[float] = field(default_factory=list)
    skipped: int = 0
    evaluations: int = 0
    moments: dict[str, Adam] = field(default_factory=dict)

    @property
    def through_denoiser(self) -> bool:
        return self.aligner.through_denoiser

    @property
    def inner_steps(self) -> int:
        return self.aligner.inner_steps

    @property
    def steps_ahead(self) -> int:
        return self.aligner.steps_ahead

    def moves_latents(self, step: Step) -> bool:
        """Return whether latents are moved after this step."""
        return self._inside(step) and any(self.aligner.rates.values())

    def tunes_prompts(self, step: Step) -> bool:
        """Return whether prompts are tuned before this step."""
        return self._inside(step) and self.aligner.prompt_rate > 0

    def _inside(self, step: Step) -> bool:
        return self.aligner.first < (step.index + 1) / step.count <= self.aligner.last

    def move_latents(self, latent: AVLatent, clean: Callable[[AVLatent], AVLatent]) -> AVLatent:
        """Move the latents `inner_steps` times: z ← z − λ1 ∇_z L. clean: the clean estimate of a state, with a gradient."""
        for _ in range(self.inner_steps):
            latent = self._move(latent, clean)
        return latent

    def _move(self, latent: AVLatent, clean: Callable[[AVLatent], AVLatent]) -> AVLatent:
        moving: dict[str, Tensor] = {
            name: getattr(latent, name).detach().requires_grad_() for name, rate in self.aligner.rates.items() if rate
        }
        with torch.enable_grad():
            loss = self.loss(clean(replace(latent, **moving)))
            gradients = _gradients(loss, moving)
        if not self._usable(gradients.values()):
            return latent
        self.losses.append(float(loss.detach().mean()))
        steps = {name: self.aligner.rates[name] * self._direction(name, gradient) for name, gradient in gradients.items()}
        moved = {name: moving[name].detach() - step for name, step in steps.items()}
        if keep := KEEP.get(self.aligner.keep):
            moved = {name: keep(x, moving[name].detach()) for name, x in moved.items()}
        return replace(latent, **moved)

    def tune_prompts(self, cond: AVCondition, estimate: Callable[[AVCondition], AVLatent]) -> AVCondition:
        """Tune the prompts (eq. 8): y ← y − λ2 ∇_y L. estimate: computes the clean estimate with a prompt, with a gradient."""
        conditions = {name: getattr(cond, name) for name in self.aligner.rates}
        prompts: dict[str, Tensor] = {name: prompt_of(part).detach().requires_grad_() for name, part in conditions.items()}
        tuned = replace(cond, **{name: with_prompt(conditions[name], y) for name, y in prompts.items()})
        with torch.enable_grad():
            gradients = _gradients(self.loss(estimate(tuned)), prompts)
        if not self._usable(gradients.values()):
            return cond
        parts = {}
        for name, gradient in gradients.items():
            step = self.aligner.prompt_rate * self._direction(f"{name}_prompt", _without_padding(gradient, conditions[name]))
            parts[name] = with_prompt(conditions[name], (prompts[name] - step).detach())
        return replace(cond, **parts)

    def _usable(self, gradients: Iterable[Tensor]) -> bool:
        """Return whether all gradients are finite. If not, count a skipped move."""
        usable = all(bool(gradient.isfinite().all()) for gradient in gradients)
        self.skipped += not usable
        return usable

    def _direction(self, name: str, gradient: Tensor) -> Tensor:
        """Return the direction of a move before it is multiplied by the rate: the gradient, its sign, or Adam's direction."""
        if self.aligner.update == "adam":
            return self.moments.setdefault(name, Adam()).direction(gradient)
        return gradient.sign() if self.aligner.update == "sign" else gradient

    def loss(self, clean: AVLatent) -> Tensor:
        """Compute L [B], the weighted sum of the task's distances (section 3.3). clean: the clean latents."""
        self.evaluations += 1
        made = self._embeddings(clean)
        total = torch.zeros(clean.rows, device=clean.video.device)
        for a, b in PAIRS[self.aligner.task]:
            weight = self.aligner.prompt_weight(a) if b == "text" else self.aligner.other
            shown = made[b].embedding if b in made else self.known.get(b)
            other = self.known.get(f"{a}_text") if b == "text" else shown
            if weight and other is not None:
                total = total + weight * cosine_distance(made[a].embedding, other)
        return total + self.aligner.timing * self._apart_in_time(made) if self.aligner.timing else total

    def _apart_in_time(self, made: dict[Modality, Embedded]) -> Tensor:
        """Return how far video and audio are from changing together [B], the mean over the binders that see time."""
        ours, theirs = [*(each.tracks for each in made.values()), self.tracks][:2]
        self.aligner.check_tracks(*ours, *theirs)
        return torch.stack([time_distance(a, b) for a, b in zip(ours, theirs)]).mean(0)

    def _embeddings(self, clean: AVLatent) -> dict[Modality, Embedded]:
        """Decode and embed the generated modalities."""
        return {modality: self._embedding(modality, getattr(clean, modality)) for modality in GENERATED[self.aligner.task]}

    def _embedding(self, modality: Modality, latent: Tensor) -> Embedded:
        decode: Callable[[Tensor], Tensor] = self.decoding.audio
        embed: Callable[[Tensor], Embedded] = self._embed_audio
        if modality == "video":
            total = latent.shape[2]
            chosen, fps = self._choose_frames(total)
            decode = partial(self.decoding.video, chosen=chosen)
            embed = partial(self._embed_video, fps=fps, chosen=chosen, total=total)
        run = partial(checkpoint, use_reentrant=False) if self.aligner.save_memory else lambda part, x: part(x)
        if self.decoding.saves_memory:
            return run(embed, decode(latent))
        return run(lambda x: embed(decode(x)), latent)

    def _choose_frames(self, total: int) -> tuple[list[int] | None, float]:
        """Return which of `total` latent frames are decoded for this evaluation (None: all), and the rate of their frames."""
        chosen, fps = self.aligner.latent_frames, self.decoding.fps
        if not 0 < chosen < total:
            return None, fps
        shown_fps = fps * chosen / total
        if not self.aligner.turns:
            return torch.linspace(0, total - 1, chosen).round().long().tolist(), shown_fps
        rounds = -(-total // chosen)
        turn = (self.evaluations - 1) % rounds
        return [(i * rounds + turn) * total // (chosen * rounds) for i in range(chosen)], shown_fps

    def _embed_video(self, frames: Tensor, fps: float, chosen: list[int] | None, total: int) -> Embedded:
        with self._precision(frames):
            seen = embed_video(self.aligner.binder, frames, fps, self.aligner.timing > 0)
        tracks = tuple(map(_in_float32, seen.tracks))
        if chosen is not None:
            tracks = tuple(_placed(track, frames.shape[1], chosen, total, self.decoding.fps) for track in tracks)
        return Embedded(seen.embedding.float(), tracks)

    def _embed_audio(self, waveform: Tensor) -> Embedded:
        with self._precision(waveform):
            heard = embed_audio(self.aligner.binder, waveform, self.decoding.sample_rate, self.aligner.timing > 0)
        return Embedded(heard.embedding.float(), tuple(map(_in_float32, heard.tracks)))

    def _precision(self, x: Tensor) -> AbstractContextManager:
        return torch.autocast(x.device.type, torch.bfloat16) if self.aligner.half else nullcontext()


def _in_float32(track: Track) -> Track:
    return replace(track, features=track.features.float())


def _placed(track: Track, count: int, chosen: list[int], total: int, fps: float) -> Track:
    """Return a track of the latent frames `chosen` of `total`, with the times at which the whole clip shows them.

    A latent frame is several frames of the clip; with most codecs, the first is one.
    count: of frames that were decoded. fps: of the clip.
    """
    first = 1.0 if (count - 1) % (len(chosen) - 1) == 0 else count / len(chosen)
    joined = (count - first) / (len(chosen) - 1)
    frame = track.seconds / track.duration * count
    latent = torch.where(frame < first, frame / first, 1 + (frame - first) / joined)
    which = latent.long().clamp(max=len(chosen) - 1)
    latent = torch.tensor(chosen)[which] + latent - which
    frame = torch.where(latent < 1, latent * first, first + (latent - 1) * joined)
    return replace(track, seconds=frame / fps, duration=(first + (total - 1) * joined) / fps)


def _gradients(loss: Tensor, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Compute the gradients of a loss [B] with respect to the `inputs` that it depends on."""
    if not loss.requires_grad:
        return {}
    gradients = torch.autograd.grad(loss.sum(), list(inputs.values()), allow_unused=True)
    return {name: gradient for name, gradient in zip(inputs, gradients) if gradient is not None}


def prompt_of(cond: Condition) -> Tensor:
    """Return the prompt's token embeddings, or its vector if the model has no tokens (AudioLDM)."""
    if cond.tokens.shape[1]:
        return cond.tokens
    assert cond.vector is not None
    return cond.vector


def with_prompt(cond: Condition, prompt: Tensor) -> Condition:
    """Return `cond` with another prompt embedding."""
    return replace(cond, tokens=prompt) if cond.tokens.shape[1] else replace(cond, vector=prompt)


def _without_padding(gradient: Tensor, cond: Condition) -> Tensor:
    """Return the gradient with zeros at padding tokens."""
    return gradient * cond.mask[..., None] if cond.tokens.shape[1] else gradient
