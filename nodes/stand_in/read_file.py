"""Read video files as ComfyUI's own loader does: all frames as floats, and the audio from its first sample on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from PIL import Image, ImageOps, ImageSequence, UnidentifiedImageError
from torch import Tensor

from ...av_models.media.decode_audio import Samples
from ...av_models.media.float_frames import FloatFrames
from ...av_models.media.sources import Source, demux, explain_damage, name_of, open_container
from ...av_models.media.streams import choose_audio, choose_video


@dataclass
class VideoComponents:
    """The contents of a VIDEO.

    images: [F, H, W, 3] in 0..1. audio: {"waveform": [1, C, samples], "sample_rate": Hz}, or None.
    alpha: [F, H, W, 1] in 0..1, or None.
    """

    images: Tensor
    frame_rate: Fraction
    audio: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None
    alpha: Tensor | None = None


def read_components(source: Source, start: float = 0.0, duration: float = 0.0) -> VideoComponents:
    """Read a file from `start` for `duration` seconds (0: to its end). Raises ValueError when it shows no frame."""
    with open_container(source) as container, explain_damage(source):
        video, sound = choose_video(source, container, first=True), choose_audio(container, last=True)
        assert video.time_base is not None
        first, end = (int(seconds / video.time_base) for seconds in (start, start + duration))
        if first:
            container.seek(first, stream=video)
        images, audio = _Images(first, end if duration else None), _Audio(start, duration)
        for packet in demux(container, *(stream for stream in (video, sound) if stream is not None)):
            if images.ended and (sound is None or audio.ended):
                break
            for frame in _decode(packet):
                (audio if isinstance(frame, av.AudioFrame) else images).add(frame)
        rate = Fraction(video.average_rate) if video.average_rate else Fraction(1)
        metadata = dict(container.metadata)
    if not images.frames:
        raise ValueError(f"{name_of(source)} shows no frames; use another file or part")
    pictures = torch.from_numpy(np.stack(images.frames))
    alpha = pictures[..., 3:] if pictures.shape[-1] == 4 else None
    return VideoComponents(pictures[..., :3], rate, audio.components(), metadata, alpha)


def read_audio(source: Source) -> tuple[Tensor, int]:
    """Read the first audio stream of a file: floats [channels, samples], and the sample rate in Hz."""
    samples, parts = Samples(), list[Tensor]()
    with open_container(source, "audio file") as container, explain_damage(source, "audio file"):
        stream = next(iter(container.streams.audio), None)
        if stream is None or stream.codec_context is None:
            raise ValueError(f"{name_of(source)} has no audio that can be read; use a file with audio")
        for frame in container.decode(stream):
            parts += samples.convert(frame)
        parts += samples.flush()
    if samples.rate is None:
        raise ValueError(f"{name_of(source)} has no audio; use a file with audio")
    return torch.cat(parts, dim=1), samples.rate


def read_images(path: Path) -> tuple[Tensor, Tensor]:
    """Read an image file, or all images of an animation: floats [N, H, W, 3], and a mask [N, H, W] of what is transparent.

    Pictures without transparency have a mask [N, 64, 64] of zeros.
    """
    try:
        parts = read_components(path)
        images, alpha = parts.images, parts.alpha
    except ValueError:  # FFmpeg does not read animated WebP and some others
        images, alpha = _read_with_pillow(path)
    return images, torch.zeros(len(images), 64, 64) if alpha is None else 1 - alpha[..., -1]


def _read_with_pillow(path: Path) -> tuple[Tensor, Tensor | None]:
    try:
        with Image.open(path) as opened:
            pictures = [ImageOps.exif_transpose(each) for each in ImageSequence.Iterator(opened)]
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError) as error:
        raise ValueError(f"{path} cannot be read as an image ({error}); use another file") from error
    pictures = [each for each in pictures if each.size == pictures[0].size]
    pixels = torch.from_numpy(np.stack([np.asarray(each.convert("RGBA"), dtype=np.float32) / 255 for each in pictures]))
    return pixels[..., :3], pixels[..., 3:] if any("A" in each.getbands() for each in pictures) else None


def _decode(packet: av.Packet) -> Iterator[Any]:
    """Decode a packet. A damaged one shows no frame."""
    try:
        yield from packet.decode()
    except av.InvalidDataError:
        if packet.stream.type == "audio":
            raise


class _Images:
    """Collects the frames whose stamps are in first..end, turned upright."""

    def __init__(self, first: int, end: int | None) -> None:
        self.frames: list[np.ndarray] = []
        self.ended, self._first, self._end, self._floats = False, first, end, FloatFrames()

    def add(self, frame: av.VideoFrame) -> None:
        at = self._first if frame.pts is None else frame.pts
        self.ended = self.ended or (self._end is not None and at >= self._end)
        if not self.ended and at >= self._first:
            self.frames.append(np.rot90(self._floats.convert(frame), frame.rotation // 90))


class _Audio:
    """Collects the samples from `start` on. Streams are not aligned: audio that begins later is not moved."""

    def __init__(self, start: float, duration: float) -> None:
        self._start, self._duration = start, duration
        self._samples, self._parts = Samples(), list[Tensor]()
        self.ended = False

    def add(self, frame: av.AudioFrame) -> None:
        begin = self._start if frame.time is None else frame.time
        self.ended = self.ended or bool(self._duration and begin > self._start + self._duration)
        if self.ended:
            return
        parts = self._samples.convert(frame)
        for part in parts:
            skip = 0 if self._parts else max(0, int((self._start - begin) * frame.sample_rate))
            if skip < part.shape[1]:
                self._parts.append(part[:, skip:])

    def components(self) -> dict[str, Any] | None:
        if not self._parts or self._samples.rate is None:
            return None
        wave = torch.cat(self._parts + self._samples.flush(), dim=1)
        if self._duration:
            wave = wave[:, : int(self._duration * self._samples.rate)]
        return {"waveform": wave[None], "sample_rate": self._samples.rate}
