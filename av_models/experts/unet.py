"""A diffusers UNet as an expert: its blocks in a row, each a layer, with the skips between them kept in the stream.

Running every layer in order equals the UNet's own forward, bit for bit.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from ..contract import Condition


@dataclass(frozen=True)
class UNetState:
    """One modality on its way through a UNet.

    `hidden`: [N, C, height, width], N a row of the batch, or one frame of it; `time`: [N, 4·C0], what its blocks are
    modulated by; `skips`: what later layers take from earlier ones; `options`: what else each block is called with;
    `frames`: how many N make a row; `shape`: the latent's; `uneven`: whether upsampling must be told the size.
    """

    hidden: Tensor
    time: Tensor
    skips: tuple[Tensor, ...]
    options: dict[str, Any]
    text_options: dict[str, Any]
    frames: int
    shape: tuple[int, ...]
    uneven: bool

    def with_(self, **changes: Any) -> UNetState:
        return replace(self, **changes)

    @property
    def tokens(self) -> Tensor:
        """The hidden state as [rows, frames · height · width, C], in float32: a UNet's own precision may be lower."""
        return self.hidden.unflatten(0, (-1, self.frames)).movedim(2, -1).flatten(1, 3).float()

    def with_tokens(self, tokens: Tensor) -> UNetState:
        _, _, height, width = self.hidden.shape
        hidden = tokens.unflatten(1, (self.frames, height, width)).flatten(0, 1).movedim(-1, 1)
        return self.with_(hidden=hidden.contiguous().to(self.hidden.dtype))

    @property
    def row_time(self) -> Tensor:
        """`time` of each row: [rows, 4·C0], in float32."""
        return self.time[:: self.frames].float()

    @property
    def grid(self) -> tuple[int, int, int]:
        """Frames, height and width of the tokens."""
        return self.frames, *self.hidden.shape[-2:]


class UNetExpert(nn.Module):
    """What diffusers' UNets have in common: `down_blocks`, a `mid_block` and `up_blocks`, counted as layers from 0."""

    def __init__(self, unet: nn.Module) -> None:
        super().__init__()
        self.unet = unet

    @property
    def depth(self) -> int:
        return len(self.unet.down_blocks) + 1 + len(self.unet.up_blocks)

    @property
    def widths(self) -> list[int]:
        """Channels of the hidden state after each layer."""
        down = list(self.unet.config.block_out_channels)
        return [*down, down[-1], *reversed(down)]

    @property
    def time_width(self) -> int:
        """Of the embedded time."""
        return self.unet.time_embedding.linear_2.out_features

    def in_own_precision(self, latent: Tensor, cond: Condition) -> tuple[Tensor, Condition]:
        """What the UNet is given, as its weights are."""
        dtype = self.unet.conv_in.weight.dtype
        return latent.to(dtype), cond.each(lambda part: part.to(dtype) if part.is_floating_point() else part)

    @abstractmethod
    def embed(self, latent: Tensor, t: Tensor, cond: Condition) -> UNetState: ...

    @abstractmethod
    def unpacked(self, hidden: Tensor, stream: UNetState) -> Tensor:
        """The head's output, shaped as the latent was."""

    def forward(self, latent: Tensor, t: Tensor, cond: Condition) -> Tensor:
        """The expert alone: its prediction, shaped as the latent."""
        stream = self.embed(latent, t, cond)
        for number in range(self.depth):
            stream = self.run(number, stream)
        return self.head(stream)

    def run(self, number: int, stream: UNetState) -> UNetState:
        """One layer."""
        unet, downs = self.unet, len(self.unet.down_blocks)
        if number < downs:
            hidden, skips = self._call(unet.down_blocks[number], stream)
            return stream.with_(hidden=hidden, skips=stream.skips + tuple(skips))
        if number == downs:
            return stream.with_(hidden=self._call(unet.mid_block, stream))
        block = unet.up_blocks[number - downs - 1]
        count = len(block.resnets)
        taken, left = stream.skips[-count:], stream.skips[:-count]
        size = left[-1].shape[2:] if stream.uneven and left else None
        hidden = self._call(block, stream, res_hidden_states_tuple=taken, upsample_size=size)
        return stream.with_(hidden=hidden, skips=left)

    def _call(self, block: nn.Module, stream: UNetState, **more: Any) -> Any:
        text = stream.text_options if getattr(block, "has_cross_attention", False) else {}
        return block(hidden_states=stream.hidden, temb=stream.time, **stream.options, **text, **more)

    def head(self, stream: UNetState) -> Tensor:
        unet = self.unet
        return self.unpacked(unet.conv_out(unet.conv_act(unet.conv_norm_out(stream.hidden))), stream).float()

    def is_uneven(self, height: int, width: int) -> bool:
        factor = 2 ** (len(self.unet.up_blocks) - 1)
        return height % factor != 0 or width % factor != 0
