"""The T2A expert: diffusers' FluxTransformer2DModel as TangoFlux uses it, taken apart around self-attention.

Its blocks carry text inside self-attention: the first, dual-stream ones beside the sound, the later, single-stream ones
in one sequence with it. Text rows come first in both.
"""

from __future__ import annotations

import torch
from diffusers import FluxTransformer2DModel
from diffusers.models.embeddings import apply_rotary_emb
from diffusers.models.transformers.transformer_flux import FluxTransformerBlock
from torch import Tensor, nn

from ..contract import Condition
from ..path import FLOW
from .base import QKV, ExpertState


class FluxExpert(nn.Module):
    """Wraps a Flux transformer over a 1-D audio latent [B, C, T]; it predicts flow velocity, t in 0..1.

    `rope_scale`: sound position p_a rotates as p_a · rope_scale on the transformer's first axis. AVSyncRoPE (arXiv
    2512.02457) sets it to 1/τ; a TangoFlux as published has 1.
    """

    path = FLOW
    prediction = "flow"

    def __init__(self, transformer: FluxTransformer2DModel, rope_scale: float = 1.0) -> None:
        super().__init__()
        self.transformer, self.rope_scale = transformer, rope_scale
        config = transformer.config
        self.heads, self.head_size = config.num_attention_heads, config.attention_head_dim
        self.width = self.heads * self.head_size
        self.depth = config.num_layers + config.num_single_layers

    def positions(self, steps: int, device: torch.device) -> Tensor:
        """Position ids [T, 3] of sound rows: (p_a · rope_scale, 0, 0)."""
        ids = torch.zeros(steps, 3, device=device)
        ids[:, 0] = torch.arange(steps, device=device) * self.rope_scale
        return ids

    def forward(self, latent: Tensor, t: Tensor, text: Condition) -> Tensor:
        """The expert alone: [B, C, T], t [B] → velocity of the same shape."""
        out = self.transformer(
            hidden_states=latent.transpose(1, 2), encoder_hidden_states=text.tokens, pooled_projections=pooled(text),
            timestep=t, img_ids=self.positions(latent.shape[2], latent.device),
            txt_ids=torch.zeros(text.tokens.shape[1], 3, device=latent.device), return_dict=False,
        )[0]  # fmt: skip
        return out.transpose(1, 2)

    def embed(self, latent: Tensor, t: Tensor, text: Condition) -> ExpertState:
        flux = self.transformer
        hidden = flux.x_embedder(latent.transpose(1, 2))
        time = flux.time_text_embed(t.to(hidden.dtype) * 1000, pooled(text))
        text_ids = torch.zeros(text.tokens.shape[1], 3, device=latent.device)
        rotary = flux.pos_embed(torch.cat([text_ids, self.positions(latent.shape[2], latent.device)]))
        return ExpertState(hidden, flux.context_embedder(text.tokens), time, rotary, latent.shape)

    @property
    def blocks(self) -> list[nn.Module]:
        return [*self.transformer.transformer_blocks, *self.transformer.single_transformer_blocks]

    def run(self, block: nn.Module, stream: ExpertState) -> ExpertState:
        """The whole block, alone."""
        text, hidden = block(
            hidden_states=stream.hidden, encoder_hidden_states=stream.text, temb=stream.time,
            image_rotary_emb=stream.rotary,
        )  # fmt: skip
        return stream.with_(hidden=hidden, text=text)

    def attention_input(self, block: nn.Module, stream: ExpertState) -> tuple[Tensor, tuple]:
        """Normed rows [B, text + sound, width], and the modulation that `finish` needs."""
        if is_dual(block):
            sound, *of_sound = block.norm1(stream.hidden, emb=stream.time)
            text, *of_text = block.norm1_context(stream.text, emb=stream.time)
            return torch.cat([text, sound], 1), (of_sound, of_text)
        rows, gate = block.norm(torch.cat([stream.text, stream.hidden], 1), emb=stream.time)
        return rows, (rows, gate)

    def project(self, block: nn.Module, rows: Tensor, stream: ExpertState) -> QKV:
        """Queries, keys, values of text and sound rows alike, in that order."""
        attn = block.attn
        cut = stream.text.shape[1]

        def split(x: Tensor) -> Tensor:
            return x.unflatten(-1, (-1, attn.head_dim))

        if is_dual(block):
            text, sound = rows[:, :cut].contiguous(), rows[:, cut:].contiguous()
            q = torch.cat([attn.norm_added_q(split(attn.add_q_proj(text))), attn.norm_q(split(attn.to_q(sound)))], 1)
            k = torch.cat([attn.norm_added_k(split(attn.add_k_proj(text))), attn.norm_k(split(attn.to_k(sound)))], 1)
            v = torch.cat([split(attn.add_v_proj(text)), split(attn.to_v(sound))], 1)
        else:
            q, k, v = attn.norm_q(split(attn.to_q(rows))), attn.norm_k(split(attn.to_k(rows))), split(attn.to_v(rows))
        return QKV(self.rotate(q, stream), self.rotate(k, stream), v)

    def rotate(self, x: Tensor, stream: ExpertState) -> Tensor:
        return apply_rotary_emb(x, stream.rotary, sequence_dim=1)

    def rotate_sound(self, x: Tensor, stream: ExpertState) -> Tensor:
        """As `rotate`, for sound rows alone."""
        cut = stream.text.shape[1]
        return apply_rotary_emb(x, (stream.rotary[0][cut:], stream.rotary[1][cut:]), sequence_dim=1)

    def finish(
        self, block: nn.Module, stream: ExpertState, kept: tuple, attended: Tensor, extra: Tensor | None = None
    ) -> ExpertState:
        """The rest of the block. `attended`: [B, text + sound, heads, head size]; `extra`: what the joint model's new
        heads add to the sound rows' attention output, [B, T, width]."""
        attended = attended.flatten(2, 3)
        if is_dual(block):
            return self._finish_dual(block, stream, kept, attended, extra)
        return self._finish_single(block, stream, kept, attended, extra)

    def _finish_dual(self, block, stream: ExpertState, kept: tuple, attended: Tensor, extra: Tensor | None) -> ExpertState:
        cut = stream.text.shape[1]
        sound = block.attn.to_out[1](block.attn.to_out[0](attended[:, cut:].contiguous()))
        text = block.attn.to_add_out(attended[:, :cut].contiguous())
        if extra is not None:
            sound = sound + extra
        hidden = self._feed(block.norm2, block.ff, stream.hidden, sound, *kept[0])
        text = self._feed(block.norm2_context, block.ff_context, stream.text, text, *kept[1])
        return stream.with_(hidden=hidden, text=text)

    @staticmethod
    def _feed(norm, ff, rows: Tensor, attended: Tensor, gate, shift, scale, ff_gate) -> Tensor:
        rows = rows + gate.unsqueeze(1) * attended
        x = norm(rows) * (1 + scale[:, None]) + shift[:, None]
        return rows + ff_gate.unsqueeze(1) * ff(x)

    def _finish_single(self, block, stream: ExpertState, kept: tuple, attended: Tensor, extra: Tensor | None) -> ExpertState:
        cut = stream.text.shape[1]
        normed, gate = kept
        out = block.proj_out(torch.cat([attended, block.act_mlp(block.proj_mlp(normed))], 2))
        if extra is not None:
            out = torch.cat([out[:, :cut], out[:, cut:] + extra], 1)
        rows = torch.cat([stream.text, stream.hidden], 1) + gate.unsqueeze(1) * out
        return stream.with_(text=rows[:, :cut], hidden=rows[:, cut:])

    def head(self, stream: ExpertState) -> Tensor:
        flux = self.transformer
        return flux.proj_out(flux.norm_out(stream.hidden, stream.time)).transpose(1, 2)


def is_dual(block: nn.Module) -> bool:
    return isinstance(block, FluxTransformerBlock)


def pooled(text: Condition) -> Tensor:
    """Mean of the real tokens [B, D]; zero for an empty prompt."""
    return text.tokens.sum(1) / text.mask.sum(1, keepdim=True).clamp_min(1)
