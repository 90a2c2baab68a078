"""The layers of an AVFullDiT as modules that run as a whole: what gradient checkpointing computes again, and what FSDP shards."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..experts.base import ExpertState
from ..joint.avfulldit import AVFullDiT, Blocks, RowCounts

States = tuple[ExpertState, ExpertState]


class TrainedLayer(nn.Module):
    """One layer: a block of each expert that has one, with the new heads if it is joint.

    Its inputs and outputs are tensors in plain dicts and tuples, in which FSDP finds them.
    """

    def __init__(self, denoiser: AVFullDiT, blocks: Blocks, checkpointing: bool) -> None:
        super().__init__()
        self.parts = nn.ModuleList(block for block in blocks if block is not None)
        self.run = partial(type(denoiser).run_blocks, denoiser, blocks)
        self.checkpointing = checkpointing

    def forward(self, video: Mapping[str, Any], audio: Mapping[str, Any], counts: RowCounts) -> tuple[Tensor, ...]:
        """Run the layer on the fields of both states. Returns hidden and text of the video, and of the audio."""
        states = ExpertState(**video), ExpertState(**audio)
        if self.checkpointing and self.training:
            after: States = checkpoint(self.run, *states, counts, use_reentrant=False)
        else:
            after = self.run(*states, counts)
        return tuple(part for state in after for part in (state.hidden, state.text))


def trained_layers(denoiser: AVFullDiT, checkpointing: bool) -> list[TrainedLayer]:
    """Make the layers of a denoiser, which from now on runs them."""
    blocks = list(denoiser.aligned_blocks())
    layers = [TrainedLayer(denoiser, each, checkpointing) for each in blocks]
    by_blocks = {_key(each): layer for each, layer in zip(blocks, layers)}

    def run_blocks(blocks: Blocks, video: ExpertState, audio: ExpertState, counts: RowCounts) -> States:
        hidden_v, text_v, hidden_a, text_a = by_blocks[_key(blocks)](vars(video), vars(audio), counts)
        return video.with_(hidden=hidden_v, text=text_v), audio.with_(hidden=hidden_a, text=text_a)

    denoiser.run_blocks = run_blocks  # type: ignore[method-assign]
    return layers


def _key(blocks: Blocks) -> tuple[int, ...]:
    return tuple(map(id, blocks))
