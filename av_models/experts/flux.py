"""The text-to-audio expert: diffusers' FluxTransformer2DModel as TangoFlux uses it, split around self-attention.

Flux reads text inside self-attention: dual-stream blocks have separate weights for text, single-stream blocks process
text and audio as one sequence. Text rows come first in both.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from diffusers import FluxTransformer2DModel
from diffusers.models.embeddings import apply_rotary_emb
from diffusers.models.transformers.transformer_flux import FluxTransformerBlock
from torch import Tensor, nn

from ..contract import Condition, Prediction
from ..path import FLOW
from .base import QKV, ExpertState


class FluxExpert(nn.Module):
    """Wraps a Flux transformer over a 1-D audio latent [B, C, T]; it predicts flow velocity, t in 0..1.

    rope_scale: audio position p_a is rotated as p_a · rope_scale on the transformer's first axis. AVSyncRoPE (arXiv
        2512.02457) uses 1/τ, τ = Δt_v / Δt_a; the published TangoFlux uses 1.
    """

    path = FLOW
    prediction: Prediction = "flow"

    def __init__(self, transformer: FluxTransformer2DModel, rope_scale: float = 1.0) -> None:
        super().__init__()
        self.transformer, self.rope_scale = transformer, rope_scale
        config = transformer.config
        self.heads, self.head_size = config.num_attention_heads, config.attention_head_dim
        self.width = self.heads * self.head_size
        self.depth = config.num_layers + config.num_single_layers

    def positions(self, steps: int, device: torch.device) -> Tensor:
        """Position ids [T, 3] of the audio tokens: (p_a · rope_scale, 0, 0)."""
        ids = torch.zeros(steps, 3, device=device)
        ids[:, 0] = torch.arange(steps, device=device) * self.rope_scale
        return ids

    def forward(self, latent: Tensor, t: Tensor, text: Condition) -> Tensor:
        """The expert without a joint model: latent [B, C, T], t [B] in 0..1 → velocity of the latent's shape."""
        out = self.transformer(
            hidden_states=latent.transpose(1, 2), encoder_hidden_states=text.tokens, pooled_projections=pooled(text),
            timestep=t, img_ids=self.positions(latent.shape[2], latent.device),
            txt_ids=torch.zeros(text.tokens.shape[1], 3, device=latent.device), return_dict=False,
        )[0]  # fmt: skip
        return out.transpose(1, 2)

    def embed(self, latent: Tensor, t: Tensor, text: Condition) -> ExpertState:
        """The state before the first block; the pooled text is the mean of its real tokens."""
        flux = self.transformer
        hidden = flux.x_embedder(latent.transpose(1, 2))
        time = flux.time_text_embed(t.to(hidden.dtype) * 1000, pooled(text))
        text_ids = torch.zeros(text.tokens.shape[1], 3, device=latent.device)
        rotary = flux.pos_embed(torch.cat([text_ids, self.positions(latent.shape[2], latent.device)]))
        return ExpertState(hidden, flux.context_embedder(text.tokens), time, rotary, latent.shape)

    @property
    def blocks(self) -> list[nn.Module]:
        """Dual-stream blocks, then single-stream blocks."""
        return [*self.transformer.transformer_blocks, *self.transformer.single_transformer_blocks]

    def run(self, block: Any, state: ExpertState) -> ExpertState:
        """One whole block."""
        text, hidden = block(
            hidden_states=state.hidden, encoder_hidden_states=state.text, temb=state.time,
            image_rotary_emb=state.rotary,
        )  # fmt: skip
        return state.with_(hidden=hidden, text=text)

    def text_rows(self, state: ExpertState) -> int:
        """Flux attends to text and audio in one sequence, text first."""
        return state.text.shape[1]

    def attention_input(self, block: Any, state: ExpertState) -> tuple[Tensor, tuple]:
        """Modulated norm of all rows [B, text + T, width], and the modulation that `finish` needs."""
        if is_dual(block):
            audio, *audio_modulation = block.norm1(state.hidden, emb=state.time)
            text, *text_modulation = block.norm1_context(state.text, emb=state.time)
            return torch.cat([text, audio], 1), (audio_modulation, text_modulation)
        rows, gate = block.norm(torch.cat([state.text, state.hidden], 1), emb=state.time)
        return rows, (rows, gate)

    def project(self, block: Any, rows: Tensor, state: ExpertState) -> QKV:
        """Queries, keys and values of text rows, then audio rows."""
        attn = block.attn
        cut = self.text_rows(state)

        def split(x: Tensor) -> Tensor:
            return x.unflatten(-1, (-1, attn.head_dim))

        if is_dual(block):
            text, audio = rows[:, :cut].contiguous(), rows[:, cut:].contiguous()
            q = torch.cat([attn.norm_added_q(split(attn.add_q_proj(text))), attn.norm_q(split(attn.to_q(audio)))], 1)
            k = torch.cat([attn.norm_added_k(split(attn.add_k_proj(text))), attn.norm_k(split(attn.to_k(audio)))], 1)
            v = torch.cat([split(attn.add_v_proj(text)), split(attn.to_v(audio))], 1)
        else:
            q, k, v = attn.norm_q(split(attn.to_q(rows))), attn.norm_k(split(attn.to_k(rows))), split(attn.to_v(rows))
        return QKV(self._rotate_all(q, state), self._rotate_all(k, state), v)

    def _rotate_all(self, x: Tensor, state: ExpertState) -> Tensor:
        return apply_rotary_emb(x, state.rotary, sequence_dim=1)

    def rotate(self, x: Tensor, state: ExpertState) -> Tensor:
        """Rotary embedding of the audio tokens alone. x: [B, T, any number of heads, head size]."""
        cut = self.text_rows(state)
        return apply_rotary_emb(x, (state.rotary[0][cut:], state.rotary[1][cut:]), sequence_dim=1)

    def finish(self, block: Any, state: ExpertState, kept: tuple, attended: Tensor, extra: Tensor | None = None) -> ExpertState:
        """The rest of the block. attended: [B, text + T, heads, head size]; extra: what the joint model's new heads add to
        the attention output of the audio rows, [B, T, width]."""
        attended = attended.flatten(2, 3)
        if is_dual(block):
            return self._finish_dual(block, state, kept, attended, extra)
        return self._finish_single(block, state, kept, attended, extra)

    def _finish_dual(self, block: Any, state: ExpertState, kept: tuple, attended: Tensor, extra: Tensor | None) -> ExpertState:
        cut = self.text_rows(state)
        audio = block.attn.to_out[1](block.attn.to_out[0](attended[:, cut:].contiguous()))
        text = block.attn.to_add_out(attended[:, :cut].contiguous())
        if extra is not None:
            audio = audio + extra
        hidden = self._feed(block.norm2, block.ff, state.hidden, audio, kept[0])
        text = self._feed(block.norm2_context, block.ff_context, state.text, text, kept[1])
        return state.with_(hidden=hidden, text=text)

    @staticmethod
    def _feed(norm: nn.Module, ff: nn.Module, rows: Tensor, attended: Tensor, modulation: Sequence[Tensor]) -> Tensor:
        gate, shift, scale, ff_gate = modulation
        rows = rows + gate.unsqueeze(1) * attended
        x = norm(rows) * (1 + scale[:, None]) + shift[:, None]
        return rows + ff_gate.unsqueeze(1) * ff(x)

    def _finish_single(self, block: Any, state: ExpertState, kept: tuple, attended: Tensor, extra: Tensor | None) -> ExpertState:
        cut = self.text_rows(state)
        normed, gate = kept
        out = block.proj_out(torch.cat([attended, block.act_mlp(block.proj_mlp(normed))], 2))
        if extra is not None:
            out = torch.cat([out[:, :cut], out[:, cut:] + extra], 1)
        rows = torch.cat([state.text, state.hidden], 1) + gate.unsqueeze(1) * out
        return state.with_(text=rows[:, :cut], hidden=rows[:, cut:])

    def head(self, state: ExpertState) -> Tensor:
        """The velocity [B, C, T]."""
        flux = self.transformer
        return flux.proj_out(flux.norm_out(state.hidden, state.time)).transpose(1, 2)


def is_dual(block: nn.Module) -> bool:
    """Whether a block is dual-stream, with separate weights for text."""
    return isinstance(block, FluxTransformerBlock)


def pooled(text: Condition) -> Tensor:
    """Mean of the real tokens [B, D]; zero for an empty prompt."""
    return text.tokens.sum(1) / text.mask.sum(1, keepdim=True).clamp_min(1)
