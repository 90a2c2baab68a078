"""The settings of the latent aligner: the tasks, their distances, and how latents move."""

from __future__ import annotations

import math
from dataclasses import dataclass, fields
from typing import Literal

from .binders.base import Binder, Modality, Track, require_modalities, sees_time
from .latent_moves import KEEPS, UPDATES

Pair = tuple[Modality, Modality]
PAIRS: dict[str, tuple[Pair, ...]] = {  # the distances F(x, y) of each task, section 3.3
    "joint": (("video", "text"), ("video", "audio"), ("audio", "text")),
    "v2a": (("audio", "video"), ("audio", "text")),
    "a2v": (("video", "audio"), ("video", "text")),
    "i2a": (("audio", "image"), ("audio", "text")),
}
GENERATED: dict[str, tuple[Modality, ...]] = {"joint": ("video", "audio"), "v2a": ("audio",), "a2v": ("video",), "i2a": ("audio",)}
"""The modalities that each task generates."""


@dataclass(frozen=True, kw_only=True)
class AlignerSettings:
    """The settings of an alignment.

    binder: the frozen embedding model that measures the distances.
    task: "joint" (video and audio are generated), "v2a" (audio for a video), "a2v" (video for audio), or "i2a" (audio for an
        image).
    video_rate, audio_rate: λ1, the size of a move (the paper: 0.01 for AnimateDiff, 0.1 for AudioLDM).
    update: "gradient": a move is the rate times the gradient, as in the paper. "sign": each value moves by the rate, as in
        the official code, which takes one step of a new Adam optimizer. "adam": Adam with moments kept over all moves; each
        row moves by the rate (rms).
    keep: the property of the latent that a move preserves: "nothing", its "rms", or its "spectrum" (which includes the rms).
    inner_steps: number of moves per sampling step.
    first, last: moves start and end at these fractions of the steps (official code: 0.2 and 1).
    prompt_rate: λ2, the size of a move of guided prompt tuning (eq. 8); 0 turns it off. It needs the denoiser's gradient.
        Later steps use the tuned prompts.
    through_denoiser: compute the clean estimate by a new prediction, with its gradient, instead of from constant noise.
    steps_ahead: with through_denoiser, and for prompts: number of further sampling steps that lead to the clean estimate. The
        binder then gets a sharper clip (DITTO, arXiv 2401.12179, runs all steps).
    words, audio_words, other: weights of the distance between video and prompt, between audio and prompt (None: the same as
        `words`), and between video and audio.
    timing: weight of the distance in time between video and audio: whether they change together. For binders that see time.
    latent_frames: number of latent frames that are decoded for the binder, evenly spaced; 0: all.
    turns: with latent_frames, decode other frames at each move until all were used.
    save_memory: recompute decoded clips in the backward pass instead of storing them.
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
    timing: float = 0.0

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
        for name in map(self._weight_name, GENERATED[self.task]):
            if getattr(self, name) and "text" not in self.binder.modalities:
                problem = f"{name} is {getattr(self, name):g}, but {self.binder.name} cannot embed text"
                raise ValueError(f"{problem}; set {name} to 0, or choose another binder")
        if self.timing:
            self._check_timing()

    def check_tracks(self, *tracks: Track) -> None:
        """Raise ValueError if timing has a weight, and what it compares has no course in time."""
        if self.timing and any(len(track.seconds) < 2 for track in tracks):
            raise ValueError(f"timing is {self.timing:g}, but a clip or a sound of one step has no course in time; set timing to 0")

    def _check_timing(self) -> None:
        if not sees_time(self.binder):
            problem = f"timing is {self.timing:g}, but {self.binder.name} does not see when things happen"
            raise ValueError(f"{problem}; set timing to 0, or choose a binder such as PE-AV")
        if self.task == "i2a" or self.latent_frames == 1:
            shown = "an image" if self.task == "i2a" else "one latent frame"
            raise ValueError(f"timing is {self.timing:g}, but {shown} has no course in time; set timing to 0")

    @property
    def rates(self) -> dict[str, float]:
        """The size of a move for each generated modality; 0 if it is not moved."""
        rates = {"video": self.video_rate, "audio": self.audio_rate}
        return {modality: rates[modality] for modality in GENERATED[self.task]}

    def prompt_weight(self, modality: str) -> float:
        """Return the weight of the distance between a generated modality and its prompt."""
        return getattr(self, self._weight_name(modality))

    def _weight_name(self, modality: str) -> str:
        return "words" if modality == "video" or self.audio_words is None else "audio_words"
