"""Encode a waveform into an open file, a part at a time, fitted to the duration of the video."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from torch import Tensor

from .audio import FADE_SECONDS, encodable_rate, fit_audio, is_padding, mix_down, resample
from .output_file import OutputFile
from .settings import AUDIO_CODECS


class SoundWriter:
    """Encodes the audio alongside the frames, and fits its end once the duration of the video is known."""

    def __init__(self, file: OutputFile, audio: Tensor, sample_rate: int) -> None:
        self.file, self.codec, self.policy = file, file.settings.sound_codec, file.settings.policy
        self.channels = len(audio)
        self.source, self.source_rate = mix_down(audio), sample_rate
        self.rate = encodable_rate(self.codec, sample_rate)
        self.clipped = int((self.source.abs() > 1).sum())
        self.audio = resample(self.source.detach().float().cpu(), sample_rate, self.rate).clamp(-1, 1)
        self.fade = round(FADE_SECONDS * self.rate)
        self.at = 0
        self.bitrate = file.add_audio(len(self.source), self.rate)

    def advance(self, seconds: Fraction) -> None:
        """Encode the audio of the first `seconds`, except for samples that a fade at the end may change."""
        until = max(self.at, _samples(seconds, self.rate) - self.fade)
        self._send(fit_audio(self.audio[:, self.at : until], until - self.at, self.policy))

    def finish(self, seconds: Fraction) -> dict[str, Any]:
        """Encode the rest, fitted to `seconds`; return the report's audio fields."""
        length, policy = _samples(seconds, self.source_rate), self.policy
        surplus = self.source.shape[1] - length
        if policy == "fade" and is_padding(surplus, self.source.shape[1], self.source_rate):
            policy = "pad"
        self._send(fit_audio(self.audio[:, self.at :], _samples(seconds, self.rate) - self.at, policy, self.fade))
        return {
            "audio_encoder": AUDIO_CODECS[self.codec],
            "audio_channels": len(self.source),
            "audio_sample_rate": self.rate,
            "audio_bitrate": self.bitrate,
            "audio_samples": self.at,
            "audio_resampled_from": None if self.rate == self.source_rate else self.source_rate,
            "audio_trimmed_samples": max(surplus, 0),
            "audio_faded_samples": min(round(FADE_SECONDS * self.source_rate), length) if policy == "fade" else 0,
            "audio_padded_samples": 0 if policy == "trim" else max(-surplus, 0),
            "audio_missing_samples": max(-surplus, 0) if policy == "trim" else 0,
            "audio_clipped_samples": self.clipped,
            "audio_mixed_channels": self.channels if self.channels > 2 else 0,
        }

    def _send(self, audio: Tensor) -> None:
        for chunk in audio.split(self.rate, dim=1):
            if chunk.shape[1]:
                self.file.add_audio_samples(chunk, self.at, self.rate)
                self.at += chunk.shape[1]


def _samples(seconds: Fraction, rate: int) -> int:
    """Return the number of samples in `seconds`, as `count_samples` rounds it."""
    return max(1, round(seconds * rate))
