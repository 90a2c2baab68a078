"""Pictures and sound into one file: streamed, counted, whole or not at all."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from fractions import Fraction
from itertools import chain
from pathlib import Path

import av
import numpy as np
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc
from torch import Tensor

from ..shapes import VideoShape, samples_of
from .atomic import WriteError, explain_write_errors, temporary_file
from .audio import FADE_SECONDS, add_audio_stream, audio_frame, check_audio, encodable_rate, fit_audio, resample
from .frames import count_frames, iter_frames, to_rgb8
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

MIN_H265_WIDTH = 64  # pixels: x265 writes past its memory where pictures are narrower


def write_video(
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
    """Writes every picture of `frames`, and `audio` fitted to them, to `path`; returns what was done.

    `frames`: [T, H, W, C], or an iterable of [H, W, C] or [T, H, W, C], floats 0..1 or uint8, C of 1, 3 or 4; taken
    one at a time, so an iterable never has to fit in memory. `audio`: [1 or 2, samples] floats −1..1 at
    `sample_rate` Hz. `metadata`: text kept in the file, read back by `read_metadata`. `frame_count`: how many
    pictures `frames` must hold. `progress(done, total)` and `check_interrupt()` are called after each picture.

    The file appears under its name only when whole; on any failure or interrupt nothing is left. Missing folders
    are made. Raises ValueError for bad input and OSError where the file cannot be written, each in one line.
    """
    path, fps, metadata = Path(path), validate_fps(fps), _checked_metadata(metadata)
    if audio is not None:
        check_audio(audio, sample_rate)
    total = count_frames(frames) if frame_count is None else frame_count
    pictures = _pictures(_counted(iter_frames(frames), frame_count))
    first = next(pictures, None)
    if first is None:
        raise ValueError("there are no frames to write; give at least one")
    with temporary_file(path) as part:
        file = _VideoWriter(part, path, settings, fps, first.shape, metadata)
        with file.opened():
            sound = None if audio is None else _AudioWriter(file, audio, sample_rate)
            done = 0
            for done, rgb in enumerate(chain([first], pictures), start=1):
                file.add_picture(rgb, done - 1)
                if sound:
                    sound.advance(done)
                if progress:
                    progress(done, total)
                if check_interrupt:
                    check_interrupt()
            sound_report = sound.finish(done) if sound else {}
        file.verify(done)
        report = file.report(done, sound_report)
        with explain_write_errors(path):
            os.replace(part, path)
    return report


class _VideoWriter:
    """An open container with a video stream, and an audio stream where there is sound."""

    def __init__(self, part: Path, path: Path, settings: MuxSettings, fps: Fraction, shape, metadata: dict[str, str]):
        self.part, self.path, self.settings, self.fps = part, path, settings, fps
        self.pad_bottom, self.pad_right = shape[0] % 2, shape[1] % 2
        self.height, self.width = shape[0] + self.pad_bottom, shape[1] + self.pad_right
        self.metadata = metadata
        self.encoder = find_encoder(settings.video_codec)

    @contextmanager
    def opened(self) -> Iterator[None]:
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
        if self.encoder == "libsvtav1":
            os.environ.setdefault("SVT_LOG", "1")  # errors only: it writes to stderr, past FFmpeg's log
        options = {"crf": f"{self.settings.quality:g}", **VIDEO_CODECS[self.settings.video_codec].options}
        if self.encoder == "libx265":
            if self.width < MIN_H265_WIDTH:
                raise ValueError(f"h265 takes pictures at least {MIN_H265_WIDTH} wide, and these are {self.width}×{self.height}; "
                                 "choose h264")  # fmt: skip
            if max(self.width, self.height) <= 64:
                options["x265-params"] += ":ctu=32"  # a picture within one coding unit encodes differently every time
        stream = self.container.add_stream(self.encoder, rate=self.fps, options=options)
        stream.width, stream.height, stream.pix_fmt = self.width, self.height, "yuv420p"
        _tag_colours(stream.codec_context)
        if self.settings.video_codec == "h265" and self.settings.container == "mp4":
            stream.codec_context.codec_tag = "hvc1"  # the only tag that Apple's players open
        self.video = stream

    def add_audio(self, channels: int, sample_rate: int) -> int:
        """Returns the bitrate, which may be less than what was asked for."""
        settings = self.settings
        self.audio = add_audio_stream(self.container, settings.audio_codec, channels, sample_rate, settings.audio_bitrate)
        return self.audio.codec_context.bit_rate

    def add_picture(self, rgb: np.ndarray, index: int) -> None:
        """`rgb`: uint8 [H, W, 3]. Odd sizes are made even by repeating the last row and column."""
        if self.pad_bottom or self.pad_right:
            rgb = np.pad(rgb, ((0, self.pad_bottom), (0, self.pad_right), (0, 0)), mode="edge")
        frame = av.VideoFrame.from_numpy_buffer(rgb, format="rgb24")
        frame = frame.reformat(format="yuv420p", dst_colorspace=Colorspace.ITU709, dst_color_range=ColorRange.MPEG)
        _tag_colours(frame)
        frame.pts, frame.time_base = index, 1 / self.fps
        self._encode(self.video, frame)

    def add_sound(self, audio: Tensor, start: int, sample_rate: int) -> None:
        frame = audio_frame(audio, sample_rate)
        frame.pts, frame.time_base = start, Fraction(1, sample_rate)
        self._encode(self.audio, frame)

    def _encode(self, stream, frame) -> None:
        try:
            with explain_write_errors(self.path):
                self.container.mux(stream.encode(frame))
        except av.FFmpegError as error:
            raise ValueError(
                f"{stream.codec_context.name} refused {self.width}×{self.height} pictures at {float(self.fps):g} fps "
                f"({error.strerror}); try another codec or size"
            ) from error

    def verify(self, frames: int) -> None:
        """Counts the pictures in the finished file: a short write must not pass for a whole file."""
        try:
            with explain_write_errors(self.path), av.open(str(self.part)) as container:
                written = sum(packet.size > 0 for packet in container.demux(video=0))
        except av.FFmpegError:
            written = 0
        if written != frames:
            raise WriteError(errno.EIO, f"{self.path} came out with {written} of {frames} frames; is the disk full?")

    def report(self, frames: int, sound: dict) -> MuxReport:
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
            **sound,
        )


class _AudioWriter:
    """Feeds the sound to a file beside its pictures, and fits its end when their number is known."""

    def __init__(self, file: _VideoWriter, audio: Tensor, sample_rate: int):
        self.file, self.settings = file, file.settings
        self.given, self.given_rate = audio, sample_rate
        self.rate = encodable_rate(self.settings.audio_codec, sample_rate)
        self.clipped = int((audio.abs() > 1).sum())
        self.audio = resample(audio.detach().float().cpu(), sample_rate, self.rate).clamp(-1, 1)
        self.fade = round(FADE_SECONDS * self.rate)
        self.at = 0
        self.bitrate = file.add_audio(len(audio), self.rate)

    def advance(self, frames: int) -> None:
        """Sends what lies under the first `frames` pictures, less what a fade at the end might change."""
        until = max(self.at, self._samples(frames, self.rate) - self.fade)
        self._send(fit_audio(self.audio[:, self.at : until], until - self.at, self.settings.policy))

    def finish(self, frames: int) -> dict:
        """Sends the rest, fitted to `frames` pictures; returns the report's audio fields."""
        surplus = self.given.shape[1] - self._samples(frames, self.given_rate)
        # Resampling may leave the end a sample off: no reason to fade.
        policy = "pad" if self.settings.policy == "fade" and surplus <= 0 else self.settings.policy
        self._send(fit_audio(self.audio[:, self.at :], self._samples(frames, self.rate) - self.at, policy, self.fade))
        faded = min(round(FADE_SECONDS * self.given_rate), self._samples(frames, self.given_rate))
        return {
            "audio_encoder": AUDIO_CODECS[self.settings.audio_codec],
            "audio_channels": len(self.given),
            "audio_sample_rate": self.rate,
            "audio_bitrate": self.bitrate,
            "audio_samples": self.at,
            "audio_resampled_from": None if self.rate == self.given_rate else self.given_rate,
            "audio_trimmed_samples": max(surplus, 0),
            "audio_faded_samples": faded if policy == "fade" else 0,
            "audio_padded_samples": 0 if policy == "trim" else max(-surplus, 0),
            "audio_missing_samples": max(-surplus, 0) if policy == "trim" else 0,
            "audio_clipped_samples": self.clipped,
        }

    def _samples(self, frames: int, rate: int) -> int:
        return samples_of(VideoShape(frames, self.file.height, self.file.width, self.file.fps), rate)

    def _send(self, audio: Tensor) -> None:
        for chunk in audio.split(self.rate, dim=1):
            if chunk.shape[1]:
                self.file.add_sound(chunk, self.at, self.rate)
                self.at += chunk.shape[1]


def _counted(frames: Iterator[Tensor], expected: int | None) -> Iterator[Tensor]:
    """`frames`, refused as soon as they turn out more than `expected`, or at their end if fewer."""
    count = 0
    for count, frame in enumerate(frames, start=1):
        if expected is not None and count > expected:
            raise ValueError(f"asked to write {expected} frames, but there are more; nothing was written")
        yield frame
    if expected is not None and count != expected:
        raise ValueError(f"asked to write {expected} frames, but there are {count}; nothing was written")


def _pictures(frames: Iterator[Tensor]) -> Iterator[np.ndarray]:
    """`frames` as uint8 RGB, all of the first one's size."""
    size = None
    for index, frame in enumerate(frames):
        rgb = to_rgb8(frame, index)
        size = size or rgb.shape
        if rgb.shape != size:
            raise ValueError(f"frame {index} is {rgb.shape[1]}×{rgb.shape[0]}, the first was {size[1]}×{size[0]}; give one size")
        yield rgb


def _checked_metadata(metadata: Mapping[str, str] | None) -> dict[str, str]:
    for key, value in (metadata or {}).items():
        if not (isinstance(key, str) and key and isinstance(value, str)):
            raise ValueError(f"metadata {key!r} is a {type(value).__name__}; give text (json.dumps makes it)")
        if "\0" in key + value:
            raise ValueError(f"metadata {key!r} contains a NUL character, which no container can keep; remove it")
        if key.lower() in RESERVED_KEYS:
            raise ValueError(f"metadata {key!r} is a tag that the container sets itself; choose another name")
    return dict(metadata or {})


def _tag_colours(target) -> None:
    """sRGB pictures in BT.709 limited range: what players assume of HD video."""
    target.color_primaries = ColorPrimaries.BT709
    target.color_trc = ColorTrc.IEC61966_2_1
    target.colorspace = Colorspace.ITU709
    target.color_range = ColorRange.MPEG
