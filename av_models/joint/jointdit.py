"""JointDiT ("Animate and Sound an Image", CVPR 2025): SVD's and AudioLDM2's UNets woven together by Joint Blocks."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..contract import AVCondition, AVLatent, AVTime, Condition, CouplingKind, Skip, StreamName
from ..experts.audioldm2 import AudioLDM2Expert
from ..experts.svd import SVDExpert
from ..experts.unet import UNetState
from .perceiver import ATTENTIONS
from .sorted_rows import predict_sorted_by_coupling


class AdaLN(nn.Module):
    """A residual, normed and modulated by the time embedding, behind a gate that starts at zero (DiT, section 3.2)."""

    def __init__(self, width: int, time_width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.modulation = nn.Sequential(nn.SiLU(), nn.Linear(time_width, 3 * width))
        nn.init.zeros_(self.modulation[1].weight)
        nn.init.zeros_(self.modulation[1].bias)

    def forward(self, x: Tensor, residual: Tensor, time: Tensor) -> Tensor:
        """x, residual: [rows, L, width]; time: [rows, time_width], the expert's own, in which AudioLDM2's has the picture too."""
        shift, scale, gate = self.modulation(time)[:, None].chunk(3, -1)
        return x + gate * (self.norm(residual) * (1 + scale) + shift)


class JointBlock(nn.Module):
    """What follows a pair of expert layers: full attention, then a feed-forward of each modality, AdaLN after both."""

    def __init__(
        self, widths: tuple[int, int], time_widths: tuple[int, int], attention: str, qk_width: int, v_width: int, heads: int
    ) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(c, elementwise_affine=False) for c in widths)
        self.attention = ATTENTIONS[attention](widths, qk_width, v_width, heads)
        self.ffns = nn.ModuleList(
            nn.Sequential(nn.LayerNorm(c), nn.Linear(c, 4 * c), nn.GELU(), nn.Linear(4 * c, c)) for c in widths
        )
        self.after_attention, self.after_ffn = (nn.ModuleList(AdaLN(c, t) for c, t in zip(widths, time_widths)) for _ in range(2))

    def forward(
        self, v: UNetState, a: UNetState, rates: Sequence[float], counts: tuple[int, int, int]
    ) -> tuple[UNetState, UNetState]:
        """Rows sorted by coupling: `counts` of them full, cut, removed. Removed ones go without attention (eq. 11)."""
        tokens, times = [v.tokens, a.tokens], [v.row_time, a.row_time]
        attended = sum(counts[:2])
        if attended:
            outs = self.attention(*(norm(x[:attended]) for norm, x in zip(self.norms, tokens)), (v.grid, a.grid), rates, counts[0])
            for i, out in enumerate(outs):
                changed = self.after_attention[i](tokens[i][:attended], out, times[i][:attended])
                tokens[i] = torch.cat([changed, tokens[i][attended:]])
        v_tokens, a_tokens = (self.feed_forward(i, x, time) for i, (x, time) in enumerate(zip(tokens, times)))
        return v.with_tokens(v_tokens), a.with_tokens(a_tokens)

    def feed_forward(self, modality: int, tokens: Tensor, time: Tensor) -> Tensor:
        """What comes after attention, and is all there is in removed rows. `modality`: 0 is the picture's, 1 the sound's."""
        return self.after_ffn[modality](tokens, self.ffns[modality](tokens), time)


class JointDiT(nn.Module):
    """The joint denoiser. Every UNet block is a layer: `inputs` of them, then `joint_blocks` with a Joint Block after
    each, then the rest (Output). Skips carry what an expert's layer gave, from before its Joint Block.

    inputs: layers of either UNet that come before, (video, audio). audio_rate: latent frames of picture to a latent step
    of sound, so that both lie on one time axis. attention: "perceiver", or the paper's ablation, "standard".
    Raises ValueError for a split that leaves no Input or no Output.
    """

    kinds = frozenset(CouplingKind)
    skippable = 0

    def __init__(
        self, video: SVDExpert, audio: AudioLDM2Expert, *, inputs: tuple[int, int], joint_blocks: int, audio_rate: float,
        qk_width: int, v_width: int, heads: int, attention: str = "perceiver",
    ) -> None:  # fmt: skip
        super().__init__()
        self.paths, self.prediction = (video.path, audio.path), (video.prediction, audio.prediction)
        for name, expert, first in zip(("video", "audio"), (video, audio), inputs):
            _check_split(name, expert.depth, first, joint_blocks)
        if attention not in ATTENTIONS:
            raise ValueError(f"attention is {attention!r}; give one of {', '.join(ATTENTIONS)}")
        self.video, self.audio, self.inputs, self.audio_rate = video, audio, tuple(inputs), audio_rate
        widths = zip(*(e.widths[first : first + joint_blocks] for e, first in zip((video, audio), inputs)))
        self.blocks = nn.ModuleList(
            JointBlock(pair, (video.time_width, audio.time_width), attention, qk_width, v_width, heads) for pair in widths
        )

    def predict(
        self, latent: AVLatent, t: AVTime, cond: AVCondition, kinds: Sequence[CouplingKind], skip: Skip | None = None
    ) -> AVLatent:
        """v of the picture, ε (or v) of the sound, every row under its own coupling, all rows in one pass."""
        return predict_sorted_by_coupling(self, latent, t, cond, kinds)

    def alone(self, latent: Tensor, t: Tensor, cond: Condition, stream: StreamName) -> Tensor:
        """What the stream's expert predicts, in removed rows: its UNet, and its feed-forward in every Joint Block."""
        modality = ("video", "audio").index(stream)
        expert, first = (self.video, self.audio)[modality], self.inputs[modality]
        x = _run(expert, expert.embed(latent, t, cond), range(first))
        for number, block in enumerate(self.blocks, first):
            x = expert.run(number, x)
            x = x.with_tokens(block.feed_forward(modality, x.tokens, x.row_time))
        return expert.head(_run(expert, x, range(first + len(self.blocks), expert.depth)))

    def forward(self, latent: AVLatent, t: AVTime, cond: AVCondition, counts: tuple[int, int, int]) -> AVLatent:
        """As `predict`, for rows sorted by coupling: `counts` of them full, cut, removed."""
        v, a = self.video.embed(latent.video, t.video, cond.video), self.audio.embed(latent.audio, t.audio, cond.audio)
        v, a = _run(self.video, v, range(self.inputs[0])), _run(self.audio, a, range(self.inputs[1]))
        for number, block in enumerate(self.blocks):
            v, a = self.video.run(self.inputs[0] + number, v), self.audio.run(self.inputs[1] + number, a)
            steps = self.audio_rate * latent.audio.shape[2] / a.grid[1]
            v, a = block(v, a, (1.0, steps), counts)
        done = [first + len(self.blocks) for first in self.inputs]
        v, a = _run(self.video, v, range(done[0], self.video.depth)), _run(self.audio, a, range(done[1], self.audio.depth))
        return AVLatent(self.video.head(v), self.audio.head(a))


def _run(expert: SVDExpert | AudioLDM2Expert, stream: UNetState, layers: range) -> UNetState:
    for number in layers:
        stream = expert.run(number, stream)
    return stream


def _check_split(name: str, depth: int, inputs: int, joint_blocks: int) -> None:
    outputs = depth - inputs - joint_blocks
    if inputs < 1 or outputs < 1 or joint_blocks < 0:
        raise ValueError(
            f"{inputs} input layers and {joint_blocks} joint blocks leave {outputs} output layers of the {name} UNet's {depth}; "
            "leave at least one of each"
        )
