"""Replace the audio of a video file. The video packets are copied without re-encoding (remuxing)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from io import BytesIO
from pathlib import Path

import av
from av.audio.stream import AudioStream
from av.container import InputContainer, OutputContainer
from av.stream import Stream
from av.video.stream import VideoStream
from torch import Tensor

from ..atomic import as_path, explain_write_errors, publish, temporary_file
from .audio import add_audio_stream, check_audio
from .copy_extras import add_extras, copy_chapters
from .copy_streams import MUXERS, Holder, add_copy, can_hold, choose_holder, kept_tags
from .copyable import NotCopyableError
from .move_packets import move_packets
from .packet_times import timed_packets
from .settings import AudioCodec, length_warning, mix_note, muxer_options
from .shown import Shown, find_shown
from .sound_track import SoundTrack, make_track
from .sources import Source, name_of, open_container
from .streams import choose_video

__all__ = ["CopyPlan", "NotCopyableError", "ReplaceReport", "choose_container", "plan_copy", "replace_sound"]

# Microseconds that the muxer waits for the next packet of a subtitle track, which may be far away.
_SPARSE_STREAMS = {"max_interleave_delta": "10000000"}


@dataclass(frozen=True)
class ReplaceReport:
    """What was written to a file.

    seconds: duration of the video. packets: number of copied frames that are shown.
    samples: audio samples per channel at `sample_rate` Hz. padded_samples: how many of them are silence added at the end.
    cut_samples: how many samples of longer audio were cut off. What a codec has appended to fill its last block is not counted.
    mixed_channels: number of channels that were mixed to stereo; 0 if the channels are unchanged.
    left_out: one line for each kind of stream that the new file cannot hold.
    """

    path: Path
    seconds: float
    packets: int
    samples: int
    sample_rate: int
    padded_samples: int
    cut_samples: int = 0
    mixed_channels: int = 0
    left_out: tuple[str, ...] = ()

    def summary(self) -> str:
        """Describe the written file in one line."""
        padded = f", {self.padded_samples} of them silence" if self.padded_samples else ""
        return (
            f"{self.path.name}: {self.packets} frames copied; {self.samples} audio samples at {self.sample_rate} Hz "
            f"for {self.seconds:.4f} s{padded}"
        )

    def warnings(self) -> list[str]:
        """Return a line if the audio was cut or padded for over 100 ms, or mixed, and for streams that were left out."""
        cut = length_warning(self.path, self.cut_samples / self.sample_rate, "longer than the video, so its end was cut")
        padded = length_warning(self.path, self.padded_samples / self.sample_rate, "shorter than the video, so silence was added")
        mixed = mix_note(self.mixed_channels) if self.mixed_channels else ""
        others = [f"{self.path.name}: {line}" for line in (mixed, *self.left_out) if line]
        return [line for line in (cut, padded) if line] + others


@dataclass(frozen=True)
class CopyPlan:
    """How the video of a file is copied.

    source: the file, or its contents. container: name of the container that holds the video whole; also the ending of file names.
    """

    source: Source
    container: Holder
    shown: Shown


def plan_copy(source: Source, check_interrupt: Callable[[], None] | None = None) -> CopyPlan:
    """Read which frames of `source` are shown, and choose a container that holds a copy of its video.

    mp4, mov, webm and mkv keep their container, as long as nothing is lost; mov becomes mp4, which more players know. Other
    files become mkv. Raises FileNotFoundError, ValueError for a file without video or with damage, and NotCopyableError when
    the video can be decoded, but not copied.
    """
    shown = find_shown(source, check_interrupt)
    with open_container(source) as given:
        video = choose_video(source, given)
        return CopyPlan(source, choose_holder(given, video, source, shown.hides), shown)


def choose_container(source: Source) -> Holder:
    """Return the container to copy a video to; see `plan_copy`."""
    return plan_copy(source).container


def replace_sound(
    source: Source | CopyPlan, path: str | Path, audio: Tensor, sample_rate: int, *, bitrate: int = 192_000,
    metadata: Mapping[str, str] | None = None, progress: Callable[[int, int], None] | None = None,
    check_interrupt: Callable[[], None] | None = None,
) -> ReplaceReport:  # fmt: skip
    """Copy the video stream of `source` to `path` with new audio, fitted to the duration of the frames that are shown.

    source: a file, its contents, or what `plan_copy` has returned for it. Its subtitles, cover image, attached files, chapters
        and text tags are copied where the container holds them.
    path: a file whose container is `plan_copy(source).container`; another file than `source`.
    audio: float [channels, samples] in −1..1 at `sample_rate` Hz; more than 2 channels are mixed to stereo. It starts with the
        first frame that is shown. Longer audio is cut with a 20 ms fade-out; shorter audio is padded with silence.
    bitrate: audio bits per second. metadata: text tags of the new file, in place of the old ones with these names.
    progress, check_interrupt: called after each frame, as `progress(done, total)` and `check_interrupt()`.

    The file appears under its name only when it is complete. Raises FileNotFoundError when `source` does not exist,
    ValueError when it has no video stream, is damaged or cannot be copied, or `audio` is invalid, OSError when `path` cannot
    be written.
    """
    path = as_path(path)
    check_audio(audio, sample_rate)
    plan = source if isinstance(source, CopyPlan) else plan_copy(source, check_interrupt)
    _check_target(plan.source, path)
    track = make_track(audio, sample_rate, plan.shown.seconds, _audio_codec(plan.container))
    copy = _Copy(plan, path, progress, check_interrupt)
    with temporary_file(path) as part:
        copy.write(part, track, bitrate, metadata or {})
        path = publish(part, path)
    return ReplaceReport(
        path, float(plan.shown.seconds), plan.shown.frames, track.samples, track.rate, track.padded, track.cut,
        track.mixed_channels, tuple(copy.left_out),
    )  # fmt: skip


def _audio_codec(holder: Holder) -> AudioCodec:
    return "opus" if holder == "webm" else "aac"


def _check_target(source: Source, path: Path) -> None:
    if not isinstance(source, BytesIO) and path.exists() and path.samefile(source):
        raise ValueError(f"{path} is the video itself; choose another name for the new file")


class _Copy:
    """Writes one file: the video of `plan` with a waveform."""

    def __init__(
        self, plan: CopyPlan, path: Path, progress: Callable[[int, int], None] | None, check_interrupt: Callable[[], None] | None
    ) -> None:
        self.plan, self.path, self.progress, self.check_interrupt = plan, path, progress, check_interrupt
        self.shown, self.count = plan.shown, 0
        self.left_out: list[str] = []

    def write(self, part: Path, track: SoundTrack, bitrate: int, metadata: Mapping[str, str]) -> None:
        with open_container(self.plan.source) as given, self._explain():
            video = choose_video(self.plan.source, given)
            with av.open(str(part), "w", format=MUXERS[self.plan.container], options=self._options(given)) as out:
                out.metadata.update(kept_tags(given.metadata, metadata) | dict(metadata))
                copies = self._add_streams(given, video, out)
                sound = add_audio_stream(out, _audio_codec(self.plan.container), len(track.wave), track.rate, bitrate)
                self._copy_packets(given, video, out, copies, track.packets(sound, self.check_interrupt))
            av.open(str(part)).close()  # raises if a damaged video has become a file that cannot be opened

    def _options(self, given: InputContainer) -> dict[str, str]:
        options = muxer_options(self.plan.container)
        return options | (_SPARSE_STREAMS if given.streams.subtitles else {})

    def _add_streams(self, given: InputContainer, video: VideoStream, out: OutputContainer) -> dict[int, Stream]:
        """Add copies of the video and of what belongs to it; return them by the index of the old streams."""
        holder = self.plan.container
        copies = {video.index: add_copy(out, video, can_hold(holder, video, tagged=True))}
        if self.shown.hides_end:
            # Otherwise the muxer extends the hidden frames to the duration of a frame, and they are shown.
            copies[video.index].codec_context.framerate = Fraction(0)  # type: ignore[attr-defined]
        extras, self.left_out = add_extras(self.plan.source, given, video, out, holder)
        copy_chapters(given, out, self.shown.start * self.shown.time_base, self.shown.seconds)
        return copies | extras

    def _copy_packets(
        self, given: InputContainer, video: VideoStream, out: OutputContainer, copies: dict[int, Stream],
        audio: Iterator[av.Packet[AudioStream]],
    ) -> None:  # fmt: skip
        """Copy the packets, interleaved with the audio packets."""
        others = [stream for stream in given.streams if stream.index in copies and stream is not video]
        for packet in move_packets(timed_packets(given, self.shown.times, video, *others), self.shown, video):
            is_video = packet.stream is video
            if is_video:
                at = packet.pts if packet.dts is None else packet.dts
                for each in _packets_until(audio, Fraction((at or 0) * packet.time_base)):
                    out.mux(each)
            packet.stream = copies[packet.stream.index]
            out.mux(packet)
            if is_video:
                self._after_frame()
        for each in audio:
            out.mux(each)

    def _after_frame(self) -> None:
        self.count += 1
        if self.progress:
            self.progress(min(self.count, self.shown.frames), self.shown.frames)
        if self.check_interrupt:
            self.check_interrupt()

    @contextmanager
    def _explain(self) -> Iterator[None]:
        """Convert the muxer's errors into one line."""
        try:
            with explain_write_errors(self.path):
                yield
        except av.FFmpegError as error:
            name, container = name_of(self.plan.source), self.plan.container
            reason = f"the video of {name} cannot be copied to {container} ({error.strerror})"
            raise ValueError(f"{reason}; it may be damaged: encode it again") from error


def _packets_until(packets: Iterator[av.Packet[AudioStream]], seconds: Fraction) -> Iterator[av.Packet[AudioStream]]:
    """Yield packets up to and including the first that starts after `seconds`, to interleave audio and video in the file."""
    for packet in packets:
        yield packet
        if packet.pts is not None and packet.pts * packet.time_base > seconds:
            return
