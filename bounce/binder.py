"""Bounce-Bind: a small contrastive embedding model for the video, the audio and the captions of Bounce, shipped with Duet."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchaudio.functional import resample
from torchaudio.transforms import MelSpectrogram

from ..av_models.binders import load_binder as loading
from ..av_models.binders.base import SILENCE_RMS, Binder
from ..av_models.build_from_card import build
from ..av_models.card_fields import require
from ..av_models.checkpoint import read_card
from ..av_models.load_parts import expect
from ..av_models.text import WordEncoder
from .binder_audio import LOG_SCALE, MELS, POWER_FLOOR, RATE
from .shipped import BINDERS, BOUNCE_BIND, BOUNCE_BIND_TIMES, shipped

SIDE, SHOWN = 64, 8  # pixels, frames


def shown_frames(count: int) -> Tensor:
    """Returns the numbers of the frames of a video that are encoded."""
    return torch.linspace(0, count - 1, min(SHOWN, count)).round().long()


def _downsampling_layers(conv: Callable[[int, int], nn.Module], sizes: list[int]) -> nn.Sequential:
    layers = ((conv(a, b), nn.GroupNorm(8, b), nn.SiLU()) for a, b in zip(sizes, sizes[1:]))
    return nn.Sequential(*(part for layer in layers for part in layer))


class VideoTower(nn.Module):
    """Encodes eight frames independently and averages them, so that the embedding does not depend on times."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        sizes = [3, width // 4, width // 2, width, width]
        self.layers = _downsampling_layers(lambda a, b: nn.Conv2d(a, b, 3, stride=2, padding=1), sizes)
        self.out = nn.Sequential(nn.Linear(2 * width, width), nn.SiLU(), nn.Linear(width, out))

    def forward(self, frames: Tensor) -> Tensor:
        """Encodes frames [B, F, H, W, 3] in 0..1 as [B, out]."""
        shown = frames[:, shown_frames(frames.shape[1])]
        x = shown.to(self.out[0].weight.device).flatten(0, 1).movedim(-1, 1) * 2 - 1
        if x.shape[-2:] != (SIDE, SIDE):
            x = F.interpolate(x, (SIDE, SIDE), mode="bilinear", antialias=True)
        h = self.layers(x)
        each = torch.cat([h.mean((2, 3)), h.amax((2, 3))], -1).unflatten(0, shown.shape[:2])
        return self.out(each.mean(1))


class AudioTower(nn.Module):
    """Encodes a loudness-normalised log-mel spectrogram and pools over time, so that times and loudness have no effect."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        with torch.device("cpu"):  # its constructor reads the filters that it makes
            self.mel = MelSpectrogram(RATE, n_fft=512, hop_length=125, n_mels=MELS)
        sizes = [MELS, width, width, width]
        self.layers = _downsampling_layers(lambda a, b: nn.Conv1d(a, b, 5, stride=2, padding=2), sizes)
        self.out = nn.Sequential(nn.Linear(2 * width, width), nn.SiLU(), nn.Linear(width, out))

    def forward(self, waveform: Tensor, sample_rate: int) -> Tensor:
        """Encodes waveforms [B, C, samples] in −1..1 as [B, out]."""
        mono = waveform.to(self.out[0].weight.device).mean(1)
        heard = resample(mono, sample_rate, RATE) if sample_rate != RATE else mono
        loudness = heard.square().mean(-1, keepdim=True).sqrt()
        h = self.layers((self.mel(heard / (loudness + SILENCE_RMS)) + POWER_FLOOR).log() / LOG_SCALE)
        return self.out(torch.cat([h.mean(-1), h.amax(-1)], -1))


class BounceBind(nn.Module):
    """Embeds video, images, audio and captions as unit vectors [B, out], trained with InfoNCE (arXiv 1807.03748).

    vocabulary: the words of the captions. width: of the towers. out: size of the embeddings.
    """

    name, licence = "Bounce-Bind", ""
    modalities = frozenset({"video", "image", "audio", "text"})

    def __init__(self, vocabulary: list[str], width: int = 128, out: int = 64) -> None:
        super().__init__()
        self.config = {"vocabulary": list(vocabulary), "width": width, "out": out}
        self.picture, self.sound = VideoTower(width, out), AudioTower(width, out)
        self.words = WordEncoder(vocabulary, width=64)
        self.of_words = nn.Linear(64, out)
        self.temperature = nn.Parameter(torch.tensor(0.07).log())

    def embed_video(self, frames: Tensor, fps: float) -> Tensor:
        """Embeds frames [B, F, H, W, 3] in 0..1; `fps` has no effect."""
        return F.normalize(self.picture(frames), dim=-1)

    def describe_video(self, frames: int, height: int, width: int, fps: float) -> str:
        """Returns in numbers what `embed_video` uses."""
        return f"{len(shown_frames(frames))} of {frames} frames, {self.describe_image(height, width)}"

    def describe_image(self, height: int, width: int) -> str:
        """Returns in numbers what `embed_image` uses."""
        return f"{width}×{height} resized to {SIDE}×{SIDE}" if (height, width) != (SIDE, SIDE) else f"{width}×{height}"

    def describe_audio(self, channels: int, samples: int, sample_rate: int) -> str:
        """Returns in numbers what `embed_audio` uses."""
        return f"{sample_rate} Hz to {RATE} Hz, {channels} channels mixed to mono"

    def embed_image(self, image: Tensor) -> Tensor:
        """Embeds images [B, H, W, 3] in 0..1."""
        return self.embed_video(image[:, None], 1.0)

    def embed_audio(self, waveform: Tensor, sample_rate: int) -> Tensor:
        """Embeds waveforms [B, C, samples] in −1..1; `sample_rate` in Hz."""
        return F.normalize(self.sound(waveform, sample_rate), dim=-1)

    def embed_text(self, texts: list[str]) -> Tensor:
        """Embeds captions."""
        encoded = self.words(texts)
        mean = encoded.tokens.sum(1) / encoded.mask.sum(1, keepdim=True).clamp_min(1)
        return F.normalize(self.of_words(mean), dim=-1)


def load_bounce_bind(source: str | Path = BOUNCE_BIND) -> BounceBind:
    """Loads a shipped Bounce-Bind by name, or a Bounce-Bind from a safetensors file.

    Raises ValueError if the file holds another model.
    """
    path = shipped(BINDERS[source]) if source in BINDERS else Path(source)
    card = read_card(path)
    expect(card, "architecture", ("BounceBind",), path)
    require(card, path, "config")
    binder = build(path, "BounceBind", lambda: BounceBind(**card["config"]), lambda binder: {"": binder})
    if source in BINDERS:
        binder.name = str(source)
    return binder.eval().requires_grad_(False)


def load_binder(source: str | Path, tokenizer: str | Path | None = None) -> Binder:
    """Loads a shipped binder by name, or one from a file: a Bounce-Bind, a Bounce-Bind Times, or any that the library supports."""
    if source == BOUNCE_BIND_TIMES:
        return _load_times(shipped(BINDERS[BOUNCE_BIND_TIMES]), None)
    if source in BINDERS:
        return load_bounce_bind(source)
    own = {"BounceBind": lambda path, _: load_bounce_bind(path), "BounceBindTimes": _load_times}
    return loading.load_binder(source, tokenizer, loading.LOADERS | own)


def _load_times(path: Path, tokenizer: str | Path | None) -> Binder:
    from .binder_in_time import load_bounce_bind_times

    return load_bounce_bind_times(path)
