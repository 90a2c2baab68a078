"""AVFullDiT (arXiv 2512.02457): a T2V and a T2A expert woven into one joint transformer by AVFull-Attention."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import torch
from diffusers.models.attention_dispatch import dispatch_attention_fn
from torch import Tensor, nn

from ..contract import AVCondition, AVLatent, AVTime, Condition, CouplingKind, Skip, StreamName
from ..experts.base import QKV, ExpertState
from ..experts.flux import FluxExpert
from ..experts.wan import WanExpert
from ..path import FLOW
from .sorted_rows import predict_sorted_by_coupling


class NewHeads(nn.Module):
    """W_an and W_an^o of one joint block: the heads that bring audio (Ca wide) up to the video's width (Cv).

    Only sound rows have them; text rows have no business with the video. They get norms of their own.
    """

    def __init__(self, audio_width: int, extra_width: int, head_size: int) -> None:
        super().__init__()
        self.to_q, self.to_k, self.to_v = (nn.Linear(audio_width, extra_width) for _ in range(3))
        self.norm_q, self.norm_k = nn.RMSNorm(head_size, eps=1e-6), nn.RMSNorm(head_size, eps=1e-6)
        self.to_out = nn.Linear(extra_width, audio_width, bias=False)
        nn.init.zeros_(self.to_out.weight)
        self.head_size = head_size

    def project(self, sound: Tensor, expert: FluxExpert, stream: ExpertState) -> QKV:
        q, k, v = (layer(sound).unflatten(-1, (-1, self.head_size)) for layer in (self.to_q, self.to_k, self.to_v))
        return QKV(expert.rotate_sound(self.norm_q(q), stream), expert.rotate_sound(self.norm_k(k), stream), v)


class AVFullDiT(nn.Module):
    """The joint denoiser. The last `joint_blocks` blocks of both towers are joint, aligned at the end.

    Needs equal head size and a video wider than the audio; raises ValueError with both otherwise. `attention`: "full", or
    the paper's ablation, "cross": each modality attends to itself, and apart from that to the other. `watch` is called
    after every block with its number and the video's stream: training looks through it at what a block knows.
    """

    paths = (FLOW, FLOW)
    prediction = "flow"
    kinds = frozenset(CouplingKind)
    watch: Callable[[int, ExpertState], None] | None = None

    def __init__(self, video: WanExpert, audio: FluxExpert, joint_blocks: int, attention: str = "full") -> None:
        super().__init__()
        _check(video, audio, joint_blocks)
        if attention not in CROSS_MODAL_ATTENTION:
            raise ValueError(f"attention is {attention!r}; give one of {', '.join(CROSS_MODAL_ATTENTION)}")
        self.video, self.audio, self.joint_blocks, self.meet = video, audio, joint_blocks, CROSS_MODAL_ATTENTION[attention]
        self.new_heads = nn.ModuleList(
            NewHeads(audio.width, video.width - audio.width, audio.head_size) for _ in range(joint_blocks)
        )

    @property
    def skippable(self) -> int:
        """Blocks are counted from the deeper tower's first; the other's go with those at the same distance from the end."""
        return max(self.video.depth, self.audio.depth)

    def predict(
        self, latent: AVLatent, t: AVTime, cond: AVCondition, kinds: Sequence[CouplingKind], skip: Skip | None = None
    ) -> AVLatent:
        """Flow velocity ε − x_0 of every row under its own coupling, all rows in one pass."""
        return predict_sorted_by_coupling(self, latent, t, cond, kinds, skip or [None] * len(kinds))

    def alone(self, latent: Tensor, t: Tensor, cond: Condition, stream: StreamName, skip: Skip | None = None) -> Tensor:
        """Flow velocity of one stream in removed rows: its tower alone."""
        tower = {"video": self.video, "audio": self.audio}[stream]
        x = tower.embed(latent, t, cond)
        for number, block in enumerate(tower.blocks, self.skippable - tower.depth):
            x = _unless(skip or (), number, x, tower.run(block, x))
            if self.watch and stream == "video":
                self.watch(number, x)
        return tower.head(x)

    def forward(self, latent: AVLatent, t: AVTime, cond: AVCondition, counts: tuple[int, int, int], skip: Skip) -> AVLatent:
        """As `predict`, for rows sorted by coupling: `counts` of them full, cut, removed."""
        v = self.video.embed(latent.video, t.video, cond.video)
        a = self.audio.embed(latent.audio, t.audio, cond.audio)
        for number, blocks in enumerate(self.aligned()):
            new_v, new_a = self.run(*blocks, v, a, counts)
            v, a = _unless(skip, number, v, new_v), _unless(skip, number, a, new_a)
            if self.watch:
                self.watch(number, v)
        return AVLatent(self.video.head(v), self.audio.head(a))

    def aligned(self) -> Iterator[tuple[nn.Module | None, nn.Module | None, NewHeads | None]]:
        """Both towers' blocks side by side, their last ones together, with the new heads of those that are joint."""
        columns = self.video.blocks, self.audio.blocks, list(self.new_heads)
        return zip(*([None] * (self.skippable - len(column)) + column for column in columns))

    def run(
        self,
        block_v: nn.Module | None,
        block_a: nn.Module | None,
        new: NewHeads | None,
        v: ExpertState,
        a: ExpertState,
        counts: tuple[int, int, int],
    ) -> tuple[ExpertState, ExpertState]:
        """One block of each tower, together where it is a joint one and any row is coupled through it."""
        if new is not None and counts[2] < len(v.hidden):
            return self.joint_block(block_v, block_a, new, v, a, counts)
        return self.video.run(block_v, v) if block_v else v, self.audio.run(block_a, a) if block_a else a

    def joint_block(
        self, block_v: nn.Module, block_a: nn.Module, new: NewHeads, v: ExpertState, a: ExpertState, counts: tuple[int, int, int]
    ) -> tuple[ExpertState, ExpertState]:
        """One AVFull-Attention block: both towers' own parts around one attention, which alone knows rows apart.

        A removed row is a cut one without new heads.
        """
        video = self.video.project(block_v, self.video.attention_input(block_v, v), v)
        rows, held = self.audio.attention_input(block_a, a)
        own = self.audio.project(block_a, rows, a)
        kept = len(rows) - counts[2]
        extra = new.project(rows[:kept, a.text.shape[1] :], self.audio, a)
        to_video, to_own, to_extra = couple(video, own, extra, a.text.shape[1], counts[0], self.meet)
        added = new.to_out(to_extra.flatten(2, 3))
        if counts[2]:
            added = torch.cat([added, added.new_zeros(counts[2], *added.shape[1:])])
        v = self.video.finish(block_v, v, to_video)
        return v, self.audio.finish(block_a, a, held, to_own, added)


def couple(video: QKV, own: QKV, extra: QKV, text: int, full: int, meet: CrossModalAttention) -> tuple[Tensor, Tensor, Tensor]:
    """Attention output of video, own and new heads: the first `full` rows see each other, the rest themselves alone.

    `extra` may have fewer rows than the others: the last ones go without.
    """
    if full == len(video.q):
        return joint_attention(video, own, extra, text, meet)
    alone = [attend(heads[full:]) for heads in (video, own, extra)]
    if full == 0:
        return tuple(alone)
    together = joint_attention(video[:full], own[:full], extra[:full], text, meet)
    return tuple(torch.cat(parts) for parts in zip(together, alone))


def _unless(skip: Skip, number: int, before: ExpertState, after: ExpertState) -> ExpertState:
    """`after` a block, but as `before` in the rows that skip it."""
    if number not in skip:
        return after
    rows = torch.tensor([block == number for block in skip], device=before.hidden.device)[:, None, None]
    return after.with_(hidden=before.hidden.where(rows, after.hidden), text=before.text.where(rows, after.text))


def joint_attention(video: QKV, own: QKV, extra: QKV, text: int, meet: CrossModalAttention) -> tuple[Tensor, Tensor, Tensor]:
    """AVFull-Attention: video and sound rows see each other; the first `text` rows of `own` see audio's rows only.

    `video` has as many heads as `own` and `extra` together: the pretrained audio heads meet the first video heads.
    """
    shared = own.q.shape[2]
    sound = QKV(*(torch.cat([o[:, text:], e], 2) for o, e in zip(_parts(own), _parts(extra))))
    first = QKV(*(x[:, :, :shared] for x in _parts(video)))
    last = QKV(*(x[:, :, shared:] for x in _parts(video)))
    to_text = dispatch_attention_fn(own.q[:, :text], own.k, own.v)
    to_sound = meet(own.q[:, text:], own, first)
    return meet(video.q, video, sound), torch.cat([to_text, to_sound], 1), meet(extra.q, extra, last)


def full_attention(q: Tensor, own: QKV, other: QKV) -> Tensor:
    """Full attention: both modalities' keys compete."""
    return dispatch_attention_fn(q, torch.cat([own.k, other.k], 1), torch.cat([own.v, other.v], 1))


def added_cross_attention(q: Tensor, own: QKV, other: QKV) -> Tensor:
    """Cross-attention beside self-attention, with the same projections."""
    return dispatch_attention_fn(q, own.k, own.v) + dispatch_attention_fn(q, other.k, other.v)


CrossModalAttention = Callable[[Tensor, QKV, QKV], Tensor]
CROSS_MODAL_ATTENTION: dict[str, CrossModalAttention] = {"full": full_attention, "cross": added_cross_attention}


def attend(heads: QKV) -> Tensor:
    return dispatch_attention_fn(heads.q, heads.k, heads.v)


def _parts(heads: QKV) -> tuple[Tensor, Tensor, Tensor]:
    return heads.q, heads.k, heads.v


def _check(video: WanExpert, audio: FluxExpert, joint_blocks: int) -> None:
    if video.head_size != audio.head_size:
        raise ValueError(
            f"the experts' head sizes differ: video {video.head_size}, audio {audio.head_size}; give a pair with equal ones"
        )
    if video.width <= audio.width:
        raise ValueError(f"the video expert ({video.width} wide) must be wider than the audio expert ({audio.width} wide)")
    most = min(video.depth, audio.depth)
    if not 1 <= joint_blocks <= most:
        raise ValueError(f"joint_blocks is {joint_blocks}; give 1 to {most}, the shallower expert's depth")
