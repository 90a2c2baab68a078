"""An open output file: a container with its streams."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any, overload

import av
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.video.stream import VideoStream
from torch import Tensor

from ..atomic import explain_write_errors
from .audio import add_audio_stream, audio_frame
from .settings import CONTAINERS, MuxSettings, muxer_options

_LONGEST_DELAY = 1 << 20  # in a stream's time base: more than an encoder reorders


class OutputFile:
    """A container that is written to `part`. path: its final name, for messages."""

    container: OutputContainer
    content = "audio"  # what is encoded, for messages

    def __init__(self, part: Path, path: Path, settings: MuxSettings, metadata: Mapping[str, str]) -> None:
        self.part, self.path, self.settings, self.metadata = part, path, settings, metadata
        self.video: VideoStream | None = None
        self.audio: AudioStream | None = None

    @contextmanager
    def open(self) -> Iterator[None]:
        """Open the container; at the end, write what the encoders still hold."""
        kind = self.settings.container
        with explain_write_errors(self.path):
            self.container = av.open(str(self.part), "w", format=CONTAINERS[kind].muxer, options=muxer_options(kind))
        try:
            self.container.metadata.update(self.metadata)
            self.add_streams()
            yield
            if self.video:
                self.encode(self.video, None)
            if self.audio:
                self.encode(self.audio, None)
        finally:
            with explain_write_errors(self.path):
                self.container.close()

    def add_streams(self) -> None:
        """Add the streams that are there from the beginning."""

    def add_audio(self, channels: int, sample_rate: int) -> int | None:
        """Add the audio stream; return its bitrate in bits per second, which may be lower than the requested one."""
        settings = self.settings
        self.audio = add_audio_stream(self.container, settings.sound_codec, channels, sample_rate, settings.audio_bitrate)
        return self.audio.codec_context.bit_rate

    def add_audio_samples(self, audio: Tensor, start: int, sample_rate: int) -> None:
        """Encode samples [C, N], of which the first is sample number `start`."""
        assert self.audio is not None
        frame = audio_frame(audio, sample_rate)
        frame.pts, frame.time_base = start, Fraction(1, sample_rate)
        self.encode(self.audio, frame)

    @overload
    def encode(self, stream: VideoStream, frame: av.VideoFrame | None) -> None: ...
    @overload
    def encode(self, stream: AudioStream, frame: av.AudioFrame | None) -> None: ...
    def encode(self, stream: Any, frame: Any) -> None:
        """Encode a frame, and write what comes of it; None ends the stream."""
        with self.explain_encoder_errors(stream), explain_write_errors(self.path):
            packets = stream.encode(frame)
            for packet in packets:
                _set_undefined_time(packet)
            self.container.mux(packets)

    @contextmanager
    def explain_encoder_errors(self, stream: VideoStream | AudioStream) -> Iterator[None]:
        """Convert an error of FFmpeg that is raised inside into a ValueError in one line."""
        try:
            yield
        except av.FFmpegError as error:
            reason = f"{stream.codec_context.name} cannot encode {self.content} ({error.strerror})"
            raise ValueError(f"{reason}; use another codec, size or frame rate") from error


def _set_undefined_time(packet: av.Packet[Any]) -> None:
    """Set the decoding time that x265 leaves undefined in clips of one or two frames: any number is in its place."""
    if packet.pts is not None and packet.dts is not None and abs(packet.pts - packet.dts) > _LONGEST_DELAY:
        packet.dts = packet.pts
