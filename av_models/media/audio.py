"""Sound on its way into an encoder: checked, at a rate that the codec takes, as long as the pictures."""

from __future__ import annotations

import av
import torch
from av.audio.resampler import AudioResampler
from torch import Tensor
from torch.nn import functional

from .settings import AUDIO_CODECS, Policy

LAYOUTS = {1: "mono", 2: "stereo"}
FADE_SECONDS = 0.02
_OPUS_RATE = 48_000
_OPUS_BITRATE_PER_CHANNEL = 256_000


def check_audio(audio: Tensor, sample_rate: int | None) -> None:
    """Raises ValueError unless `audio` is a finite, non-empty waveform [1 or 2 channels, samples] with a rate."""
    if audio.ndim != 2 or not audio.is_floating_point():
        raise ValueError(f"audio is {audio.dtype} of shape {list(audio.shape)}; give floats [channels, samples]")
    if audio.shape[0] not in LAYOUTS:
        raise ValueError(f"audio has {audio.shape[0]} channels; give 1 (mono) or 2 (stereo)")
    if audio.shape[1] == 0:
        raise ValueError("audio has no samples; give at least one, or no audio at all")
    if sample_rate is None or not 1_000 <= sample_rate <= 768_000 or sample_rate != int(sample_rate):
        raise ValueError(f"sample rate is {sample_rate}; give a whole number of Hz, 1000 to 768000")
    if not torch.isfinite(audio).all():
        bad = int((~torch.isfinite(audio)).sum())
        raise ValueError(f"audio holds NaN or infinity in {bad} of {audio.numel()} values; check the decoder before saving")


def encodable_rate(codec: str, sample_rate: int) -> int:
    """The rate at which `codec` is written: opus 48 kHz; aac the same rate or the next one up that it has."""
    if codec == "opus":
        return _OPUS_RATE
    rates = sorted(av.Codec(AUDIO_CODECS[codec], "w").audio_rates)
    return next((rate for rate in rates if rate >= sample_rate), rates[-1])


def add_audio_stream(container, codec: str, channels: int, sample_rate: int, bitrate: int):
    """A stream of `container` that `codec` writes, at a rate that it takes and at most the bitrate that it takes."""
    if codec == "opus":
        bitrate = min(bitrate, _OPUS_BITRATE_PER_CHANNEL * channels)
    stream = container.add_stream(AUDIO_CODECS[codec], rate=sample_rate, layout=LAYOUTS[channels], bit_rate=bitrate)
    if codec == "opus":
        stream.codec_context.format = "flt"
    return stream


def resample(audio: Tensor, old: int, new: int) -> Tensor:
    """[C, samples] at `old` Hz → [C, round(samples · new / old)] at `new` Hz."""
    if old == new:
        return audio
    resampler = AudioResampler(format="fltp", layout=LAYOUTS[audio.shape[0]], rate=new)
    out = [part for chunk in audio.split(old, dim=1) for part in resampler.resample(audio_frame(chunk, old))]
    out += resampler.resample(None)
    whole = torch.cat([torch.from_numpy(part.to_ndarray()) for part in out], dim=1)
    return fit_audio(whole, round(audio.shape[1] * new / old), "pad")


def fit_audio(audio: Tensor, samples: int, policy: Policy, fade: int = 0) -> Tensor:
    """[C, any] → [C, samples] as `policy` says; `trim` may return fewer. `fade`: samples faded out where cut."""
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
    """[C, samples] floats as a planar frame; its timestamp is left to the caller."""
    planes = audio.detach().float().cpu().contiguous().numpy()
    frame = av.AudioFrame.from_ndarray(planes, format="fltp", layout=LAYOUTS[audio.shape[0]])
    frame.sample_rate = sample_rate
    return frame
