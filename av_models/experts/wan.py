"""The text-to-video expert: diffusers' WanTransformer3DModel (Wan 2.x), split around self-attention."""

from __future__ import annotations

from functools import cached_property, reduce
from math import lcm
from typing import Any

import torch
from diffusers import WanTransformer3DModel
from torch import Tensor, nn

from ..contract import Condition, Prediction
from ..limits import LatentLimits
from ..path import FLOW
from .base import QKV, ExpertState


class WanExpert(nn.Module):
    """Predicts the flow velocity of video latents [B, C, T, H, W] at t in 0..1, with a Wan transformer.

    coordinates: add three channels with the position of each latent cell to the transformer's input. Wan's rotary embedding
        is relative, so a small model learns absolute positions slowly from it.
    time_stride: distance of neighbouring latent frames on the time axis of the rotary embedding, in a joint model. Wan uses 1.
    text_length: number of text tokens that the transformer was trained with; shorter texts are filled up with zeros. None: any.

    Latents and texts are converted to the precision of the transformer, predictions are in float32.
    Raises ValueError if time_stride or the transformer's rope_max_seq_len is not a whole number of at least 1.
    """

    path = FLOW
    prediction: Prediction = "flow"

    def __init__(
        self,
        transformer: WanTransformer3DModel,
        coordinates: bool = False,
        time_stride: int = 1,
        text_length: int | None = None,
    ) -> None:
        super().__init__()
        if not (isinstance(time_stride, int) and time_stride >= 1):
            raise ValueError(f"time_stride is {time_stride}; use a whole number of at least 1")
        self.transformer, self.coordinates, self.time_stride = transformer, coordinates, time_stride
        self.text_length = text_length
        config = transformer.config
        self.heads, self.head_size = config.num_attention_heads, config.attention_head_dim
        self.width, self.depth = self.heads * self.head_size, config.num_layers
        if config.rope_max_seq_len < 1:
            raise ValueError(f"rope_max_seq_len is {config.rope_max_seq_len}; use a whole number of at least 1")

    @cached_property
    def limits(self) -> LatentLimits:
        """The latents that the patches and the table of rotary positions allow."""
        (p_t, p_h, p_w), positions = self.transformer.config.patch_size, self.transformer.config.rope_max_seq_len
        frames = p_t * positions if self.time_stride == 1 else (positions - 1) // self.time_stride + 1
        return LatentLimits(lcm(p_h, p_w), frames, min(p_h, p_w) * positions)

    def forward(self, latent: Tensor, t: Tensor, text: Condition) -> Tensor:
        """Run the whole transformer: latent [B, C, T, H, W], t in 0..1. Returns the velocity, shaped as the latent.

        t: [B], or [B, T] with a time for each latent frame, as Wan 2.2 TI2V takes a given first frame. The transformer embeds the
        time of every token. In half precision, `embed` does so once for each frame, which needs far less memory.
        """
        x, tokens = self._inputs(latent, text)
        if t.ndim == 2 and x.dtype != torch.float32:
            return self.head(reduce(lambda state, block: self.run(block, state), self.blocks, self.embed(latent, t, text)))
        times = t * 1000
        if t.ndim == 2:
            p_t, p_h, p_w = self.transformer.config.patch_size
            in_frame = (x.shape[3] // p_h) * (x.shape[4] // p_w)
            times = times.expand(-1, x.shape[2])[:, ::p_t].repeat_interleave(in_frame, 1)
        return self.transformer(self.with_coordinates(x), times, tokens, return_dict=False)[0].float()

    def _inputs(self, latent: Tensor, text: Condition) -> tuple[Tensor, Tensor]:
        """Return the latent and the text's tokens as the transformer takes them."""
        dtype = self.transformer.patch_embedding.weight.dtype
        return latent.to(dtype), text.padded(max(self.text_length or 0, text.mask.shape[1])).tokens.to(dtype)

    def with_coordinates(self, latent: Tensor) -> Tensor:
        """Return the latent [B, C, T, H, W], or with coordinate channels [B, C + 3, T, H, W] if the transformer uses them.

        Raises ValueError if the latent's height or width is not a multiple of the patch size.
        """
        _, patch_height, patch_width = self.transformer.config.patch_size
        height, width = latent.shape[-2:]
        if height % patch_height or width % patch_width:
            size, patch = f"{width}×{height}", f"{patch_width}×{patch_height}"
            raise ValueError(f"the latent is {size}, not a multiple of the patch size {patch}; change the clip's width or height")
        return torch.cat([latent, coordinate_channels(latent)], 1) if self.coordinates else latent

    def rotary(self, latent: Tensor) -> tuple[Tensor, Tensor]:
        """Return cos and sin [1, L, 1, head size] for the latent's tokens. Raises ValueError for too many latent frames."""
        rope, stride, frames = self.transformer.rope, self.time_stride, latent.shape[2]
        if self.limits.frames is not None and frames > self.limits.frames:
            raise ValueError(f"the clip has {frames} latent frames; use at most {self.limits.frames}, the limit of the positions")
        if stride == 1:
            return rope(latent)
        longer = latent[:, :, :1].expand(-1, -1, (frames - 1) * stride + 1, -1, -1)
        return tuple(part.unflatten(1, (longer.shape[2], -1))[:, ::stride].flatten(1, 2) for part in rope(longer))

    @property
    def rotary_axes(self) -> tuple[int, int, int]:
        """The sizes of the rotary axes (t, y, x)."""
        rope = self.transformer.rope
        return rope.t_dim, rope.h_dim, rope.w_dim

    def embed(self, latent: Tensor, t: Tensor, text: Condition) -> ExpertState:
        """Prepare the state of the first block; latent, t and text as in `forward`.

        Its `time` is [B, 7, width]: six modulations, then the embedding for the head. With a time for each frame it is
        [B, T, 7, width].
        """
        wan = self.transformer
        x, tokens = self._inputs(latent, text)
        patches = wan.patch_embedding(self.with_coordinates(x))
        rotary = self.rotary(x)
        hidden = patches.flatten(2).transpose(1, 2).contiguous()
        frames = None if t.ndim == 1 else x.shape[2] // wan.config.patch_size[0]
        times = t if frames is None else t.expand(-1, x.shape[2])[:, :: wan.config.patch_size[0]].flatten()
        time, modulation, context, _ = wan.condition_embedder(times * 1000, tokens, None, timestep_seq_len=frames)
        time = torch.cat([modulation.unflatten(-1, (6, -1)), time[..., None, :]], -2)
        return ExpertState(hidden, context, time, rotary, latent.shape)

    @property
    def blocks(self) -> list[nn.Module]:
        """The transformer's blocks in order."""
        return list(self.transformer.blocks)

    def run(self, block: Any, state: ExpertState) -> ExpertState:
        """Run a whole block."""
        if state.time.ndim == 3:
            return state.with_(hidden=block(state.hidden, state.text, state.time[:, :6], state.rotary))
        rows, _ = self.attention_input(block, state)
        return self._after_attention(block, state, block.attn1(rows, None, None, state.rotary))

    def text_rows(self, state: ExpertState) -> int:
        """Return 0: Wan has cross-attention to its text."""
        return 0

    def attention_input(self, block: Any, state: ExpertState) -> tuple[Tensor, None]:
        """Return the modulated norm of the hidden state [B, L, width], and None for `kept`."""
        shift, scale = _modulation(block, state, slice(0, 2))
        return (block.norm1(state.hidden.float()) * (1 + scale) + shift).type_as(state.hidden), None

    def project(self, block: Any, rows: Tensor, state: ExpertState) -> QKV:
        """Compute queries, keys and values, normalized over all heads together (Wan's QK norm) and rotated."""
        attn = block.attn1
        q = attn.norm_q(attn.to_q(rows)).unflatten(2, (self.heads, -1))
        k = attn.norm_k(attn.to_k(rows)).unflatten(2, (self.heads, -1))
        v = attn.to_v(rows).unflatten(2, (self.heads, -1))
        return QKV(self.rotate(q, state), self.rotate(k, state), v)

    def rotate(self, x: Tensor, state: ExpertState) -> Tensor:
        """Apply the rotary embedding. x: [B, L, heads, head size]."""
        return rotate(x, state.rotary)

    def finish(self, block: Any, state: ExpertState, kept: None, attended: Tensor, extra: Tensor | None = None) -> ExpertState:
        """Run the output projection, gate, text cross-attention and feed-forward. attended: [B, L, heads, head size]."""
        out = block.attn1.to_out[1](block.attn1.to_out[0](attended.flatten(2, 3).type_as(state.hidden)))
        return self._after_attention(block, state, out if extra is None else out + extra)

    @staticmethod
    def _after_attention(block: Any, state: ExpertState, out: Tensor) -> ExpertState:
        """Run the rest of a block after the output projection of self-attention."""
        gate, c_shift, c_scale, c_gate = _modulation(block, state, slice(2, 6))
        h = (state.hidden.float() + out * gate).type_as(state.hidden)
        h = h + block.attn2(block.norm2(h.float()).type_as(h), state.text, None, None)
        x = (block.norm3(h.float()) * (1 + c_scale) + c_shift).type_as(h)
        h = (h.float() + block.ffn(x).float() * c_gate).type_as(h)
        return state.with_(hidden=h)

    def head(self, state: ExpertState) -> Tensor:
        """Compute the velocity [B, C, T, H, W]: final norm, projection and unpatchify."""
        wan = self.transformer
        shift, scale = _added(wan.scale_shift_table, state.time[..., 6:, :], state)
        out = wan.proj_out((wan.norm_out(state.hidden.float()) * (1 + scale) + shift).type_as(state.hidden))
        rows, _, frames, height, width = state.shape
        p_t, p_h, p_w = wan.config.patch_size
        out = out.reshape(rows, frames // p_t, height // p_h, width // p_w, p_t, p_h, p_w, -1)
        return out.permute(0, 7, 1, 4, 2, 5, 3, 6).flatten(6, 7).flatten(4, 5).flatten(2, 3).float()


def _modulation(block: Any, state: ExpertState, which: slice) -> tuple[Tensor, ...]:
    """Return some of the six modulations of a block, for the tokens of the state."""
    return _added(block.scale_shift_table[:, which], state.time[..., :6, :][..., which, :].float(), state)


def _added(table: Tensor, time: Tensor, state: ExpertState) -> tuple[Tensor, ...]:
    """Return each row of a table [1, n, width] plus a time embedding [B, n or 1, width], [B, 1, width].

    With a time embedding of each latent frame, [B, T, n or 1, width], each of them is for all tokens, [B, L, width].
    """
    if time.ndim == 3:
        return (table + time).chunk(table.shape[1], dim=1)
    tokens = state.hidden.shape[1] // time.shape[1]
    return tuple(part.repeat_interleave(tokens, 1) for part in (table.unsqueeze(0) + time).unbind(2))


def coordinate_channels(latent: Tensor) -> Tensor:
    """Return coordinate channels (t, y, x) [B, 3, T, H, W] for a latent [B, C, T, H, W].

    y and x run from −1 to 1; t starts at −1 and grows by 1/4 for each latent frame.
    """
    rows, _, frames, height, width = latent.shape
    t = torch.arange(frames, device=latent.device, dtype=latent.dtype) / 4 - 1
    y, x = (torch.linspace(-1, 1, n, device=latent.device, dtype=latent.dtype) for n in (height, width))
    return torch.stack(torch.meshgrid(t, y, x, indexing="ij")).expand(rows, -1, -1, -1, -1)


def rotate(x: Tensor, rotary: tuple[Tensor, Tensor]) -> Tensor:
    """Apply a rotary embedding over interleaved pairs. x: [B, L, heads, head size]; cos and sin: [1, L, 1, head size]."""
    x1, x2 = x.unflatten(-1, (-1, 2)).unbind(-1)
    cos, sin = rotary[0][..., 0::2], rotary[1][..., 1::2]
    out = torch.empty_like(x)
    out[..., 0::2] = x1 * cos - x2 * sin
    out[..., 1::2] = x1 * sin + x2 * cos
    return out.type_as(x)
