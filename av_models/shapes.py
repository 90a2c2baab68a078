"""Lengths and sizes of clips and latents, and all conversions between seconds, frames, samples and latents.

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
    """Return a frame rate as a fraction. Raises ValueError unless it is finite and above 0."""
    _require(math.isfinite(fps) and fps > 0, f"fps is {fps}; give a number above 0")
    exact = Fraction(fps).limit_denominator(100_000)
    _require(exact > 0, f"fps is {fps}; give at least 0.00001")
    return exact


@dataclass(frozen=True)
class VideoShape:
    """A video of `frames` frames, `height` × `width` pixels, at `fps` frames per second. Raises ValueError for sizes below 1."""

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
    """A waveform of `samples` per channel at `sample_rate` Hz. Raises ValueError for sizes below 1."""

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
    """A clip: its video, and its audio of the same length, rounded to whole samples."""

    video: VideoShape
    audio: AudioShape

    @classmethod
    def of_frames(cls, frames: int, height: int, width: int, fps: float | Fraction, sample_rate: int, channels: int = 1) -> AVShape:
        """Return a clip of `frames` frames."""
        video = VideoShape(frames, height, width, exact_fps(fps))
        return cls(video, AudioShape(count_samples(video, sample_rate), sample_rate, channels))

    @classmethod
    def of_seconds(
        cls, seconds: float, height: int, width: int, fps: float | Fraction, sample_rate: int, channels: int = 1
    ) -> AVShape:
        """Return a clip of `seconds`, rounded to whole frames. Raises ValueError unless seconds > 0."""
        is_length = seconds > 0 and math.isfinite(seconds * exact_fps(fps))
        _require(is_length, f"seconds is {seconds}; give a number above 0")
        frames = max(1, round(seconds * exact_fps(fps)))
        return cls.of_frames(frames, height, width, fps, sample_rate, channels)


def count_samples(video: VideoShape, sample_rate: int) -> int:
    """Return the number of audio samples per channel for the duration of `video`, rounded."""
    return max(1, round(video.frames * sample_rate / video.fps))


@dataclass(frozen=True)
class VideoStride:
    """The compression of a video codec: a latent cell with `channels` channels covers `time` frames and `space` × `space` pixels.

    causal: the first frame alone is the first latent frame (Wan, LTX), so n latent frames decode to 1 + time·(n−1) frames.
    multiple: the network's patch size: heights and widths of latents are multiples of it.
    """

    time: int
    space: int
    channels: int
    causal: bool = True
    multiple: int = 1

    def latent_frames(self, frames: int) -> int:
        """Return the smallest number of latent frames for `frames` frames."""
        if self.causal:
            return 1 + math.ceil((frames - 1) / self.time)
        return math.ceil(frames / self.time)

    def frames(self, latent_frames: int) -> int:
        """Return the number of frames that `latent_frames` decode to."""
        return 1 + self.time * (latent_frames - 1) if self.causal else self.time * latent_frames

    def representable(self, shape: VideoShape) -> VideoShape:
        """Return the smallest shape that the codec can encode and that contains `shape`. The surplus is trimmed after decoding."""
        patch = self.space * self.multiple
        return replace(
            shape,
            frames=self.frames(self.latent_frames(shape.frames)),
            height=math.ceil(shape.height / patch) * patch,
            width=math.ceil(shape.width / patch) * patch,
        )

    def latent_shape(self, shape: VideoShape) -> tuple[int, int, int, int]:
        """Return (channels, latent frames, latent height, latent width) for a video of `shape`."""
        full = self.representable(shape)
        return self.channels, self.latent_frames(full.frames), full.height // self.space, full.width // self.space

    def seconds_per_latent(self, fps: float | Fraction) -> float:
        """Return the seconds that a latent frame covers, Δt_v of AVSyncRoPE (arXiv 2512.02457)."""
        return float(self.time / Fraction(fps))


@dataclass(frozen=True)
class AudioStride:
    """The compression of an audio codec: a latent step with `channels` channels covers `samples` samples.

    bands: number of frequency bands of spectrogram latents; 0 for latents without a frequency axis.
    nearest: a clip has the number of latent steps nearest to its length, as LTX-2's clips do, instead of enough of them.
    steps: every clip has this many latent steps, of which the beginning is kept (TangoFlux, Stable Audio). 0: as many as it needs.
    """

    samples: int
    channels: int
    bands: int = 0
    nearest: bool = False
    steps: int = 0

    def latent_length(self, samples: int) -> int:
        """Return the smallest number of latent steps for `samples` samples, or the nearest one, or `steps`.

        Raises ValueError if `samples` are more than `steps` latent steps by a whole one or more. (TangoFlux's 30 s are 645.996.)
        """
        needed = math.ceil(samples / self.samples)
        if self.steps:
            message = f"the clip needs {needed} latent steps of audio; use a shorter one, of at most {self.steps}"
            _require(self._fits(samples), message)
            return self.steps
        return max(1, round(samples / self.samples)) if self.nearest else needed

    def latent_shape(self, shape: AudioShape) -> tuple[int, ...]:
        """Return (channels, latent steps), or (channels, latent steps, bands), for audio of `shape`. Raises as `latent_length`."""
        most = (self.steps + 1) * self.samples / shape.sample_rate
        message = f"the clip is {shape.seconds:.4g} s long; use at most {most:.4g} s, the longest clip of this audio model"
        _require(self._fits(shape.samples), message)
        size = self.channels, self.latent_length(shape.samples)
        return (*size, self.bands) if self.bands else size

    def _fits(self, samples: int) -> bool:
        return not self.steps or samples // self.samples <= self.steps

    def seconds_per_latent(self, sample_rate: int) -> float:
        """Return the seconds that a latent step covers, Δt_a of AVSyncRoPE (arXiv 2512.02457)."""
        return self.samples / sample_rate


def sync_ratio(video: VideoStride, fps: float | Fraction, audio: AudioStride, sample_rate: int) -> float:
    """Return τ = Δt_v / Δt_a. Audio position p_a is at video position p_a / τ (AVSyncRoPE, arXiv 2512.02457)."""
    return video.seconds_per_latent(fps) / audio.seconds_per_latent(sample_rate)
