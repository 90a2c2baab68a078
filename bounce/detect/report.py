"""Measures a video file: its length, its audio level, and how many contacts in the frames match onsets in the audio.

Contacts are detected for saturated balls on a grey background (`balls.py`), so they are found in Bounce clips only.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from ...av_models.media import read_video
from ...av_models.metrics import matching
from .attributes import observe


@dataclass(frozen=True)
class FileReport:
    """The measurements of one file.

    picture_seconds, sound_seconds: lengths of the video and the audio. peak_db: audio peak in dBFS, −inf for silence.
    contacts, onsets, matches: numbers of contacts, of onsets, and of contacts matched to an onset.
    offset_ms: median offset of the matches, None without any.
    """

    frames: int
    picture_seconds: float
    sound_seconds: float
    peak_db: float
    contacts: int
    onsets: int
    matches: int
    offset_ms: float | None

    def summary(self) -> str:
        """Formats the report as one line."""
        sound = f"{self.sound_seconds:.3f} s of audio, peak {self.peak_db:.1f} dBFS" if self.sound_seconds else "no audio"
        line = f"{self.frames} frames in {self.picture_seconds:.3f} s, {sound}"
        if not self.contacts:
            return line
        offset = "" if self.offset_ms is None else f", median offset {self.offset_ms:+.0f} ms"
        return f"{line}; {self.contacts} contacts in the video, {self.onsets} onsets in the audio, {self.matches} matched{offset}"


def measure_file(path: str | Path) -> FileReport:
    """Reads a video file and measures it. Raises the errors of `media.read_video`."""
    clip = read_video(path)
    sound, rate = clip.audio, clip.sample_rate
    heard = 0 if sound is None else sound.shape[-1]
    peak = float(sound.abs().max()) if heard else 0.0
    seen = observe(clip.frames.float() / 255, sound, rate, float(clip.fps)) if heard else None
    found = matching.match(seen.contacts, seen.onsets) if seen else None
    return FileReport(
        frames=len(clip.frames),
        picture_seconds=float(len(clip.frames) / clip.fps),
        sound_seconds=heard / rate if heard else 0.0,
        peak_db=20 * math.log10(peak) if peak else -math.inf,
        contacts=len(seen.contacts) if seen else 0,
        onsets=len(seen.onsets) if seen else 0,
        matches=int(found.counts[0]) if found else 0,
        offset_ms=matching.median_offset_ms([found]) if found and found.counts[0] else None,
    )
