"""AVFullDiT (arXiv 2512.02457): a text-to-video and a text-to-audio expert joined by AVFull-Attention."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from diffusers.models.attention_dispatch import dispatch_attention_fn
from torch import Tensor, nn

from ..contract import AVCondition, AVLatent, AVTime, Condition, CouplingKind, Prediction, Skip, StreamName
from ..experts.base import QKV, Expert, ExpertState
from ..path import FLOW
from ..shapes import AVShape
from .clip_view import experts_for_clip, with_attributes
from .sorted_rows import predict_sorted_by_coupling
from .sync_positions import SyncPositions

RowCounts = tuple[int, int, int]
"""Number of `full`, `cut` and `removed` rows of a sorted batch."""


class NewHeads(nn.Module):
    """W_an and W_an^o of one joint block: attention heads that extend the audio (width Ca) to the video's width (Cv).

    Their inputs and outputs are the audio tokens, without text rows, and they have separate QK norms. The output projection is
    zero before training, so that they do not change the audio expert's output.
    """

    def __init__(self, audio_width: int, extra_width: int, head_size: int) -> None:
        super().__init__()
        self.to_q, self.to_k, self.to_v = (nn.Linear(audio_width, extra_width) for _ in range(3))
        self.norm_q, self.norm_k = nn.RMSNorm(head_size, eps=1e-6), nn.RMSNorm(head_size, eps=1e-6)
        self.to_out = nn.Linear(extra_width, audio_width, bias=False)
        nn.init.zeros_(self.to_out.weight)
        self.head_size = head_size

    def project(self, audio_rows: Tensor, expert: Expert, state: ExpertState) -> QKV:
        """Compute the queries, keys and values of the new heads for audio tokens [B, T, Ca]."""
        q, k, v = (layer(audio_rows).unflatten(-1, (-1, self.head_size)) for layer in (self.to_q, self.to_k, self.to_v))
        return QKV(expert.rotate(self.norm_q(q), state), expert.rotate(self.norm_k(k), state), v)


Blocks = tuple[nn.Module | None, nn.Module | None, NewHeads | None]
"""(video block, audio block, new heads) of one layer; None for an expert without a block, or a layer that is not joint."""


class AVFullDiT(nn.Module):
    """The joint denoiser of AVFullDiT: the last `joint_blocks` blocks of both experts share one self-attention.

    The experts' blocks are paired from the last one backwards; the deeper expert runs its first blocks alone.

    attention: "full" (AVFull-Attention), or "cross", the paper's ablation: self-attention plus cross-attention to the
        other modality.
    sync: puts the audio on the video's rotary axes, in every block, as AVSyncRoPE does; None: both keep their own positions.
    watch: called after every block with its number and the video state; training uses it to get features.

    Raises ValueError unless both experts have the same head size, the video expert is wider than the audio expert, and
    joint_blocks is from 1 to the depth of the shallower expert.
    """

    video: Expert
    audio: Expert
    paths = (FLOW, FLOW)
    prediction: Prediction = "flow"
    kinds = frozenset(CouplingKind)
    watch: Callable[[int, ExpertState], None] | None = None

    def __init__(
        self, video: Expert, audio: Expert, joint_blocks: int, attention: str = "full", sync: SyncPositions | None = None
    ) -> None:
        super().__init__()
        check_fit(video, audio, joint_blocks)
        if attention not in CROSS_MODAL_ATTENTION:
            raise ValueError(f"attention is {attention!r}; use one of {', '.join(CROSS_MODAL_ATTENTION)}")
        self.video, self.audio, self.joint_blocks, self.sync = video, audio, joint_blocks, sync
        self.attention, self.cross_modal_attention = attention, CROSS_MODAL_ATTENTION[attention]
        self.new_heads = nn.ModuleList(
            NewHeads(audio.width, video.width - audio.width, audio.head_size) for _ in range(joint_blocks)
        )

    @property
    def skippable(self) -> int:
        """The number of blocks of the deeper expert. Skipping a block also skips the block of the other expert in its pair."""
        return max(self.video.depth, self.audio.depth)

    def for_clip(self, shape: AVShape) -> AVFullDiT:
        """Return this network, with the same weights, for clips of `shape`: its frame rate and length."""
        changes = experts_for_clip(self, shape)
        if self.sync is not None and self.sync.fps != shape.video.fps:
            changes["sync"] = self.sync.at(shape.video.fps)
        return with_attributes(self, changes)

    def predict(
        self, latent: AVLatent, t: AVTime, cond: AVCondition, kinds: Sequence[CouplingKind], skip: Skip | None = None
    ) -> AVLatent:
        """Predict the flow velocity ε − x_0 of every row with its own coupling, in one forward pass."""
        return predict_sorted_by_coupling(self, latent, t, cond, kinds, skip or [None] * len(kinds))

    def predict_stream(self, latent: Tensor, t: Tensor, cond: Condition, stream: StreamName, skip: Skip | None = None) -> Tensor:
        """Predict the flow velocity of one modality with its expert alone, without the joint parameters."""
        expert: Any = {"video": self.video, "audio": self.audio}[stream]
        if self._runs_whole(skip or ()):
            return expert(latent, t, cond)
        state = expert.embed(latent, t, cond) if stream == "video" else self.embed_audio(latent, t, cond)
        for number, block in enumerate(expert.blocks, self.skippable - expert.depth):
            state = _keep_skipped_rows(skip or (), number, state, expert.run(block, state))
            if self.watch and stream == "video":
                self.watch(number, state)
        return expert.head(state)

    def forward(self, latent: AVLatent, t: AVTime, cond: AVCondition, counts: RowCounts, skip: Skip) -> AVLatent:
        """Predict as `predict` does, for rows sorted by coupling."""
        experts: tuple[Any, Any] = self.video, self.audio
        if counts[2] == latent.rows and self._runs_whole(skip):
            return AVLatent(experts[0](latent.video, t.video, cond.video), experts[1](latent.audio, t.audio, cond.audio))
        video = self.video.embed(latent.video, t.video, cond.video)
        audio = self.embed_audio(latent.audio, t.audio, cond.audio)
        for number, blocks in enumerate(self.aligned_blocks()):
            after_v, after_a = self.run_blocks(blocks, video, audio, counts)
            video = _keep_skipped_rows(skip, number, video, after_v)
            audio = _keep_skipped_rows(skip, number, audio, after_a)
            if self.watch:
                self.watch(number, video)
        return AVLatent(self.video.head(video), self.audio.head(audio))

    def _runs_whole(self, skip: Skip) -> bool:
        """Return whether `removed` rows can run the whole transformers, as the experts' own pipelines do.

        Not if they have other positions here, or something happens at or between blocks.
        """
        own_positions = self.sync is None and getattr(self.video, "time_stride", 1) == 1
        return own_positions and self.watch is None and "run_blocks" not in vars(self) and all(block is None for block in skip)

    def embed_audio(self, latent: Tensor, t: Tensor, cond: Condition) -> ExpertState:
        """Prepare the state of the audio expert's first block, with the positions that `sync` gives."""
        state = self.audio.embed(latent, t, cond)
        if self.sync is None:
            return state
        positions = self.sync.audio_positions(state.hidden.shape[1], latent.device, getattr(self.video, "time_stride", 1))
        experts: tuple[Any, Any] = self.video, self.audio
        return experts[1].at_positions(state, positions, experts[0].rotary_axes)

    def aligned_blocks(self) -> Iterator[Blocks]:
        """Iterate over the blocks of each layer. The blocks of both experts are paired from the last one backwards."""
        columns = self.video.blocks, self.audio.blocks, list(self.new_heads)
        return zip(*([None] * (self.skippable - len(column)) + column for column in columns))

    def compile_blocks(self, **options: Any) -> None:
        """Compile `run_blocks`, which runs every layer, with these options of `torch.compile`."""
        self.run_blocks = torch.compile(self.run_blocks, **options)  # type: ignore[method-assign]

    def run_blocks(
        self, blocks: Blocks, video: ExpertState, audio: ExpertState, counts: RowCounts
    ) -> tuple[ExpertState, ExpertState]:
        """Run one layer: a joint block if it has new heads and not all rows are `removed`, else the block of each expert."""
        block_v, block_a, new_heads = blocks
        if block_v and block_a and new_heads and counts[2] < len(video.hidden):
            return self.joint_block((block_v, block_a, new_heads), video, audio, counts)
        return self.video.run(block_v, video) if block_v else video, self.audio.run(block_a, audio) if block_a else audio

    def joint_block(
        self, blocks: tuple[nn.Module, nn.Module, NewHeads], video: ExpertState, audio: ExpertState, counts: RowCounts
    ) -> tuple[ExpertState, ExpertState]:
        """Run one AVFull-Attention block: one shared attention with the projections and feed-forwards of each expert.

        The coupling of a row changes the attention only. `removed` rows are `cut` rows without the new heads.
        """
        block_v, block_a, new_heads = blocks
        rows_v, kept_v = self.video.attention_input(block_v, video)
        rows_a, kept_a = self.audio.attention_input(block_a, audio)
        qkv_v = self.video.project(block_v, rows_v, video)
        qkv_a = self.audio.project(block_a, rows_a, audio)
        text, removed = self.audio.text_rows(audio), counts[2]
        qkv_new = new_heads.project(rows_a[: len(rows_a) - removed, text:], self.audio, audio)
        out_v, out_a, out_new = coupled_attention(qkv_v, qkv_a, qkv_new, text, counts[0], self.cross_modal_attention)
        extra = new_heads.to_out(out_new.flatten(2, 3))
        if removed:
            extra = torch.cat([extra, extra.new_zeros(removed, *extra.shape[1:])])
        return self.video.finish(block_v, video, kept_v, out_v), self.audio.finish(block_a, audio, kept_a, out_a, extra)


def coupled_attention(
    video: QKV, audio: QKV, new: QKV, text: int, full: int, cross_modal_attention: CrossModalAttention
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute the attention outputs of the video heads, the pretrained audio heads and the new audio heads.

    In the first `full` rows of the batch, the modalities attend to each other; in the other rows, attention is within each group
    of heads. `new` has no rows for the `removed` rows at the end of the batch.
    """
    if full == len(video.q):
        return joint_attention(video, audio, new, text, cross_modal_attention)
    separate = attend(video[full:]), attend(audio[full:]), attend(new[full:])
    if full == 0:
        return separate
    together = joint_attention(video[:full], audio[:full], new[:full], text, cross_modal_attention)
    video_out, audio_out, new_out = (torch.cat(parts) for parts in zip(together, separate))
    return video_out, audio_out, new_out


def _keep_skipped_rows(skip: Skip, number: int, before: ExpertState, after: ExpertState) -> ExpertState:
    """Return the state after block `number`; rows that skip the block keep the state before it."""
    if number not in skip:
        return after
    rows = torch.tensor([block == number for block in skip], device=before.hidden.device)[:, None, None]
    return after.with_(hidden=before.hidden.where(rows, after.hidden), text=before.text.where(rows, after.text))


def joint_attention(
    video: QKV, audio: QKV, new: QKV, text: int, cross_modal_attention: CrossModalAttention
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute AVFull-Attention (section 3): video and audio tokens attend to each other.

    `video` has as many heads as `audio` and `new` together. The pretrained audio heads are paired with the first video heads,
    the new heads with the other ones. The first `text` rows of `audio` are the audio's text. They attend to rows of `audio`
    only, and video does not attend to them.
    """
    shared = audio.q.shape[2]
    all_audio = QKV(*(torch.cat([a[:, text:], n], 2) for a, n in zip(_parts(audio), _parts(new))))
    first = QKV(*(x[:, :, :shared] for x in _parts(video)))
    last = QKV(*(x[:, :, shared:] for x in _parts(video)))
    to_text = dispatch_attention_fn(audio.q[:, :text], audio.k, audio.v)
    to_audio = cross_modal_attention(audio.q[:, text:], audio, first)
    return (
        cross_modal_attention(video.q, video, all_audio),
        torch.cat([to_text, to_audio], 1),
        cross_modal_attention(new.q, new, last),
    )


def full_attention(q: Tensor, own: QKV, other: QKV) -> Tensor:
    """Compute attention with one softmax over the keys of both modalities."""
    return dispatch_attention_fn(q, torch.cat([own.k, other.k], 1), torch.cat([own.v, other.v], 1))


def added_cross_attention(q: Tensor, own: QKV, other: QKV) -> Tensor:
    """Compute self-attention plus cross-attention to the other modality, with the same projections."""
    return dispatch_attention_fn(q, own.k, own.v) + dispatch_attention_fn(q, other.k, other.v)


CrossModalAttention = Callable[[Tensor, QKV, QKV], Tensor]
"""(queries, own keys and values, the other modality's) → attention output."""
CROSS_MODAL_ATTENTION: dict[str, CrossModalAttention] = {"full": full_attention, "cross": added_cross_attention}


def attend(heads: QKV) -> Tensor:
    """Compute self-attention within one group of heads, which may have no rows: CUDA's attention then returns None."""
    if not len(heads.q):
        return heads.q
    return dispatch_attention_fn(heads.q, heads.k, heads.v)


def _parts(heads: QKV) -> tuple[Tensor, Tensor, Tensor]:
    return heads.q, heads.k, heads.v


def check_fit(video: Expert, audio: Expert, joint_blocks: int) -> None:
    """Raise ValueError, with the numbers, unless two experts can be joined by this many blocks."""
    if video.head_size != audio.head_size:
        raise ValueError(f"the experts' head sizes differ: video {video.head_size}, audio {audio.head_size}; use two with the same")
    if video.width <= audio.width:
        raise ValueError(
            f"the video expert ({video.width} wide) must be wider than the audio expert ({audio.width} wide); use another pair"
        )
    most = min(video.depth, audio.depth)
    if not 1 <= joint_blocks <= most:
        raise ValueError(f"joint_blocks is {joint_blocks}; use 1 to {most}, the shallower expert's depth")
