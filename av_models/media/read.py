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

from .settings import OWN_KEYS

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
    with _opened(path) as container:
        video = container.streams.best("video")
        if video is None:
            raise ValueError(f"{path} has no pictures; give a video file")
        audio = container.streams.best("audio")
        if audio is not None and audio.codec_context is None:
            audio = None
        video.thread_type = "AUTO"
        pictures, sounds = _Pictures(), _Sounds()
        for packet in container.demux([stream for stream in (video, audio) if stream is not None]):
            for frame in packet.decode():
                (pictures if packet.stream is video else sounds).add(frame)
        if not pictures.frames or len(pictures.frames) < video.frames:
            there = f"{len(pictures.frames)} of {video.frames or 'its'} frames are there"
            raise ValueError(f"{path} is damaged: {there}; write or copy it again")
        fps = video.average_rate or video.guessed_rate
        if not fps:
            raise ValueError(f"{path} does not say how fast its pictures go; write it again with a frame rate")
        waveform = sounds.waveform(audio, pictures.start)
        return Clip(torch.stack(pictures.frames), Fraction(fps), waveform, sounds.rate, _metadata(container))


def read_metadata(path: str | Path) -> dict[str, str]:
    """The text kept in a file, such as `prompt` and `workflow`. Keys are lower case: mkv and webm keep no case."""
    with _opened(path) as container:
        return _metadata(container)


class _Pictures:
    def __init__(self) -> None:
        self.frames: list[Tensor] = []
        self.start = Fraction(0)

    def add(self, frame: av.VideoFrame) -> None:
        if not self.frames:
            self.start = _time(frame)
            self.size = {"width": frame.width, "height": frame.height}
        self.frames.append(torch.from_numpy(frame.reformat(**self.size, format="rgb24").to_ndarray()))


class _Sounds:
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
    return {key: value for key, value in tags.items() if key not in OWN_KEYS}
