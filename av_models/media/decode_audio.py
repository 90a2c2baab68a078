"""Join decoded audio frames of any number of channels into one waveform."""

from __future__ import annotations

from fractions import Fraction

import av
import torch
from av.audio.resampler import AudioResampler
from torch import Tensor
from torch.nn import functional

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
        self._samples, self._parts = Samples(), list[Tensor]()
        self._gaps: list[tuple[int, int]] = []  # number of the part that comes after the gap, and samples of silence
        self.samples = self.last_frame = 0  # samples per channel that were decoded, and those of the last frame

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
            self._gaps.append((len(self._parts), round(gap * self.rate)))
        if at is not None and abs(gap) > _GAP:
            self.end = at
        self.end += Fraction(frame.samples, frame.sample_rate)
        self.samples += frame.samples
        self._parts += parts

    def join(self, video_start: Fraction | None, samples: int | None = None) -> Tensor | None:
        """Return the waveform, float32 [channels, samples], from the stamp `video_start` on; None when there is none.

        samples: how many samples to keep, counted from the first frame; None for all.
        """
        if self.rate is None:
            return None
        self._parts += self._samples.flush()
        starts = self.start is not None and video_start is not None
        delay = self.start - video_start if starts and self.start is not None and video_start is not None else Fraction(0)
        before = 0 if abs(delay) <= _TIME_RESOLUTION else round(delay * self.rate)
        silent = sum(length for _, length in self._gaps) + max(0, before)
        if silent * self._samples.channels > _MOST_SILENCE:
            self._gaps, before = [], min(0, before)
        wave = torch.cat(self._with_silence(), dim=1)[:, :samples]
        wave = functional.pad(wave, (before, 0)) if before > -wave.shape[1] else wave[:, :0]
        return wave.contiguous() if wave.shape[1] else None

    def _with_silence(self) -> list[Tensor]:
        parts = list(self._parts)
        for number, length in reversed(self._gaps):
            parts.insert(number, torch.zeros(self._samples.channels, length))
        return parts or [torch.zeros(self._samples.channels, 0)]
