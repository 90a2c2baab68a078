"""Rank takes of a clip by sync, by a binder's agreement, and by the health of the audio."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .metrics.agreement import PAIRS
from .metrics.score import Score

FAULT = 0.1  # what a fault of the audio costs


@dataclass(frozen=True)
class Ranking:
    """How takes are ranked. sync, agreement: the weights of sync F1 and of the agreement."""

    sync: float = 1.0
    agreement: float = 1.0

    def points(self, score: Score) -> float:
        """Return sync · F1 + agreement · the mean similarity − FAULT for each fault of the audio. What is unknown counts as 0."""
        f1 = score.sync.f1 if score.sync and score.sync.f1 is not None else 0.0
        return self.sync * f1 + self.agreement * (mean_agreement(score) or 0.0) - FAULT * len(audio_faults(score))

    def order(self, scores: Sequence[Score]) -> list[int]:
        """Return the numbers of the takes, best first. Unusable takes come last; of equal ones the first comes first."""
        return sorted(range(len(scores)), key=lambda i: (is_unusable(scores[i]), -self.points(scores[i]), i))

    def describe(self, has_binder: bool) -> str:
        """Return the rule as a line of text."""
        parts = [f"sync F1 × {self.sync:g}", *([f"agreement × {self.agreement:g}"] if has_binder else [])]
        return (
            f"score: {' + '.join(parts)} − {FAULT:g} per fault of the audio; silent or broken takes come last, ties go to the first"
        )


def mean_agreement(score: Score) -> float | None:
    """Return the mean similarity of video, audio and prompts; None without a binder."""
    if score.agreement is None:
        return None
    known = [value for pair in PAIRS if (value := score.agreement.mean(pair)) is not None]
    return sum(known) / len(known) if known else None


def audio_faults(score: Score) -> list[str]:
    """Return one line per fault of the audio."""
    return score.sound.warnings() if score.sound else ["no audio"]


def is_unusable(score: Score) -> bool:
    """Return whether frames or audio have NaN or infinity, or the audio is silent or missing."""
    return bool(score.motion.broken) or score.sound is None or score.sound.silent or bool(score.sound.broken)
