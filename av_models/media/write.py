"""Write frames and a waveform to one video file, frame by frame. A failed write leaves no file."""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.stream import VideoStream
from torch import Tensor

from ..atomic import WriteError, as_path, explain_write_errors, publish, temporary_file
from .animation import write_gif, write_webp
from .audio import check_audio
from .convert import Converter, tag_colors
from .encoders import VIDEO_CODECS, chroma_location, encoder_options, find_encoder
from .frames import count_frames, iter_frames, to_rgb8, to_rgb16, to_rgba8, to_rgba16
from .metadata import checked_metadata
from .opening import no_traces
from .output_file import OutputFile
from .report import MuxReport
from .settings import MuxSettings, validate_fps
from .sound import SoundWriter

_ARRAYS = {"rgb24": to_rgb8, "rgba": to_rgba8, "rgb48le": to_rgb16, "rgba64le": to_rgba16}


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
        read one at a time, so an iterable needs memory for one frame only (gif and webp keep all of them as 8-bit RGB).
        Alpha (C is 4 in the first frame) is kept by prores, ffv1 and webp, and dropped by others.
    fps: frames per second, above 0 and at most 1000.
    audio: float [channels, samples] in −1..1 at `sample_rate` Hz, or None. More than 2 channels are mixed to stereo.
        gif and webp hold none: the report says so.
    settings: container, codecs, quality, and how the audio is fitted.
    metadata: text tags; read them with `read_metadata`. gif holds none, and webp keeps them as ComfyUI does, in EXIF.
    frame_count: the expected number of frames; another number is an error.
    progress, check_interrupt: called after each frame, as `progress(done, total)` and `check_interrupt()`.

    The file appears under its name only when it is complete. After an error or an interrupt, no file is left. Missing
    folders are created. Raises ValueError for bad input and OSError when the file cannot be written.
    """
    path, fps, metadata = as_path(path), validate_fps(fps), checked_metadata(metadata)
    if settings.spec.is_audio:
        raise ValueError(f"container is {settings.container!r}, which holds audio alone; use write_audio, or mp4 for a video")
    rate = 0 if audio is None else check_audio(audio, sample_rate)
    total = count_frames(frames) if frame_count is None else frame_count
    given = _counted(iter_frames(frames), frame_count)
    first = next(given, None)
    if first is None:
        raise ValueError("there are no frames to write; give at least one frame")
    layout = _array_layout(settings, first)
    pixels = _watched(_arrays(chain([first], given), layout), total, progress, check_interrupt)
    with temporary_file(path) as part:
        job = _Job(part, path, fps, settings, metadata)
        if settings.spec.is_animation:
            report = _write_animation(job, pixels, has_audio=audio is not None)
        else:
            report = _write_streams(job, pixels, layout, audio, rate)
        return replace(report, path=publish(part, path))


@dataclass(frozen=True)
class _Job:
    """What is written where. part: the temporary file. path: its final name, for messages."""

    part: Path
    path: Path
    fps: Fraction
    settings: MuxSettings
    metadata: Mapping[str, str]


def _write_streams(job: _Job, pixels: Iterator[np.ndarray], layout: str, audio: Tensor | None, rate: int) -> MuxReport:
    first = next(pixels)
    file = VideoOutput(job.part, job.path, job.settings, job.metadata)
    file.prepare(job.fps, first, layout)
    with file.open():
        sound = None if audio is None else SoundWriter(file, audio, rate)
        done = 0
        for done, each in enumerate(chain([first], pixels), start=1):
            file.add_frame(each, done - 1)
            if sound:
                sound.advance(done / job.fps)
        audio_facts = sound.finish(done / job.fps) if sound else {}
    file.verify(done)
    return file.report(done, audio_facts)


def _write_animation(job: _Job, pixels: Iterator[np.ndarray], has_audio: bool) -> MuxReport:
    kind, settings = job.settings.container, job.settings
    if kind == "gif":
        size, frames, notes = write_gif(job.part, job.path, pixels, job.fps, bool(job.metadata))
    else:
        size, frames, notes = write_webp(job.part, job.path, pixels, job.fps, settings.quality or 0, job.metadata)
    if has_audio:
        notes = [*notes, f"{kind} holds no audio, so it was left out"]
    return MuxReport(
        path=job.path, frames=frames, fps=job.fps, width=size[0], height=size[1], padded_right=0, padded_bottom=0,
        video_encoder=kind, bytes=job.part.stat().st_size, notes=tuple(notes),
    )  # fmt: skip


class VideoOutput(OutputFile):
    """An output file with a video stream."""

    def prepare(self, fps: Fraction, first: np.ndarray, layout: str) -> None:
        """Set up for frames like `first`, at `fps` frames per second. layout: FFmpeg's name of the array's pixel format."""
        codec = VIDEO_CODECS[self.settings.video_codec]
        self.fps, self.layout = fps, layout
        height, width, _ = first.shape
        multiple = 2 if codec.needs_even_size else 1
        self.pad_bottom, self.pad_right = height % multiple, width % multiple
        self.height, self.width = height + self.pad_bottom, width + self.pad_right
        self.content = f"{self.width}×{self.height} frames at {float(fps):g} fps"
        self.pixels = codec.alpha_pixels if layout.startswith("rgba") else codec.pixels
        self.encoder = find_encoder(self.settings.video_codec)

    def add_streams(self) -> None:
        settings, size = self.settings, (self.width, self.height)
        options = encoder_options(settings.video_codec, self.encoder, settings.quality, size)
        chroma = chroma_location(settings.video_codec, settings.container)
        if chroma:
            options["chroma_sample_location"] = chroma
        if self.pixels.startswith("yuva444"):
            options["profile"] = "4444"
        stream = self.container.add_stream(self.encoder, rate=self.fps, options=options)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = *size, self.pixels
        if self.pixels.startswith("yuv"):
            tag_colors(stream.codec_context)
        if self.encoder == "libx265" and settings.container in ("mp4", "mov"):
            stream.codec_context.codec_tag = "hvc1"  # the only tag that Apple's players open
        with self.explain_encoder_errors(stream), no_traces():
            stream.codec_context.open()
        self.video = stream
        self.convert = Converter(*size, self.layout, self.pixels, chroma)

    def add_frame(self, pixels: np.ndarray, index: int) -> None:
        """Encode a frame [H, W, C]. Odd sizes are made even by repeating the last row and column, where the codec needs it."""
        assert self.video is not None
        if self.pad_bottom or self.pad_right:
            pixels = np.pad(pixels, ((0, self.pad_bottom), (0, self.pad_right), (0, 0)), mode="edge")
        frame = self.convert(pixels)
        frame.pts, frame.time_base = index, 1 / self.fps
        self.encode(self.video, frame)

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


def _counted(frames: Iterator[Tensor], expected: int | None) -> Iterator[Tensor]:
    """Yield `frames`. Raises ValueError as soon as there are more than `expected`, or at the end if there are fewer."""
    count = 0
    for count, frame in enumerate(frames, start=1):
        if expected is not None and count > expected:
            raise ValueError(f"frame_count is {expected}, but there are more frames; give the number of frames")
        yield frame
    if expected is not None and count != expected:
        raise ValueError(f"frame_count is {expected}, but there are {count} frames; give the number of frames")


def _array_layout(settings: MuxSettings, first: Tensor) -> str:
    """Return FFmpeg's name of the pixel format that frames are prepared in."""
    codec = VIDEO_CODECS[settings.video_codec] if settings.spec.video else None
    keeps_alpha = codec.alpha_pixels != "" if codec else settings.container == "webp"
    alpha = keeps_alpha and first.shape[-1] == 4
    if codec and codec.bits > 8:
        return "rgba64le" if alpha else "rgb48le"
    return "rgba" if alpha else "rgb24"


def _arrays(frames: Iterator[Tensor], layout: str) -> Iterator[np.ndarray]:
    """Convert frames to arrays. Raises ValueError when one differs in size from the first."""
    size = None
    for index, frame in enumerate(frames):
        pixels = _ARRAYS[layout](frame, index)
        size = size or pixels.shape
        if pixels.shape != size:
            raise ValueError(
                f"frame {index} is {pixels.shape[1]}×{pixels.shape[0]}, but frame 0 is {size[1]}×{size[0]}; give frames of one size"
            )
        yield pixels


def _watched(
    frames: Iterator[np.ndarray], total: int | None, progress: Callable[[int, int | None], None] | None,
    check_interrupt: Callable[[], None] | None,
) -> Iterator[np.ndarray]:  # fmt: skip
    """Yield `frames`, and report each once it is written: when the next one is asked for."""
    for done, frame in enumerate(frames, start=1):
        yield frame
        if progress:
            progress(done, total)
        if check_interrupt:
            check_interrupt()
