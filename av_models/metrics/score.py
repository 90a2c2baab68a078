"""Measure any video with audio, without a trained model: audio-video sync, motion, loudness, audio faults.

Method. Video events are abrupt changes of motion (`motion_events`), audio events are onsets (`onsets`). They are matched one to
one within a frame; the rest are misses (`matching`, `sync`). The chance level is the F1 of the same audio shifted in time. A
constant delay is estimated up to ±1 s (`offset`). Loudness is ITU-R BS.1770-4.

Limits. Only times are compared, not content: a dog that barks as a door slams is in sync. Cuts and silent gestures are video
events, and background music has many audio events; both lower F1 although nothing is wrong. So compare with the chance level and
with clips of the same kind. This is not a measure of lip-sync: speech has few onsets. Detectors for a known kind of content
find more events. Audio with a sample rate below 4 kHz is not supported.

Frames and audio are processed piece by piece and not kept. Large frames of a file are read at a reduced size.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..media import open_video
from ..media.frames import iter_frames
from ..media.read import VideoFile, Window
from ..media.settings import validate_fps
from ..media.sources import Source
from ..shapes import VideoShape, count_samples
from .agreement import Agreement, AgreementMeter, AgreementSettings
from .health import SoundHealth
from .motion_events import Motion, MotionMeter, find_motion_events, subsampling_step
from .sound_meter import SoundMeter
from .sync import Sync, measure_sync

LOWEST_RATE, HIGHEST_RATE = 4_000, 768_000  # Hz


@dataclass(frozen=True)
class Score:
    """Measurements of a clip. `sound`, `sync` and `envelope` are None when there is no audio.

    seen: times of the video events in seconds. size: (height, width) in pixels.
    envelope: of the audio, see `sound_events.OnsetMeter`.
    agreement: None without a binder.
    """

    motion: Motion
    seen: np.ndarray
    size: tuple[int, int]
    sound: SoundHealth | None = None
    sync: Sync | None = None
    envelope: np.ndarray | None = None
    agreement: Agreement | None = None

    @property
    def frames(self) -> int:
        """Number of frames."""
        return len(self.motion.times)

    @property
    def seconds(self) -> float:
        """Duration of the video."""
        return float(self.frames / self.motion.fps)

    def lines(self) -> list[str]:
        """Return the report as lines of text, warnings last."""
        return [*self.measurements(), *(f"warning: {each}" for each in self.warnings())]

    def measurements(self) -> list[str]:
        """Return the lines of the report without its warnings."""
        return [self._video_line(), self._audio_line(), *self._sync_lines(), *(self.agreement.lines() if self.agreement else [])]

    def warnings(self) -> list[str]:
        """Return one line per fault of the frames or the audio."""
        broken = self.motion.broken
        found = [f"{broken} of {self.frames} frames contain NaN or infinity"] if broken else []
        return found + (self.sound.warnings() if self.sound else [])

    def facts(self) -> dict[str, Any]:
        """Return the report as JSON-compatible values; None for values that could not be measured. Times are in seconds."""
        content = {"agreement": self.agreement.facts()} if self.agreement else {}
        measured = {"sound": self._audio_facts(), "sync": self._sync_facts(), **content, "warnings": self.warnings()}
        return self._video_facts() | measured

    def _video_line(self) -> str:
        rate = f"{float(self.motion.fps):g} fps"
        motion = f"mean motion {100 * self.motion.mean:.2f} % of full scale per frame" if self.frames > 1 else "a single frame"
        return f"video: {self.frames} frames in {self.seconds:.3f} s at {rate}, {motion}"

    def _audio_line(self) -> str:
        if self.sound is None:
            return f"audio: none; {_count(len(self.seen), 'event')} in the video"
        channels = {1: "mono", 2: "stereo"}.get(self.sound.channels, f"{self.sound.channels} channels")
        level = f"{self.sound.loudness:.1f} LUFS, peak {self.sound.peak_db:.1f} dBFS"
        return f"audio: {self.sound.seconds:.3f} s, {self.sound.sample_rate} Hz, {channels}, {level}"

    def _sync_lines(self) -> list[str]:
        if self.sync is None:
            return []
        matched, seen, heard = self.sync.matching.counts
        if self.sync.f1 is None:
            return ["sync: no events in the video or the audio"]
        within = f"{matched} matched within {1000 * self.sync.tolerance:.0f} ms"
        misses = f"{self.sync.matching.missed} only in the video, {self.sync.matching.spurious} only in the audio"
        f1 = f"F1 {self.sync.f1:.2f} (chance {self.sync.chance:.2f})"
        events = f"{_count(seen, 'event')} in the video, {heard} in the audio"
        return [f"sync: {events}, {within}, {misses}; {f1}", _offset_line(self.sync)]

    def _video_facts(self) -> dict[str, Any]:
        height, width = self.size
        return {
            "frames": self.frames,
            "fps": float(self.motion.fps),
            "seconds": self.seconds,
            "width": width,
            "height": height,
            "motion": self.motion.mean,
            "broken_frames": self.motion.broken,
        }

    def _audio_facts(self) -> dict[str, Any] | None:
        if self.sound is None:
            return None
        sound = self.sound
        return {
            "seconds": sound.seconds,
            "samples": sound.samples,
            "sample_rate": sound.sample_rate,
            "channels": sound.channels,
            "lufs": _finite(sound.loudness),
            "peak_dbfs": _finite(sound.peak_db),
            "silent": sound.silent,
            "dc": sound.dc,
            "clipped": sound.clipped,
            "broken_values": sound.broken,
            "surplus_samples": sound.surplus,
            "surplus_ms": sound.surplus_ms,
        }

    def _sync_facts(self) -> dict[str, Any]:
        """Without audio, only the video events."""
        times = {"seen": self.seen.round(4).tolist()}
        if self.sync is None:
            return times | dict.fromkeys(("heard", "matches", "f1", "chance", "offset_ms", "advice_ms"))
        sync = self.sync
        pairs = [[float(sync.seen[i]), float(sync.heard[j])] for i, j in sync.matching.pairs]
        return {
            "seen": sync.seen.round(4).tolist(),
            "heard": sync.heard.round(4).tolist(),
            "matches": np.round(pairs, 4).tolist(),
            "only_seen": sync.matching.missed,
            "only_heard": sync.matching.spurious,
            "tolerance_ms": 1000 * sync.tolerance,
            "f1": sync.f1,
            "chance": sync.chance,
            "offset_ms": sync.offset_ms,
            "offset_sure": sync.lag is not None,
            "advice_ms": sync.advice_ms,
        }


def score_clip(
    frames: Tensor | Iterable[Tensor],
    fps: float | Fraction,
    waveform: Tensor | None = None,
    sample_rate: int | None = None,
    on_frame: Callable[[], object] = lambda: None,
    agreement: AgreementSettings | None = None,
) -> Score:
    """Measure frames and a waveform.

    frames: [F, H, W, C], or an iterable of [H, W, C] or [T, H, W, C], float 0..1 or uint8; read one at a time.
    fps: frames per second, above 0 and at most 1000.
    waveform: float [channels, samples] in −1..1 at `sample_rate` Hz, any number of channels; None for no audio.
    on_frame: called after each frame.
    agreement: also compare the content of video, audio and prompts, with a binder.
    Raises ValueError for other shapes, no frames, or an invalid `fps` or `sample_rate`.
    """
    sound = None
    if waveform is not None:
        sound = SoundMeter(_check_audio(waveform, sample_rate))  # early: measuring the frames may take minutes
    meter = MotionMeter(validate_fps(fps))
    content = None if agreement is None else AgreementMeter(agreement, meter.fps)
    for frame in iter_frames(frames):
        meter.add(frame)
        if content:
            content.add_frame(frame.detach)
        on_frame()
    if sound is not None and waveform is not None:
        sound.add(waveform)
        if content:
            content.add_sound(waveform, sound.sample_rate)
    return _score(meter, sound, content)


def score_file(
    source: Source,
    on_frame: Callable[[], object] = lambda: None,
    window: Window = Window(),
    agreement: AgreementSettings | None = None,
) -> Score:
    """Measure a video file, or its contents in memory. `on_frame()` is called after each frame. window: the part to measure.

    agreement: also compare the content of video, audio and prompts, with a binder.
    Raises the same errors as `media.read_video`.
    """
    with open_video(source, window) as file:
        meter = MotionMeter(validate_fps(file.fps))
        content = None if agreement is None else AgreementMeter(agreement, meter.fps)
        sound = _FileSound(file, content)
        for frame, seconds in file.read_frames(step_for=subsampling_step):
            meter.add(frame, seconds)
            if content:
                content.add_frame(file.whole_frame, seconds)
            sound.add(file.take_audio())
            on_frame()
        sound.add(file.take_audio(is_last=True))
        return _score(meter, sound.meter, content, file.size)


class _FileSound:
    """Measures the audio of a file while it is read."""

    meter: SoundMeter | None = None

    def __init__(self, file: VideoFile, content: AgreementMeter | None) -> None:
        self._file, self._content = file, content

    def add(self, parts: list[Tensor]) -> None:
        for part in parts:
            self.meter = self.meter or SoundMeter(self._sample_rate())
            self.meter.add(part)
            if self._content:
                self._content.add_sound(part, self.meter.sample_rate)

    def _sample_rate(self) -> int:
        rate = self._file.sample_rate
        if rate is None or not LOWEST_RATE <= rate <= HIGHEST_RATE:
            raise ValueError(f"{self._file.path} has audio of {rate} Hz; convert it to {LOWEST_RATE} to {HIGHEST_RATE} Hz")
        return rate


def _score(
    meter: MotionMeter, sound: SoundMeter | None, content: AgreementMeter | None, size: tuple[int, int] | None = None
) -> Score:
    """Return the score of all that was measured. size: (width, height) of the video; None for that of the frames."""
    motion = meter.finish()
    assert meter.size is not None
    height, width = (size[1], size[0]) if size else meter.size[:2]
    seen, agreement = find_motion_events(motion), content.finish() if content else None
    if sound is None or sound.samples == 0:
        return Score(motion, seen, (height, width), agreement=agreement)
    video = VideoShape(len(motion.times), height, width, motion.fps)
    health, heard, envelope = sound.finish(count_samples(video, sound.sample_rate))
    sync = measure_sync(seen, heard, float(motion.fps), min(video.seconds, health.seconds))
    return Score(motion, seen, (height, width), health, sync, envelope, agreement)


def _offset_line(sync: Sync) -> str:
    offset, advice = sync.offset_ms, sync.advice_ms
    if offset is None:
        return "offset: unknown, because no events match"
    line = f"offset: the audio is {abs(offset):.0f} ms {'late' if offset >= 0 else 'early'}"
    if advice is not None:
        return f"{line}; shift the audio by {advice:+.0f} ms ({'earlier' if advice < 0 else 'later'})"
    if sync.lag is None:
        return f"{line}, estimated from matched events only; too few or too regular events for a reliable value"
    return line


def _check_audio(waveform: Tensor, sample_rate: int | None) -> int:
    if waveform.ndim != 2 or not torch.is_floating_point(waveform) or not len(waveform):
        raise ValueError(f"audio has dtype {waveform.dtype} and shape {list(waveform.shape)}; give floats [channels, samples]")
    if sample_rate is None or not LOWEST_RATE <= sample_rate <= HIGHEST_RATE or sample_rate != int(sample_rate):
        raise ValueError(f"sample rate is {sample_rate}; give a whole number of Hz from {LOWEST_RATE} to {HIGHEST_RATE}")
    return sample_rate


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
