"""PE-AV's preprocessing of video and audio (arXiv 2512.19687), differentiable. The numbers are those of its processor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torchaudio.functional import resample

from ..card_fields import SIZE, check_fields, number, several, whole

HALF = (0.5, 0.5, 0.5)
SIDE = whole(1, 4096)
VIDEO_FIELDS: dict[str, Any] = {
    "size": {"height": SIDE, "width": SIDE}, "image_mean": several(number(-10, 10), 3), "image_std": several(number(1e-3, 10), 3),
    "num_frames": whole(1, 10**6),
}  # fmt: skip
AUDIO_FIELDS: dict[str, Any] = {"sampling_rate": whole(1000, 10**6), "hop_length": SIZE}


@dataclass(frozen=True)
class Processing:
    """What the files of PE-AV's processor say.

    side: height and width of a frame in pixels. mean, std: of its normalisation. frames: number of frames that stand for a video,
    evenly spaced; None: all. rate: Hz. hop: samples of one step of the audio encoder.
    """

    side: int
    mean: tuple[float, ...] = HALF
    std: tuple[float, ...] = HALF
    frames: int | None = None
    rate: int = 48_000
    hop: int = 1920

    @classmethod
    def read(cls, video: Mapping[str, Any], audio: Mapping[str, Any], side: int, hop: int, path: Any) -> Processing:
        """Read the fields of a video processor and of a feature extractor; missing ones are those of the published models.

        side, hop: what the networks take. Raises ValueError, which names `path`, if the processor has other ones.
        """
        given = {name: value for name, value in video.items() if value is not None}
        check_fields(given, VIDEO_FIELDS, path)
        check_fields(audio, AUDIO_FIELDS, path)
        size = given.get("size") or {}
        sides = {size.get(name, side) for name in ("height", "width")}
        if sides != {side} or audio.get("hop_length", hop) != hop:
            problem = (
                f"its processor makes frames of {sorted(sides)} pixels and audio steps of {audio.get('hop_length', hop)} samples"
            )
            raise ValueError(f"{path}: {problem}, but its networks take {side} and {hop}; download the folder again")
        mean, std = (tuple(given.get(name, HALF)) for name in ("image_mean", "image_std"))
        return cls(side, mean, std, given.get("num_frames"), audio.get("sampling_rate", 48_000), hop)


def chosen_frames(total: int, count: int | None) -> list[int]:
    """Return the indices of the `count` of `total` frames that stand for a video. A short one has some of them twice."""
    if count is None:
        return list(range(total))
    return [int(i * (total - 1) / max(count - 1, 1)) for i in range(count)]


def frame_features(frames: Tensor, settings: Processing) -> Tensor:
    """Convert frames [N, H, W, 3] in 0..1 to [N, 3, side, side]: resized (bilinear, without keeping the aspect) and normalized."""
    x = F.interpolate(frames.movedim(-1, 1), (settings.side,) * 2, mode="bilinear", align_corners=False, antialias=True)
    mean, std = (torch.tensor(value, dtype=x.dtype, device=x.device).view(3, 1, 1) for value in (settings.mean, settings.std))
    return (x - mean) / std


def audio_features(waveform: Tensor, sample_rate: int, settings: Processing) -> Tensor:
    """Convert waveforms [B, C, samples] at `sample_rate` Hz to [B, 1, steps · hop]: mono, resampled, the end reflected.

    Raises ValueError for a sound without samples.
    """
    if waveform.shape[-1] == 0:
        raise ValueError("the sound has no samples; use one of at least 0.03 s")
    mono = waveform.mean(1, keepdim=True)
    wave = resample(mono, sample_rate, settings.rate) if sample_rate != settings.rate else mono
    count = wave.shape[-1]
    index = torch.arange(-(-count // settings.hop) * settings.hop, device=wave.device) % max(2 * count - 2, 1)
    return wave[..., torch.where(index < count, index, 2 * count - 2 - index)]
