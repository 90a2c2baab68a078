"""LTX-2.x (arXiv 2601.03233) as diffusers has it: two towers with gated cross-attention in both directions in every block."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from copy import copy
from typing import Any

import torch
from diffusers.models.transformers.transformer_ltx2 import LTX2VideoTransformer3DModel
from torch import Tensor, nn

from ..contract import AVCondition, AVLatent, AVTime, Condition, Skip, StreamName
from ..path import Flow
from .ltx2_blocks import CrossRows, make_rows_blocks
from .residual import ResidualTowers, Strengths


class LTX2(ResidualTowers):
    """The joint denoiser of LTX-2.0, 2.3 and 2.5.

    transformer: its blocks are changed to run rows of different coupling (`ltx2_blocks`).
    fps: frames per second of the clip, which the positions of the latent frames depend on; see `at_frame_rate`.
    use_cross_timestep: whether the modulation of the layers between the modalities depends on the noise level of the other
        modality, as in LTX-2.3 and 2.5, or on each token's own, as in LTX-2.0.
    own_skip_block: the block of its spatio-temporal guidance; the last one of a network with fewer blocks.

    Skipping a block skips its two self-attentions alone: their values pass through. Times may differ between latent frames and
    between latent steps; the noise level of a row is then the largest of its times.
    """

    paths = (Flow(direct=True), Flow(direct=True))

    def __init__(
        self, transformer: LTX2VideoTransformer3DModel, fps: float = 24.0, use_cross_timestep: bool = True, own_skip_block: int = 28
    ) -> None:
        super().__init__()
        if (transformer.config.patch_size, transformer.config.patch_size_t) != (1, 1):
            raise ValueError(f"its patch_size is {transformer.config.patch_size}; Duet takes LTX-2 with 1")
        self.transformer, self.fps, self.use_cross_timestep = transformer, fps, use_cross_timestep
        self.call = make_rows_blocks(transformer)
        self._dtypes: dict[torch.dtype, torch.dtype] = {}
        self.skippable = len(transformer.transformer_blocks)
        self.own_skip_block = min(own_skip_block, self.skippable - 1)

    def at_frame_rate(self, fps: float) -> LTX2:
        """Return this network, with the same weights, for clips of `fps` frames per second."""
        other = copy(self)
        other.fps = float(fps)
        return other

    def compile_blocks(self, **options: Any) -> None:
        """Compile the blocks with these options of `torch.compile`."""
        self.transformer.compile_repeated_blocks(**options)

    def training_units(self, blocks: Iterable[nn.Module], checkpointing: bool) -> list[nn.Module]:
        """Return the blocks. With `checkpointing` all rows must be coupled and skip no block."""
        if checkpointing:
            self.transformer.enable_gradient_checkpointing()
        return list(blocks)

    def predict_rows(self, latent: AVLatent, t: AVTime, cond: AVCondition, strengths: Strengths, skip: Skip | None) -> AVLatent:
        """Predict the flow velocity ε − x_0 of every row. skip: the block that each row skips, or None."""
        with self._call_with(skip, latent.video.device):
            self.call.a_to_v, self.call.v_to_a = CrossRows.of(strengths.a_to_v), CrossRows.of(strengths.v_to_a)
            return self._forward(latent, t, cond, isolate=not strengths.any)

    def predict_stream(self, latent: Tensor, t: Tensor, cond: Condition, stream: StreamName, skip: Skip | None = None) -> Tensor:
        """Predict one modality alone. The blocks of the other one do not run."""
        with self._call_with(skip, latent.device):
            self.call.stream = stream
            both = self._forward(*self._with_blank(latent, t, cond, stream), isolate=True)
        return getattr(both, stream)

    @contextmanager
    def _call_with(self, skip: Skip | None, device: torch.device) -> Iterator[None]:
        """Let rows skip blocks, and let the blocks run as before afterwards."""
        skipped = {block for block in skip or () if block is not None}
        attentions = []
        for number in skipped:
            kept = torch.tensor([block != number for block in skip or ()], device=device)
            block = self.transformer.transformer_blocks[number]
            for attention in (block.attn1, block.audio_attn1):
                attention.kept = kept.to(self._dtype()).view(-1, 1, 1)
                attention.none_kept = all(each == number for each in skip or ())
                attentions.append(attention)
        try:
            yield
        finally:
            self.call.reset()
            for attention in attentions:
                attention.kept, attention.none_kept = None, False

    def _forward(self, latent: AVLatent, t: AVTime, cond: AVCondition, isolate: bool) -> AVLatent:
        dtype, scale = self._dtype(), self.transformer.config.timestep_scale_multiplier
        _, _, frames, height, width = latent.video.shape
        steps, bands = latent.audio.shape[2:]
        video, audio = self.transformer(
            hidden_states=latent.video.flatten(2).transpose(1, 2).contiguous().to(dtype),
            audio_hidden_states=latent.audio.transpose(1, 2).flatten(2).to(dtype),
            encoder_hidden_states=cond.video.tokens.to(dtype),
            audio_encoder_hidden_states=cond.audio.tokens.to(dtype),
            timestep=(t.video if t.video.ndim == 1 else t.video.repeat_interleave(height * width, 1)) * scale,
            audio_timestep=t.audio * scale,
            sigma=_of_rows(t.video) * scale,
            audio_sigma=_of_rows(t.audio) * scale,
            encoder_attention_mask=cond.video.mask,
            audio_encoder_attention_mask=cond.audio.mask,
            num_frames=frames,
            height=height,
            width=width,
            fps=self.fps,
            audio_num_frames=steps,
            isolate_modalities=isolate,
            use_cross_timestep=self.use_cross_timestep,
            return_dict=False,
        )
        return AVLatent(video.transpose(1, 2).reshape(latent.video.shape), audio.unflatten(2, (-1, bands)).transpose(1, 2))

    def _dtype(self) -> torch.dtype:
        """Return the dtype that the network computes in. diffusers looks at all of its modules for it."""
        stored = self.transformer.proj_in.weight.dtype
        if stored not in self._dtypes:
            self._dtypes[stored] = self.transformer.dtype
        return self._dtypes[stored]

    def _with_blank(self, latent: Tensor, t: Tensor, cond: Condition, stream: StreamName) -> tuple[AVLatent, AVTime, AVCondition]:
        """Return the inputs of one modality with one token in place of the other one."""
        rows, config = len(latent), self.transformer.config
        words = config.caption_channels if config.use_prompt_embeddings else None
        if stream == "video":
            blank = latent.new_zeros(rows, config.audio_in_channels, 1, 1)
            text = _blank_text(cond, words or config.audio_cross_attention_dim)
            return AVLatent(latent, blank), AVTime(t, _of_rows(t)), AVCondition(cond, text)
        blank = latent.new_zeros(rows, config.in_channels, 1, 1, 1)
        text = _blank_text(cond, words or config.cross_attention_dim)
        return AVLatent(blank, latent), AVTime(_of_rows(t), t), AVCondition(text, cond)


def _of_rows(t: Tensor) -> Tensor:
    """Return the largest time of each row, [B]."""
    return t if t.ndim == 1 else t.amax(1)


def _blank_text(like: Condition, width: int) -> Condition:
    return Condition(like.tokens.new_zeros(len(like.tokens), 1, width), like.mask[:, :1] | True)
