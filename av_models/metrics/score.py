"""How well any sounding video holds together, without weights: sync, motion, loudness, health.

Method. Events seen are abrupt changes of motion (`motion_events`), events heard are onsets (`onsets`); they are paired
one to one within a frame, and what is left over on either side is a miss (`matching`, `sync`). Chance is the F1 of the
same sound shifted in time. An offset beyond a frame is looked for up to ±1 s (`offset`). Loudness is ITU-R BS.1770-4.

Limits. It measures when, not what: a dog that barks as a door slams is in sync. A cut or a silent gesture is an event
seen, music from nowhere is full of events heard; both lower F1 without anything being wrong, so compare with the
chance level and with clips of the same kind. It is no measure of lip-sync: speech has few strikes. Detectors that know
what is shown, such as Bounce's own (`contacts`), see more. Sound below 4 kHz is refused.

Pictures are taken one by one and not kept: minutes take no more memory than seconds, but for the sound.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..media import open_video
from ..media.frames import iter_frames
from ..media.settings import validate_fps
from ..shapes import VideoShape, samples_of
from .health import SoundHealth, measure_sound_health
from .motion_events import Motion, MotionMeter, find_motion_events
from .sound_events import envelope, find_sound_events, mix_down
from .sync import Sync, measure_sync


@dataclass(frozen=True)
class Score:
    """`seen`: times of the events in the picture, in seconds; `size` [height, width]. Without sound, `sound` and `sync`
    are None. `envelope`: of the sound (`sound_events.envelope`).
    """

    motion: Motion
    seen: np.ndarray
    size: tuple[int, int]
    sound: SoundHealth | None = None
    sync: Sync | None = None
    envelope: np.ndarray | None = None

    @property
    def frames(self) -> int:
        return len(self.motion.times)

    @property
    def seconds(self) -> float:
        return float(self.frames / self.motion.fps)

    def lines(self) -> list[str]:
        """The report for people."""
        return [self._picture_line(), self._sound_line(), *self._sync_lines(), *(f"warning: {each}" for each in self.warnings())]

    def warnings(self) -> list[str]:
        broken = self.motion.broken
        found = [f"{broken} of {self.frames} frames hold NaN or infinity"] if broken else []
        return found + (self.sound.warnings() if self.sound else [])

    def facts(self) -> dict[str, Any]:
        """The report for programs: JSON throughout, None for what could not be measured. Times in seconds."""
        return self._picture_facts() | {"sound": self._sound_facts(), "sync": self._sync_facts(), "warnings": self.warnings()}

    def _picture_line(self) -> str:
        rate = f"{float(self.motion.fps):g} fps"
        motion = f"motion {100 * self.motion.mean:.2f} % of full scale a frame" if self.frames > 1 else "a single frame"
        return f"picture: {self.frames} frames in {self.seconds:.3f} s at {rate}, {motion}"

    def _sound_line(self) -> str:
        if self.sound is None:
            return f"sound: none; {_count(len(self.seen), 'event')} seen"
        channels = {1: "mono", 2: "stereo"}.get(self.sound.channels, f"{self.sound.channels} channels")
        level = f"{self.sound.loudness:.1f} LUFS, peak {self.sound.peak_db:.1f} dBFS"
        return f"sound: {self.sound.seconds:.3f} s, {self.sound.sample_rate} Hz, {channels}, {level}"

    def _sync_lines(self) -> list[str]:
        if self.sync is None:
            return []
        matched, seen, heard = self.sync.matching.counts
        if self.sync.f1 is None:
            return ["sync: nothing happens in the picture or the sound"]
        within = f"{matched} together within {1000 * self.sync.tolerance:.0f} ms"
        misses = f"{self.sync.matching.missed} only seen, {self.sync.matching.spurious} only heard"
        f1 = f"F1 {self.sync.f1:.2f} (chance {self.sync.chance:.2f})"
        return [f"sync: {_count(seen, 'event')} seen, {heard} heard, {within}, {misses}; {f1}", self._offset_line()]

    def _offset_line(self) -> str:
        offset, advice = self.sync.offset_ms, self.sync.advice_ms
        if offset is None:
            return "offset: unknown, nothing seen and heard belongs together"
        line = f"offset: the sound is {abs(offset):.0f} ms {'late' if offset >= 0 else 'early'}"
        if advice is not None:
            return f"{line}; shift the audio by {advice:+.0f} ms ({'earlier' if advice < 0 else 'later'})"
        if self.sync.lag is None:
            return f"{line}, by what meets within a frame; too few or too regular events to be sure"
        return line

    def _picture_facts(self) -> dict[str, Any]:
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

    def _sound_facts(self) -> dict[str, Any] | None:
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
        """Without sound, only what is seen."""
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
    frames: Tensor | Iterable[Tensor], fps: float | Fraction, waveform: Tensor | None = None, sample_rate: int | None = None
) -> Score:
    """Of pictures [F, H, W, C], or an iterable of [H, W, C] or chunks, floats 0..1 or uint8, taken one at a time.

    `waveform`: floats [channels, samples] in −1..1, any number of channels. Raises ValueError for other shapes, no frames,
    an fps that is not above 0 and at most 1000, or a sound without a rate.
    """
    if waveform is not None:
        _check_sound(waveform, sample_rate)  # before all the pictures
    meter = MotionMeter(validate_fps(fps))
    for frame in iter_frames(frames):
        meter.add(frame)
    return _score(meter, waveform, sample_rate)


def score_file(path: str | Path, on_frame: Callable[[], None] = lambda: None) -> Score:
    """Of a video file; errors as `media.read_video`'s. `on_frame()` is called after each picture."""
    with open_video(path) as file:
        meter = MotionMeter(validate_fps(file.fps))
        for picture, seconds in file.read_frames():
            meter.add(picture, seconds)
            on_frame()
        return _score(meter, *file.read_audio())


def _score(meter: MotionMeter, waveform: Tensor | None, sample_rate: int | None) -> Score:
    motion = meter.finish()
    seen, size = find_motion_events(motion), meter.size[:2]
    if waveform is None or waveform.shape[-1] == 0:
        return Score(motion, seen, size)
    _check_sound(waveform, sample_rate)
    wave = waveform.detach().float().cpu().numpy()
    mono = mix_down(wave)
    picture = VideoShape(len(motion.times), *size, motion.fps)
    health = measure_sound_health(wave, sample_rate, samples_of(picture, sample_rate))
    heard = np.zeros(0) if health.silent else find_sound_events(mono, sample_rate)
    sync = measure_sync(seen, heard, float(motion.fps), min(picture.seconds, health.seconds))
    return Score(motion, seen, size, health, sync, envelope(mono, sample_rate))


def _check_sound(waveform: Tensor, sample_rate: int | None) -> None:
    if waveform.ndim != 2 or not torch.is_floating_point(waveform) or not len(waveform):
        raise ValueError(f"audio is {waveform.dtype} of shape {list(waveform.shape)}; give floats [channels, samples]")
    if sample_rate is None or not 4_000 <= sample_rate <= 768_000 or sample_rate != int(sample_rate):
        raise ValueError(f"sample rate is {sample_rate}; give a whole number of Hz, 4000 to 768000")


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
