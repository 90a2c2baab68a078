"""Diffusion latent aligner (Seeing and Hearing, CVPR 2024, arXiv 2402.17723): experts that never met, made to agree.

Nothing is trained. After each step the clean estimate is decoded, a frozen binder says how far picture, sound and words
are apart, and the latent moves against the gradient of that.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import dataclass, field, fields, replace
from functools import partial
from typing import Literal

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from .binders.base import MIN_SECONDS, SILENCE_RMS, Binder, Modality, distance, require
from .contract import AVCondition, AVLatent, Condition
from .guidance import Step
from .joint_model import JointModel
from .shapes import AVShape

Pair = tuple[Modality, Modality]
PAIRS: dict[str, tuple[Pair, ...]] = {  # F(x, y) of each task: section 3.3
    "joint": (("video", "text"), ("video", "audio"), ("audio", "text")),
    "v2a": (("audio", "video"), ("audio", "text")),
    "a2v": (("video", "audio"), ("video", "text")),
    "i2a": (("audio", "image"), ("audio", "text")),
}
MADE: dict[str, tuple[Modality, ...]] = {"joint": ("video", "audio"), "v2a": ("audio",), "a2v": ("video",), "i2a": ("audio",)}


UPDATES = ("gradient", "sign", "adam")
BETAS, EPSILON = (0.9, 0.99), 1e-3


def rms(x: Tensor) -> Tensor:
    """Of every row of [B, …], shaped to divide it: [B, 1, …]."""
    level = x.flatten(1).square().mean(1).sqrt().clamp_min(torch.finfo(x.dtype).tiny)
    return level.view(-1, *[1] * (x.ndim - 1))


def same_rms(x: Tensor, old: Tensor) -> Tensor:
    """`x`, each row as large as in `old`."""
    return x * (rms(old) / rms(x))


def same_spectrum(x: Tensor, old: Tensor) -> Tensor:
    """`x`, each row with the magnitudes that `old` has in the frequency domain: moves change phases alone.

    A latent on its way is mostly noise, and noise that leans on what a binder likes is not what a network learned to denoise:
    it stays noise of the same spectrum (to like ends, arXiv 2405.18881 weighs how probable a noise is).
    """
    over = tuple(range(1, x.ndim))
    now, before = (torch.fft.fftn(part.float(), dim=over) for part in (x, old))
    return torch.fft.ifftn(torch.polar(before.abs(), now.angle()), dim=over).real.to(x.dtype)


KEEP: dict[str, Callable[[Tensor, Tensor], Tensor]] = {"rms": same_rms, "spectrum": same_spectrum}
KEEPS = ("nothing", *KEEP)


class Adam:
    """Adam (arXiv 1412.6980) whose moments are kept from move to move: what gradients have in common counts, and what of them
    changes with every look does not. A row's gradient and its move are each brought to one rms."""

    def __init__(self) -> None:
        self.moves, self.first, self.second = 0, 0.0, 0.0

    def direction(self, gradient: Tensor) -> Tensor:
        """What a gradient [B, …] says with all before it, each row at an rms of 1."""
        gradient, (beta1, beta2) = gradient / rms(gradient), BETAS
        self.moves += 1
        self.first = beta1 * self.first + (1 - beta1) * gradient
        self.second = beta2 * self.second + (1 - beta2) * gradient.square()
        first, second = self.first / (1 - beta1**self.moves), self.second / (1 - beta2**self.moves)
        move = first / (second.sqrt() + EPSILON)
        return move / rms(move)


@dataclass(frozen=True)
class Reference:
    """What clips are to agree with: `video` [B, F, H, W, 3] at `fps`, an `image` [B, H, W, 3], or `audio` [B, C, samples].

    Pictures are in 0..1 and sounds in −1..1 at `sample_rate` Hz; B is that of the latents, or 1.
    """

    video: Tensor | None = None
    fps: float = 0.0
    image: Tensor | None = None
    audio: Tensor | None = None
    sample_rate: int = 0


@dataclass(frozen=True, kw_only=True)
class Aligner:
    """How to align.

    video_rate, audio_rate: λ1, how far a latent moves (0.01 and 0.1 in the paper, for AnimateDiff and AudioLDM).
    update: "gradient", as the paper has it; "sign": each number moves by the rate, which is what the official code's fresh
        Adam does in its one update; "adam": a row moves by the rate (rms) as an Adam says that remembers all moves.
    keep: what a move leaves as it was: "nothing", a latent's "rms", or its "spectrum", of which rms is a part.
    inner_steps: moves a step. first, last: the part of the steps in which there are any (the official code: 0.2 to 1).
    prompt_rate: λ2 of guided prompt tuning (eq. 8); 0 is off. Needs the denoiser's gradient, and carries over the steps.
    through_denoiser: the clean estimate is a new prediction, gradient and all, instead of taking the noise as constant.
    steps_ahead: through the denoiser, and for prompts, how many steps more are taken to the clean estimate: what the binder
        is shown is then a clip instead of the mean of all that may come of the latent (as DITTO does from the first step,
        arXiv 2401.12179).
    words, audio_words, other: weights of the pairs: a picture and its prompt, a sound and its prompt (None: as much as the
        picture's), and picture and sound.
    latent_frames: how many latent frames of the picture are decoded for the binder, spread evenly; 0 is all of them.
    turns: at each move other ones, until all were seen: what is there in some frames only does not stay unseen.
    save_memory: what was decoded is not kept for the way back but made again.
    half: the binder in bfloat16.
    """

    binder: Binder
    task: str = "joint"
    video_rate: float = 0.01
    audio_rate: float = 0.1
    update: Literal["gradient", "sign", "adam"] = "gradient"
    keep: Literal["nothing", "rms", "spectrum"] = "nothing"
    inner_steps: int = 1
    first: float = 0.2
    last: float = 1.0
    prompt_rate: float = 0.0
    through_denoiser: bool = False
    steps_ahead: int = 0
    words: float = 1.0
    other: float = 1.0
    latent_frames: int = 0
    turns: bool = False
    save_memory: bool = True
    half: bool = False
    audio_words: float | None = None

    def __post_init__(self) -> None:
        for each in fields(self):
            value = getattr(self, each.name)
            if isinstance(value, float | int) and not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{each.name} is {value}; give a number of at least 0")
        if self.task not in PAIRS:
            raise ValueError(f"task is {self.task!r}; give one of {', '.join(PAIRS)}")
        if self.update not in UPDATES:
            raise ValueError(f"update is {self.update!r}; give one of {', '.join(UPDATES)}")
        if self.keep not in KEEPS:
            raise ValueError(f"keep is {self.keep!r}; give one of {', '.join(KEEPS)}")
        if not 0 <= self.first < self.last <= 1:
            raise ValueError(f"first is {self.first} and last is {self.last}; give two numbers from 0 to 1, the lower first")
        require(self.binder, *{modality for pair in PAIRS[self.task] for modality in pair if modality != "text"})
        for name in map(self._weight_name, MADE[self.task]):
            if getattr(self, name) and "text" not in self.binder.modalities:
                said = f"{name} is {getattr(self, name):g} and {self.binder.name} embeds no text"
                raise ValueError(f"{said}; set {name} to 0, or choose another binder")

    @property
    def rates(self) -> dict[Modality, float]:
        """How far each latent that is made moves; 0 where it stays."""
        rates = {"video": self.video_rate, "audio": self.audio_rate}
        return {modality: rates[modality] for modality in MADE[self.task]}

    def words_of(self, modality: Modality) -> float:
        """The weight of the distance between what is made and its prompt."""
        return getattr(self, self._weight_name(modality))

    def _weight_name(self, modality: Modality) -> str:
        return "words" if modality == "video" or self.audio_words is None else "audio_words"

    def begin(self, model: JointModel, shape: AVShape, texts: tuple[str, str], reference: Reference = Reference()) -> Alignment:
        """One clip's alignment. `texts`: what to see and what to hear; an empty one is left out."""
        known = _known(self, texts, reference)
        if not (self.other and len(known) + len(MADE[self.task]) > 1) and not any(name.endswith("_text") for name in known):
            raise ValueError("there is nothing to agree with; give prompts, or weigh the agreement of picture and sound")
        return Alignment(self, model, shape, known)


@dataclass
class Alignment:
    """One clip on its way: `known` embeddings, and what happened: a loss for each move, moves `skipped` for NaN, and how
    often the binder looked, for prompts too."""

    aligner: Aligner
    model: JointModel
    shape: AVShape
    known: dict[str, Tensor]
    losses: list[float] = field(default_factory=list)
    skipped: int = 0
    looks: int = 0
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
        """Whether latents move after this step."""
        return self._inside(step) and any(self.aligner.rates.values())

    def tunes_prompts(self, step: Step) -> bool:
        """Whether prompts are tuned at this step."""
        return self._inside(step) and self.aligner.prompt_rate > 0

    def _inside(self, step: Step) -> bool:
        return self.aligner.first < (step.index + 1) / step.count <= self.aligner.last

    def move_latents(self, latent: AVLatent, clean: Callable[[AVLatent], AVLatent]) -> AVLatent:
        """`latent` moved towards agreement, `inner_steps` times; `clean` gives the clean estimate of one, gradient and all."""
        for _ in range(self.inner_steps):
            latent = self._move(latent, clean)
        return latent

    def _move(self, latent: AVLatent, clean: Callable[[AVLatent], AVLatent]) -> AVLatent:
        moving = {name: getattr(latent, name).detach().requires_grad_() for name, rate in self.aligner.rates.items() if rate}
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
        """Guided prompt tuning: y ← y − λ2 ∇_y L. `estimate` gives the clean estimate that prompts `cond` lead to."""
        told = {name: getattr(cond, name) for name in self.aligner.rates}
        prompts = {name: prompt_of(part).detach().requires_grad_() for name, part in told.items()}
        asked = replace(cond, **{name: with_prompt(told[name], y) for name, y in prompts.items()})
        with torch.enable_grad():
            gradients = _gradients(self.loss(estimate(asked)), prompts)
        if not self._usable(gradients.values()):
            return cond
        parts = {}
        for name, gradient in gradients.items():
            step = self.aligner.prompt_rate * self._direction(f"{name}_prompt", _of_words(gradient, told[name]))
            parts[name] = with_prompt(told[name], (prompts[name] - step).detach())
        return replace(cond, **parts)

    def _usable(self, gradients: Iterable[Tensor]) -> bool:
        """Whether none of them has NaN in it; if one has, that move is `skipped`."""
        usable = all(bool(gradient.isfinite().all()) for gradient in gradients)
        self.skipped += not usable
        return usable

    def _direction(self, name: str, gradient: Tensor) -> Tensor:
        """What the rates multiply."""
        if self.aligner.update == "adam":
            return self.moments.setdefault(name, Adam()).direction(gradient)
        return gradient.sign() if self.aligner.update == "sign" else gradient

    def loss(self, clean: AVLatent) -> Tensor:
        """The weighted sum of the task's distances, [B]."""
        self.looks += 1
        made = self._embeddings(clean)
        total = torch.zeros(clean.rows, device=clean.video.device)
        for a, b in PAIRS[self.aligner.task]:
            weight = self.aligner.words_of(a) if b == "text" else self.aligner.other
            other = self.known.get(f"{a}_text") if b == "text" else made.get(b, self.known.get(b))
            if weight and other is not None:
                total = total + weight * distance(made[a], other)
        return total

    def _embeddings(self, clean: AVLatent) -> dict[Modality, Tensor]:
        """What is made, decoded and embedded."""
        embed = {"video": self._embed_video, "audio": self._embed_audio}
        made = partial(checkpoint, use_reentrant=False) if self.aligner.save_memory else lambda part, x: part(x)
        return {modality: made(embed[modality], getattr(clean, modality)) for modality in MADE[self.aligner.task]}

    def _embed_video(self, latent: Tensor) -> Tensor:
        fps, wanted = float(self.shape.video.fps), self.aligner.latent_frames
        if 0 < wanted < latent.shape[2]:
            fps = fps * wanted / latent.shape[2]
            latent = latent[:, :, self._shown(latent.shape[2], wanted)]
        frames = self.model.render_video(latent, self.shape)
        with self._precision(frames):
            return self.aligner.binder.embed_video(frames, fps).float()

    def _shown(self, count: int, wanted: int) -> list[int]:
        """Which `wanted` of `count` latent frames the binder is shown at this look."""
        if not self.aligner.turns:
            return torch.linspace(0, count - 1, wanted).round().long().tolist()
        rounds = -(-count // wanted)
        turn = (self.looks - 1) % rounds
        return [(i * rounds + turn) * count // (wanted * rounds) for i in range(wanted)]

    def _embed_audio(self, latent: Tensor) -> Tensor:
        waveform = self.model.render_audio(latent, self.shape)
        with self._precision(waveform):
            return self.aligner.binder.embed_audio(waveform, self.shape.audio.sample_rate).float()

    def _precision(self, x: Tensor):
        return torch.autocast(x.device.type, torch.bfloat16) if self.aligner.half else nullcontext()


def _gradients(loss: Tensor, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
    """Of a loss, [B], with respect to those of the `inputs` that it depends on."""
    if not loss.requires_grad:
        return {}
    gradients = torch.autograd.grad(loss.sum(), list(inputs.values()), allow_unused=True)
    return {name: gradient for name, gradient in zip(inputs, gradients) if gradient is not None}


def prompt_of(cond: Condition) -> Tensor:
    """What says the words: their tokens, or where there are none (AudioLDM) their one vector."""
    return cond.tokens if cond.tokens.shape[1] else cond.vector


def with_prompt(cond: Condition, prompt: Tensor) -> Condition:
    return replace(cond, tokens=prompt) if cond.tokens.shape[1] else replace(cond, vector=prompt)


def _of_words(gradient: Tensor, cond: Condition) -> Tensor:
    """The gradient of real words alone: what is no word stays none."""
    return gradient * cond.mask[..., None] if cond.tokens.shape[1] else gradient


@torch.no_grad()
def _known(aligner: Aligner, texts: tuple[str, str], reference: Reference) -> dict[str, Tensor]:
    """Embeddings of what does not change: the prompts (by whose they are), and what is referred to."""
    binder, known = aligner.binder, {}
    for made, text in zip(("video", "audio"), texts):
        if made in MADE[aligner.task] and text.strip() and aligner.words_of(made):
            known[f"{made}_text"] = binder.embed_text([text])
    for modality in {modality for pair in PAIRS[aligner.task] for modality in pair} - {"text", *MADE[aligner.task]}:
        given = getattr(reference, modality)
        if given is None:
            needed = f"{aligner.task} needs {_ARTICLE[modality]} to agree with"
            raise ValueError(f"{needed}; connect one to the aligner, or keep one in the latent")
        known[modality] = _embedded(binder, modality, given, reference)
    return known


_ARTICLE = {"video": "a video", "image": "an image", "audio": "a sound"}


def _embedded(binder: Binder, modality: str, given: Tensor, reference: Reference) -> Tensor:
    if not bool(given.isfinite().all()) or given.numel() == 0:
        raise ValueError(f"{_ARTICLE[modality]} to agree with is empty or holds NaN; give one without")
    if modality == "image":
        return binder.embed_image(given)
    if modality == "video":
        return binder.embed_video(given, reference.fps)
    seconds = given.shape[-1] / reference.sample_rate
    if seconds < MIN_SECONDS:
        raise ValueError(f"the sound to agree with lasts {seconds:.3f} s; give one of at least {MIN_SECONDS:g} s")
    if not bool((rms(given) > SILENCE_RMS).all()):
        raise ValueError("the sound to agree with is silent; give one in which something is heard")
    return binder.embed_audio(given, reference.sample_rate)
