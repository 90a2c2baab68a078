"""Prepare a waveform for an audio encoder: checked, resampled to a supported rate, fitted to the length of the video."""

from __future__ import annotations

import av
import torch
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import OutputContainer
from torch import Tensor
from torch.nn import functional

from .settings import AUDIO_CODECS, Policy

LAYOUTS = {1: "mono", 2: "stereo"}
FADE_SECONDS = 0.02
_OPUS_RATE = 48_000  # Hz
_OPUS_BITRATE_PER_CHANNEL = 256_000  # bits per second


def check_audio(audio: Tensor, sample_rate: int | None) -> int:
    """Return `sample_rate` in Hz when `audio` is a finite, non-empty float waveform [1 or 2, samples].

    Raises ValueError otherwise, and for a sample rate that is not a whole number in 1000..768000.
    """
    if audio.ndim != 2 or not audio.is_floating_point():
        raise ValueError(f"audio has dtype {audio.dtype} and shape {list(audio.shape)}; give floats [channels, samples]")
    if audio.shape[0] not in LAYOUTS:
        raise ValueError(f"audio has {audio.shape[0]} channels; give 1 (mono) or 2 (stereo)")
    if audio.shape[1] == 0:
        raise ValueError("audio has no samples; give at least one sample, or no audio")
    if sample_rate is None or not 1_000 <= sample_rate <= 768_000 or sample_rate != int(sample_rate):
        raise ValueError(f"sample rate is {sample_rate}; give a whole number of Hz from 1000 to 768000")
    if not torch.isfinite(audio).all():
        bad = int((~torch.isfinite(audio)).sum())
        raise ValueError(f"audio contains NaN or infinity in {bad} of {audio.numel()} values; check the audio decoder")
    return sample_rate


def encodable_rate(codec: str, sample_rate: int) -> int:
    """Return the sample rate in Hz at which `codec` is written.

    opus: 48 kHz. aac: `sample_rate` if supported, else the next higher supported rate (or the highest one).
    """
    if codec == "opus":
        return _OPUS_RATE
    rates = sorted(av.Codec(AUDIO_CODECS[codec], "w").audio_rates or ())
    return next((rate for rate in rates if rate >= sample_rate), rates[-1])


def add_audio_stream(container: OutputContainer, codec: str, channels: int, sample_rate: int, bitrate: int) -> AudioStream:
    """Add an audio stream to `container`. `sample_rate`: from `encodable_rate`; `bitrate`: bits per second, limited for opus."""
    if codec == "opus":
        bitrate = min(bitrate, _OPUS_BITRATE_PER_CHANNEL * channels)
    stream = container.add_stream(AUDIO_CODECS[codec], rate=sample_rate, layout=LAYOUTS[channels], bit_rate=bitrate)
    assert isinstance(stream, AudioStream)
    if codec == "opus":
        stream.codec_context.format = "flt"
    return stream


def resample(audio: Tensor, old: int, new: int) -> Tensor:
    """Resample [1 or 2, samples] at `old` Hz to [1 or 2, round(samples · new / old)] at `new` Hz."""
    if old == new:
        return audio
    resampler = AudioResampler(format="fltp", layout=LAYOUTS[audio.shape[0]], rate=new)
    out = [part for chunk in audio.split(old, dim=1) for part in resampler.resample(audio_frame(chunk, old))]
    out += resampler.resample(None)
    joined = torch.cat([torch.from_numpy(part.to_ndarray()) for part in out], dim=1)
    return fit_audio(joined, round(audio.shape[1] * new / old), "pad")


def fit_audio(audio: Tensor, samples: int, policy: Policy, fade: int = 0) -> Tensor:
    """Fit a waveform [C, N] to [C, samples] according to `policy` (see `MuxSettings`).

    A longer waveform is cut; with `fade`, its last `fade` samples fade out linearly. A shorter one is padded with
    silence, or returned as it is with `trim`.
    """
    surplus = audio.shape[1] - samples
    if surplus < 0:
        return audio if policy == "trim" else functional.pad(audio, (0, -surplus))
    audio = audio[:, :samples]
    if surplus == 0 or policy != "fade":
        return audio
    fade = min(fade, samples)
    ramp = torch.linspace(1, 0, fade + 1, dtype=audio.dtype, device=audio.device)[1:]
    return torch.cat([audio[:, : samples - fade], audio[:, samples - fade :] * ramp], dim=1)


def audio_frame(audio: Tensor, sample_rate: int) -> av.AudioFrame:
    """Convert [1 or 2, samples] floats to a planar PyAV frame. The caller sets its timestamp."""
    planes = audio.detach().float().cpu().contiguous().numpy()
    frame = av.AudioFrame.from_ndarray(planes, format="fltp", layout=LAYOUTS[audio.shape[0]])
    frame.sample_rate = sample_rate
    return frame
