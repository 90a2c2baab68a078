"""Write frames and a waveform to one video file, frame by frame. A failed write leaves no file."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any, overload

import av
import numpy as np
from av.audio.stream import AudioStream
from av.container import OutputContainer
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc
from av.video.stream import VideoStream
from torch import Tensor

from ..shapes import VideoShape, count_samples
from .atomic import WriteError, as_path, explain_write_errors, publish, temporary_file
from .audio import (
    FADE_SECONDS,
    add_audio_stream,
    audio_frame,
    check_audio,
    encodable_rate,
    fit_audio,
    is_padding,
    mix_down,
    resample,
)
from .frames import count_frames, iter_frames, to_rgb8
from .opening import no_traces
from .settings import (
    AUDIO_CODECS,
    CONTAINERS,
    RESERVED_KEYS,
    VIDEO_CODECS,
    MuxReport,
    MuxSettings,
    find_encoder,
    muxer_options,
    validate_fps,
)

MIN_H265_WIDTH = 64  # pixels: x265 writes out of bounds for narrower frames


def write_video(  # noqa: PLR0913
    frames: Tensor | Iterable[Tensor],
    path: str | Path,
    *,
    fps: float | Fraction,
    audio: Tensor | None = None,
    sample_rate: int | None = None,
    settings: MuxSettings = MuxSettings(),
    metadata: Mapping[str, str] | None = None,
    frame_count: int | None = None,
    progress: Callable[[int, int | None], None] | None = None,
    check_interrupt: Callable[[], None] | None = None,
) -> MuxReport:
    """Write all frames, and the audio fitted to their duration, to `path`; return a report.

    frames: [T, H, W, C], or an iterable of [H, W, C] or [T, H, W, C]; float 0..1 or uint8; C is 1, 3 or 4. Frames are
        read one at a time, so an iterable needs memory for one frame only.
    fps: frames per second, above 0 and at most 1000.
    audio: float [channels, samples] in −1..1 at `sample_rate` Hz, or None. More than 2 channels are mixed to stereo.
    settings: container, codecs, quality, and how the audio is fitted.
    metadata: text tags; read them with `read_metadata`.
    frame_count: the expected number of frames; another number is an error.
    progress, check_interrupt: called after each frame, as `progress(done, total)` and `check_interrupt()`.

    The file appears under its name only when it is complete. After an error or an interrupt, no file is left. Missing
    folders are created. Raises ValueError for bad input and OSError when the file cannot be written.
    """
    path, fps, metadata = as_path(path), validate_fps(fps), _checked_metadata(metadata)
    rate = 0 if audio is None else check_audio(audio, sample_rate)
    total = count_frames(frames) if frame_count is None else frame_count
    rgb_frames = _rgb_frames(_counted(iter_frames(frames), frame_count))
    first = next(rgb_frames, None)
    if first is None:
        raise ValueError("there are no frames to write; give at least one frame")
    with temporary_file(path) as part:
        video = _VideoWriter(part, path, settings, fps, first.shape, metadata)
        with video.open():
            sound = None if audio is None else _AudioWriter(video, audio, rate)
            done = 0
            for done, rgb in enumerate(chain([first], rgb_frames), start=1):
                video.add_frame(rgb, done - 1)
                if sound:
                    sound.advance(done)
                if progress:
                    progress(done, total)
                if check_interrupt:
                    check_interrupt()
            audio_report = sound.finish(done) if sound else {}
        video.verify(done)
        report = video.report(done, audio_report)
        return replace(report, path=publish(part, path))


class _VideoWriter:
    """An open container with a video stream and, optionally, an audio stream. `shape`: [H, W, 3] of a frame."""

    container: OutputContainer
    video: VideoStream
    audio: AudioStream | None

    def __init__(
        self, part: Path, path: Path, settings: MuxSettings, fps: Fraction, shape: tuple[int, ...], metadata: dict[str, str]
    ) -> None:
        self.part, self.path, self.settings, self.fps = part, path, settings, fps
        self.pad_bottom, self.pad_right = shape[0] % 2, shape[1] % 2
        self.height, self.width = shape[0] + self.pad_bottom, shape[1] + self.pad_right
        self.metadata = metadata
        self.encoder = find_encoder(settings.video_codec)

    @contextmanager
    def open(self) -> Iterator[None]:
        with explain_write_errors(self.path):
            kind = self.settings.container
            self.container = av.open(str(self.part), "w", format=CONTAINERS[kind].muxer, options=muxer_options(kind))
        try:
            self.container.metadata.update(self.metadata)
            self._add_video()
            self.audio = None
            yield
            self._encode(self.video, None)
            if self.audio:
                self._encode(self.audio, None)
        finally:
            with explain_write_errors(self.path):
                self.container.close()

    def _add_video(self) -> None:
        options = {"crf": f"{self.settings.quality:g}", **VIDEO_CODECS[self.settings.video_codec].options}
        if self.encoder == "libx265":
            if self.width < MIN_H265_WIDTH:
                raise ValueError(
                    f"frames are {self.width}×{self.height}, and h265 needs a width of at least {MIN_H265_WIDTH}; choose h264"
                )
            if max(self.width, self.height) <= 64:
                options["x265-params"] += ":ctu=32"  # a frame within one coding unit encodes differently in every run
        stream = self.container.add_stream(self.encoder, rate=self.fps, options=options)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = self.width, self.height, "yuv420p"
        _tag_colors(stream.codec_context)
        if self.settings.video_codec == "h265" and self.settings.container == "mp4":
            stream.codec_context.codec_tag = "hvc1"  # the only tag that Apple's players open
        with self._explain_encoder_errors(stream), no_traces():
            stream.codec_context.open()
        self.video = stream

    def add_audio(self, channels: int, sample_rate: int) -> int | None:
        """Add the audio stream; return its bitrate in bits per second, which may be lower than the requested one."""
        settings = self.settings
        self.audio = add_audio_stream(self.container, settings.audio_codec, channels, sample_rate, settings.audio_bitrate)
        return self.audio.codec_context.bit_rate

    def add_frame(self, rgb: np.ndarray, index: int) -> None:
        """Encode a frame, uint8 [H, W, 3]. Odd sizes are made even by repeating the last row and column."""
        if self.pad_bottom or self.pad_right:
            rgb = np.pad(rgb, ((0, self.pad_bottom), (0, self.pad_right), (0, 0)), mode="edge")
        frame = av.VideoFrame.from_numpy_buffer(rgb, format="rgb24")
        frame = frame.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG)
        _tag_colors(frame)
        frame.pts, frame.time_base = index, 1 / self.fps
        self._encode(self.video, frame)

    def add_audio_samples(self, audio: Tensor, start: int, sample_rate: int) -> None:
        """Encode samples [C, N], of which the first is sample number `start`."""
        assert self.audio is not None
        frame = audio_frame(audio, sample_rate)
        frame.pts, frame.time_base = start, Fraction(1, sample_rate)
        self._encode(self.audio, frame)

    @overload
    def _encode(self, stream: VideoStream, frame: av.VideoFrame | None) -> None: ...
    @overload
    def _encode(self, stream: AudioStream, frame: av.AudioFrame | None) -> None: ...
    def _encode(self, stream: Any, frame: Any) -> None:
        with self._explain_encoder_errors(stream), explain_write_errors(self.path):
            self.container.mux(stream.encode(frame))

    @contextmanager
    def _explain_encoder_errors(self, stream: VideoStream | AudioStream) -> Iterator[None]:
        try:
            yield
        except av.FFmpegError as error:
            raise ValueError(
                f"{stream.codec_context.name} cannot encode {self.width}×{self.height} frames at {float(self.fps):g} fps "
                f"({error.strerror}); use another codec or size"
            ) from error

    def verify(self, frames: int) -> None:
        """Count the frames in the finished file. Raises WriteError when some are missing, as after a short write."""
        try:
            with explain_write_errors(self.path), av.open(str(self.part)) as container:
                written = sum(packet.size > 0 for packet in container.demux(video=0))
        except av.FFmpegError:
            written = 0
        if written != frames:
            raise WriteError(errno.EIO, f"cannot write {self.path}: it has {written} of {frames} frames; check the free disk space")

    def report(self, frames: int, audio: dict[str, Any]) -> MuxReport:
        return MuxReport(
            path=self.path,
            frames=frames,
            fps=self.fps,
            width=self.width,
            height=self.height,
            padded_right=self.pad_right,
            padded_bottom=self.pad_bottom,
            video_encoder=self.encoder,
            bytes=self.part.stat().st_size,
            **audio,
        )


class _AudioWriter:
    """Encodes the audio alongside the frames, and fits its end once the number of frames is known."""

    def __init__(self, file: _VideoWriter, audio: Tensor, sample_rate: int) -> None:
        self.file, self.settings = file, file.settings
        self.channels = len(audio)
        audio = mix_down(audio)
        self.source, self.source_rate = audio, sample_rate
        self.rate = encodable_rate(self.settings.audio_codec, sample_rate)
        self.clipped = int((audio.abs() > 1).sum())
        self.audio = resample(audio.detach().float().cpu(), sample_rate, self.rate).clamp(-1, 1)
        self.fade = round(FADE_SECONDS * self.rate)
        self.at = 0
        self.bitrate = file.add_audio(len(audio), self.rate)

    def advance(self, frames: int) -> None:
        """Encode the audio of the first `frames` frames, except for samples that a fade at the end may change."""
        until = max(self.at, self._samples(frames, self.rate) - self.fade)
        self._send(fit_audio(self.audio[:, self.at : until], until - self.at, self.settings.policy))

    def finish(self, frames: int) -> dict[str, Any]:
        """Encode the rest, fitted to `frames` frames; return the report's audio fields."""
        surplus = self.source.shape[1] - self._samples(frames, self.source_rate)
        policy = self.settings.policy
        if policy == "fade" and is_padding(surplus, self.source.shape[1], self.source_rate):
            policy = "pad"
        self._send(fit_audio(self.audio[:, self.at :], self._samples(frames, self.rate) - self.at, policy, self.fade))
        faded = min(round(FADE_SECONDS * self.source_rate), self._samples(frames, self.source_rate))
        return {
            "audio_encoder": AUDIO_CODECS[self.settings.audio_codec],
            "audio_channels": len(self.source),
            "audio_sample_rate": self.rate,
            "audio_bitrate": self.bitrate,
            "audio_samples": self.at,
            "audio_resampled_from": None if self.rate == self.source_rate else self.source_rate,
            "audio_trimmed_samples": max(surplus, 0),
            "audio_faded_samples": faded if policy == "fade" else 0,
            "audio_padded_samples": 0 if policy == "trim" else max(-surplus, 0),
            "audio_missing_samples": max(-surplus, 0) if policy == "trim" else 0,
            "audio_clipped_samples": self.clipped,
            "audio_mixed_channels": self.channels if self.channels > 2 else 0,
        }

    def _samples(self, frames: int, rate: int) -> int:
        return count_samples(VideoShape(frames, self.file.height, self.file.width, self.file.fps), rate)

    def _send(self, audio: Tensor) -> None:
        for chunk in audio.split(self.rate, dim=1):
            if chunk.shape[1]:
                self.file.add_audio_samples(chunk, self.at, self.rate)
                self.at += chunk.shape[1]


def _counted(frames: Iterator[Tensor], expected: int | None) -> Iterator[Tensor]:
    """Yield `frames`. Raises ValueError as soon as there are more than `expected`, or at the end if there are fewer."""
    count = 0
    for count, frame in enumerate(frames, start=1):
        if expected is not None and count > expected:
            raise ValueError(f"frame_count is {expected}, but there are more frames; give the number of frames")
        yield frame
    if expected is not None and count != expected:
        raise ValueError(f"frame_count is {expected}, but there are {count} frames; give the number of frames")


def _rgb_frames(frames: Iterator[Tensor]) -> Iterator[np.ndarray]:
    """Convert frames to uint8 RGB. Raises ValueError when one differs in size from the first."""
    size = None
    for index, frame in enumerate(frames):
        rgb = to_rgb8(frame, index)
        size = size or rgb.shape
        if rgb.shape != size:
            raise ValueError(
                f"frame {index} is {rgb.shape[1]}×{rgb.shape[0]}, but frame 0 is {size[1]}×{size[0]}; give frames of one size"
            )
        yield rgb


def _checked_metadata(metadata: Mapping[str, str] | None) -> dict[str, str]:
    for key, value in (metadata or {}).items():
        if not (isinstance(key, str) and key and isinstance(value, str)):
            raise ValueError(f"metadata {key!r} is a {type(value).__name__}; give text, for example from json.dumps")
        if "\0" in key + value:
            raise ValueError(f"metadata {key!r} contains a NUL character, which containers do not support; remove it")
        if key.lower() in RESERVED_KEYS:
            raise ValueError(f"metadata {key!r} is a tag that the container writes itself; choose another name")
    return dict(metadata or {})


def _tag_colors(target: Any) -> None:
    """Mark sRGB frames as BT.709 with limited range, as players assume for HD video."""
    target.color_primaries = ColorPrimaries.BT709
    target.color_trc = ColorTrc.IEC61966_2_1
    target.colorspace = Colorspace.ITU709
    target.color_range = ColorRange.MPEG
