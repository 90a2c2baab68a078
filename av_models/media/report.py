"""Reports of what was written to a file (`MuxReport`, `AudioReport`)."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

from .settings import length_warning, mix_note


@dataclass(frozen=True, kw_only=True)
class _AudioFacts:
    """What was written of the audio, and how it was changed."""

    path: Path
    audio_encoder: str | None = None
    audio_channels: int = 0
    audio_sample_rate: int | None = None
    audio_bitrate: int | None = None
    audio_samples: int = 0
    audio_resampled_from: int | None = None
    audio_trimmed_samples: int = 0
    audio_faded_samples: int = 0
    audio_padded_samples: int = 0
    audio_missing_samples: int = 0
    audio_clipped_samples: int = 0
    audio_mixed_channels: int = 0
    notes: tuple[str, ...] = ()

    def warnings(self) -> list[str]:
        """Return one line per change of the audio that can be heard: cut, padded or missing for over 100 ms, clipped, or mixed."""
        if not self.audio_sample_rate:
            return []
        rate = self.audio_resampled_from or self.audio_sample_rate
        changes = {
            "longer than the video, so its end was cut": self.audio_trimmed_samples,
            "shorter than the video, so silence was added": self.audio_padded_samples,
            "shorter than the video, so it ends early": self.audio_missing_samples,
        }
        found = [length_warning(self.path, samples / rate, change) for change, samples in changes.items()]
        if self.audio_clipped_samples:
            found.append(f"{self.path.name}: {self.audio_clipped_samples} audio samples were too loud and were clipped")
        if self.audio_mixed_channels:
            found.append(f"{self.path.name}: {mix_note(self.audio_mixed_channels)}")
        return [line for line in found if line]

    def _audio_notes(self) -> list[str]:
        notes = [f"{self.audio_samples} audio samples at {self.audio_sample_rate} Hz"]
        if self.audio_resampled_from:
            notes.append(f"resampled from {self.audio_resampled_from} Hz")
        if self.audio_mixed_channels:
            notes.append(mix_note(self.audio_mixed_channels))
        for change in ("trimmed", "faded", "padded", "missing", "clipped"):
            count = getattr(self, f"audio_{change}_samples")
            if count:
                notes.append(f"{count} samples {change}")
        return notes


@dataclass(frozen=True, kw_only=True)
class MuxReport(_AudioFacts):
    """What was written to a file.

    width, height: encoded size in pixels. It includes `padded_right` and `padded_bottom` pixels that repeat the last
        column and row, because encoders need even sizes.
    bytes: size of the file.
    audio_bitrate: bits per second. audio_sample_rate: Hz.
    audio_samples: samples per channel at `audio_sample_rate`.
    audio_resampled_from: sample rate of the input in Hz when the codec does not support it, else None.
    audio_trimmed_samples, audio_faded_samples, audio_padded_samples: samples per channel at the input's sample rate.
    audio_missing_samples: how many samples earlier than the video the audio ends (policy `trim` only).
    audio_clipped_samples: values outside −1..1 that were clipped, over all channels.
    audio_mixed_channels: number of channels that were mixed to stereo; 0 if the channels are unchanged.
    notes: what the container could not hold.
    """

    frames: int
    fps: Fraction
    width: int
    height: int
    padded_right: int
    padded_bottom: int
    video_encoder: str
    bytes: int

    @property
    def seconds(self) -> float:
        """Duration of the video."""
        return float(self.frames / self.fps)

    def summary(self) -> str:
        """Describe the file and every change to the frames and the audio in one line."""
        size = f"{self.width}×{self.height}"
        parts = [f"{self.path.name}: {self.frames} frames of {size} at {float(self.fps):g} fps"]
        if self.padded_right or self.padded_bottom:
            parts.append(f"padded by {self.padded_right} column and {self.padded_bottom} row to an even size")
        parts += self._audio_notes() if self.audio_encoder else ["no audio"]
        return "; ".join([*parts, *self.notes])


@dataclass(frozen=True, kw_only=True)
class AudioReport(_AudioFacts):
    """What was written to an audio file.

    seconds: duration. bytes: size of the file. The other fields are those of `MuxReport`.
    """

    seconds: float
    bytes: int

    def summary(self) -> str:
        """Describe the file and every change to the audio in one line."""
        return "; ".join([f"{self.path.name}: {self.seconds:.2f} s of audio", *self._audio_notes(), *self.notes])
