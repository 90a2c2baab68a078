"""The picture tower of PE-AV: PE-Core (arXiv 2504.13181), a vision transformer with rotary embeddings in two dimensions.

Names of modules are those of timm's `vit_pe_core_*`, with which the weights are published.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..printable import quoted

POOL_HEADS, POOL_RATIO = 8, 4
TEMPERATURE = 10_000.0


@dataclass(frozen=True)
class VisionSizes:
    """The sizes of a PE-Core tower, named as timm names them. ref_feat_shape: patches per side that positions are scaled to."""

    img_size: int
    patch_size: int
    embed_dim: int
    depth: int
    num_heads: int
    ref_feat_shape: int
    mlp_ratio: float = 4.0
    class_token: bool = True
    rope_grid_offset: float = 1.0

    @property
    def grid(self) -> int:
        """Patches per side."""
        return self.img_size // self.patch_size


TOWERS = {
    "vit_pe_core_tiny_patch16_384": VisionSizes(384, 16, 192, 12, 3, 24),
    "vit_pe_core_small_patch16_384": VisionSizes(384, 16, 384, 12, 6, 24),
    "vit_pe_core_base_patch16_224": VisionSizes(224, 16, 768, 12, 12, 14),
    "vit_pe_core_large_patch14_336": VisionSizes(336, 14, 1024, 24, 16, 24),
    "vit_pe_core_gigantic_patch14_448": VisionSizes(448, 14, 1536, 50, 16, 32, 8960 / 1536, False, 0.0),
}
"""By the name of timm's architecture."""


def vision_sizes(architecture: str, changes: Mapping[str, Any] | None) -> VisionSizes:
    """Return the sizes of a tower. changes: to the architecture. Raises ValueError for what is no PE-Core."""
    if architecture not in TOWERS:
        raise ValueError(f"its picture tower is {quoted(architecture)}; use a model with one of {', '.join(TOWERS)}")
    plain = {name: value[0] if isinstance(value, list | tuple) else value for name, value in (changes or {}).items()}
    unknown = sorted(plain.keys() - {each.name for each in fields(VisionSizes)})
    if unknown:
        raise ValueError(f"its picture tower has a setting {quoted(unknown[0])} that Duet does not know")
    return replace(TOWERS[architecture], **plain)


def rotate(x: Tensor, angles: Tensor) -> Tensor:
    """Rotate pairs of neighbours in x [..., N, 2 · D] by angles [N, D]."""
    cos, sin = (part.repeat_interleave(2, -1).to(x.dtype) for part in (angles.cos(), angles.sin()))
    turned = torch.stack([-x[..., 1::2], x[..., ::2]], -1).reshape(x.shape)
    return x * cos + turned * sin


class Attention(nn.Module):
    """Self-attention whose patch tokens are rotated by their places."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv, self.proj = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, x: Tensor, angles: Tensor) -> Tensor:
        """x: [N, tokens, width]. angles: of all tokens; 0 for the class token."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        out = F.scaled_dot_product_attention(rotate(q, angles), rotate(k, angles), v)
        return self.proj(out.transpose(1, 2).flatten(2))


class FeedForward(nn.Module):
    """Two linear layers with GELU between them."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(width, hidden), nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        return self.fc2(F.gelu(self.fc1(x)))


class Block(nn.Module):
    """A pre-norm transformer block."""

    def __init__(self, sizes: VisionSizes) -> None:
        super().__init__()
        width = sizes.embed_dim
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-5), nn.LayerNorm(width, eps=1e-5)
        self.attn = Attention(width, sizes.num_heads)
        self.mlp = FeedForward(width, int(width * sizes.mlp_ratio))

    def forward(self, x: Tensor, angles: Tensor) -> Tensor:
        x = x + self.attn(self.norm1(x), angles)
        return x + self.mlp(self.norm2(x))


class AttentionPool(nn.Module):
    """Pools tokens by the attention of one learned query."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.latent = nn.Parameter(torch.zeros(1, 1, width))
        self.q, self.kv, self.proj = nn.Linear(width, width), nn.Linear(width, 2 * width), nn.Linear(width, width)
        self.norm, self.mlp = nn.LayerNorm(width, eps=1e-5), FeedForward(width, POOL_RATIO * width)

    def forward(self, x: Tensor) -> Tensor:
        """Pool x [N, tokens, width] to [N, width]."""
        q = self.q(self.latent.expand(len(x), -1, -1)).unflatten(-1, (POOL_HEADS, -1)).transpose(1, 2)
        k, v = self.kv(x).unflatten(-1, (2, POOL_HEADS, -1)).permute(2, 0, 3, 1, 4)
        out = self.proj(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))
        return (out + self.mlp(self.norm(out)))[:, 0]


class PatchEmbedding(nn.Module):
    """Convert pictures to tokens [N, patches, width]."""

    def __init__(self, patch: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, patch, patch, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x).flatten(2).transpose(1, 2)


class VisionTower(nn.Module):
    """PE-Core: pictures [N, 3, side, side] to [N, out]."""

    def __init__(self, sizes: VisionSizes, out: int) -> None:
        super().__init__()
        width, prefix = sizes.embed_dim, int(sizes.class_token)
        self.sizes = sizes
        self.patch_embed = PatchEmbedding(sizes.patch_size, width)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width)) if prefix else None
        self.pos_embed = nn.Parameter(torch.zeros(1, sizes.grid**2 + prefix, width))
        self.norm_pre, self.norm = nn.LayerNorm(width, eps=1e-5), nn.LayerNorm(width, eps=1e-5)
        self.blocks = nn.ModuleList(Block(sizes) for _ in range(sizes.depth))
        self.attn_pool = AttentionPool(width)
        self.head = nn.Linear(width, out)

    def forward(self, x: Tensor) -> Tensor:
        tokens = self.patch_embed(x)
        if self.cls_token is not None:
            tokens = torch.cat([self.cls_token.expand(len(x), -1, -1), tokens], 1)
        tokens = self.norm_pre(tokens + self.pos_embed)
        angles = self._angles(tokens)
        for block in self.blocks:
            tokens = block(tokens, angles)
        return self.head(self.attn_pool(self.norm(tokens)))

    def _angles(self, like: Tensor) -> Tensor:
        """Return the angles [tokens, half of a head] of all tokens: those of the column, then those of the row."""
        sizes = self.sizes
        count = sizes.embed_dim // sizes.num_heads // 4
        frequencies = TEMPERATURE ** -(torch.arange(count, device=like.device, dtype=torch.float32) / count)
        place = torch.arange(sizes.grid, device=like.device, dtype=torch.float32) + sizes.rope_grid_offset
        axis = (place / sizes.grid * sizes.ref_feat_shape)[:, None] * frequencies
        rows, columns = axis[:, None].expand(-1, sizes.grid, -1), axis[None].expand(sizes.grid, -1, -1)
        angles = torch.cat([columns, rows], -1).flatten(0, 1)
        return F.pad(angles, (0, 0, int(sizes.class_token), 0))
