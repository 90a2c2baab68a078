"""Full attention over video and audio tokens (JointDiT, CVPR 2025, section 3.3): the Perceiver variant and the standard one.

Both variants map tokens [rows, L, C] of each modality to tokens of the same shape. In the first `full` rows the two modalities
attend to each other; in the other rows each attends to itself only.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence

import torch
from diffusers.models.attention_dispatch import dispatch_attention_fn
from diffusers.models.embeddings import get_1d_rotary_pos_embed
from torch import Tensor, nn

from ..experts.base import QKV
from ..experts.wan import rotate

Grid = tuple[int, int, int]  # tokens along frames, height and width; for audio (1, time, bands)


class JointAttention(nn.Module):
    """Base class of both variants.

    Queries and keys have rotary position embeddings: of (t, h, w) for video and (t, f) for audio, with t in latent frames of
    the video for both.
    qk_width, v_width: total width of the queries and keys, and of the values, of all heads.

    Raises ValueError if the widths cannot be divided into heads.
    """

    def __init__(self, qk_width: int, v_width: int, heads: int) -> None:
        super().__init__()
        size = qk_width // heads
        if qk_width % heads or v_width % heads or size % 8:
            raise ValueError(
                f"qk_width {qk_width} and v_width {v_width} do not fit {heads} heads; use multiples of {heads} for both, "
                f"and of {8 * heads} for qk_width"
            )
        self.heads, self.axes = heads, (size // 2, size // 4, size // 4)

    def forward(self, v: Tensor, a: Tensor, grids: Sequence[Grid], rates: Sequence[float], full: int) -> tuple[Tensor, Tensor]:
        """Return the attention outputs of video tokens v [rows, L_v, C_v] and audio tokens a [rows, L_a, C_a].

        grids: token grids of video and audio. rates: time between two video frames and two audio steps, in latent frames of
            the video. full: number of rows, from the first, in which the modalities attend to each other.
        """
        video, audio = self.project(v, a)
        video = _rotate(video, self.rotary(_video_positions(grids[0], rates[0], v.device)))
        audio = _rotate(audio, self.rotary(_audio_positions(grids[1], rates[1], a.device)))
        return self.project_out(*_attend(video, audio, full))

    @abstractmethod
    def project(self, v: Tensor, a: Tensor) -> tuple[QKV, QKV]:
        """Return the queries, keys and values of both modalities, without position embeddings."""

    @abstractmethod
    def project_out(self, v: Tensor, a: Tensor) -> tuple[Tensor, Tensor]:
        """Project the attention outputs [rows, L, v_width] back to the widths of the modalities."""

    def rotary(self, positions: Tensor) -> tuple[Tensor, Tensor]:
        """Return cos and sin [1, L, 1, head size] for positions [L, 3]."""
        parts = [get_1d_rotary_pos_embed(n, positions[:, i], use_real=True) for i, n in enumerate(self.axes)]
        cos, sin = (torch.cat([part[k] for part in parts], -1)[None, :, None] for k in (0, 1))
        return cos, sin

    def split_heads(self, x: Tensor) -> Tensor:
        """Reshape [rows, L, width] to [rows, L, heads, head size]."""
        return x.unflatten(-1, (self.heads, -1))


class PerceiverJointAttention(JointAttention):
    """Perceiver joint attention: each modality has its own projections, and values may have a different width than queries.

    widths: token widths of video and audio.
    """

    def __init__(self, widths: tuple[int, int], qk_width: int, v_width: int, heads: int) -> None:
        super().__init__(qk_width, v_width, heads)
        self.to_q, self.to_k = (nn.ModuleList(nn.Linear(c, qk_width) for c in widths) for _ in range(2))
        self.to_v = nn.ModuleList(nn.Linear(c, v_width) for c in widths)
        self.to_out = nn.ModuleList(nn.Linear(v_width, c) for c in widths)

    def project(self, v: Tensor, a: Tensor) -> tuple[QKV, QKV]:
        """Return the queries, keys and values of both modalities by their own projections."""
        video, audio = (
            QKV(*(self.split_heads(layer[i](x)) for layer in (self.to_q, self.to_k, self.to_v))) for i, x in enumerate((v, a))
        )
        return video, audio

    def project_out(self, v: Tensor, a: Tensor) -> tuple[Tensor, Tensor]:
        """Project both attention outputs by their own projections."""
        return self.to_out[0](v), self.to_out[1](a)


class StandardJointAttention(JointAttention):
    """Standard joint attention, the baseline of the paper's ablation: both modalities are projected to one width and share the
    attention's projections.

    widths: token widths of video and audio.
    """

    def __init__(self, widths: tuple[int, int], qk_width: int, v_width: int, heads: int) -> None:
        super().__init__(qk_width, v_width, heads)
        self.enter = nn.ModuleList(nn.Linear(c, v_width) for c in widths)
        self.to_q, self.to_k = nn.Linear(v_width, qk_width), nn.Linear(v_width, qk_width)
        self.to_v, self.to_out = nn.Linear(v_width, v_width), nn.Linear(v_width, v_width)
        self.leave = nn.ModuleList(nn.Linear(v_width, c) for c in widths)

    def project(self, v: Tensor, a: Tensor) -> tuple[QKV, QKV]:
        """Return the queries, keys and values of both modalities by the shared projections."""
        tokens = (self.enter[0](v), self.enter[1](a))
        video, audio = (QKV(*(self.split_heads(layer(x)) for layer in (self.to_q, self.to_k, self.to_v))) for x in tokens)
        return video, audio

    def project_out(self, v: Tensor, a: Tensor) -> tuple[Tensor, Tensor]:
        """Project both attention outputs by the shared projection, then to their own widths."""
        return self.leave[0](self.to_out(v)), self.leave[1](self.to_out(a))


ATTENTIONS: dict[str, Callable[[tuple[int, int], int, int, int], JointAttention]] = {
    "perceiver": PerceiverJointAttention,
    "standard": StandardJointAttention,
}


def _attend(video: QKV, audio: QKV, full: int) -> tuple[Tensor, Tensor]:
    """Return attention outputs [rows, L, v_width]: over both modalities in the first `full` rows, else over one's own."""
    lengths = [video.q.shape[1], audio.q.shape[1]]
    outs: list[list[Tensor]] = [[], []]
    if full:
        q, k, v = (torch.cat([getattr(video[:full], part), getattr(audio[:full], part)], 1) for part in ("q", "k", "v"))
        for out, part in zip(outs, dispatch_attention_fn(q, k, v).split(lengths, 1)):
            out.append(part)
    if full < len(video.q):
        for out, heads in zip(outs, (video[full:], audio[full:])):
            out.append(dispatch_attention_fn(heads.q, heads.k, heads.v))
    return torch.cat(outs[0]).flatten(2), torch.cat(outs[1]).flatten(2)


def _rotate(heads: QKV, rotary: tuple[Tensor, Tensor]) -> QKV:
    return QKV(rotate(heads.q, rotary), rotate(heads.k, rotary), heads.v)


def _video_positions(grid: Grid, rate: float, device: torch.device) -> Tensor:
    """Return positions (t, h, w) [L, 3]."""
    frames, height, width = grid
    axes = [torch.arange(n, dtype=torch.float32, device=device) for n in (frames, height, width)]
    return torch.stack(torch.meshgrid(axes[0] * rate, *axes[1:], indexing="ij"), -1).flatten(0, 2)


def _audio_positions(grid: Grid, rate: float, device: torch.device) -> Tensor:
    """Return positions (t, f, 0) [L, 3]. The audio UNet has its time axis on the height."""
    _, steps, bands = grid
    axes = [torch.arange(n, dtype=torch.float32, device=device) for n in (steps, bands)]
    positions = torch.stack(torch.meshgrid(axes[0] * rate, axes[1], indexing="ij"), -1).flatten(0, 1)
    return torch.cat([positions, torch.zeros_like(positions[:, :1])], -1)
