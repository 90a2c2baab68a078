"""Bounce-Bind Times: a small embedding model for the video and the audio of Bounce that sees when things happen, not only what."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchaudio.functional import resample
from torchaudio.transforms import MelSpectrogram

from ..av_models.binders.base import SILENCE_RMS, Embedded, Track
from ..av_models.build_from_card import build
from ..av_models.card_fields import require
from ..av_models.checkpoint import read_card
from ..av_models.load_parts import expect
from .binder_audio import LOG_SCALE, MELS, POWER_FLOOR, RATE

SIDE = 32  # pixels
HOP = 125  # samples of a spectrogram
SAMPLES = 4 * HOP  # of a step of the audio
PER_FRAME = 2  # steps of the video


class Mixing(nn.Module):
    """Mixes neighbouring steps of [B, width, T], beside a skip connection."""

    def __init__(self, width: int, dilation: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(1, width)
        self.mix = nn.Conv1d(width, width, 5, padding=2 * dilation, dilation=dilation)
        self.out = nn.Conv1d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.out(F.silu(self.mix(self.norm(x))))


def _heads(width: int, out: int) -> nn.ModuleDict:
    return nn.ModuleDict({"when": nn.Conv1d(width, out, 1), "what": nn.Linear(2 * width, out)})


def _pool(x: Tensor) -> Tensor:
    return torch.cat([x.mean(-1), x.amax(-1)], -1)


class VideoInTime(nn.Module):
    """Encodes each frame together with its neighbours, then mixes over time. Has `PER_FRAME` steps for a frame."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        sizes = [9, width // 4, width // 2, width // 2]
        layers = ((nn.Conv2d(a, b, 3, stride=2, padding=1), nn.GroupNorm(4, b), nn.SiLU()) for a, b in zip(sizes, sizes[1:]))
        self.layers = nn.Sequential(*(part for layer in layers for part in layer))
        self.flat = nn.Linear(width // 2 * (SIDE // 8) ** 2, width)
        self.steps = nn.Conv1d(width, PER_FRAME * width, 3, padding=1)
        self.mix = nn.Sequential(Mixing(width, 1), Mixing(width, 2), Mixing(width, 1))
        self.heads = _heads(width, out)

    def forward(self, frames: Tensor) -> Tensor:
        """Encodes frames [B, F, H, W, 3] in 0..1 as [B, width, PER_FRAME · F]."""
        x = frames.to(self.flat.weight.device).movedim(-1, 2) * 2 - 1
        if x.shape[-2:] != (SIDE, SIDE):
            x = F.interpolate(x.flatten(0, 1), (SIDE, SIDE), mode="area").unflatten(0, x.shape[:2])
        around = torch.cat([torch.cat([x[:, :1], x[:, :-1]], 1), x, torch.cat([x[:, 1:], x[:, -1:]], 1)], 2)
        each = self.flat(self.layers(around.flatten(0, 1)).flatten(1)).unflatten(0, x.shape[:2]).transpose(1, 2)
        steps = self.steps(each).unflatten(1, (PER_FRAME, -1)).permute(0, 2, 3, 1).flatten(2)
        return self.mix(steps)


class AudioInTime(nn.Module):
    """Encodes a loudness-normalised log-mel spectrogram, with a step for each `SAMPLES`."""

    def __init__(self, width: int, out: int) -> None:
        super().__init__()
        with torch.device("cpu"):  # its constructor reads the filters that it makes
            self.mel = MelSpectrogram(RATE, n_fft=512, hop_length=HOP, n_mels=MELS)
        self.first = nn.Conv1d(MELS, width, 5, stride=2, padding=2)
        self.second = nn.Conv1d(width, width, 5, stride=2, padding=2)
        self.mix = nn.Sequential(Mixing(width, 1), Mixing(width, 2), Mixing(width, 1))
        self.heads = _heads(width, out)

    def forward(self, waveform: Tensor, sample_rate: int) -> Tensor:
        """Encodes waveforms [B, C, samples] in −1..1 as [B, width, samples / SAMPLES]."""
        mono = waveform.to(self.first.weight.device).float().mean(1)
        heard = resample(mono, sample_rate, RATE) if sample_rate != RATE else mono
        loudness = heard.square().mean(-1, keepdim=True).sqrt()
        with torch.autocast(heard.device.type, enabled=False):
            mel = self.mel(heard / (loudness + SILENCE_RMS))[..., : max(heard.shape[-1] // HOP, 1)]
        return self.mix(F.silu(self.second(F.silu(self.first((mel + POWER_FLOOR).log() / LOG_SCALE)))))


class BounceBindTimes(nn.Module):
    """A binder that sees time (see `av_models.binders.base.Binder`): embeddings [B, out], and tracks at 32 steps a second.

    Trained like PE-AV (arXiv 2512.19687): embeddings of clips are contrasted, and tracks are contrasted in time. It cannot embed
    text. The video is one of 16 frames per second.

    width: of the towers. out: size of embeddings and tracks.
    """

    name, licence = "Bounce-Bind Times", ""
    modalities = frozenset({"video", "image", "audio"})

    def __init__(self, width: int = 128, out: int = 64) -> None:
        super().__init__()
        self.config = {"width": width, "out": out}
        self.picture, self.sound = VideoInTime(width, out), AudioInTime(width, out)
        self.temperature = nn.Parameter(torch.tensor([0.07, 0.07]).log())

    def embed_video_times(self, frames: Tensor, fps: float) -> Embedded:
        """Embeds frames [B, F, H, W, 3] in 0..1, with a track of two steps for each frame."""
        return _embedded(self.picture(frames), self.picture.heads, frames.shape[1] / fps)

    def embed_audio_times(self, waveform: Tensor, sample_rate: int) -> Embedded:
        """Embeds waveforms [B, C, samples] in −1..1 at `sample_rate` Hz, with a track of a step for each 31 ms."""
        return _embedded(self.sound(waveform, sample_rate), self.sound.heads, waveform.shape[-1] / sample_rate)

    def embed_video(self, frames: Tensor, fps: float) -> Tensor:
        """Embeds frames [B, F, H, W, 3] in 0..1."""
        return self.embed_video_times(frames, fps).embedding

    def embed_image(self, image: Tensor) -> Tensor:
        """Embeds images [B, H, W, 3] in 0..1."""
        return self.embed_video(image[:, None], 1.0)

    def embed_audio(self, waveform: Tensor, sample_rate: int) -> Tensor:
        """Embeds waveforms [B, C, samples] in −1..1; `sample_rate` in Hz."""
        return self.embed_audio_times(waveform, sample_rate).embedding

    def embed_text(self, texts: list[str]) -> Tensor:
        """Raises ValueError: it was not trained on text."""
        raise ValueError(f"{self.name} cannot embed text; choose another binder for prompts")


def _embedded(x: Tensor, heads: nn.ModuleDict, duration: float) -> Embedded:
    what, when = heads["what"](_pool(x)), heads["when"](x).transpose(1, 2)
    seconds = (torch.arange(x.shape[-1]) + 0.5) * duration / x.shape[-1]
    track = Track(F.normalize(when.float(), dim=-1), seconds, duration)
    return Embedded(F.normalize(what.float(), dim=-1), (track,))


def load_bounce_bind_times(path: str | Path) -> BounceBindTimes:
    """Loads a Bounce-Bind Times from a safetensors file. Raises ValueError if the file holds another model."""
    card = read_card(path)
    expect(card, "architecture", ("BounceBindTimes",), path)
    require(card, path, "config")
    binder = build(path, "BounceBindTimes", lambda: BounceBindTimes(**card["config"]), lambda binder: {"": binder})
    return binder.eval().requires_grad_(False)
