"""Diffusion latent aligner (Seeing and Hearing, CVPR 2024, arXiv 2402.17723): pulls video and audio of separate models together.

Nothing is trained. After each step the clean estimate is decoded, a frozen binder measures how far video, audio and prompts
are apart, and the latent moves against the gradient of that distance.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Literal

import torch
from torch import Tensor

from .alignment import MADE, PAIRS, Alignment
from .binders.base import MIN_SECONDS, SILENCE_RMS, Binder, require_modalities
from .joint_model import JointModel
from .latent_moves import KEEPS, UPDATES, rms
from .shapes import AVShape


@dataclass(frozen=True)
class Reference:
    """What a clip is aligned to: `video` [B, F, H, W, 3] at `fps`, an `image` [B, H, W, 3], or `audio` [B, C, samples].

    Images are in 0..1, audio in −1..1 at `sample_rate` Hz. B is the latents' batch size, or 1.
    """

    video: Tensor | None = None
    fps: float = 0.0
    image: Tensor | None = None
    audio: Tensor | None = None
    sample_rate: int = 0


@dataclass(frozen=True, kw_only=True)
class Aligner:
    """The settings of an alignment.

    task: "joint", "v2a", "a2v" or "i2a": what is generated, and from what.
    video_rate, audio_rate: λ1, the size of a move (the paper: 0.01 for AnimateDiff, 0.1 for AudioLDM).
    update: "gradient" as in the paper; "sign", each number moves by the rate, which is what the single step of the official
        code's new Adam does; "adam", with moments kept over all moves, each row moves by the rate (rms).
    keep: what a move does not change: "nothing", the latent's "rms", or its "spectrum" (which includes its rms).
    inner_steps: moves per sampling step. first, last: the part of the steps with moves (official code: 0.2 to 1).
    prompt_rate: λ2 of guided prompt tuning (eq. 8); 0 is off. It needs the denoiser's gradient and carries over the steps.
    through_denoiser: the clean estimate is a new prediction, with its gradient, instead of holding the noise constant.
    steps_ahead: with through_denoiser, and for prompts: how many more sampling steps lead to the clean estimate, so that the
        binder gets a clip instead of a blurred mean (DITTO, arXiv 2401.12179, does so from the first step).
    words, audio_words, other: weights of the distances between video and prompt, audio and prompt (None: as `words`), and
        video and audio.
    latent_frames: how many latent frames are decoded for the binder, evenly spread; 0 is all.
    turns: other latent frames at each move until all were used, so that no frame is ignored.
    save_memory: recompute decoded clips in the backward pass instead of keeping them.
    half: run the binder in bfloat16.

    Raises ValueError for numbers out of range, and for modalities that the binder cannot embed.
    """

    binder: Binder
    task: str = "joint"
    video_rate: float = 0.1
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
                raise ValueError(f"{each.name} is {value}; use a number of at least 0")
        if self.task not in PAIRS:
            raise ValueError(f"task is {self.task!r}; use one of {', '.join(PAIRS)}")
        if self.update not in UPDATES:
            raise ValueError(f"update is {self.update!r}; use one of {', '.join(UPDATES)}")
        if self.keep not in KEEPS:
            raise ValueError(f"keep is {self.keep!r}; use one of {', '.join(KEEPS)}")
        if not 0 <= self.first < self.last <= 1:
            raise ValueError(f"first is {self.first} and last is {self.last}; use two numbers from 0 to 1, the lower first")
        require_modalities(self.binder, *{modality for pair in PAIRS[self.task] for modality in pair if modality != "text"})
        for name in map(self._weight_name, MADE[self.task]):
            if getattr(self, name) and "text" not in self.binder.modalities:
                problem = f"{name} is {getattr(self, name):g}, but {self.binder.name} cannot embed text"
                raise ValueError(f"{problem}; set {name} to 0, or choose another binder")

    @property
    def rates(self) -> dict[str, float]:
        """The size of a move for each modality that is generated; 0 if it is not moved."""
        rates = {"video": self.video_rate, "audio": self.audio_rate}
        return {modality: rates[modality] for modality in MADE[self.task]}

    def prompt_weight(self, modality: str) -> float:
        """The weight of the distance between a generated modality and its prompt."""
        return getattr(self, self._weight_name(modality))

    def _weight_name(self, modality: str) -> str:
        return "words" if modality == "video" or self.audio_words is None else "audio_words"

    def begin(self, model: JointModel, shape: AVShape, texts: tuple[str, str], reference: Reference = Reference()) -> Alignment:
        """The alignment of one clip. texts: the video's and the audio's prompt; an empty one is not used.

        Raises ValueError if there is nothing to align to, or the reference is missing, empty, too short or silent.
        """
        known = _known(self, texts, reference)
        if not (self.other and len(known) + len(MADE[self.task]) > 1) and not any(name.endswith("_text") for name in known):
            raise ValueError("there is nothing to align to; give prompts, or set a weight for picture and sound")
        return Alignment(self, model, shape, known)


@torch.no_grad()
def _known(aligner: Aligner, texts: tuple[str, str], reference: Reference) -> dict[str, Tensor]:
    """Embeddings of the prompts ("video_text", "audio_text") and of the reference."""
    binder, known = aligner.binder, {}
    for made, text in zip(("video", "audio"), texts):
        if made in MADE[aligner.task] and text.strip() and aligner.prompt_weight(made):
            known[f"{made}_text"] = binder.embed_text([text])
    for modality in {modality for pair in PAIRS[aligner.task] for modality in pair} - {"text", *MADE[aligner.task]}:
        given = getattr(reference, modality)
        if given is None:
            needed = f"{aligner.task} needs {_ARTICLE[modality]} as its reference"
            raise ValueError(f"{needed}; connect one to the aligner, or encode one into the latent")
        known[modality] = _embedded(binder, modality, given, reference)
    return known


_NOUN = {"video": "video", "image": "image", "audio": "sound"}
_ARTICLE = {"video": "a video", "image": "an image", "audio": "a sound"}


def _embedded(binder: Binder, modality: str, given: Tensor, reference: Reference) -> Tensor:
    if not bool(given.isfinite().all()) or given.numel() == 0:
        raise ValueError(f"the reference {_NOUN[modality]} is empty or has NaN; use another one")
    if modality == "image":
        return binder.embed_image(given)
    if modality == "video":
        return binder.embed_video(given, reference.fps)
    seconds = given.shape[-1] / reference.sample_rate
    if seconds < MIN_SECONDS:
        raise ValueError(f"the reference sound lasts {seconds:.3f} s; use one of at least {MIN_SECONDS:g} s")
    if not bool((rms(given) > SILENCE_RMS).all()):
        raise ValueError("the reference sound is silent; use another one")
    return binder.embed_audio(given, reference.sample_rate)
