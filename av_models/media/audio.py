"""Prepare a waveform for an audio encoder: checked, resampled to a supported rate, fitted to the length of the video."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

import av
import numpy as np
import torch
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream
from av.container import OutputContainer
from torch import Tensor
from torch.nn import functional

from .settings import AUDIO_CODECS, Policy

LAYOUTS = {1: "mono", 2: "stereo"}
FADE_SECONDS = 0.02
BLOCK = 1024  # samples that an AAC encoder codes together
_PADDING_SECONDS = 0.048
LOSSLESS = ("flac", "pcm")
_HIGHEST_RATE = {"flac": 655_350}  # Hz
_OPUS_RATE = 48_000  # Hz
_OPUS_BITRATE_PER_CHANNEL = 256_000  # bits per second


def check_audio(audio: Tensor, sample_rate: int | None) -> int:
    """Return `sample_rate` in Hz when `audio` is a finite, non-empty float waveform [channels, samples].

    Raises ValueError otherwise, and for a sample rate that is not a whole number in 1000..768000.
    """
    if audio.ndim != 2 or not audio.is_floating_point():
        raise ValueError(f"audio has dtype {audio.dtype} and shape {list(audio.shape)}; give floats [channels, samples]")
    if audio.shape[0] == 0:
        raise ValueError("audio has 0 channels; give at least one channel, or no audio")
    if audio.shape[1] == 0:
        raise ValueError("audio has no samples; give at least one sample, or no audio")
    if sample_rate is None or not 1_000 <= sample_rate <= 768_000 or sample_rate != int(sample_rate):
        raise ValueError(f"sample rate is {sample_rate}; give a whole number of Hz from 1000 to 768000")
    if not torch.isfinite(audio).all():
        bad = int((~torch.isfinite(audio)).sum())
        raise ValueError(f"audio contains NaN or infinity in {bad} of {audio.numel()} values; check the audio decoder")
    return sample_rate


def mix_down(audio: Tensor) -> Tensor:
    """Mix more than 2 channels, [C, samples], to stereo; return other audio as it is.

    FFmpeg's matrix for the usual layout of that many channels (6: 5.1, 8: 7.1), scaled so that nothing becomes louder than
    full scale. The mean of the channels if there is no usual layout.
    """
    channels = audio.shape[0]
    if channels <= 2:
        return audio
    return torch.tensor(_stereo_matrix(channels), dtype=torch.float32, device=audio.device) @ audio.float()


@lru_cache
def _stereo_matrix(channels: int) -> tuple[tuple[float, ...], ...]:
    try:
        layout = av.AudioLayout(f"{channels}c")
    except ValueError:
        return ((1 / channels,) * channels,) * 2
    # Packed: PyAV's frames have no room for more than 8 planes.
    one_by_one = av.AudioFrame.from_ndarray(np.eye(channels, dtype=np.float32).reshape(1, -1), format="flt", layout=layout)
    one_by_one.sample_rate = 48_000
    resampler = AudioResampler(format="flt", layout="stereo", rate=48_000)
    mixed = np.concatenate([part.to_ndarray().reshape(-1, 2) for part in resampler.resample(one_by_one)])
    return tuple(map(tuple, (mixed / mixed.sum(0).max()).T.tolist()))


def is_padding(surplus: int, samples: int, sample_rate: int) -> bool:
    """Whether the last `surplus` of `samples` may be what a codec such as AAC appends to fill its last blocks."""
    return surplus <= 2 * BLOCK and (surplus <= _PADDING_SECONDS * sample_rate or samples % BLOCK == 0)


def encodable_rate(codec: str, sample_rate: int) -> int:
    """Return the sample rate in Hz at which `codec` is written.

    opus: 48 kHz. Others: `sample_rate` if supported, else the next higher supported rate (or the highest one).
    """
    if codec == "opus":
        return _OPUS_RATE
    rates = sorted(av.Codec(AUDIO_CODECS[codec], "w").audio_rates or ())
    if not rates:
        return min(sample_rate, _HIGHEST_RATE.get(codec, sample_rate))
    return next((rate for rate in rates if rate >= sample_rate), rates[-1])


def add_audio_stream(container: OutputContainer, codec: str, channels: int, sample_rate: int, bitrate: int) -> AudioStream:
    """Add an audio stream to `container`. `sample_rate`: from `encodable_rate`; `bitrate`: bits per second, limited as needed."""
    if codec == "opus":
        bitrate = min(bitrate, _OPUS_BITRATE_PER_CHANNEL * channels)
    if codec == "mp3":
        bitrate = min(_mp3_bitrates(sample_rate), key=lambda each: abs(each - bitrate))
    stream = container.add_stream(AUDIO_CODECS[codec], rate=sample_rate, layout=LAYOUTS[channels])
    assert isinstance(stream, AudioStream)
    if codec not in LOSSLESS:
        stream.codec_context.bit_rate = bitrate
    if codec == "opus":
        stream.codec_context.format = "flt"
    return stream


def _mp3_bitrates(sample_rate: int) -> Iterable[int]:
    """Return the bit rates that MPEG audio layer 3 has at a sample rate, in bits per second."""
    if sample_rate >= 32_000:
        return (1000 * each for each in (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320))
    highest = 160 if sample_rate >= 16_000 else 64
    return (1000 * each for each in (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160) if each <= highest)


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
