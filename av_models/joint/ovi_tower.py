"""The ends of Ovi's towers: from latents, times and text to the blocks' inputs, and from hidden states to predictions."""

from __future__ import annotations

import math

import torch
from diffusers.models.embeddings import get_1d_rotary_pos_embed
from diffusers.models.normalization import FP32LayerNorm
from diffusers.models.transformers.transformer_wan import WanRotaryPosEmbed, WanTimeTextImageEmbedding
from torch import Tensor, nn
from torch.nn import functional as F

from ..contract import Condition
from ..limits import LatentLimits
from .ovi_block import Rotary, Side, modulate

TEXT_LENGTH = 512  # tokens; text is padded with zeros, which the towers attend to
POSITIONS = 1024  # of each axis of the rotary embeddings
AUDIO_SPEED = 0.19676  # of the audio's positions: one latent step of 512 samples in latent frames of the video


class OviTower(nn.Module):
    """What the towers have in common. A subclass sets `patch_embedding` and `rope`, and has `tokens` and `untokens`.

    width: of the hidden states. channels: of the latents. cells: latent cells of one token.
    """

    patch_embedding: nn.Module
    rope: nn.Module

    def __init__(self, width: int, channels: int, cells: int, text_width: int, frequencies: int) -> None:
        super().__init__()
        self.frequencies = frequencies
        self.condition_embedder = WanTimeTextImageEmbedding(width, frequencies, 6 * width, text_width)
        self.norm_out = FP32LayerNorm(width, 1e-6, elementwise_affine=False)
        self.proj_out = nn.Linear(width, channels * cells)
        self.scale_shift_table = nn.Parameter(torch.randn(1, 2, width) / width**0.5)

    @property
    def dtype(self) -> torch.dtype:
        """The dtype that the tower computes in."""
        return self.scale_shift_table.dtype

    def tokens(self, latent: Tensor) -> tuple[Tensor, Rotary]:
        """Return the tokens [B, L, width] of latents, and their rotary embedding."""
        raise NotImplementedError

    def untokens(self, out: Tensor, shape: torch.Size) -> Tensor:
        """Return the prediction, of the latents' shape, from the head's output [B, L, channels · cells]."""
        raise NotImplementedError

    def embed(self, latent: Tensor, t: Tensor, text: Condition) -> tuple[Tensor, Side, Tensor]:
        """Return the tokens, what the blocks use, and the time embedding [B, G, width] for the head.

        t: times in 0..1, [B] or [B, G] for G groups of tokens, such as latent frames.
        """
        hidden, rotary = self.tokens(latent.to(self.dtype))
        embedder, times = self.condition_embedder, t if t.ndim == 2 else t[:, None]
        time = embedder.time_embedder(embed_times(times, self.frequencies).to(self.dtype))
        modulation = embedder.time_proj(embedder.act_fn(time)).unflatten(2, (6, -1))
        return hidden, Side(embedder.text_embedder(_pad(text.tokens).to(self.dtype)), modulation, rotary), time

    def head(self, hidden: Tensor, time: Tensor, shape: torch.Size) -> Tensor:
        """Return the velocity, of the latents' `shape`."""
        shift, scale = (self.scale_shift_table + time[:, :, None]).chunk(2, dim=2)
        out = self.proj_out(modulate(self.norm_out(hidden.float()), scale, shift).type_as(hidden))
        return self.untokens(out, shape)


class VideoTower(OviTower):
    """Latents [B, C, T, H, W], patches of 1 × 2 × 2 cells."""

    limits = LatentLimits(2, POSITIONS, 2 * POSITIONS)

    def __init__(self, width: int, heads: int, channels: int, text_width: int, frequencies: int) -> None:
        patch = (1, 2, 2)
        super().__init__(width, channels, math.prod(patch), text_width, frequencies)
        self.patch_embedding = nn.Conv3d(channels, width, patch, patch)
        with torch.device("cpu"):  # its tables are not in the file
            self.rope = WanRotaryPosEmbed(width // heads, patch, POSITIONS)

    def tokens(self, latent: Tensor) -> tuple[Tensor, Rotary]:
        """Return the tokens, frame by frame. Raises ValueError for sizes that the patches or the positions do not allow."""
        frames, height, width = latent.shape[2:]
        if height % 2 or width % 2:
            raise ValueError(f"the latent is {width}×{height} cells; change the clip's width or height, so that both are even")
        if frames > POSITIONS:
            raise ValueError(f"the clip has {frames} latent frames; use at most {POSITIONS}, the limit of the positions")
        return self.patch_embedding(latent).flatten(2).transpose(1, 2).contiguous(), self.rope(latent)

    def untokens(self, out: Tensor, shape: torch.Size) -> Tensor:
        rows, _, frames, height, width = shape
        out = out.reshape(rows, frames, height // 2, width // 2, 2, 2, -1)
        return out.permute(0, 6, 1, 2, 4, 3, 5).flatten(5, 6).flatten(3, 4)


class AudioTower(OviTower):
    """Latents [B, C, T], one token for each step. hidden: channels inside the embedding."""

    def __init__(self, width: int, heads: int, channels: int, text_width: int, frequencies: int, hidden: int) -> None:
        super().__init__(width, channels, 1, text_width, frequencies)
        self.patch_embedding = ConvEmbedding(channels, width, hidden)
        with torch.device("cpu"):
            self.rope = AudioRotary(width // heads)

    def tokens(self, latent: Tensor) -> tuple[Tensor, Rotary]:
        """Return the tokens. Raises ValueError for a latent that is longer than the positions allow."""
        if latent.shape[2] > POSITIONS:
            raise ValueError(f"the audio has {latent.shape[2]} latent steps, Ovi takes at most {POSITIONS}; make the clip shorter")
        return self.patch_embedding(latent), self.rope(latent.shape[2])

    def untokens(self, out: Tensor, shape: torch.Size) -> Tensor:
        return out.transpose(1, 2)


class ConvEmbedding(nn.Module):
    """Embeds audio latents by a convolution and a gated pair of convolutions, over 7 steps each."""

    def __init__(self, channels: int, width: int, hidden: int) -> None:
        super().__init__()
        self.conv = nn.Conv1d(channels, width, 7, padding=3)
        self.w1, self.w3 = (nn.Conv1d(width, hidden, 7, padding=3, bias=False) for _ in range(2))
        self.w2 = nn.Conv1d(hidden, width, 7, padding=3, bias=False)

    def forward(self, latent: Tensor) -> Tensor:
        """Return the tokens [B, T, width] of latents [B, C, T]."""
        x = F.silu(self.conv(latent))
        return self.w2(F.silu(self.w1(x)) * self.w3(x)).transpose(1, 2).contiguous()


class AudioRotary(nn.Module):
    """The rotary embedding of the audio: it turns the channels that Wan's turns by the frame, more slowly; others stay."""

    cos: Tensor
    sin: Tensor

    def __init__(self, head_size: int) -> None:
        super().__init__()
        turned = head_size - 4 * (head_size // 6)
        positions = torch.arange(POSITIONS, dtype=torch.float64) * AUDIO_SPEED
        cos, sin = get_1d_rotary_pos_embed(turned, positions, use_real=True, repeat_interleave_real=True, freqs_dtype=torch.float64)
        self.register_buffer("cos", F.pad(cos, (0, head_size - turned), value=1.0), persistent=False)
        self.register_buffer("sin", F.pad(sin, (0, head_size - turned)), persistent=False)

    def forward(self, steps: int) -> Rotary:
        return self.cos[None, :steps, None], self.sin[None, :steps, None]


def embed_times(t: Tensor, frequencies: int) -> Tensor:
    """Return the sinusoidal embedding [..., frequencies] of times in 0..1, as whole steps of 1000 (as Ovi's sampler gives them)."""
    exact = torch.float32 if t.device.type == "mps" else torch.float64
    steps, half = (t * 1000).floor().to(exact), frequencies // 2
    rates = torch.pow(10000, -torch.arange(half, dtype=exact, device=t.device) / half)
    angles = steps[..., None] * rates
    return torch.cat([angles.cos(), angles.sin()], -1)


def _pad(tokens: Tensor) -> Tensor:
    return F.pad(tokens[:, :TEXT_LENGTH], (0, 0, 0, max(0, TEXT_LENGTH - tokens.shape[1])))
