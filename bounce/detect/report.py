"""What a finished file holds: its pictures, its sound, and how often a ball's contact is heard when it is seen.

Contacts are those of saturated balls before a grey scene (`balls.py`): right for Bounce, silent on other footage.
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
    """Times in seconds; `peak_db` in dB below full scale, −inf for silence or no sound; counts of events."""

    frames: int
    picture_seconds: float
    sound_seconds: float
    peak_db: float
    contacts: int
    onsets: int
    matches: int
    offset_ms: float | None

    def summary(self) -> str:
        """One line for people."""
        sound = f"{self.sound_seconds:.3f} s of sound, peak {self.peak_db:.1f} dBFS" if self.sound_seconds else "no sound"
        lines = f"{self.frames} frames in {self.picture_seconds:.3f} s, {sound}"
        if not self.contacts:
            return lines
        offset = "" if self.offset_ms is None else f", median offset {self.offset_ms:+.0f} ms"
        return f"{lines}; {self.contacts} contacts seen, {self.onsets} onsets heard, {self.matches} together{offset}"


def measure_file(path: str | Path) -> FileReport:
    """Read a video file back and measure it; errors as `media.read_video`'s."""
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
