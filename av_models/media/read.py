"""Read video files of any format into tensors."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import av
import torch
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.video.stream import VideoStream
from torch import Tensor
from torch.nn import functional

from .settings import RESERVED_KEYS
from .upright import UprightFrames

# Matroska timestamps are in milliseconds: a smaller offset between the streams is a rounding error.
_TIME_RESOLUTION = Fraction(1, 1000)


class Clip(NamedTuple):
    """A decoded video file.

    frames: uint8 [T, H, W, 3].
    fps: frames per second.
    audio: float32 [C, samples] in −1..1, aligned so that sample 0 is at frame 0; None when the file has no audio.
    sample_rate: Hz, or None.
    metadata: text tags, with lower-case keys.
    """

    frames: Tensor
    fps: Fraction
    audio: Tensor | None
    sample_rate: int | None
    metadata: dict[str, str]


def read_video(path: str | Path) -> Clip:
    """Read all frames and the audio of a video file into memory (a frame takes H·W·3 bytes).

    Raises FileNotFoundError when the file does not exist, ValueError when it is damaged or is not a video.
    """
    with open_video(path) as file:
        frames = [frame for frame, _ in file.read_frames()]
        return Clip(torch.stack(frames), file.fps, *file.read_audio(), file.metadata)


@contextmanager
def open_video(path: str | Path) -> Iterator[VideoFile]:
    """Open a video file to read it frame by frame. Raises the same errors as `read_video`."""
    with _open_container(path) as container:
        video = container.streams.best("video")
        if not isinstance(video, VideoStream):
            raise ValueError(f"{path} has no video stream; give a video file")
        audio = container.streams.best("audio")
        if not isinstance(audio, AudioStream) or audio.codec_context is None:
            audio = None
        video.thread_type = "AUTO"
        yield VideoFile(path, container, video, audio)


class VideoFile:
    """An open video file. Read the frames first, once and in order; then the audio."""

    def __init__(self, path: str | Path, container: InputContainer, video: VideoStream, audio: AudioStream | None) -> None:
        self.path, self._container, self._video, self._audio = path, container, video, audio
        self._audio_buffer, self._start = _AudioBuffer(), Fraction(0)

    @property
    def fps(self) -> Fraction:
        """Frames per second, as stated in the file. Raises ValueError when the file does not state it."""
        fps = self._video.average_rate or self._video.guessed_rate
        if not fps:
            raise ValueError(f"{self.path} does not state its frame rate; encode it again with a frame rate")
        return Fraction(fps)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels, as stated in the file."""
        return self._video.width, self._video.height

    @property
    def metadata(self) -> dict[str, str]:
        """Text tags of the file, with lower-case keys, without the tags that FFmpeg writes."""
        return _metadata(self._container)

    def read_frames(
        self, size: tuple[int, int] | None = None, step_for: Callable[[int, int], int] = lambda width, height: 1
    ) -> Iterator[tuple[Tensor, float]]:
        """Yield each frame, upright, uint8 [H, W, 3], and its time in seconds after the first frame.

        size: width and height to scale the frames to; None for those of the first frame. Scaling to a small size is cheap.
        step_for: returns, for the upright width and height, n of every n-th row and column to read (see `UprightFrames`).
        Raises ValueError at the end when frames are missing.
        """
        count, upright = 0, UprightFrames(size, step_for)
        for packet in self._container.demux([stream for stream in (self._video, self._audio) if stream is not None]):
            for frame in packet.decode():
                if isinstance(frame, av.AudioFrame):
                    self._audio_buffer.add(frame)
                    continue
                assert isinstance(frame, av.VideoFrame)
                if not count:
                    self._start = _time(frame)
                count += 1
                yield upright.convert(frame), float(_time(frame) - self._start)
        if not count or count < self._video.frames:
            found = f"it has {count} of {self._video.frames} frames" if self._video.frames else f"it has {count} frames"
            raise ValueError(f"{self.path} is damaged: {found}; encode or copy it again")

    def read_audio(self) -> tuple[Tensor | None, int | None]:
        """Return the waveform, float32 [C, samples], and its sample rate in Hz; (None, None) when there is no audio.

        Sample 0 is at the time of the first frame. Call this after `read_frames` has been read to its end.
        """
        return self._audio_buffer.waveform(self._audio, self._start), self._audio_buffer.rate


def read_metadata(path: str | Path) -> dict[str, str]:
    """Read the text tags of a file, such as `prompt` and `workflow`.

    Keys are lower case, because mkv and webm do not preserve case. Raises the same errors as `read_video`.
    """
    with _open_container(path) as container:
        return _metadata(container)


class _AudioBuffer:
    """Collects decoded audio frames and joins them into one waveform."""

    rate: int | None
    start: Fraction
    resampler: AudioResampler

    def __init__(self) -> None:
        self.parts: list[Tensor] = []
        self.rate = None

    def add(self, frame: av.AudioFrame) -> None:
        if self.rate is None:
            self.rate, self.start = frame.sample_rate, _time(frame)
            self.resampler = AudioResampler(format="fltp", layout=frame.layout, rate=self.rate)
        self._append(frame)

    def _append(self, frame: av.AudioFrame | None) -> None:
        self.parts += [torch.from_numpy(part.to_ndarray()) for part in self.resampler.resample(frame) if part]

    def waveform(self, stream: AudioStream | None, video_start: Fraction) -> Tensor | None:
        """Join all frames, cut to the duration that the file states, and align to the first video frame."""
        if self.rate is None:
            return None
        assert stream is not None
        self._append(None)
        wave = torch.cat(self.parts, dim=1)
        if stream.duration and stream.time_base:
            wave = wave[:, : round(stream.duration * stream.time_base * self.rate)]
        delay = self.start - video_start
        if abs(delay) <= _TIME_RESOLUTION:
            return wave
        return functional.pad(wave, (round(delay * self.rate), 0))


@contextmanager
def _open_container(path: str | Path) -> Iterator[InputContainer]:
    if not Path(path).is_file():
        raise FileNotFoundError(f"there is no file {path}; check the name")
    try:
        with av.open(str(path), metadata_errors="replace") as container:
            yield container
    except av.FFmpegError as error:
        raise ValueError(f"{path} is damaged or is not a readable video ({error.strerror}); encode or copy it again") from error


def _time(frame: av.VideoFrame | av.AudioFrame) -> Fraction:
    return Fraction(0) if frame.pts is None or frame.time_base is None else Fraction(frame.pts * frame.time_base)


def _metadata(container: InputContainer) -> dict[str, str]:
    tags = {key.lower(): value for key, value in container.metadata.items()}
    return {key: value for key, value in tags.items() if key not in RESERVED_KEYS}
