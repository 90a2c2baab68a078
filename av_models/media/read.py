"""Any video file into tensors."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import torch
from av.audio.resampler import AudioResampler
from av.container import InputContainer
from torch import Tensor
from torch.nn import functional

from .settings import RESERVED_KEYS

# Matroska counts milliseconds: a smaller offset between the streams is rounding.
_TIME_GRAIN = Fraction(1, 1000)


class Clip(NamedTuple):
    """`frames`: uint8 [T, H, W, 3]; `audio`: float [C, samples], its first sample at the first picture, or None."""

    frames: Tensor
    fps: Fraction
    audio: Tensor | None
    sample_rate: int | None
    metadata: dict[str, str]


def read_video(path: str | Path) -> Clip:
    """All pictures and sound of a file, whole in memory (a picture is H·W·3 bytes).

    Raises FileNotFoundError where there is no such file, ValueError where it is no video or damaged.
    """
    with open_video(path) as file:
        frames = [picture for picture, _ in file.read_frames()]
        return Clip(torch.stack(frames), file.fps, *file.read_audio(), file.metadata)


@contextmanager
def open_video(path: str | Path) -> Iterator[VideoFile]:
    """A file to be read picture by picture; errors as `read_video`'s."""
    with _opened(path) as container:
        video = container.streams.best("video")
        if video is None:
            raise ValueError(f"{path} has no pictures; give a video file")
        audio = container.streams.best("audio")
        if audio is not None and audio.codec_context is None:
            audio = None
        video.thread_type = "AUTO"
        yield VideoFile(path, container, video, audio)


class VideoFile:
    """An open file: its pictures, taken once and in order, and after them its sound."""

    def __init__(self, path: str | Path, container: InputContainer, video, audio) -> None:
        self.path, self._container, self._video, self._audio = path, container, video, audio
        self._sounds, self._start = _AudioBuffer(), Fraction(0)

    @property
    def fps(self) -> Fraction:
        fps = self._video.average_rate or self._video.guessed_rate
        if not fps:
            raise ValueError(f"{self.path} does not say how fast its pictures go; write it again with a frame rate")
        return Fraction(fps)

    @property
    def metadata(self) -> dict[str, str]:
        return _metadata(self._container)

    def read_frames(self) -> Iterator[tuple[Tensor, float]]:
        """Each picture, uint8 [H, W, 3] of the first one's size, and when it is shown, in seconds after the first."""
        count, size = 0, {}
        for packet in self._container.demux([stream for stream in (self._video, self._audio) if stream is not None]):
            for frame in packet.decode():
                if packet.stream is not self._video:
                    self._sounds.add(frame)
                    continue
                if not count:
                    self._start, size = _time(frame), {"width": frame.width, "height": frame.height}
                count += 1
                picture = torch.from_numpy(frame.reformat(**size, format="rgb24").to_ndarray())
                yield picture, float(_time(frame) - self._start)
        if not count or count < self._video.frames:
            there = f"{count} of {self._video.frames or 'its'} frames are there"
            raise ValueError(f"{self.path} is damaged: {there}; write or copy it again")

    def read_audio(self) -> tuple[Tensor | None, int | None]:
        """Floats [C, samples] from the first picture on, and their rate; None, None where there is none."""
        return self._sounds.waveform(self._audio, self._start), self._sounds.rate


def read_metadata(path: str | Path) -> dict[str, str]:
    """The text kept in a file, such as `prompt` and `workflow`. Keys are lower case: mkv and webm keep no case."""
    with _opened(path) as container:
        return _metadata(container)


class _AudioBuffer:
    def __init__(self) -> None:
        self.parts: list[Tensor] = []
        self.rate: int | None = None

    def add(self, frame: av.AudioFrame) -> None:
        if self.rate is None:
            self.rate, self.start = frame.sample_rate, _time(frame)
            self.resampler = AudioResampler(format="fltp", layout=frame.layout, rate=self.rate)
        self._keep(frame)

    def _keep(self, frame: av.AudioFrame | None) -> None:
        self.parts += [torch.from_numpy(part.to_ndarray()) for part in self.resampler.resample(frame) if part]

    def waveform(self, stream, video_start: Fraction) -> Tensor | None:
        """Everything added, cut at the length that the file states, moved to start with the pictures."""
        if self.rate is None:
            return None
        self._keep(None)
        whole = torch.cat(self.parts, dim=1)
        if stream.duration:
            whole = whole[:, : round(stream.duration * stream.time_base * self.rate)]
        late = self.start - video_start
        if abs(late) <= _TIME_GRAIN:
            return whole
        return functional.pad(whole, (round(late * self.rate), 0))


@contextmanager
def _opened(path: str | Path) -> Iterator[InputContainer]:
    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no file {path}; check the name")
    try:
        with av.open(str(path), metadata_errors="replace") as container:
            yield container
    except av.FFmpegError as error:
        raise ValueError(
            f"{path} is no video that can be read, or is damaged ({error.strerror}); write or copy it again"
        ) from error


def _time(frame: av.VideoFrame | av.AudioFrame) -> Fraction:
    return Fraction(0) if frame.pts is None else frame.pts * frame.time_base


def _metadata(container: InputContainer) -> dict[str, str]:
    tags = {key.lower(): value for key, value in container.metadata.items()}
    return {key: value for key, value in tags.items() if key not in RESERVED_KEYS}
