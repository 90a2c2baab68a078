"""Measure what video, audio and prompts have in common: cosine similarities of a binder's embeddings.

Unlike the sync of events, this compares content: a dog that barks as a door slams is in sync, but does not agree. Similarities of
one binder can be compared with each other and with chance, those of different binders cannot.

A clip of less than SHORTEST + LONGEST seconds is embedded as a whole. A longer one is divided into windows of about LONGEST
seconds, and its similarities are the means over them, weighted by duration. Only the frames and the audio of a window are kept:
at most FRAMES_PER_SECOND frames per second, averaged to about SIDE pixels where they are larger.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from ..binders.base import MIN_SECONDS, SILENCE_RMS, Binder, Modality, embed_text_for

LONGEST, SHORTEST = 5.0, 2.5  # seconds: of a window; of the last one
FRAMES_PER_SECOND = 16
SIDE = 256  # pixels: larger frames are averaged until their shorter side is less than twice this
LARGEST = 1e6  # larger values count as infinite
PAIRS = {"video_audio": ("video", "audio"), "video_prompt": ("video", "video_prompt"), "audio_prompt": ("audio", "audio_prompt")}


@dataclass(frozen=True)
class AgreementSettings:
    """What is compared, with which binder. An empty prompt is not compared."""

    binder: Binder
    video_prompt: str = ""
    audio_prompt: str = ""

    def __post_init__(self) -> None:
        missing = {"video", "audio"} - self.binder.modalities
        if missing:
            raise ValueError(f"{self.binder.name} cannot embed {' or '.join(sorted(missing))}; choose another binder")
        if (self.video_prompt.strip() or self.audio_prompt.strip()) and "text" not in self.binder.modalities:
            raise ValueError(f"{self.binder.name} cannot embed text; leave the prompts empty or choose another binder")

    @cached_property
    def prompts(self) -> dict[str, Tensor]:
        """The embeddings [D] of the prompts that are not empty."""
        prompts: dict[Modality, str] = {"video": self.video_prompt, "audio": self.audio_prompt}
        given = {modality: text for modality, text in prompts.items() if text.strip()}
        with torch.no_grad():
            return {f"{each}_prompt": embed_text_for(self.binder, [text], each)[0].float().cpu() for each, text in given.items()}


@dataclass(frozen=True)
class Window:
    """Embeddings [D] of a part of a clip. start, end: seconds. audio: None if it is missing, silent or broken."""

    start: float
    end: float
    video: Tensor
    audio: Tensor | None


@dataclass(frozen=True)
class Agreement:
    """How well video, audio and prompts of a clip agree.

    windows: in order, at least one. prompts: embeddings [D] by name. has_audio: whether there is any audio.
    """

    binder: str
    windows: tuple[Window, ...]
    prompts: dict[str, Tensor]
    has_audio: bool

    @property
    def seconds(self) -> np.ndarray:
        """The middle of each window."""
        return np.array([(each.start + each.end) / 2 for each in self.windows])

    def curve(self, pair: str) -> np.ndarray:
        """Return the similarity in each window; NaN where it is unknown."""
        return np.array([_similarity(*(self._part(each, name) for name in PAIRS[pair])) for each in self.windows])

    def mean(self, pair: str) -> float | None:
        """Return the mean similarity; None if it is unknown in all windows."""
        values, weights = self.curve(pair), np.array([each.end - each.start for each in self.windows])
        known = np.isfinite(values)
        return float(np.average(values[known], weights=weights[known])) if known.any() else None

    def part(self, name: str) -> Tensor | None:
        """Return the embedding of a prompt, or the mean of those of the video or the audio; None if there is none."""
        parts = [(part, each.end - each.start) for each in self.windows if (part := self._part(each, name)) is not None]
        if not parts:
            return None
        embeddings, weights = (torch.stack([part for part, _ in parts]), torch.tensor([weight for _, weight in parts]))
        return weights @ embeddings / weights.sum()

    def lines(self) -> list[str]:
        """Return the lines of the report."""
        found = [f"{pair_in_words(pair)} {value:.2f}" for pair in PAIRS if (value := self.mean(pair)) is not None]
        missing = [] if self.part("audio") is not None else ["the audio is silent or too short" if self.has_audio else "no audio"]
        parts = [*found, *missing] if found else ["nothing to compare", *missing]
        return [f"agreement ({self.binder}): {', '.join(parts)}", *self._window_lines()]

    def _window_lines(self) -> list[str]:
        if len(self.windows) == 1:
            return []
        lowest = [f"{pair_in_words(pair)} {np.nanmin(values):.2f} at {self.seconds[np.nanargmin(values)]:.1f} s"
                  for pair in PAIRS if np.isfinite(values := self.curve(pair)).any()]  # fmt: skip
        return [f"agreement: means of {len(self.windows)} windows; lowest: {', '.join(lowest)}"] if lowest else []

    def facts(self) -> dict[str, Any]:
        """Return JSON-compatible values; None for what is unknown. `windows`: the values over time, in seconds."""
        curves = {pair: [_known(value) for value in self.curve(pair)] for pair in PAIRS}
        times = [[round(each.start, 4), round(each.end, 4)] for each in self.windows]
        return {"binder": self.binder} | {pair: self.mean(pair) for pair in PAIRS} | {"windows": {"seconds": times} | curves}

    def _part(self, window: Window, name: str) -> Tensor | None:
        return self.prompts.get(name) if name in ("video_prompt", "audio_prompt") else getattr(window, name)


@dataclass(frozen=True)
class Chance:
    """The mean similarity of what does not belong together: pairs of different clips. values: None where there are none."""

    binder: str
    clips: int
    values: dict[str, float | None]

    @staticmethod
    def of(clips: Sequence[Agreement]) -> Chance:
        """Return the chance level of clips that were measured with the same binder."""
        return Chance(clips[0].binder, len(clips), {pair: _mean_of_others(clips, *names) for pair, names in PAIRS.items()})

    def line(self) -> str:
        """Return the line of the report."""
        if self.clips == 1:
            return f"chance ({self.binder}): needs a batch of clips"
        found = [f"{pair_in_words(pair)} {value:.2f}" for pair, value in self.values.items() if value is not None]
        return f"chance ({self.binder}), from shuffled pairs of {self.clips} clips: {', '.join(found) or 'nothing to compare'}"

    def facts(self) -> dict[str, Any]:
        """Return JSON-compatible values."""
        return {"binder": self.binder, "clips": self.clips} | self.values


class AgreementMeter:
    """Embeds a clip that arrives in pieces; it keeps the frames and the audio of one window."""

    def __init__(self, settings: AgreementSettings, fps: Fraction) -> None:
        self._binder, self._prompts, self._fps = settings.binder, settings.prompts, float(fps)
        self._step = max(1, math.ceil(self._fps / FRAMES_PER_SECOND))
        self._frames: list[Tensor] = []
        self._times: list[float] = []
        self._count, self._end = 0, 0.0
        self._videos: list[tuple[float, float, Tensor]] = []
        self._audios: list[Tensor | None] = []
        self._sound = _SoundBuffer()

    def add_frame(self, read: Callable[[], Tensor], seconds: float | None = None) -> None:
        """Add the next frame. seconds: its time; without it, frames are evenly spaced.

        read: returns the frame, [H, W, C], float 0..1 or uint8. It is called for the frames that are used.
        """
        time = self._count / self._fps if seconds is None else max(seconds, self._end - 1 / self._fps)
        if self._frames and time >= self._times[0] + LONGEST + SHORTEST:
            self._close_window()
        if not self._frames or self._count % self._step == 0:
            self._frames.append(_small(read()))
            self._times.append(time)
        self._count += 1
        self._end = time + 1 / self._fps

    def add_sound(self, waveform: Tensor, sample_rate: int) -> None:
        """Add the next samples, float [channels, samples]."""
        self._sound.add(waveform, sample_rate)
        self._embed_audio(all_of_it=False)

    def finish(self) -> Agreement:
        """Return the agreement of all that was added. Raises ValueError if there are no frames."""
        if not self._frames:
            raise ValueError("there are no frames to measure; give at least one frame")
        self._embed_video(len(self._frames), self._end)
        self._embed_audio(all_of_it=True)
        windows = tuple(Window(*video, audio) for video, audio in zip(self._videos, self._audios))
        return Agreement(self._binder.name, windows, self._prompts, self._sound.rate is not None)

    def _close_window(self) -> None:
        last = next((i for i, time in enumerate(self._times) if time >= self._times[0] + LONGEST), len(self._times))
        self._embed_video(last, self._times[last] if last < len(self._times) else self._end)
        del self._frames[:last], self._times[:last]
        self._embed_audio(all_of_it=False)

    @torch.no_grad()
    def _embed_video(self, count: int, end: float) -> None:
        start = self._times[0]
        frames = torch.stack([_to_rgb(frame) for frame in self._frames[:count]])[None]
        if count == 1 and "image" in self._binder.modalities:
            found = self._binder.embed_image(frames[:, 0])
        else:
            found = self._binder.embed_video(frames, self._rate(count))
        self._videos.append((start, min(end, start + LONGEST + SHORTEST), found[0].float().cpu()))

    def _rate(self, count: int) -> float:
        """Return the frames per second of the first `count` frames."""
        even, passed = self._fps / self._step, self._times[count - 1] - self._times[0]
        measured = (count - 1) / passed if passed > 0 else even
        return even if math.isclose(measured, even, rel_tol=1e-3) else measured

    @torch.no_grad()
    def _embed_audio(self, all_of_it: bool) -> None:
        """Embed the audio of the windows whose frames are embedded. all_of_it: no more samples come."""
        for start, end, _ in self._videos[len(self._audios) :]:
            if not all_of_it and self._sound.seconds < end:
                return
            wave, rate = self._sound.take(start, end), self._sound.rate
            if wave is None or rate is None or wave.shape[1] < MIN_SECONDS * rate or _rms(wave) <= SILENCE_RMS:
                self._audios.append(None)
            else:
                self._audios.append(self._binder.embed_audio(wave[None], rate)[0].float().cpu())


class _SoundBuffer:
    """Keeps the samples that are not taken yet."""

    def __init__(self) -> None:
        self.rate: int | None = None
        self._parts: deque[Tensor] = deque()
        self._first = self._end = 0

    @property
    def seconds(self) -> float:
        """Where the samples end."""
        return self._end / self.rate if self.rate else 0.0

    def add(self, waveform: Tensor, sample_rate: int) -> None:
        self.rate = sample_rate
        self._parts.append(waveform)
        self._end += waveform.shape[1]

    def take(self, start: float, end: float) -> Tensor | None:
        """Return the samples [channels, samples] of a time, finite, and forget those before its end; None if there are none."""
        if self.rate is None:
            return None
        first, last = (min(max(round(time * self.rate), self._first), self._end) for time in (start, end))
        held = torch.cat(list(self._parts), 1) if len(self._parts) > 1 else self._parts[0]
        wave = held[:, first - self._first : last - self._first].float()
        self._parts = deque([held[:, last - self._first :]])
        self._first = last
        return torch.where(wave.abs() < LARGEST, wave, 0.0)


def pair_in_words(pair: str) -> str:
    """Return such as "video and audio"."""
    return " and ".join(name.split("_")[-1] if i else name for i, name in enumerate(PAIRS[pair]))


def _mean_of_others(clips: Sequence[Agreement], one: str, other: str) -> float | None:
    """Return the mean similarity of `one` of each clip and `other` of each other clip, as far as that differs from its own."""
    found = [(a, b) for clip in clips if (a := clip.part(one)) is not None and (b := clip.part(other)) is not None]
    if not found:
        return None
    firsts, seconds = (torch.stack(each) for each in zip(*found))
    _, kinds = seconds.unique(dim=0, return_inverse=True)
    others = kinds[:, None] != kinds
    return float((firsts @ seconds.T)[others].mean()) if others.any() else None


def _similarity(a: Tensor | None, b: Tensor | None) -> float:
    return math.nan if a is None or b is None else float((a * b).sum())


def _known(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _rms(wave: Tensor) -> float:
    return float(wave.square().mean().sqrt())


def _small(frame: Tensor) -> Tensor:
    """Return a frame as it is, or averaged over blocks of pixels if it is large; without alpha."""
    frame = frame.detach()[..., :3]
    block = max(1, min(frame.shape[:2]) // SIDE)
    return frame if block == 1 else avg_pool2d(_to_floats(frame).movedim(-1, 0), block).movedim(0, -1).half()


def _to_rgb(frame: Tensor) -> Tensor:
    """Return a frame as floats [H, W, 3] in 0..1."""
    pixels = _to_floats(frame)
    return torch.where(pixels.isfinite(), pixels, 0.0).clamp(0, 1).expand(-1, -1, 3)


def _to_floats(frame: Tensor) -> Tensor:
    return frame.float() / 255 if frame.dtype == torch.uint8 else frame.float()
