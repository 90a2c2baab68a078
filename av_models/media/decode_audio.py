"""Join decoded audio frames of any number of channels into one waveform."""

from __future__ import annotations

from collections import deque
from fractions import Fraction

import av
import torch
from av.audio.resampler import AudioResampler
from torch import Tensor

from .stamps import JUMP, stamp

# Matroska timestamps are in milliseconds: a smaller offset between the streams is a rounding error.
_TIME_RESOLUTION = Fraction(1, 1000)
_GAP = Fraction(1, 20)  # seconds; shorter gaps between the stamps of frames are rounding errors or a drift
_MOST_SILENCE = 2**26  # values; more is an error of the stamps


class Samples:
    """Converts audio frames to float32 [channels, samples], at the sample rate and layout of the first frame.

    PyAV's arrays of planar frames have room for 8 channels; with more they read beyond the frame. So frames are converted
    to a packed format first.
    """

    rate: int | None = None
    channels = 0

    def __init__(self) -> None:
        self._given: tuple[str, str, int] | None = None
        self._resampler: AudioResampler | None = None

    def convert(self, frame: av.AudioFrame) -> list[Tensor]:
        given, out = (frame.format.name, frame.layout.name, frame.sample_rate), []
        if given != self._given:
            out = self.flush()
            if self.rate is None:
                self.rate, self._layout, self.channels = frame.sample_rate, frame.layout.name, frame.layout.nb_channels
            self._given, self._resampler = given, AudioResampler(format="flt", layout=self._layout, rate=self.rate)
        return out + self._resample(frame)

    def flush(self) -> list[Tensor]:
        return self._resample(None) if self._resampler else []

    def _resample(self, frame: av.AudioFrame | None) -> list[Tensor]:
        assert self._resampler is not None
        parts = [part for part in self._resampler.resample(frame) if part]
        return [torch.from_numpy(part.to_ndarray().reshape(-1, self.channels)).T for part in parts]


class Waveform:
    """Collects the audio frames of a stream. Gaps between their time stamps become silence.

    has_jumps: as in `Clock`.
    """

    start: Fraction | None = None  # stamp of the first frame

    def __init__(self, has_jumps: bool = False) -> None:
        self.end, self._has_jumps = Fraction(0), has_jumps  # end: stamp of the end of the last frame
        self._samples, self._parts = Samples(), deque[Tensor]()
        self.samples = self.last_frame = 0  # samples per channel that were decoded, and those of the last frame
        self._added = self._silent = 0  # samples per channel with the silence in gaps, and of that silence
        self._skip: int | None = None  # samples before the first frame of the video that are still to be dropped

    @property
    def rate(self) -> int | None:
        """Samples per second; None when there is no audio."""
        return self._samples.rate

    def add(self, frame: av.AudioFrame) -> None:
        at, self.last_frame = stamp(frame), frame.samples
        is_first = self.rate is None
        parts = self._samples.convert(frame)
        assert self.rate is not None
        if is_first:
            self.start, self.end = at, at or Fraction(0)
        gap = Fraction(0) if at is None else at - self.end
        if gap > _GAP and not (self._has_jumps and gap > JUMP):
            self._append(self._silence(round(gap * self.rate)))
        if at is not None and abs(gap) > _GAP:
            self.end = at
        self.end += Fraction(frame.samples, frame.sample_rate)
        self.samples += frame.samples
        self._append(parts)

    def join(self, video_start: Fraction | None, samples: int | None = None) -> Tensor | None:
        """Return the waveform, float32 [channels, samples], from the stamp `video_start` on; None when there is none.

        samples: how many samples to keep, counted from the first frame; None for all.
        """
        parts = self.rest(video_start, samples)
        return torch.cat(parts, dim=1).contiguous() if parts else None

    def take(self, video_start: Fraction | None) -> list[Tensor]:
        """Return the parts of the waveform that are complete, and keep only the last second of it."""
        if self.rate is None:
            return []
        self._align(video_start)
        held, taken = sum(part.shape[1] for part in self._parts), list[Tensor]()
        while self._parts and held - self._parts[0].shape[1] > max(self.rate, self.last_frame):
            taken.append(self._parts.popleft())
            held -= taken[-1].shape[1]
        return self._without_lead(taken)

    def rest(self, video_start: Fraction | None, samples: int | None = None) -> list[Tensor]:
        """Return the parts of the waveform that were not taken, at its end. samples: as in `join`."""
        if self.rate is None:
            return []
        self._append(self._samples.flush())
        self._align(video_start)
        surplus = 0 if samples is None else max(0, self._added - samples)
        return _without_end(self._without_lead(list(self._parts), is_last=True), surplus)

    def _append(self, parts: list[Tensor]) -> None:
        self._parts += parts
        self._added += sum(part.shape[1] for part in parts)

    def _silence(self, length: int) -> list[Tensor]:
        """Return silence that takes no memory, or none when there is too much of it."""
        if (self._silent + length) * self._samples.channels > _MOST_SILENCE:
            return []
        self._silent += length
        return [torch.zeros(self._samples.channels, 1).expand(-1, length)]

    def _align(self, video_start: Fraction | None) -> None:
        """Begin the waveform at the stamp `video_start`, once."""
        if self._skip is not None or self.rate is None:
            return
        delay = Fraction(0) if self.start is None or video_start is None else self.start - video_start
        before = 0 if abs(delay) <= _TIME_RESOLUTION else round(delay * self.rate)
        self._skip = max(0, -before)
        if before > 0:
            self._parts.extendleft(self._silence(before))

    def _without_lead(self, parts: list[Tensor], is_last: bool = False) -> list[Tensor]:
        """Drop the samples before the first frame of the video."""
        assert self._skip is not None
        skip, kept = self._skip, list[Tensor]()
        for part in parts:
            if part.shape[1] > skip:
                kept.append(part[:, skip:])
            skip = max(0, skip - part.shape[1])
        if not is_last:
            self._skip = skip
        return kept


def _without_end(parts: list[Tensor], surplus: int) -> list[Tensor]:
    """Drop the last `surplus` samples."""
    while surplus and parts:
        last = parts.pop()
        if last.shape[1] > surplus:
            return [*parts, last[:, :-surplus]]
        surplus -= last.shape[1]
    return parts
