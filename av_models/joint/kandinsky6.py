"""Kandinsky 6 (diffusers' Kandinsky6Transformer3DModel) as a joint denoiser whose rows can each have their own coupling.

It runs the sub-modules of the transformer in the order of its own `forward`. Where every row is coupled as trained, the result is
that of `forward`, bit for bit in float32.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, cast

import torch
from diffusers import Kandinsky6Transformer3DModel, PiflowScheduler
from diffusers.models.transformers.transformer_kandinsky6 import (
    Kandinsky6FusedTransformerDecoderBlock,
    Kandinsky6TransformerDecoderBlock,
    apply_gate_sum,
    apply_scale_shift,
)
from torch import Tensor, nn

from ..contract import AVCondition, AVLatent, AVTime, Condition, Skip, StreamName
from ..limits import LatentLimits
from .residual import ResidualTowers, Strengths

TIMESTEPS = 1000  # the network's timestep at t = 1
DISTILLED = "these weights are distilled and were trained to be sampled without guidance"
REFERENCE = 1  # token type of the given first frame


class Tower(NamedTuple):
    """One modality between two blocks.

    hidden: [B, L, width]. text, mask: its encoded prompt [B, S, width] and which tokens are real, or None for all. time: its time
    embedding [B, time width]. rope: rotary embeddings of the L positions.
    """

    hidden: Tensor
    text: Tensor
    mask: Tensor | None
    time: Tensor
    rope: Tensor


class Cross(NamedTuple):
    """Which rows are coupled, int64 [n], or None for all; and the factors of their residuals [n], or None where all are 1."""

    rows: Tensor | None
    a_to_v: Tensor | None
    v_to_a: Tensor | None

    @classmethod
    def of(cls, strengths: Strengths) -> Cross | None:
        """Return these strengths as tensors; None if no row is coupled."""
        if not strengths.any:
            return None
        if strengths.plain:
            return cls(strengths.coupled, None, None)
        own = strengths.of_coupled()
        return cls(strengths.coupled, own.a_to_v, own.v_to_a)


class Half(NamedTuple):
    """One modality inside a block, after its text attention.

    before_text: the normalized input of the text attention. feed_forward: shift, scale and gate of the feed-forward, in one tensor.
    """

    hidden: Tensor
    before_text: Tensor
    feed_forward: Tensor
    time: Tensor
    rope: Tensor

    def take(self, rows: Tensor) -> Half:
        """Return these rows."""
        return Half(self.hidden[rows], self.before_text[rows], self.feed_forward[rows], self.time[rows], self.rope)


class Kandinsky6(ResidualTowers):
    """The joint denoiser of a Kandinsky 6 transformer.

    policy: the scheduler of distilled weights, which take no guidance; None for others. The predictions of distilled weights have
        `policy.n_grid` times the channels of the latents (see `PolicyClock`).

    A given first frame (`Condition.image`) is appended as a last latent frame, as in Kandinsky6TI2VAPipeline: without noise, at the
    first frame's position, marked by a mask channel and a token type. Its prediction is dropped. The pipeline draws the frame's
    latent from the VAE's distribution; Duet's codec takes the mode.
    The authors do not say which block to skip for skip guidance; `own_skip_block` is the middle one.

    Raises ValueError for a transformer that joins latent frames into patches, and for one whose predictions do not fit `policy`.
    """

    def __init__(self, transformer: Kandinsky6Transformer3DModel, policy: PiflowScheduler | None = None) -> None:
        super().__init__()
        config, (time, height, width) = transformer.config, transformer.config.patch_size
        if time != 1 or height != width:
            raise ValueError(f"patch_size is {time}×{height}×{width}; use a Kandinsky 6 with 1 frame and square patches")
        grid = 1 if policy is None else policy.n_grid
        for name in ("visual", "audio"):
            channels, made = config[f"in_{name}_dim"], config[f"out_{name}_dim"]
            if made != grid * channels:
                raise ValueError(
                    f"out_{name}_dim is {made}; use {grid * channels}, {grid} for each of {channels} channels, or another scheduler"
                )
        self.transformer, self.policy = transformer, policy
        self.refuses_guidance = DISTILLED if policy is not None else ""
        self.skippable = len(transformer.visual_transformer_blocks)
        self.own_skip_block = self.skippable // 2
        self.takes_first_frame = bool(config.visual_cond) and config.visual_token_type_num_embeddings > REFERENCE
        frames, *sides = transformer.visual_rope_embeddings.max_pos
        self.limits = LatentLimits(height, frames, min(sides) * height)

    def predict_rows(self, latent: AVLatent, t: AVTime, cond: AVCondition, strengths: Strengths, skip: Skip | None) -> AVLatent:
        """Predict the flow velocity ε − x_0 of every row with its own coupling."""
        video, audio = self._embed_video(latent.video, t.video, cond.video), self._embed_audio(latent.audio, t.audio, cond.audio)
        v, a = self._run(video, audio, Cross.of(strengths), skip)
        return AVLatent(self._finish_video(cast(Tower, v), latent.video), self._finish_audio(cast(Tower, a)))

    def predict_stream(self, latent: Tensor, t: Tensor, cond: Condition, stream: StreamName, skip: Skip | None = None) -> Tensor:
        """Predict the flow velocity of one modality. The blocks run its tower alone."""
        if stream == "video":
            video, _ = self._run(self._embed_video(latent, t, cond), None, None, skip)
            return self._finish_video(cast(Tower, video), latent)
        _, audio = self._run(None, self._embed_audio(latent, t, cond), None, skip)
        return self._finish_audio(cast(Tower, audio))

    def run_block(
        self, block: Kandinsky6FusedTransformerDecoderBlock, video: Tower | None, audio: Tower | None, cross: Cross | None
    ) -> tuple[Tensor | None, Tensor | None]:
        """Run one block. Returns the hidden states of both modalities, None for a modality that is None."""
        v = None if video is None else _attend(block.video_dec_block, video)
        a = None if audio is None else _attend(block.audio_dec_block, audio)
        if cross is not None and v is not None and a is not None:
            v, a = _couple(block, v, a, cross)
        return (
            None if v is None else _feed_forward(block.video_dec_block, v),
            None if a is None else _feed_forward(block.audio_dec_block, a),
        )

    def _run(
        self, video: Tower | None, audio: Tower | None, cross: Cross | None, skip: Skip | None
    ) -> tuple[Tower | None, Tower | None]:
        for number, block in enumerate(self.transformer.visual_transformer_blocks):
            v, a = self.run_block(block, video, audio, cross)
            video, audio = _replace_hidden(video, v, skip, number), _replace_hidden(audio, a, skip, number)
        return video, audio

    def _embed_video(self, latent: Tensor, t: Tensor, cond: Condition) -> Tower:
        network, frames = self.transformer, latent.shape[2]
        hidden = network.visual_embeddings(self._visual_input(latent, cond.image))
        if cond.image is not None:
            types = torch.tensor([[0] * frames + [REFERENCE]], device=latent.device)
            hidden = hidden + network.visual_token_type_embeddings(types)[:, :, None, None, :]
        _, _, height, width, _ = hidden.shape
        times = [*range(frames), *([0] if cond.image is not None else [])]
        grid = (torch.tensor(times, device=latent.device), *(torch.arange(n, device=latent.device) for n in (height, width)))
        rope = network.visual_rope_embeddings(grid, network.scale_factor).flatten(0, 2)
        return self._tower("video", hidden.flatten(1, 3), rope, t, cond)

    def _visual_input(self, latent: Tensor, image: Tensor | None) -> Tensor:
        """Return the channels [latent | zeros | whether the frame is given] of each frame, with the given frame as the last one."""
        x = latent.movedim(1, -1)
        if image is not None:
            x = torch.cat([x, image.to(x.dtype).movedim(1, -1)], 1)
        if self.transformer.config.visual_cond:
            given = x.new_zeros(*x.shape[:-1], 1)
            if image is not None:
                given[:, -1] = 1
            x = torch.cat([x, torch.zeros_like(x), given], -1)
        return x.to(self.transformer.dtype).contiguous()

    def _embed_audio(self, latent: Tensor, t: Tensor, cond: Condition) -> Tower:
        network, steps = self.transformer, latent.shape[2]
        if steps > network.audio_rope_embeddings.max_pos:
            raise ValueError(
                f"the audio has {steps} latent steps, this model takes at most {network.audio_rope_embeddings.max_pos}; "
                "make the clip shorter"
            )
        hidden = network.audio_embeddings(latent.movedim(1, -1).to(network.dtype))
        rope = network.audio_rope_embeddings(torch.arange(steps, device=latent.device))
        return self._tower("audio", hidden, rope, t, cond)

    def _tower(self, stream: StreamName, hidden: Tensor, rope: Tensor, t: Tensor, cond: Condition) -> Tower:
        """Encode the prompt of one modality for its own tower."""

        def module(name: str) -> nn.Module:
            return getattr(self.transformer, f"{stream}_{name}")

        assert cond.vector is not None
        dtype = self.transformer.dtype
        mask = None if bool(cond.mask.all()) else cond.mask  # as in the pipeline: attention without a mask has other rounding
        time = module("time_embeddings")(t * TIMESTEPS) + module("pooled_text_embeddings")(cond.vector.to(dtype))
        text = module("text_embeddings")(cond.tokens.to(dtype))
        text_rope = module("text_rope_embeddings")(torch.arange(text.shape[1], device=text.device))
        for block in cast(Iterable[nn.Module], module("text_transformer_blocks")):
            text = block(text, time, text_rope, mask)
        return Tower(hidden, text, mask, time, rope)

    def _finish_video(self, video: Tower, latent: Tensor) -> Tensor:
        """Return the prediction of the frames in `latent` [B, C, T, h, w], without that of the given frame."""
        height, width = (n // self.limits.multiple for n in latent.shape[3:])
        hidden = video.hidden.unflatten(1, (-1, height, width))
        return self.transformer.out_layer(hidden, video.time)[:, : latent.shape[2]].movedim(-1, 1)

    def _finish_audio(self, audio: Tower) -> Tensor:
        return self.transformer.audio_out_layer(audio.hidden, audio.time).movedim(-1, 1)


def _replace_hidden(before: Tower | None, after: Tensor | None, skip: Sequence[int | None] | None, number: int) -> Tower | None:
    """Return the state after block `number`. Rows that skip it keep their hidden states."""
    if before is None or after is None:
        return None
    if skip is not None and number in skip:
        skipped = torch.tensor([block == number for block in skip], device=after.device)
        after = before.hidden.where(skipped[:, None, None], after)
    return before._replace(hidden=after)


def _attend(block: Kandinsky6TransformerDecoderBlock, tower: Tower) -> Half:
    """Run self-attention and text attention."""
    own, text, feed_forward = block.visual_modulation(tower.time).chunk(3, -1)
    shift, scale, gate = own.chunk(3, -1)
    x = tower.hidden
    inputs = apply_scale_shift(block.self_attention_norm(x.float()), x, scale, shift)
    x = apply_gate_sum(x, block.self_attention(inputs, rotary_emb=tower.rope), gate)
    shift, scale, gate = text.chunk(3, -1)
    before = apply_scale_shift(block.cross_attention_norm(x.float()), x, scale, shift)
    out = block.cross_attention(before, encoder_hidden_states=tower.text, attn_mask=tower.mask)
    return Half(apply_gate_sum(x, out, gate), before, feed_forward, tower.time, tower.rope)


def _couple(block: Kandinsky6FusedTransformerDecoderBlock, v: Half, a: Half, cross: Cross) -> tuple[Half, Half]:
    """Add the cross-modal residuals to the coupled rows; the others stay as they are."""
    if cross.rows is None:
        hidden_v, hidden_a = _cross_attend(block, v, a, cross)
    else:
        made_v, made_a = _cross_attend(block, v.take(cross.rows), a.take(cross.rows), cross)
        hidden_v, hidden_a = v.hidden.index_copy(0, cross.rows, made_v), a.hidden.index_copy(0, cross.rows, made_a)
    return v._replace(hidden=hidden_v), a._replace(hidden=hidden_a)


def _cross_attend(block: Kandinsky6FusedTransformerDecoderBlock, v: Half, a: Half, cross: Cross) -> tuple[Tensor, Tensor]:
    """Return the hidden states with the residuals from the other modality, scaled by the factors of `cross`."""
    (shift_v, scale_v, gate_v), (shift_a, scale_a, gate_a) = _cross_modulation(block, v.time, a.time)
    inputs_v = apply_scale_shift(block.va_normalization(v.hidden.float()), v.hidden, scale_v, shift_v)
    inputs_a = apply_scale_shift(block.av_normalization(a.hidden.float()), a.hidden, scale_a, shift_a)
    rope_v, rope_a = (v.rope, a.rope) if block.ca_rope else (None, None)
    from_a = block.va_cross_attention(inputs_v, encoder_hidden_states=a.before_text, rope_q=rope_v, rope_kv=rope_a)
    from_v = block.av_cross_attention(inputs_a, encoder_hidden_states=v.before_text, rope_q=rope_a, rope_kv=rope_v)
    if cross.a_to_v is not None and cross.v_to_a is not None:
        gate_v, gate_a = gate_v * cross.a_to_v[:, None], gate_a * cross.v_to_a[:, None]
    return apply_gate_sum(v.hidden, from_a, gate_v), apply_gate_sum(a.hidden, from_v, gate_a)


def _cross_modulation(block: Kandinsky6FusedTransformerDecoderBlock, time_v: Tensor, time_a: Tensor) -> tuple[tuple, tuple]:
    """Return shift, scale and gate of the video's and of the audio's cross-modal residual."""
    fixed, width_v, width_a = block.fix_modulation, block.model_dim, block.model_dim_a
    va, av = block.va_modulation(time_v if fixed else time_a), block.av_modulation(time_a if fixed else time_v)
    if not block.cross_gates:
        return va.chunk(3, -1), av.chunk(3, -1)
    shift_v, scale_v, gate_a = va.split([width_v, width_v, width_a], -1)
    shift_a, scale_a, gate_v = av.split([width_a, width_a, width_v], -1)
    return (shift_v, scale_v, gate_v), (shift_a, scale_a, gate_a)


def _feed_forward(block: Kandinsky6TransformerDecoderBlock, half: Half) -> Tensor:
    x, (shift, scale, gate) = half.hidden, half.feed_forward.chunk(3, -1)
    return apply_gate_sum(x, block.feed_forward(apply_scale_shift(block.feed_forward_norm(x.float()), x, scale, shift)), gate)
