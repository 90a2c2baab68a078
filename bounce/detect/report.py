"""Measures a file: its length, its audio level, and how many events in the video match events in the audio.

In Bounce clips, the events are contacts and onsets. Contacts are detected for saturated balls on a grey background
(`balls.py`). In other videos, the events are those of `av_models.metrics.score`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

import torch
from av.container import InputContainer

from ...av_models.media import Clip, open_video
from ...av_models.media.decode_audio import Samples
from ...av_models.media.sources import explain_damage, open_container
from ...av_models.media.streams import choose_video
from ...av_models.metrics import matching
from ...av_models.metrics.score import Score, score_file
from .attributes import Observation, observe
from .balls import COLOURED

LONGEST_SIDE, MOST_FRAMES = 64, 512  # of Bounce clips
MOST_COLOURED = 0.25  # share of the pixels of Bounce clips that are coloured; two large balls cover less than 0.1


@dataclass(frozen=True)
class FileReport:
    """The measurements of one file.

    picture_seconds, sound_seconds: lengths of the video and the audio. peak_db: audio peak in dBFS, −inf for silence.
    contacts, onsets, matches: numbers of events in the video, of events in the audio, and of matched pairs.
    offset_ms: median offset of the matches, None without any. kinds: what the events in the video and in the audio are.
    """

    frames: int
    picture_seconds: float
    sound_seconds: float
    peak_db: float
    contacts: int = 0
    onsets: int = 0
    matches: int = 0
    offset_ms: float | None = None
    kinds: tuple[str, str] = ("contact", "onset")

    def summary(self) -> str:
        """Formats the report as one line."""
        sound = f"{self.sound_seconds:.3f} s of audio, peak {self.peak_db:.1f} dBFS" if self.sound_seconds else "no audio"
        line = f"{self.frames} frames in {self.picture_seconds:.3f} s, {sound}" if self.frames else sound
        if not self.contacts + self.onsets:
            return line
        offset = "" if self.offset_ms is None else f", median offset {self.offset_ms:+.0f} ms"
        seen, heard = (_count(number, kind) for number, kind in zip((self.contacts, self.onsets), self.kinds))
        return f"{line}; {seen} in the video, {heard} in the audio, {self.matches} matched{offset}"


def _count(number: int, kind: str) -> str:
    return f"{number} {kind}{'' if number == 1 else 's'}"


def measure_file(path: str | Path, on_frame: Callable[[], object] = lambda: None) -> FileReport:
    """Reads a file of video or audio and measures it. `on_frame()` is called after each frame of a long or large video.

    Raises the errors of `score_file`.
    """
    sound = _measure_sound(path)
    if sound is not None:
        return sound
    clip = _small_clip(path)
    if clip is not None and clip.audio is not None and clip.sample_rate:
        seen = observe(clip.frames.float() / 255, clip.audio, clip.sample_rate, float(clip.fps))
        if len(seen.contacts):
            return _report_contacts(clip, seen)
    return _report_events(score_file(path, on_frame))


def _measure_sound(path: str | Path) -> FileReport | None:
    """Measures a file of audio alone; None for other files."""
    with open_container(path) as container, explain_damage(path):
        if not container.streams.audio or _has_video(path, container):
            return None
        samples, count, peak = Samples(), 0, 0.0
        frames = container.decode(container.streams.audio[0])
        for part in chain.from_iterable(chain(map(samples.convert, frames), [samples.flush()])):
            count, peak = count + part.shape[1], max(peak, float(part.nan_to_num(0.0).abs().max()))
        return FileReport(0, 0.0, count / samples.rate if samples.rate else 0.0, _decibels(peak))


def _has_video(path: str | Path, container: InputContainer) -> bool:
    try:
        return bool(choose_video(path, container))
    except ValueError:
        return False


def _decibels(peak: float) -> float:
    return 20 * math.log10(peak) if peak else -math.inf


def _small_clip(path: str | Path) -> Clip | None:
    """Returns the clip in a file if it may be one of Bounce."""
    with open_video(path) as file:
        if max(file.size) > LONGEST_SIDE:
            return None
        frames = torch.stack([frame for frame, _ in islice(file.read_frames(), MOST_FRAMES + 1)])
        coloured = (frames.amax(-1) - frames.amin(-1) > 255 * COLOURED).float().mean()
        if len(frames) > MOST_FRAMES or coloured > MOST_COLOURED:
            return None
        return Clip(frames, file.fps, *file.read_audio(), {})


def _report_contacts(clip: Clip, seen: Observation) -> FileReport:
    assert clip.audio is not None and clip.sample_rate
    peak, found = float(clip.audio.abs().max()), matching.match(seen.contacts, seen.onsets)
    return FileReport(
        frames=len(clip.frames),
        picture_seconds=float(len(clip.frames) / clip.fps),
        sound_seconds=clip.audio.shape[-1] / clip.sample_rate,
        peak_db=_decibels(peak),
        contacts=len(seen.contacts),
        onsets=len(seen.onsets),
        matches=int(found.counts[0]),
        offset_ms=matching.median_offset_ms([found]) if found.counts[0] else None,
    )


def _report_events(score: Score) -> FileReport:
    if score.sound is None or score.sync is None:
        return FileReport(score.frames, score.seconds, 0.0, -math.inf)
    found = score.sync.matching
    return FileReport(
        frames=score.frames,
        picture_seconds=score.seconds,
        sound_seconds=score.sound.seconds,
        peak_db=score.sound.peak_db,
        contacts=len(score.sync.seen),
        onsets=len(score.sync.heard),
        matches=int(found.counts[0]),
        offset_ms=matching.median_offset_ms([found]) if found.counts[0] else None,
        kinds=("event", "event"),
    )
