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
from .binders.base import Modality, cosine_distance
from .clip_decoding import ClipDecoding
from .contract import AVCondition, AVLatent, Condition
from .guidance import Step
from .latent_moves import KEEP, Adam


@dataclass
class Alignment:
    """The alignment of one clip.

    decoding: decodes its clean latents.
    known: embeddings of the prompts and of the reference, by name.
    losses: the loss before each move.
    skipped: number of moves that were skipped because their gradient had NaN.
    evaluations: number of loss evaluations, for latents and prompts.
    moments: Adam's state for each modality and prompt.
    """

    aligner: AlignerSettings
    decoding: ClipDecoding
    known: dict[str, Tensor]
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
            other = self.known.get(f"{a}_text") if b == "text" else made.get(b, self.known.get(b))
            if weight and other is not None:
                total = total + weight * cosine_distance(made[a], other)
        return total

    def _embeddings(self, clean: AVLatent) -> dict[Modality, Tensor]:
        """Decode and embed the generated modalities."""
        return {modality: self._embedding(modality, getattr(clean, modality)) for modality in GENERATED[self.aligner.task]}

    def _embedding(self, modality: Modality, latent: Tensor) -> Tensor:
        decode: Callable[[Tensor], Tensor] = self.decoding.audio
        embed: Callable[[Tensor], Tensor] = self._embed_audio
        if modality == "video":
            chosen, fps = self._choose_frames(latent.shape[2])
            decode, embed = partial(self.decoding.video, chosen=chosen), partial(self._embed_video, fps=fps)
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

    def _embed_video(self, frames: Tensor, fps: float) -> Tensor:
        with self._precision(frames):
            return self.aligner.binder.embed_video(frames, fps).float()

    def _embed_audio(self, waveform: Tensor) -> Tensor:
        with self._precision(waveform):
            return self.aligner.binder.embed_audio(waveform, self.decoding.sample_rate).float()

    def _precision(self, x: Tensor) -> AbstractContextManager:
        return torch.autocast(x.device.type, torch.bfloat16) if self.aligner.half else nullcontext()


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
