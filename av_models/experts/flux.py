"""The text-to-audio expert: diffusers' FluxTransformer2DModel as TangoFlux uses it, split around self-attention.

In Flux, text is part of self-attention. Dual-stream blocks have separate weights for text; single-stream blocks process text
and audio as one sequence. In both, the text rows come first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from diffusers import FluxTransformer2DModel
from diffusers.models.embeddings import apply_rotary_emb
from diffusers.models.transformers.transformer_flux import FluxPosEmbed, FluxTransformerBlock
from torch import Tensor, nn

from ..contract import Condition, Prediction
from ..path import FLOW
from ..printable import quoted
from .base import QKV, ExpertState


class FluxExpert(nn.Module):
    """Predicts the flow velocity of 1-D audio latents [B, C, T] at t in 0..1, with a Flux transformer.

    rope_scale: factor of the audio positions p_a in the rotary embedding, on the transformer's first axis. AVSyncRoPE (arXiv
        2512.02457) uses 1/τ with τ = Δt_v / Δt_a; the published TangoFlux uses 1.

    Raises ValueError if the transformer's rotary axes do not fit its head size.
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
        axes = config.axes_dims_rope
        if len(axes) != 3 or any(size < 0 or size % 2 for size in axes) or sum(axes) != self.head_size:
            raise ValueError(f"axes_dims_rope is {quoted(axes)}; use three even numbers whose sum is {self.head_size}")

    def positions(self, steps: int, device: torch.device) -> Tensor:
        """Return the position ids [T, 3] of the audio tokens: (p_a · rope_scale, 0, 0)."""
        ids = torch.zeros(steps, 3, device=device)
        ids[:, 0] = torch.arange(steps, device=device) * self.rope_scale
        return ids

    def forward(self, latent: Tensor, t: Tensor, text: Condition) -> Tensor:
        """Run the whole transformer: latent [B, C, T], t [B] in 0..1. Returns the velocity, shaped as the latent."""
        tokens, pooled_text = self.prompt(text)
        out = self.transformer(
            hidden_states=latent.transpose(1, 2), encoder_hidden_states=tokens, pooled_projections=pooled_text,
            timestep=t, img_ids=self.positions(latent.shape[2], latent.device),
            txt_ids=torch.zeros(tokens.shape[1], 3, device=latent.device), return_dict=False,
        )[0]  # fmt: skip
        return out.transpose(1, 2)

    def prompt(self, text: Condition) -> tuple[Tensor, Tensor]:
        """Return the text that the blocks attend to, [B, L, D], and the text that modulates them, [B, D]: their mean."""
        return text.tokens, pooled(text)

    def rotary(self, text_rows: int, steps: int, device: torch.device) -> tuple[Tensor, Tensor]:
        """Return cos and sin [text rows + T, head size]. All text is at position 0."""
        text_ids = torch.zeros(text_rows, 3, device=device)
        return self.transformer.pos_embed(torch.cat([text_ids, self.positions(steps, device)]))

    def embed(self, latent: Tensor, t: Tensor, text: Condition) -> ExpertState:
        """Prepare the state of the first block."""
        flux = self.transformer
        tokens, pooled_text = self.prompt(text)
        hidden = flux.x_embedder(latent.transpose(1, 2))
        time = flux.time_text_embed(t.to(hidden.dtype) * 1000, pooled_text)
        rotary = self.rotary(tokens.shape[1], latent.shape[2], latent.device)
        return ExpertState(hidden, flux.context_embedder(tokens), time, rotary, latent.shape)

    def at_positions(self, state: ExpertState, positions: Tensor, axes: tuple[int, int, int]) -> ExpertState:
        """Return the state with the audio tokens at `positions` [T, 3] on rotary axes of these sizes, and text at 0."""
        text = positions.new_zeros(self.text_rows(state), 3)
        rope = FluxPosEmbed(self.transformer.pos_embed.theta, list(axes))
        return state.with_(rotary=rope(torch.cat([text, positions])))

    @property
    def blocks(self) -> list[nn.Module]:
        """The dual-stream blocks, then the single-stream blocks."""
        return [*self.transformer.transformer_blocks, *self.transformer.single_transformer_blocks]

    def run(self, block: Any, state: ExpertState) -> ExpertState:
        """Run a whole block."""
        text, hidden = block(
            hidden_states=state.hidden, encoder_hidden_states=state.text, temb=state.time,
            image_rotary_emb=state.rotary,
        )  # fmt: skip
        return state.with_(hidden=hidden, text=text)

    def text_rows(self, state: ExpertState) -> int:
        """Return the length of the text."""
        return state.text.shape[1]

    def attention_input(self, block: Any, state: ExpertState) -> tuple[Tensor, tuple]:
        """Return the modulated norm of all rows [B, text + T, width], and the modulation for `finish`."""
        if is_dual(block):
            audio, *audio_modulation = block.norm1(state.hidden, emb=state.time)
            text, *text_modulation = block.norm1_context(state.text, emb=state.time)
            return torch.cat([text, audio], 1), (audio_modulation, text_modulation)
        rows, gate = block.norm(torch.cat([state.text, state.hidden], 1), emb=state.time)
        return rows, (rows, gate)

    def project(self, block: Any, rows: Tensor, state: ExpertState) -> QKV:
        """Compute the queries, keys and values of the text rows, then of the audio rows."""
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
        """Apply the rotary embedding to audio tokens without text. x: [B, T, any number of heads, head size]."""
        cut = self.text_rows(state)
        return apply_rotary_emb(x, (state.rotary[0][cut:], state.rotary[1][cut:]), sequence_dim=1)

    def finish(self, block: Any, state: ExpertState, kept: tuple, attended: Tensor, extra: Tensor | None = None) -> ExpertState:
        """Run the rest of the block after self-attention.

        attended: [B, text + T, heads, head size]. extra: [B, T, width], output of the joint model's new heads, which is added to
        the attention output of the audio rows.
        """
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
        """Compute the velocity [B, C, T] from the state after the last block."""
        flux = self.transformer
        return flux.proj_out(flux.norm_out(state.hidden, state.time)).transpose(1, 2)


def is_dual(block: nn.Module) -> bool:
    """Return whether a block is dual-stream, with separate weights for text."""
    return isinstance(block, FluxTransformerBlock)


def pooled(text: Condition) -> Tensor:
    """Compute the mean of the tokens without padding, [B, D]; zero for an empty prompt."""
    return text.tokens.sum(1) / text.mask.sum(1, keepdim=True).clamp_min(1)
