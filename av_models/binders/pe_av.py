"""PE-AV, the audiovisual Perception Encoder (Vyas et al., arXiv 2512.19687), as a binder: video, audio, both, and text.

Names of modules are those of transformers' `PeAudioVideoModel`, so its weights load without renaming. The pictures are embedded
a few at a time and the sound in parts of some seconds, each recomputed in the backward pass, so that only the activations of one
part are held at a time. transformers' own class stops the gradient of the audio; here it goes through.
"""

from __future__ import annotations

from collections.abc import Callable
from math import ceil
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from ..published.pe_av_folder import LICENCE
from .base import Embedded, Modality, Track
from .pe_av_features import Processing, audio_features, chosen_frames, frame_features
from .pe_av_tower import Head, Tower
from .pe_av_vision import VisionTower, vision_sizes

FRAMES_AT_ONCE = 2
STEPS_AT_ONCE = 100  # of the audio encoder: four seconds
Tokenize = Callable[[list[str]], dict[str, Tensor]]


class AudioEmbedder(nn.Module):
    """The encoder of DAC: waveforms [B, 1, steps · hop] to [B, steps, width]."""

    def __init__(self, config: Any) -> None:
        from transformers import DacModel

        super().__init__()
        dac = config.dac_config
        rest = {"decoder_hidden_size": 2 ** len(dac.downsampling_ratios), "n_codebooks": 1, "codebook_size": 1}  # not used
        self.dac_encoder = DacModel(type(dac).from_dict(dac.to_dict() | rest)).encoder
        self.bottleneck = nn.Conv1d(dac.hidden_size, dac.codebook_dim, 1)
        self.data_proj = nn.Linear(dac.codebook_dim, config.hidden_size)
        self.hop, self.reach = dac.hop_length, _reach(dac.downsampling_ratios)

    def forward(self, wave: Tensor) -> Tensor:
        steps = wave.shape[-1] // self.hop
        parts = ceil(steps / STEPS_AT_ONCE)
        ends = [round(steps * i / parts) for i in range(parts + 1)]
        codes = torch.cat([_saving(self._encode, wave, *each) for each in zip(ends, ends[1:])], 1)
        return self.data_proj(codes)

    def _encode(self, wave: Tensor, start: int, end: int) -> Tensor:
        """Return the codes of the steps from `start` to `end`, which depend on `reach` steps beside them."""
        first = max(start - self.reach, 0)
        codes = self.bottleneck(self.dac_encoder(wave[..., first * self.hop : (end + self.reach) * self.hop]))
        return codes[..., start - first : end - first].transpose(1, 2)


class AudioTower(Tower):
    """Waveforms to states over time."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.embedder = AudioEmbedder(config)

    def forward(self, wave: Tensor) -> tuple[Tensor, Tensor]:
        return self.run(self.embedder(wave))


class TimmWrapper(nn.Module):
    """Holds the picture tower under the name that it has in the files."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.timm_model = VisionTower(vision_sizes(config.architecture, config.model_args), config.num_labels)


class VideoEmbedder(nn.Module):
    """Frames [B, F, H, W, 3] in 0..1 to [B, F, width], each for itself."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        self.vision_model = TimmWrapper(config.vision_config)
        self.proj = nn.Linear(config.vision_config.num_labels, config.hidden_size, bias=False)
        self.data_proj = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, frames: Tensor, settings: Processing) -> Tensor:
        parts = frames.flatten(0, 1).split(FRAMES_AT_ONCE)
        seen = torch.cat([_saving(self._see, part, settings) for part in parts]).unflatten(0, frames.shape[:2])
        return self.data_proj(self.proj(F.normalize(seen, dim=-1)))

    def _see(self, frames: Tensor, settings: Processing) -> Tensor:
        return self.vision_model.timm_model(frame_features(frames.to(self.data_proj.weight.device), settings))


class VideoTower(Tower):
    """Frames to states over time."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.embedder = VideoEmbedder(config)

    def forward(self, frames: Tensor, settings: Processing) -> tuple[Tensor, Tensor]:
        return self.run(self.embedder(frames, settings))


class BothEmbedder(nn.Module):
    """Joins the states of video and audio on the steps of the audio."""

    def __init__(self, config: Any) -> None:
        super().__init__()
        video, audio = config.video_config.hidden_size, config.audio_config.hidden_size
        self.video_proj, self.video_norm = nn.Conv1d(video, audio, 1), nn.LayerNorm(audio)
        self.concat_modality_proj = nn.Linear(audio + video, config.hidden_size)
        self.data_proj = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, video: Tensor, audio: Tensor) -> Tensor:
        seen = F.interpolate(self.video_proj(video.transpose(1, 2)), audio.shape[1]).transpose(1, 2)
        return self.data_proj(self.concat_modality_proj(torch.cat([audio, self.video_norm(seen)], -1)))


class BothTower(Tower):
    """States of video and audio to those of both together."""

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        self.embedder = BothEmbedder(config)

    def forward(self, video: Tensor, audio: Tensor) -> tuple[Tensor, Tensor]:
        return self.run(self.embedder(video, audio))


class PEAV(nn.Module):
    """PE-AV as a `Binder` that sees time: embeddings [B, D] with unit length.

    Texts have an embedding for each of what they are compared with. The published similarity is the product of embeddings that
    are not normalized; a binder's is their cosine.

    config: transformers' `PeAudioVideoConfig`. settings: of its processor. tokenize: texts to ids and mask; without it, text
    cannot be embedded.
    """

    name: str = "PE-AV"
    licence: str = LICENCE
    modalities: frozenset[Modality]

    def __init__(self, config: Any, settings: Processing, tokenize: Tokenize | None = None) -> None:
        from transformers import ModernBertModel

        super().__init__()
        both, out = config.audio_video_config, config.text_config.hidden_size
        self.settings, self.tokenize = settings, tokenize
        self.modalities = frozenset(("video", "image", "audio", "text") if tokenize else ("video", "image", "audio"))
        self.text_model = ModernBertModel(config.text_config)
        self.audio_model = nn.ModuleDict({
            "audio_encoder": AudioTower(both.audio_config), "audio_head": Head(both.audio_config.hidden_size, out),
            "text_audio_head": Head(out, out),
        })  # fmt: skip
        self.video_model = nn.ModuleDict({
            "video_encoder": VideoTower(both.video_config), "video_head": Head(both.video_config.hidden_size, out),
            "text_video_head": Head(out, out),
        })  # fmt: skip
        self.audio_video_encoder = BothTower(both)
        self.audio_video_head, self.text_audio_video_head = Head(both.hidden_size, out), Head(out, out)

    def embed_video(self, frames: Tensor, fps: float) -> Tensor:
        """Embed frames [B, F, H, W, 3] in 0..1: [B, D]. Their number and order count, not `fps`."""
        return F.normalize(self.video_model["video_head"](self._see(frames)[0]), dim=-1)

    def embed_video_times(self, frames: Tensor, fps: float) -> Embedded:
        """Embed frames as `embed_video` does, with a track that has a step for each frame that is used."""
        pooled, states = self._see(frames)
        used = torch.tensor(chosen_frames(frames.shape[1], self.settings.frames))
        embed = self.video_model["video_head"]
        track = Track(F.normalize(embed(states), dim=-1), (used + 0.5) / fps, frames.shape[1] / fps)
        return Embedded(F.normalize(embed(pooled), dim=-1), (track,))

    def embed_image(self, image: Tensor) -> Tensor:
        """Embed images [B, H, W, 3] in 0..1: [B, D]. An image is a video of one frame."""
        return self.embed_video(image[:, None], 1.0)

    def embed_audio(self, waveform: Tensor, sample_rate: int) -> Tensor:
        """Embed waveforms [B, C, samples] in −1..1 at `sample_rate` Hz: [B, D]. Channels are mixed."""
        return F.normalize(self.audio_model["audio_head"](self._hear(waveform, sample_rate)[0]), dim=-1)

    def embed_audio_times(self, waveform: Tensor, sample_rate: int) -> Embedded:
        """Embed waveforms as `embed_audio` does, with a track that has a step for every 40 ms."""
        pooled, states = self._hear(waveform, sample_rate)
        seconds = (torch.arange(states.shape[1]) + 0.5) * self.settings.hop / self.settings.rate
        embed = self.audio_model["audio_head"]
        track = Track(F.normalize(embed(states), dim=-1), seconds, waveform.shape[-1] / sample_rate)
        return Embedded(F.normalize(embed(pooled), dim=-1), (track,))

    def embed_both(self, frames: Tensor, waveform: Tensor, sample_rate: int) -> Tensor:
        """Embed frames [B, F, H, W, 3] together with their sound [B, C, samples] at `sample_rate` Hz: [B, D]."""
        pooled, _ = self.audio_video_encoder(self._see(frames)[1], self._hear(waveform, sample_rate)[1])
        return F.normalize(self.audio_video_head(pooled), dim=-1)

    def embed_text(self, texts: list[str]) -> Tensor:
        """Embed B texts to compare them with video and audio together (`embed_both`): [B, D]."""
        return F.normalize(self.text_audio_video_head(self._read(texts)), dim=-1)

    def embed_text_for(self, texts: list[str], modality: Modality) -> Tensor:
        """Embed B texts to compare them with `modality`, "video", "image" or "audio": [B, D]."""
        model = self.audio_model["text_audio_head"] if modality == "audio" else self.video_model["text_video_head"]
        return F.normalize(model(self._read(texts)), dim=-1)

    def describe_video(self, frames: int, height: int, width: int, fps: float) -> str:
        """Return in numbers what `embed_video` uses."""
        used = len(set(chosen_frames(frames, self.settings.frames)))
        return f"{used} of {frames} frames, {self.describe_image(height, width)}"

    def describe_image(self, height: int, width: int) -> str:
        """Return in numbers what `embed_image` uses."""
        return f"{width}×{height} resized to {self.settings.side}×{self.settings.side}"

    def describe_audio(self, channels: int, samples: int, sample_rate: int) -> str:
        """Return in numbers what `embed_audio` uses."""
        mixed = f", {channels} channels mixed to mono" if channels > 1 else ""
        return f"{sample_rate} Hz to {self.settings.rate} Hz{mixed}"

    def _see(self, frames: Tensor) -> tuple[Tensor, Tensor]:
        count = self.settings.frames
        shown = frames if count is None else frames[:, chosen_frames(frames.shape[1], count)]
        return self.video_model["video_encoder"](shown, self.settings)

    def _hear(self, waveform: Tensor, sample_rate: int) -> tuple[Tensor, Tensor]:
        device = self.audio_video_head.proj.weight.device
        return self.audio_model["audio_encoder"](audio_features(waveform.to(device), sample_rate, self.settings))

    def _read(self, texts: list[str]) -> Tensor:
        if self.tokenize is None:
            raise ValueError(f"{self.name} has no tokenizer, so it cannot embed text; download its tokenizer.json too")
        device = self.audio_video_head.proj.weight.device
        return self.text_model(**{name: x.to(device) for name, x in self.tokenize(texts).items()}).last_hidden_state[:, 0]


def _saving(part: Callable[..., Tensor], x: Tensor, *others: Any) -> Tensor:
    """Run a part whose activations are recomputed in the backward pass, if there is one."""
    return checkpoint(part, x, *others, use_reentrant=False) if x.requires_grad else part(x, *others)


def _reach(ratios: list[int]) -> int:
    """Return how many steps of DAC's encoder before and after a step its value depends on.

    Convolutions reach 3 samples at first, 39 samples at each rate (7 taps, dilated by 1, 3 and 9), twice the stride where the
    rate falls, and a step at the end.
    """
    samples, scale = 3, 1
    for ratio in ratios:
        samples += 39 * scale + 2 * ratio * scale
        scale *= ratio
    return ceil(samples / scale) + 1
