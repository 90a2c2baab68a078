"""Read video files of any format into tensors."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import Any, NamedTuple

import av
import torch
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream
from torch import Tensor

from .decode_audio import Waveform
from .frame_rate import find_fps
from .settings import RESERVED_KEYS
from .sources import Source, demux, explain_damage, name_of, open_container
from .stamps import Clock, stamp
from .streams import choose_audio, choose_video
from .upright import UprightFrames, find_turn

BROADCAST = ("mpegts", "mpeg")  # formats that may be joined midway and whose stamps may jump
_WHOLE_SEEK = 10  # seconds from the start that are read instead of skipped
_SEEK_EARLIER = 2


class Clip(NamedTuple):
    """A decoded video file.

    frames: uint8 [T, H, W, 3], upright.
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


class Window(NamedTuple):
    """The part of a file to read, in seconds by its time stamps. duration 0: to the end."""

    start: float = 0.0
    duration: float = 0.0

    @property
    def end(self) -> float | None:
        return self.start + self.duration if self.duration else None


def read_video(path: str | Path) -> Clip:
    """Read all frames and the audio of a video file into memory (a frame takes H·W·3 bytes).

    Raises FileNotFoundError when the file does not exist, ValueError when it is damaged or is not a video.
    """
    with open_video(path) as file:
        frames = [frame for frame, _ in file.read_frames()]
        return Clip(torch.stack(frames), file.fps, *file.read_audio(), file.metadata)


@contextmanager
def open_video(source: Source, window: Window = Window(), last_audio: bool = False) -> Iterator[VideoFile]:
    """Open a video file, or its contents in memory, to read it frame by frame. Raises the same errors as `read_video`.

    last_audio: read the last audio stream, as ComfyUI does, instead of the best one.
    """
    with open_container(source) as container:
        video = choose_video(source, container)
        video.thread_type = "AUTO"
        yield VideoFile(source, container, video, choose_audio(container, last_audio), window)


class VideoFile:
    """An open video file. Read the frames first, once and in order; then the audio."""

    def __init__(
        self, source: Source, container: InputContainer, video: VideoStream, audio: AudioStream | None, window: Window
    ) -> None:
        self.path, self.source, self._container, self._video, self._audio = name_of(source), source, container, video, audio
        self._window, self._has_jumps = window, container.format.name in BROADCAST
        self._clock, self._waveform = Clock(lambda: 1 / self.fps, self._has_jumps), Waveform(self._has_jumps)
        self._packets: Counter[int] = Counter()
        self._shown = self._corrupt = self._visible = self._taken = 0
        self._skips = False
        self._last: av.VideoFrame | None = None
        self._whole = UprightFrames()

    @cached_property
    def fps(self) -> Fraction:
        """Frames per second: as stated in the file, or the mean by the time stamps if that is another rate.

        Raises ValueError when the file has no rate and no time stamps.
        """
        return find_fps(self.source, self._video, self._is_indexed, self._has_jumps)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels of the upright frames."""
        with open_container(self.source) as container, explain_damage(self.source):
            for frame in container.decode(container.streams[self._video.index]):
                assert isinstance(frame, av.VideoFrame)
                return find_turn(frame).size(frame.width, frame.height)
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
        Raises ValueError at the end when frames are damaged or missing.
        """
        upright = UprightFrames(size, step_for)
        for frame, seconds in self.decode_frames():
            with explain_damage(self.source):
                image = upright.convert(frame)
            yield image, float(seconds)

    def decode_frames(self) -> Iterator[tuple[av.VideoFrame, Fraction]]:
        """As `read_frames`, without converting the frames."""
        with explain_damage(self.source):
            for frame in self._video_frames():
                at = stamp(frame)
                if self._is_before_window(at):
                    continue
                self._corrupt += self._shown > 0 and frame.is_corrupt
                self._shown += 1
                self._last = frame
                yield frame, self._clock.time(at)
        self._check_whole()

    def whole_frame(self) -> Tensor:
        """Return the last frame again, upright, uint8 [H, W, 3], with all pixels if `read_frames` has `step_for`."""
        assert self._last is not None
        with explain_damage(self.source):
            return self._whole.convert(self._last)

    def read_audio(self, with_padding: bool = False) -> tuple[Tensor | None, int | None]:
        """Return the waveform, float32 [C, samples], and its sample rate in Hz; (None, None) when there is no audio.

        Sample 0 is at the time of the first frame. Call this after `read_frames` has been read to its end.
        with_padding: keep the samples that the encoder added after the end.
        """
        parts = self._before_end(self._rest_of_audio(with_padding))
        return (torch.cat(parts, dim=1).contiguous(), self.sample_rate) if parts else (None, None)

    @property
    def sample_rate(self) -> int | None:
        """Samples per second of the audio that was decoded so far; None when there is none."""
        return self._waveform.rate

    def take_audio(self, is_last: bool = False) -> list[Tensor]:
        """Return the next parts of the waveform of `read_audio`, as far as frames were read. They are not kept.

        is_last: return all that is left, after all frames.
        """
        parts = self._before_end(self._rest_of_audio() if is_last else self._waveform.take(self._clock.start))
        self._taken += sum(part.shape[1] for part in parts)
        return parts

    def _rest_of_audio(self, with_padding: bool = False) -> list[Tensor]:
        with explain_damage(self.source):
            return self._waveform.rest(self._clock.start, None if with_padding else self._samples_before_padding())

    def _before_end(self, parts: list[Tensor]) -> list[Tensor]:
        """Cut the next parts of the waveform at the end of the window."""
        rate, end = self._waveform.rate, self._window.end
        if end is None or rate is None:
            return parts
        most = max(1, round((end - float(self._clock.start or 0)) * rate)) - self._taken
        ends = accumulate(part.shape[1] for part in parts)
        cut = [part[:, : max(0, most - last + part.shape[1])] for part, last in zip(parts, ends)]
        return [part for part in cut if part.shape[1]]

    def skip_frames(self) -> None:
        """Decode no more frames: `read_frames` ends when the audio is read."""
        self._skips = True

    @property
    def frames(self) -> int:
        """How many frames were read, or skipped."""
        return self._visible if self._skips else self._shown

    def _demux(self) -> Iterator[Packet[Any]]:
        return demux(self._container, *(stream for stream in (self._video, self._audio) if stream is not None))

    def _video_frames(self) -> Iterator[av.VideoFrame]:
        """Yield the video frames up to the end of the window, and collect the audio up to there."""
        self._seek()
        video_ended, audio_ended = False, self._audio is None
        for packet in self._demux():
            self._count(packet)
            if packet.stream is self._video and self._skips:
                video_ended = video_ended or self._is_after_window(stamp(packet))
            elif not (video_ended if packet.stream is self._video else audio_ended):
                for frame in self._decode(packet):
                    if isinstance(frame, av.AudioFrame):
                        self._waveform.add(frame)
                        audio_ended = self._is_after_window(self._waveform.end)
                    elif not video_ended:
                        video_ended = self._is_after_window(stamp(frame))
                        if not video_ended:
                            yield frame
            if video_ended and audio_ended:
                return

    def _count(self, packet: Packet[Any]) -> None:
        self._packets[packet.stream_index] += bool(packet.size)
        at = stamp(packet)
        is_shown = packet.size and not packet.is_discard and not self._is_before_window(at)
        self._visible += bool(packet.stream is self._video and is_shown and not self._is_after_window(at))

    def _decode(self, packet: Packet[Any]) -> list[av.VideoFrame] | list[av.AudioFrame]:
        try:
            return packet.decode()
        except av.InvalidDataError:
            begun = self._shown if packet.stream is self._video else self._waveform.rate
            if begun or not self._has_jumps:
                raise
            return []  # a broadcast that was joined midway

    def _is_before_window(self, at: Fraction | None) -> bool:
        start = self._window.start  # 0: also the frames before time 0, as in a broadcast whose stamps wrapped
        return start > 0 and at is not None and at < self._rounded(start)

    def _is_after_window(self, at: Fraction | None) -> bool:
        return self._window.end is not None and at is not None and at >= self._rounded(self._window.end)

    def _rounded(self, seconds: float) -> Fraction:
        """Round down to the video's time base, as ComfyUI does."""
        assert self._video.time_base is not None
        return int(seconds / self._video.time_base) * self._video.time_base

    def _seek(self) -> None:
        if self._window.start > _WHOLE_SEEK:
            self._container.seek(int((self._window.start - _SEEK_EARLIER) * av.time_base))

    def _samples_before_padding(self) -> int | None:
        """Return the number of samples that an mp4 file states, when less than a block of the codec follows them."""
        stream, rate = self._audio, self._waveform.rate
        if stream is None or rate is None or not stream.duration or not stream.time_base or not self._is_indexed:
            return None
        stated = round(stream.duration * stream.time_base * rate)
        return stated if self._waveform.samples - stated < self._waveform.last_frame else None

    @property
    def _is_indexed(self) -> bool:
        """Whether the file has a list of all its packets."""
        return "mp4" in self._container.format.name

    def _check_whole(self) -> None:
        if not self._shown and self._window != Window():
            raise ValueError(f"{self.path} has no frames from {self._window.start:g} s on; use an earlier start")
        fault = self._fault()
        if fault:
            raise ValueError(f"{self.path} is damaged: {fault}; encode or copy it again")

    def _fault(self) -> str:
        if not self._shown:
            return "it has 0 frames"
        if self._is_indexed and self._window == Window():
            for stream in filter(None, (self._video, self._audio)):
                have, listed = self._packets[stream.index], len(stream.index_entries)
                if have < listed:
                    return f"its end is missing (it has {have} of {listed} packets of {stream.type})"
        return f"{self._corrupt} of its {self._shown} frames are broken" if self._corrupt else ""


def estimate_frames(source: Source, window: Window = Window()) -> int:
    """Return about how many frames a video file has, by its header, to show progress; 0 when the header does not say."""
    with open_container(source) as container:
        rate = choose_video(source, container).guessed_rate
        seconds = (container.duration or 0) / av.time_base - window.start
    return max(0, round((min(seconds, window.duration) if window.duration else seconds) * (rate or 0)))


def read_metadata(path: str | Path) -> dict[str, str]:
    """Read the text tags of a file, such as `prompt` and `workflow`.

    Keys are lower case, because mkv and webm do not preserve case. Raises the same errors as `read_video`.
    """
    with open_container(path) as container:
        return _metadata(container)


def _metadata(container: InputContainer) -> dict[str, str]:
    # ogg has no tags of the file: they belong to its streams
    owners = [*container.streams, container] if container.format.name == "ogg" else [container]
    tags = {key.lower(): value for owner in owners for key, value in owner.metadata.items()}
    return {key: value for key, value in tags.items() if key not in RESERVED_KEYS}
