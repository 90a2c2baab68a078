"""Replace the audio of a video file. The video packets are copied without re-encoding (remuxing)."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.video.stream import VideoStream
from torch import Tensor

from ..atomic import explain_write_errors, temporary_file
from .audio import FADE_SECONDS, add_audio_stream, audio_frame, check_audio, encodable_rate, fit_audio, resample
from .settings import CONTAINERS, Container, length_warning, muxer_options

AUDIO_CODEC_OF: dict[Container, str] = {"mp4": "aac", "webm": "opus", "mkv": "aac"}
CONTAINER_OF_SUFFIX: dict[str, Container] = {"mp4": "mp4", "webm": "webm", "mkv": "mkv", "mov": "mp4", "m4v": "mp4"}
CHUNK = 1024  # samples passed to the audio encoder at a time
ROUNDED_TIMESTAMPS = 2  # timestamps that a duration depends on, each rounded to the stream's time base


@dataclass(frozen=True)
class ReplaceReport:
    """What was written to a file.

    seconds: duration of the video. packets: number of copied video packets, one per frame.
    samples: audio samples per channel at `sample_rate` Hz. padded_samples: how many of them are silence added at the end.
    cut_samples: how many samples of longer audio were cut off.
    """

    path: Path
    seconds: float
    packets: int
    samples: int
    sample_rate: int
    padded_samples: int
    cut_samples: int = 0

    def summary(self) -> str:
        """Describe the written file in one line."""
        padded = f", {self.padded_samples} of them silence" if self.padded_samples else ""
        return (
            f"{self.path.name}: {self.packets} frames copied; {self.samples} audio samples at {self.sample_rate} Hz "
            f"for {self.seconds:.4f} s{padded}"
        )

    def warnings(self) -> list[str]:
        """Return a line if the audio was cut or padded for over 100 ms."""
        cut = length_warning(self.path, self.cut_samples / self.sample_rate, "longer than the video, so its end was cut")
        padded = length_warning(self.path, self.padded_samples / self.sample_rate, "shorter than the video, so silence was added")
        return [line for line in (cut, padded) if line]


def choose_container(source: str | Path) -> Container:
    """Return the container to copy a video to: its own if it is mp4, webm or mkv (mov and m4v: mp4), else mkv."""
    return CONTAINER_OF_SUFFIX.get(Path(source).suffix.lower().lstrip("."), "mkv")


def replace_sound(
    source: str | Path, path: str | Path, audio: Tensor, sample_rate: int, *, bitrate: int = 192_000,
    metadata: Mapping[str, str] | None = None, progress: Callable[[int, int], None] | None = None,
    check_interrupt: Callable[[], None] | None = None,
) -> ReplaceReport:  # fmt: skip
    """Copy the video stream of `source` to `path` with new audio, fitted to the duration of the video.

    path: a file whose container is `choose_container(source)`.
    audio: float [1 or 2, samples] in −1..1 at `sample_rate` Hz. Longer audio is cut with a 20 ms fade-out; shorter audio
        is padded with silence.
    bitrate: audio bits per second. metadata: text tags of the new file.
    progress, check_interrupt: called after each frame, as `progress(done, total)` and `check_interrupt()`.

    The file appears under its name only when it is complete. Raises FileNotFoundError when `source` does not exist,
    ValueError when it has no video stream or `audio` is invalid, OSError when `path` cannot be written.
    """
    source, path = Path(source), Path(path)
    check_audio(audio, sample_rate)
    container = choose_container(source)
    rate = encodable_rate(AUDIO_CODEC_OF[container], sample_rate)
    if not source.is_file():
        raise FileNotFoundError(f"there is no video {source}; check the name")
    seconds = _video_duration(source)
    samples = max(1, round(seconds * rate))
    wave = resample(audio.detach().float().cpu().clamp(-1, 1), sample_rate, rate)
    surplus = wave.shape[1] - samples
    wave = fit_audio(wave, samples, "pad" if surplus <= 1 else "fade", round(FADE_SECONDS * rate))

    def after_frame(done: int, total: int) -> None:
        if progress and total:
            progress(min(done, total), total)
        if check_interrupt:
            check_interrupt()

    with temporary_file(path) as part:
        with _open_input(source) as given, explain_write_errors(path):
            with av.open(str(part), "w", format=CONTAINERS[container].muxer, options=muxer_options(container)) as out:
                out.metadata.update(metadata or {})
                video, sound = _add_streams(given, out, container, len(wave), rate, bitrate)
                packets = _remux(given, out, video, _encode_packets(sound, wave, rate), after_frame)
        with explain_write_errors(path):
            os.replace(part, path)
    return ReplaceReport(path, float(seconds), packets, samples, rate, max(0, -surplus), max(0, surplus))


def _add_streams(
    given: InputContainer, out: OutputContainer, container: Container, channels: int, rate: int, bitrate: int
) -> tuple[VideoStream, AudioStream]:
    """Add a copy of the video stream and a new audio stream. Raises ValueError when the container does not support the video."""
    source = given.streams.video[0]
    try:
        video = out.add_stream_from_template(source)
    except ValueError as error:
        raise ValueError(f"{container} does not support {source.codec.name} video; give an mp4, webm or mkv") from error
    return video, add_audio_stream(out, AUDIO_CODEC_OF[container], channels, rate, bitrate)


def _remux(
    given: InputContainer, out: OutputContainer, video: VideoStream, audio: Iterator[av.Packet[AudioStream]],
    after_frame: Callable[[int, int], None],
) -> int:  # fmt: skip
    """Copy the video packets, interleaved with the audio packets; return the number of video packets."""
    source = given.streams.video[0]
    count, begin = 0, None
    for packet in given.demux(source):
        if not packet.size:
            continue
        at = packet.dts if packet.dts is not None else packet.pts
        begin = at if begin is None else begin
        assert at is not None and begin is not None
        for each in _packets_until(audio, (at - begin) * packet.time_base):
            out.mux(each)
        packet.stream = video
        out.mux(packet)
        count += 1
        after_frame(count, source.frames)
    for each in audio:
        out.mux(each)
    return count


def _encode_packets(stream: AudioStream, wave: Tensor, rate: int) -> Iterator[av.Packet[AudioStream]]:
    for at in range(0, wave.shape[1], CHUNK):
        frame = audio_frame(wave[:, at : at + CHUNK], rate)
        frame.pts, frame.time_base = at, Fraction(1, rate)
        yield from stream.encode(frame)
    yield from stream.encode(None)


def _packets_until(packets: Iterator[av.Packet[AudioStream]], seconds: Fraction) -> Iterator[av.Packet[AudioStream]]:
    """Yield packets up to and including the first that starts after `seconds`, to interleave audio and video in the file."""
    for packet in packets:
        yield packet
        if packet.pts is not None and packet.pts * packet.time_base > seconds:
            return


def _video_duration(source: Path) -> Fraction:
    """Return the seconds from the start of the first frame to the end of the last."""
    with _open_input(source) as container:
        if not container.streams.video:
            raise ValueError(f"{source} has no video stream; give a video file")
        stream = container.streams.video[0]
        times = sorted((p.pts, p.duration or 0) for p in container.demux(stream) if p.pts is not None and p.size)
        time_base, average_rate = stream.time_base, stream.average_rate
    if not times or time_base is None:
        raise ValueError(f"{source} has no frames; give a video file")
    (first, _), (last, last_duration) = times[0], times[-1]
    duration: float = last_duration
    if not duration and len(times) > 1:
        duration = (last - first) / (len(times) - 1)
    seconds = Fraction((last + duration - first) * time_base)
    constant_rate = len(times) / Fraction(average_rate) if average_rate else seconds
    return constant_rate if abs(constant_rate - seconds) <= ROUNDED_TIMESTAMPS * time_base else seconds


def _open_input(source: Path) -> InputContainer:
    try:
        return av.open(str(source))
    except av.FFmpegError as error:
        raise ValueError(f"{source} is damaged or is not a video ({error.strerror}); give another file") from error
