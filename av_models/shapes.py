"""Lengths and sizes. All conversions between seconds, frames, samples, latents and tokens are here.

Units: seconds (float), frames and samples (int), fps in frames per second, sample rate in Hz.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from fractions import Fraction


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)


def exact_fps(fps: float | Fraction) -> Fraction:
    """A frame rate as a fraction. ValueError unless it is finite and above 0."""
    _require(math.isfinite(fps) and fps > 0, f"fps is {fps}; give a number above 0")
    return Fraction(fps).limit_denominator(100_000)


@dataclass(frozen=True)
class VideoShape:
    """A video of `frames` frames, `height` × `width` pixels, at `fps` frames per second. ValueError for sizes below 1."""

    frames: int
    height: int
    width: int
    fps: Fraction

    def __post_init__(self) -> None:
        object.__setattr__(self, "fps", exact_fps(self.fps))
        for name in ("frames", "height", "width"):
            value = getattr(self, name)
            _require(value >= 1, f"{name} is {value}; give at least 1")

    @property
    def seconds(self) -> float:
        """The duration in seconds."""
        return float(self.frames / self.fps)


@dataclass(frozen=True)
class AudioShape:
    """A waveform of `samples` per channel at `sample_rate` Hz. ValueError for sizes below 1."""

    samples: int
    sample_rate: int
    channels: int = 1

    def __post_init__(self) -> None:
        for name in ("samples", "sample_rate", "channels"):
            value = getattr(self, name)
            _require(value >= 1, f"{name} is {value}; give at least 1")

    @property
    def seconds(self) -> float:
        """The duration in seconds."""
        return self.samples / self.sample_rate


@dataclass(frozen=True)
class AVShape:
    """A clip: its video and its audio, which is as long as the video to the nearest sample."""

    video: VideoShape
    audio: AudioShape

    @classmethod
    def of_frames(cls, frames: int, height: int, width: int, fps: float | Fraction, sample_rate: int, channels: int = 1) -> AVShape:
        """A clip of `frames` frames."""
        video = VideoShape(frames, height, width, exact_fps(fps))
        return cls(video, AudioShape(samples_of(video, sample_rate), sample_rate, channels))

    @classmethod
    def of_seconds(
        cls, seconds: float, height: int, width: int, fps: float | Fraction, sample_rate: int, channels: int = 1
    ) -> AVShape:
        """A clip of `seconds`, rounded to whole frames. ValueError unless seconds > 0."""
        _require(math.isfinite(seconds) and seconds > 0, f"seconds is {seconds}; give a number above 0")
        frames = max(1, round(seconds * exact_fps(fps)))
        return cls.of_frames(frames, height, width, fps, sample_rate, channels)


def samples_of(video: VideoShape, sample_rate: int) -> int:
    """Samples per channel of audio as long as `video`, rounded to the nearest."""
    return max(1, round(video.frames * sample_rate / video.fps))


@dataclass(frozen=True)
class VideoStride:
    """A video codec's compression: one latent cell covers `time` frames and `space` × `space` pixels, with `channels`.

    causal: the first frame has a latent frame of its own (Wan, LTX), so n latent frames hold 1 + time·(n−1) frames.
    """

    time: int
    space: int
    channels: int
    causal: bool = True

    def latent_frames(self, frames: int) -> int:
        """The fewest latent frames that hold `frames` frames."""
        if self.causal:
            return 1 + math.ceil((frames - 1) / self.time)
        return math.ceil(frames / self.time)

    def frames(self, latent_frames: int) -> int:
        """How many frames that many latent frames decode to."""
        return 1 + self.time * (latent_frames - 1) if self.causal else self.time * latent_frames

    def representable(self, shape: VideoShape) -> VideoShape:
        """The smallest shape of at least this size that the codec can encode; the surplus is trimmed after decoding."""
        return replace(
            shape,
            frames=self.frames(self.latent_frames(shape.frames)),
            height=math.ceil(shape.height / self.space) * self.space,
            width=math.ceil(shape.width / self.space) * self.space,
        )

    def latent_shape(self, shape: VideoShape) -> tuple[int, int, int, int]:
        """(channels, latent frames, latent height, latent width) for a video of `shape`."""
        full = self.representable(shape)
        return self.channels, self.latent_frames(full.frames), full.height // self.space, full.width // self.space

    def seconds_per_latent(self, fps: float | Fraction) -> float:
        """Δt_v of AVSyncRoPE (arXiv 2512.02457): the seconds that a latent frame covers."""
        return float(self.time / Fraction(fps))


@dataclass(frozen=True)
class AudioStride:
    """An audio codec's compression: one latent step covers `samples` samples, with `channels` and, for spectrogram latents,
    `bands` of frequency (0: none)."""

    samples: int
    channels: int
    bands: int = 0

    def latent_length(self, samples: int) -> int:
        """The fewest latent steps that hold `samples` samples."""
        return math.ceil(samples / self.samples)

    def latent_shape(self, shape: AudioShape) -> tuple[int, ...]:
        """(channels, latent steps), or (channels, latent steps, bands), for audio of `shape`."""
        size = self.channels, self.latent_length(shape.samples)
        return (*size, self.bands) if self.bands else size

    def seconds_per_latent(self, sample_rate: int) -> float:
        """Δt_a of AVSyncRoPE (arXiv 2512.02457): the seconds that a latent step covers."""
        return self.samples / sample_rate


def sync_ratio(video: VideoStride, fps: float | Fraction, audio: AudioStride, sample_rate: int) -> float:
    """τ = Δt_v / Δt_a: audio position p_a lies at video position p_a / τ (AVSyncRoPE, arXiv 2512.02457)."""
    return video.seconds_per_latent(fps) / audio.seconds_per_latent(sample_rate)
