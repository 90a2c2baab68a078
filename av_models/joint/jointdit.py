"""JointDiT ("Animate and Sound an Image", CVPR 2025): the UNets of Stable Video Diffusion and AudioLDM2, joined by Joint Blocks."""

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
    """Adds a residual that is normalized, modulated by the time embedding, and multiplied by a gate.

    The gate is zero before training (adaLN-Zero; DiT, arXiv 2212.09748, section 3.2).
    """

    def __init__(self, width: int, time_width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        linear = nn.Linear(time_width, 3 * width)
        nn.init.zeros_(linear.weight)
        nn.init.zeros_(linear.bias)
        self.modulation = nn.Sequential(nn.SiLU(), linear)

    def forward(self, x: Tensor, residual: Tensor, time: Tensor) -> Tensor:
        """Return x plus the modulated residual; x, residual: [rows, L, width].

        time: [rows, time_width], the expert's time embedding. AudioLDM2's contains the image embedding.
        """
        shift, scale, gate = self.modulation(time)[:, None].chunk(3, -1)
        return x + gate * (self.norm(residual) * (1 + scale) + shift)


class JointBlock(nn.Module):
    """The joint layers after a pair of expert layers: full attention, then a feed-forward per modality, each followed by AdaLN.

    widths, time_widths: widths of the tokens and the time embeddings of video and audio.
    attention: "perceiver" or "standard". qk_width, v_width, heads: of the attention.
    """

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
        """Return the states of both modalities after the block.

        rates: as in `JointAttention`. counts: number of full, cut and removed rows, in this order; removed rows skip the
        attention (eq. 11).
        """
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
        """Return the tokens after the feed-forward and its AdaLN. modality: 0 for video, 1 for audio."""
        return self.after_ffn[modality](tokens, self.ffns[modality](tokens), time)


class JointDiT(nn.Module):
    """The joint denoiser of JointDiT.

    Every UNet block is a layer. The first layers of each UNet are Input layers, the next `joint_blocks` layers are followed by
    a Joint Block each, and the remaining ones are Output layers. A UNet's skip connections carry the output of its own layer,
    from before the Joint Block.

    inputs: number of Input layers of (video, audio).
    audio_rate: duration of a latent audio step in latent video frames. It places both modalities on one time axis.
    qk_width, v_width, heads: of the joint attention.
    attention: "perceiver", or "standard", the baseline of the paper's ablation.

    Raises ValueError for an unknown attention, or if a UNet has no layer left for Input or Output.
    """

    kinds = frozenset(CouplingKind)
    skippable = 0
    video: SVDExpert
    audio: AudioLDM2Expert

    def __init__(  # noqa: PLR0913  # the keyword arguments are the settings in a model card
        self, video: SVDExpert, audio: AudioLDM2Expert, *, inputs: tuple[int, int], joint_blocks: int, audio_rate: float,
        qk_width: int, v_width: int, heads: int, attention: str = "perceiver",
    ) -> None:  # fmt: skip
        super().__init__()
        self.paths, self.prediction = (video.path, audio.path), (video.prediction, audio.prediction)
        for name, expert, first in zip(("video", "audio"), (video, audio), inputs):
            _check_split(name, expert.depth, first, joint_blocks)
        if attention not in ATTENTIONS:
            raise ValueError(f"attention is {attention!r}; choose one of {', '.join(ATTENTIONS)}")
        self.video, self.audio, self.inputs, self.audio_rate = video, audio, tuple(inputs), audio_rate
        widths = zip(*(e.widths[first : first + joint_blocks] for e, first in zip((video, audio), inputs)))
        self.blocks = nn.ModuleList(
            JointBlock(pair, (video.time_width, audio.time_width), attention, qk_width, v_width, heads) for pair in widths
        )

    def predict(
        self, latent: AVLatent, t: AVTime, cond: AVCondition, kinds: Sequence[CouplingKind], skip: Skip | None = None
    ) -> AVLatent:
        """Predict v of the video and ε (or v) of the audio in one network call; `kinds` is the coupling of each row."""
        return predict_sorted_by_coupling(self, latent, t, cond, kinds)

    def predict_stream(self, latent: Tensor, t: Tensor, cond: Condition, stream: StreamName, skip: Skip | None = None) -> Tensor:
        """Predict one modality in removed rows: with its UNet and its feed-forward of every Joint Block."""
        modality = ("video", "audio").index(stream)
        expert: SVDExpert | AudioLDM2Expert = (self.video, self.audio)[modality]
        first = self.inputs[modality]
        x = _run_layers(expert, expert.embed(latent, t, cond), range(first))
        for number, block in enumerate(self.blocks, first):
            assert isinstance(block, JointBlock)
            x = expert.run(number, x)
            x = x.with_tokens(block.feed_forward(modality, x.tokens, x.row_time))
        return expert.head(_run_layers(expert, x, range(first + len(self.blocks), expert.depth)))

    def forward(self, latent: AVLatent, t: AVTime, cond: AVCondition, counts: tuple[int, int, int]) -> AVLatent:
        """Predict as `predict` does, for rows sorted by coupling; counts: number of full, cut and removed rows."""
        v, a = self.video.embed(latent.video, t.video, cond.video), self.audio.embed(latent.audio, t.audio, cond.audio)
        v, a = _run_layers(self.video, v, range(self.inputs[0])), _run_layers(self.audio, a, range(self.inputs[1]))
        for number, block in enumerate(self.blocks):
            v, a = self.video.run(self.inputs[0] + number, v), self.audio.run(self.inputs[1] + number, a)
            audio_rate = self.audio_rate * latent.audio.shape[2] / a.grid[1]  # at the resolution of this layer
            v, a = block(v, a, (1.0, audio_rate), counts)
        outputs = [first + len(self.blocks) for first in self.inputs]
        v = _run_layers(self.video, v, range(outputs[0], self.video.depth))
        a = _run_layers(self.audio, a, range(outputs[1], self.audio.depth))
        return AVLatent(self.video.head(v), self.audio.head(a))


def _run_layers(expert: SVDExpert | AudioLDM2Expert, state: UNetState, layers: range) -> UNetState:
    for number in layers:
        state = expert.run(number, state)
    return state


def _check_split(name: str, depth: int, inputs: int, joint_blocks: int) -> None:
    outputs = depth - inputs - joint_blocks
    if inputs < 1 or outputs < 1 or joint_blocks < 0:
        raise ValueError(
            f"inputs is {inputs} and joint_blocks is {joint_blocks}, but the {name} UNet has {depth} layers, which leaves "
            f"{outputs} output layers; use at least one input layer and leave at least one output layer"
        )
