"""The T2V expert: diffusers' WanTransformer3DModel (Wan 2.x), taken apart around self-attention."""

from __future__ import annotations

import torch
from diffusers import WanTransformer3DModel
from torch import Tensor, nn

from ..contract import Condition
from ..path import FLOW
from .base import QKV, ExpertState


class WanExpert(nn.Module):
    """Wraps a Wan transformer that predicts flow velocity; t in 0..1 becomes its timestep in 0..1000.

    `coordinates`: the transformer takes three channels more, which tell each cell where it is. Wan's rotary embedding
    is relative, and a small model is slow to find floor and walls from it. `time_stride`: how far apart neighbouring
    latent frames lie on the rotary embedding's time axis inside a joint model; Wan's own is 1.
    """

    path = FLOW
    prediction = "flow"

    def __init__(self, transformer: WanTransformer3DModel, coordinates: bool = False, time_stride: int = 1) -> None:
        super().__init__()
        if not (isinstance(time_stride, int) and time_stride >= 1):
            raise ValueError(f"time_stride is {time_stride}; give a whole number of at least 1")
        self.transformer, self.coordinates, self.time_stride = transformer, coordinates, time_stride
        config = transformer.config
        self.heads, self.head_size = config.num_attention_heads, config.attention_head_dim
        self.width, self.depth = self.heads * self.head_size, config.num_layers

    def forward(self, latent: Tensor, t: Tensor, text: Condition) -> Tensor:
        """The expert alone: [B, C, T, H, W], t [B] → velocity of the same shape."""
        return self.transformer(self.placed(latent), t * 1000, text.tokens, return_dict=False)[0]

    def placed(self, latent: Tensor) -> Tensor:
        """The latent with its coordinates, where the transformer takes them."""
        return torch.cat([latent, coordinate_channels(latent)], 1) if self.coordinates else latent

    def rotary(self, latent: Tensor) -> tuple[Tensor, Tensor]:
        """cos and sin [1, L, 1, head size] of the latent's tokens."""
        rope, stride = self.transformer.rope, self.time_stride
        if stride == 1:
            return rope(latent)
        frames, most = latent.shape[2], self.transformer.config.rope_max_seq_len
        if (frames - 1) * stride >= most:
            raise ValueError(f"{frames} latent frames {stride} apart do not fit rotary positions up to {most}; give fewer")
        longer = latent[:, :, :1].expand(-1, -1, (frames - 1) * stride + 1, -1, -1)
        return tuple(part.unflatten(1, (longer.shape[2], -1))[:, ::stride].flatten(1, 2) for part in rope(longer))

    def embed(self, latent: Tensor, t: Tensor, text: Condition) -> ExpertState:
        wan = self.transformer
        rotary = self.rotary(latent)
        hidden = wan.patch_embedding(self.placed(latent)).flatten(2).transpose(1, 2).contiguous()
        time, modulation, context, _ = wan.condition_embedder(t * 1000, text.tokens, None)
        time = torch.cat([modulation.unflatten(1, (6, -1)), time[:, None]], 1)
        return ExpertState(hidden, context, time, rotary, latent.shape)

    @property
    def blocks(self) -> list[nn.Module]:
        return list(self.transformer.blocks)

    def run(self, block: nn.Module, stream: ExpertState) -> ExpertState:
        """The whole block, alone."""
        return stream.with_(hidden=block(stream.hidden, stream.text, stream.time[:, :6], stream.rotary))

    def attention_input(self, block: nn.Module, stream: ExpertState) -> Tensor:
        """What the block's self-attention sees: the modulated norm of the hidden state."""
        shift, scale = (block.scale_shift_table + stream.time[:, :6].float())[:, :2].chunk(2, dim=1)
        return (block.norm1(stream.hidden.float()) * (1 + scale) + shift).type_as(stream.hidden)

    def project(self, block: nn.Module, x: Tensor, stream: ExpertState) -> QKV:
        attn = block.attn1
        q = attn.norm_q(attn.to_q(x)).unflatten(2, (self.heads, -1))
        k = attn.norm_k(attn.to_k(x)).unflatten(2, (self.heads, -1))
        v = attn.to_v(x).unflatten(2, (self.heads, -1))
        return QKV(rotate(q, stream.rotary), rotate(k, stream.rotary), v)

    def finish(self, block: nn.Module, stream: ExpertState, attended: Tensor) -> ExpertState:
        """Output projection, gate, text attention and feed-forward. `attended`: [B, L, heads, head size]."""
        _, _, gate, c_shift, c_scale, c_gate = (block.scale_shift_table + stream.time[:, :6].float()).chunk(6, dim=1)
        out = block.attn1.to_out[1](block.attn1.to_out[0](attended.flatten(2, 3).type_as(stream.hidden)))
        h = (stream.hidden.float() + out * gate).type_as(stream.hidden)
        h = h + block.attn2(block.norm2(h.float()).type_as(h), stream.text, None, None)
        x = (block.norm3(h.float()) * (1 + c_scale) + c_shift).type_as(h)
        h = (h.float() + block.ffn(x).float() * c_gate).type_as(h)
        return stream.with_(hidden=h)

    def head(self, stream: ExpertState) -> Tensor:
        wan = self.transformer
        shift, scale = (wan.scale_shift_table + stream.time[:, 6:]).chunk(2, dim=1)
        out = wan.proj_out((wan.norm_out(stream.hidden.float()) * (1 + scale) + shift).type_as(stream.hidden))
        rows, _, frames, height, width = stream.shape
        p_t, p_h, p_w = wan.config.patch_size
        out = out.reshape(rows, frames // p_t, height // p_h, width // p_w, p_t, p_h, p_w, -1)
        return out.permute(0, 7, 1, 4, 2, 5, 3, 6).flatten(6, 7).flatten(4, 5).flatten(2, 3)


def coordinate_channels(latent: Tensor) -> Tensor:
    """(t, y, x) of each cell of [B, C, T, H, W]: y and x from −1 to 1, t from −1 upward by 1/4 a latent frame."""
    rows, _, frames, height, width = latent.shape
    t = torch.arange(frames, device=latent.device, dtype=latent.dtype) / 4 - 1
    y, x = (torch.linspace(-1, 1, n, device=latent.device, dtype=latent.dtype) for n in (height, width))
    return torch.stack(torch.meshgrid(t, y, x, indexing="ij")).expand(rows, -1, -1, -1, -1)


def rotate(x: Tensor, rotary: tuple[Tensor, Tensor]) -> Tensor:
    """Rotary embedding over interleaved pairs. x: [B, L, heads, head size]; cos and sin: [1, L, 1, head size]."""
    x1, x2 = x.unflatten(-1, (-1, 2)).unbind(-1)
    cos, sin = rotary[0][..., 0::2], rotary[1][..., 1::2]
    out = torch.empty_like(x)
    out[..., 0::2] = x1 * cos - x2 * sin
    out[..., 1::2] = x1 * sin + x2 * cos
    return out.type_as(x)
