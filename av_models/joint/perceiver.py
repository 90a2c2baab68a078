"""Full attention over a picture's and a sound's tokens (JointDiT, CVPR 2025, section 3.3): Perceiver's, and the standard one.

Both take tokens [rows, L, C] of each modality and give as much of each; the first `full` rows see both modalities, the
rest their own alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from diffusers.models.attention_dispatch import dispatch_attention_fn
from diffusers.models.embeddings import get_1d_rotary_pos_embed
from torch import Tensor, nn

from ..experts.base import QKV
from ..experts.wan import rotate

Grid = tuple[int, int, int]  # frames, height and width of the tokens; a sound has (1, time, bands)


class JointAttention(nn.Module):
    """What both have in common. `widths`: of picture and sound; `qk_width`, `v_width`: of all heads together.

    Queries and keys are rotated by place: the picture's by (t, h, w), the sound's by (t, f), t in latent frames for both.
    """

    def __init__(self, qk_width: int, v_width: int, heads: int) -> None:
        super().__init__()
        size = qk_width // heads
        if qk_width % heads or v_width % heads or size % 8:
            raise ValueError(
                f"qk_width {qk_width} and v_width {v_width} do not make {heads} heads; give widths that {heads} divides, "
                "qk_width into heads of a multiple of 8"
            )
        self.heads, self.axes = heads, (size // 2, size // 4, size // 4)

    def forward(self, v: Tensor, a: Tensor, grids: Sequence[Grid], rates: Sequence[float], full: int) -> tuple[Tensor, Tensor]:
        """`grids`: of either modality's tokens; `rates`: latent frames from one picture, one sound step to the next."""
        video, audio = self.project(v, a)
        video = _rotated(video, self.rotary(_video_places(grids[0], rates[0], v.device)))
        audio = _rotated(audio, self.rotary(_audio_places(grids[1], rates[1], a.device)))
        return self.out(*_couple(video, audio, full))

    def rotary(self, places: Tensor) -> tuple[Tensor, Tensor]:
        """cos and sin [1, L, 1, head size] of places [L, 3]."""
        parts = [get_1d_rotary_pos_embed(n, places[:, i], use_real=True) for i, n in enumerate(self.axes)]
        return tuple(torch.cat([part[k] for part in parts], -1)[None, :, None] for k in (0, 1))

    def split(self, x: Tensor) -> Tensor:
        return x.unflatten(-1, (self.heads, -1))


class PerceiverJointAttention(JointAttention):
    """Queries, keys and values of each modality by projections of its own; values of another width than the rest."""

    def __init__(self, widths: tuple[int, int], qk_width: int, v_width: int, heads: int) -> None:
        super().__init__(qk_width, v_width, heads)
        self.to_q, self.to_k = (nn.ModuleList(nn.Linear(c, qk_width) for c in widths) for _ in range(2))
        self.to_v = nn.ModuleList(nn.Linear(c, v_width) for c in widths)
        self.to_out = nn.ModuleList(nn.Linear(v_width, c) for c in widths)

    def project(self, v: Tensor, a: Tensor) -> list[QKV]:
        return [QKV(*(self.split(layer[i](x)) for layer in (self.to_q, self.to_k, self.to_v))) for i, x in enumerate((v, a))]

    def out(self, v: Tensor, a: Tensor) -> tuple[Tensor, Tensor]:
        return self.to_out[0](v), self.to_out[1](a)


class StandardJointAttention(JointAttention):
    """What the paper's ablation compares with: each modality brought to one width, then one attention's projections."""

    def __init__(self, widths: tuple[int, int], qk_width: int, v_width: int, heads: int) -> None:
        super().__init__(qk_width, v_width, heads)
        self.enter = nn.ModuleList(nn.Linear(c, v_width) for c in widths)
        self.to_q, self.to_k = nn.Linear(v_width, qk_width), nn.Linear(v_width, qk_width)
        self.to_v, self.to_out = nn.Linear(v_width, v_width), nn.Linear(v_width, v_width)
        self.leave = nn.ModuleList(nn.Linear(v_width, c) for c in widths)

    def project(self, v: Tensor, a: Tensor) -> list[QKV]:
        tokens = (self.enter[0](v), self.enter[1](a))
        return [QKV(*(self.split(layer(x)) for layer in (self.to_q, self.to_k, self.to_v))) for x in tokens]

    def out(self, v: Tensor, a: Tensor) -> tuple[Tensor, Tensor]:
        return self.leave[0](self.to_out(v)), self.leave[1](self.to_out(a))


ATTENTIONS = {"perceiver": PerceiverJointAttention, "standard": StandardJointAttention}


def _couple(video: QKV, audio: QKV, full: int) -> tuple[Tensor, Tensor]:
    """Attention outputs [rows, L, v_width]: the first `full` rows over both modalities, the rest over their own."""
    lengths = [video.q.shape[1], audio.q.shape[1]]
    outs: list[list[Tensor]] = [[], []]
    if full:
        both = [torch.cat([getattr(video[:full], part), getattr(audio[:full], part)], 1) for part in ("q", "k", "v")]
        for out, part in zip(outs, dispatch_attention_fn(*both).split(lengths, 1)):
            out.append(part)
    if full < len(video.q):
        for out, heads in zip(outs, (video[full:], audio[full:])):
            out.append(dispatch_attention_fn(heads.q, heads.k, heads.v))
    return tuple(torch.cat(out).flatten(2) for out in outs)


def _rotated(heads: QKV, rotary: tuple[Tensor, Tensor]) -> QKV:
    return QKV(rotate(heads.q, rotary), rotate(heads.k, rotary), heads.v)


def _video_places(grid: Grid, rate: float, device: torch.device) -> Tensor:
    frames, height, width = grid
    axes = [torch.arange(n, dtype=torch.float32, device=device) for n in (frames, height, width)]
    return torch.stack(torch.meshgrid(axes[0] * rate, *axes[1:], indexing="ij"), -1).flatten(0, 2)


def _audio_places(grid: Grid, rate: float, device: torch.device) -> Tensor:
    """(t, f, 0): a sound's steps lie on the UNet's height."""
    _, steps, bands = grid
    axes = [torch.arange(n, dtype=torch.float32, device=device) for n in (steps, bands)]
    places = torch.stack(torch.meshgrid(axes[0] * rate, axes[1], indexing="ij"), -1).flatten(0, 1)
    return torch.cat([places, torch.zeros_like(places[:, :1])], -1)
