"""Cut audio that arrives in pieces into long windows that overlap."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np


class Window(NamedTuple):
    """A window of audio.

    samples: [channels, samples], the window with its surroundings. begin: index of its first own sample in the audio.
    lead: number of samples before the first own sample.
    """

    samples: np.ndarray
    begin: int
    lead: int


class Windows:
    """Cuts audio into windows of `length` samples, each with up to `before` and `after` more samples around it.

    It keeps no more than one window.
    """

    def __init__(self, length: int, before: int = 0, after: int = 0) -> None:
        self.length, self.before, self.after = length, before, after
        self._pieces: list[np.ndarray] = []
        self._first, self._total, self._begin = 0, 0, 0  # first sample that is kept, end of the audio, the next window

    def add(self, piece: np.ndarray) -> Iterator[Window]:
        """Add the next samples, [channels, samples]; yield the windows that are complete with them."""
        self._pieces.append(piece)
        self._total += piece.shape[1]
        yield from self._cut(self._total - self.length - self.after + 1)

    def finish(self) -> Iterator[Window]:
        """Yield the rest of the audio."""
        yield from self._cut(self._total)

    def _cut(self, end: int) -> Iterator[Window]:
        """Yield the windows that begin before sample `end`."""
        if self._begin >= end:
            return
        wave = self._pieces[0] if len(self._pieces) == 1 else np.concatenate(self._pieces, axis=1)
        while self._begin < end:
            first = max(0, self._begin - self.before)
            last = self._begin + self.length + self.after
            yield Window(wave[:, first - self._first : last - self._first], self._begin, self._begin - first)
            self._begin += self.length
        kept = max(0, self._begin - self.before)
        self._pieces = [wave[:, kept - self._first :].copy()]
        self._first = min(kept, self._total)
