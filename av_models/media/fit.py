"""Fit frames and a waveform to a clip's frame rate, resolution, sample rate, channels and length."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from math import ceil
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..shapes import AudioShape, VideoShape
from .audio import check_audio, fit_audio, mix_down, resample
from .frames import to_rgb8
from .settings import validate_fps


@dataclass(frozen=True)
class FramesFit:
    """How images become the frames of a clip.

    given, scaled, size: height and width in pixels of the images, of the images after scaling, and of the clip.
    indices: for each frame of the clip, the number of its image.
    """

    given: tuple[int, int]
    scaled: tuple[int, int]
    size: tuple[int, int]
    images: int
    fps: Fraction
    clip_fps: Fraction
    indices: tuple[int, ...]

    @property
    def covered(self) -> int:
        """Number of the clip's frames until the last image ends."""
        return min(len(self.indices), ceil(self.images * self.clip_fps / self.fps))

    def changes(self) -> list[str]:
        """Return what changes, in numbers: the size, and for more than one image the times."""
        return [text for text in (self._size_change(), self._time_change()) if text]

    def facts(self) -> dict[str, Any]:
        """Return the numbers of `changes` as JSON-compatible values."""
        sizes = {"given": self.given, "resized": self.scaled, "cropped": self.size}
        return {name: {"width": width, "height": height} for name, (height, width) in sizes.items()} | {
            "images": self.images, "fps": float(self.fps), "frames": self.covered, "clip_fps": float(self.clip_fps),
        }  # fmt: skip

    def _size_change(self) -> str:
        resized = f" resized to {_pixels(self.scaled)}" if self.scaled != self.given else ""
        cropped = f" cropped to {_pixels(self.size)}" if self.size != self.scaled else ""
        return f"{_pixels(self.given)}{','.join(filter(None, (resized, cropped)))}" if resized or cropped else ""

    def _time_change(self) -> str:
        if self.images == 1 or (self.fps == self.clip_fps and self.covered == self.images):
            return ""
        change = f"{self.images} frames at {float(self.fps):g} fps to {self.covered} at {float(self.clip_fps):g} fps"
        given, clip = self.images / self.fps, len(self.indices) / self.clip_fps
        return f"{change}, cut from {_seconds(given)} to {_seconds(clip)}" if given >= clip + 1 / self.clip_fps else change


def plan_frames(images: int, height: int, width: int, fps: float | Fraction, shape: VideoShape) -> FramesFit:
    """Plan how images of `height` × `width` pixels at `fps` frames per second become a clip of `shape`.

    Each frame is the image shown at its time; after the last image, that image is repeated. Images are scaled to cover the
    clip's size and cropped to the centre.
    """
    rate = validate_fps(fps)
    scale = max(shape.height / height, shape.width / width)
    scaled = max(shape.height, round(height * scale)), max(shape.width, round(width * scale))
    indices = tuple(min(int(i * (rate / shape.fps)), images - 1) for i in range(shape.frames))
    return FramesFit((height, width), scaled, (shape.height, shape.width), images, rate, shape.fps, indices)


def fit_frames(images: Tensor, fps: float | Fraction, shape: VideoShape) -> Tensor:
    """Convert images [N, H, W, C] at `fps` frames per second to a clip's frames [F, height, width, 3] in 0..1.

    Raises ValueError for no images, NaN, or a number of channels other than 1, 3 or 4.
    """
    if images.ndim != 4 or 0 in images.shape[:3]:
        raise ValueError(f"images have shape {list(images.shape)}; give at least one image as [frames, height, width, 3]")
    count, height, width, _ = images.shape
    plan = plan_frames(count, height, width, fps, shape)
    rgb = {i: torch.from_numpy(to_rgb8(images[i], i)) for i in sorted(set(plan.indices))}
    stacked = torch.stack([rgb[i] for i in plan.indices])
    return _resize_and_crop(stacked.movedim(-1, 1).float() / 255, plan).movedim(1, -1)


def _resize_and_crop(frames: Tensor, plan: FramesFit) -> Tensor:
    """Scale frames [F, 3, H, W], then crop the centre."""
    if plan.scaled != plan.given:
        frames = F.interpolate(frames, plan.scaled, mode="bicubic", antialias=True).clamp(0, 1)
    top, left = ((scaled - size) // 2 for scaled, size in zip(plan.scaled, plan.size))
    return frames[:, :, top : top + plan.size[0], left : left + plan.size[1]]


@dataclass(frozen=True)
class WaveformFit:
    """How a waveform becomes that of a clip: channels, samples per channel and samples per second, before and after."""

    channels: int
    samples: int
    rate: int
    clip: AudioShape

    @property
    def mixed(self) -> bool:
        """Whether the channels are mixed to those of the clip."""
        return self.channels != self.clip.channels

    def changes(self) -> list[str]:
        """Return what changes, in numbers: sample rate and channels, and the length."""
        seconds = _seconds(self.samples / self.rate), _seconds(self.clip.samples / self.clip.sample_rate)
        word = "cut" if self.samples / self.rate > self.clip.samples / self.clip.sample_rate else "padded"
        length = f"{word} from {seconds[0]} to {seconds[1]}" if seconds[0] != seconds[1] else ""
        sound = f"{self.rate} Hz {_channels(self.channels)} to {self.clip.sample_rate} Hz {_channels(self.clip.channels)}"
        is_converted = self.mixed or self.rate != self.clip.sample_rate
        return [text for text in (sound if is_converted else "", length) if text]

    def facts(self) -> dict[str, Any]:
        """Return the numbers of `changes` as JSON-compatible values."""
        return {
            "channels": self.channels, "samples": self.samples, "sample_rate": self.rate,
            "clip_channels": self.clip.channels, "clip_samples": self.clip.samples, "clip_sample_rate": self.clip.sample_rate,
        }  # fmt: skip


def fit_waveform(waveform: Tensor, sample_rate: int, shape: AudioShape) -> Tensor:
    """Convert a waveform [C, samples] at `sample_rate` Hz to a clip's waveform [channels, samples].

    It is mixed to the clip's channels, resampled, and cut or padded with silence at the end.
    Raises ValueError for a waveform that is empty or contains NaN or infinity.
    """
    check_audio(waveform, sample_rate)
    channels, samples = waveform.shape
    plan = WaveformFit(channels, samples, int(sample_rate), shape)
    wave = mix_down(waveform.float())
    mixed = wave.mean(0, keepdim=True) if len(wave) != shape.channels else wave
    wave = resample(mixed, plan.rate, shape.sample_rate).expand(shape.channels, -1)
    return fit_audio(wave, shape.samples, "pad")


def change_line(name: str, fit: FramesFit | WaveformFit | None) -> list[str]:
    """Return one line that says in numbers how an input is changed for the model, or none if it is not changed."""
    changes = fit.changes() if fit else []
    return [f"{name}: {'; '.join(changes)}"] if changes else []


def _channels(count: int) -> str:
    return {1: "mono", 2: "stereo"}.get(count, f"with {count} channels")


def _pixels(size: tuple[int, int]) -> str:
    return f"{size[1]}×{size[0]}"


def _seconds(seconds: float | Fraction) -> str:
    return f"{round(float(seconds), 3):g} s"


def extend_frames(frames: Tensor, full: VideoShape) -> Tensor:
    """Pad frames [F, H, W, 3] to a longer and larger shape by repeating the last frame and the bottom and right edges."""
    frames = torch.cat([frames, frames[-1:].expand(full.frames - len(frames), -1, -1, -1)])
    bottom, right = full.height - frames.shape[1], full.width - frames.shape[2]
    return F.pad(frames.movedim(-1, 1), (0, right, 0, bottom), mode="replicate").movedim(1, -1)
