"""A new sound under a video: its pictures are copied as they are, packet by packet, never encoded again."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
from torch import Tensor

from .atomic import explain_write_errors, temporary_file
from .audio import FADE_SECONDS, add_audio_stream, audio_frame, check_audio, encodable_rate, fit_audio, resample
from .settings import CONTAINERS, muxer_options

AUDIO_CODEC_OF = {"mp4": "aac", "webm": "opus", "mkv": "aac"}
CONTAINER_ALIASES = {"mov": "mp4", "m4v": "mp4"}
CHUNK = 1024  # samples an encoder is handed
ROUNDED = 2  # stamps that a duration hangs on, each rounded to the file's own unit


@dataclass(frozen=True)
class ReplaceReport:
    """What was written: `samples` of sound at `sample_rate` Hz under pictures that last `seconds`."""

    path: Path
    seconds: float
    packets: int
    samples: int
    sample_rate: int
    padded_samples: int

    def summary(self) -> str:
        """One line for people."""
        padded = f", {self.padded_samples} of them silence" if self.padded_samples else ""
        return (
            f"{self.path.name}: {self.packets} pictures copied; {self.samples} samples of sound at {self.sample_rate} Hz "
            f"for {self.seconds:.4f} s{padded}"
        )


def choose_container(source: str | Path) -> str:
    """The container that a video's pictures can be copied to: its own where that holds our sound, else mkv."""
    suffix = Path(source).suffix.lower().lstrip(".")
    suffix = CONTAINER_ALIASES.get(suffix, suffix)
    return suffix if suffix in AUDIO_CODEC_OF else "mkv"


def replace_sound(
    source: str | Path, path: str | Path, audio: Tensor, sample_rate: int, *, bitrate: int = 192_000,
    metadata: Mapping[str, str] | None = None, progress: Callable[[int, int], None] | None = None,
    check_interrupt: Callable[[], None] | None = None,
) -> ReplaceReport:  # fmt: skip
    """Copies the pictures of `source` to `path`, a file of `choose_container(source)`, with `audio` [1 or 2, samples] under
    them, as long as they are to the sample: what is longer is faded out, what is shorter ends in silence.
    `progress(done, total)` and `check_interrupt()` are called after each picture.

    The file appears under its name only when whole. Raises ValueError where there are no pictures, FileNotFoundError where
    there is no such file, OSError where it cannot be written, each in one line.
    """
    source, path = Path(source), Path(path)
    check_audio(audio, sample_rate)
    kind = choose_container(source)
    rate = encodable_rate(AUDIO_CODEC_OF[kind], sample_rate)
    if not source.is_file():
        raise FileNotFoundError(f"there is no video {source}; check the name")
    seconds = _seconds(source)
    samples = max(1, round(seconds * rate))
    wave = resample(audio.detach().float().cpu().clamp(-1, 1), sample_rate, rate)
    missing = max(0, samples - wave.shape[1])
    policy = "pad" if wave.shape[1] - samples <= 1 else "fade"
    wave = fit_audio(wave, samples, policy, round(FADE_SECONDS * rate))
    with temporary_file(path) as part:
        packets = _copied(source, part, path, kind, wave, rate, bitrate, dict(metadata or {}), progress, check_interrupt)
        with explain_write_errors(path):
            os.replace(part, path)
    return ReplaceReport(path, float(seconds), packets, samples, rate, missing)


def _copied(
    source: Path, part: Path, path: Path, kind: str, wave: Tensor, rate: int, bitrate: int, metadata, progress, check_interrupt
) -> int:
    with _opened(source) as given, explain_write_errors(path):
        pictures = given.streams.video[0]
        with av.open(str(part), "w", format=CONTAINERS[kind].muxer, options=muxer_options(kind)) as out:
            out.metadata.update(metadata)
            try:
                video = out.add_stream_from_template(pictures)
            except ValueError as error:
                raise ValueError(f"{kind} cannot hold {pictures.codec.name} pictures; give an mp4, webm or mkv") from error
            sound = add_audio_stream(out, AUDIO_CODEC_OF[kind], len(wave), rate, bitrate)
            heard, count, begin = _encoded(sound, wave, rate), 0, None
            for packet in given.demux(pictures):
                if not packet.size:
                    continue
                at = packet.dts if packet.dts is not None else packet.pts
                begin = at if begin is None else begin
                for each in _until(heard, (at - begin) * packet.time_base):
                    out.mux(each)
                packet.stream = video
                out.mux(packet)
                count += 1
                if progress and pictures.frames:
                    progress(min(count, pictures.frames), pictures.frames)
                if check_interrupt:
                    check_interrupt()
            for each in heard:
                out.mux(each)
    return count


def _encoded(stream, wave: Tensor, rate: int) -> Iterator[av.Packet]:
    for at in range(0, wave.shape[1], CHUNK):
        frame = audio_frame(wave[:, at : at + CHUNK], rate)
        frame.pts, frame.time_base = at, Fraction(1, rate)
        yield from stream.encode(frame)
    yield from stream.encode(None)


def _until(packets: Iterator[av.Packet], seconds: Fraction) -> Iterator[av.Packet]:
    """Packets up to the first that begins after `seconds`, so that sound and pictures lie side by side in the file."""
    for packet in packets:
        yield packet
        if packet.pts is not None and packet.pts * packet.time_base > seconds:
            return


def _seconds(source: Path) -> Fraction:
    """How long the pictures last: from the first to the end of the last."""
    with _opened(source) as container:
        if not container.streams.video:
            raise ValueError(f"{source} has no pictures; give a video file")
        stream = container.streams.video[0]
        shown = sorted((p.pts, p.duration or 0) for p in container.demux(stream) if p.pts is not None and p.size)
    if not shown:
        raise ValueError(f"{source} has no pictures; give a video file")
    (first, _), (last, held) = shown[0], shown[-1]
    if not held and len(shown) > 1:
        held = (last - first) / (len(shown) - 1)
    seconds = Fraction((last + held - first) * stream.time_base)
    even = len(shown) / Fraction(stream.average_rate) if stream.average_rate else seconds
    return even if abs(even - seconds) <= ROUNDED * stream.time_base else seconds


def _opened(source: Path):
    try:
        return av.open(str(source))
    except av.FFmpegError as error:
        raise ValueError(f"{source} is no video, or damaged ({error.strerror}); give another file") from error
