"""A diffusers UNet as an expert, split into layers: its blocks run one at a time, and its skip connections are in the state.

Running all layers in order gives the same result as the UNet's own forward, bit for bit.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor, nn

from ..contract import Condition


@dataclass(frozen=True)
class UNetState:
    """The intermediate state of one modality between two layers of a UNet. N = rows · frames.

    hidden: [N, C, height, width], the hidden state.
    time: [N, 4·C0], the time embedding, where C0 is the width of the first layer.
    skips: the outputs of earlier layers that later layers take.
    options: further arguments of every block.
    text_options: further arguments of blocks with cross-attention.
    frames: number of frames per row; 1 for audio.
    shape: shape of the latent.
    forward_upsample_size: whether upsampling needs an explicit size (as in diffusers).
    """

    hidden: Tensor
    time: Tensor
    skips: tuple[Tensor, ...]
    options: dict[str, Any]
    text_options: dict[str, Any]
    frames: int
    shape: tuple[int, ...]
    forward_upsample_size: bool

    def with_(self, **changes: Any) -> UNetState:
        """Return a copy with the fields in `changes` replaced."""
        return replace(self, **changes)

    @property
    def tokens(self) -> Tensor:
        """The hidden state as tokens [rows, frames · height · width, C], in float32 for UNets of lower precision too."""
        return self.hidden.unflatten(0, (-1, self.frames)).movedim(2, -1).flatten(1, 3).float()

    def with_tokens(self, tokens: Tensor) -> UNetState:
        """Return a copy with the hidden state replaced by `tokens` [rows, frames · height · width, C]."""
        _, _, height, width = self.hidden.shape
        hidden = tokens.unflatten(1, (self.frames, height, width)).flatten(0, 1).movedim(-1, 1)
        return self.with_(hidden=hidden.contiguous().to(self.hidden.dtype))

    @property
    def row_time(self) -> Tensor:
        """The time embedding of each row, [rows, 4·C0] in float32."""
        return self.time[:: self.frames].float()

    @property
    def grid(self) -> tuple[int, int, int]:
        """Number of tokens along frames, height and width."""
        height, width = self.hidden.shape[-2:]
        return self.frames, height, width


class UNetExpert(nn.Module):
    """Base class of UNet experts. A UNet's down blocks, mid block and up blocks are its layers, numbered from 0."""

    unet: Any  # a diffusers UNet; they have no common typed base class

    def __init__(self, unet: nn.Module) -> None:
        super().__init__()
        self.unet = unet

    @property
    def depth(self) -> int:
        """Number of layers."""
        return len(self.unet.down_blocks) + 1 + len(self.unet.up_blocks)

    @property
    def widths(self) -> list[int]:
        """Channels of the hidden state after each layer."""
        down = list(self.unet.config.block_out_channels)
        return [*down, down[-1], *reversed(down)]

    @property
    def time_width(self) -> int:
        """Size of the time embedding."""
        return self.unet.time_embedding.linear_2.out_features

    def cast_inputs(self, latent: Tensor, cond: Condition) -> tuple[Tensor, Condition]:
        """Return the latent and the condition in the dtype of the UNet's weights."""
        dtype = self.unet.conv_in.weight.dtype
        return latent.to(dtype), cond.each(lambda part: part.to(dtype) if part.is_floating_point() else part)

    @abstractmethod
    def embed(self, latent: Tensor, t: Tensor, cond: Condition) -> UNetState:
        """Prepare the state of the first layer from a noisy latent, the network's timesteps t [B] and a condition."""

    @abstractmethod
    def unpack(self, hidden: Tensor, state: UNetState) -> Tensor:
        """Reshape the UNet's output to the shape of the latent."""

    def forward(self, latent: Tensor, t: Tensor, cond: Condition) -> Tensor:
        """Run the whole UNet and return its prediction, in float32 and shaped as `latent`; t: the network's timesteps [B]."""
        state = self.embed(latent, t, cond)
        for number in range(self.depth):
            state = self.run(number, state)
        return self.head(state)

    def run(self, number: int, state: UNetState) -> UNetState:
        """Run layer `number`."""
        unet, downs = self.unet, len(self.unet.down_blocks)
        if number < downs:
            hidden, skips = self._call(unet.down_blocks[number], state)
            return state.with_(hidden=hidden, skips=state.skips + tuple(skips))
        if number == downs:
            return state.with_(hidden=self._call(unet.mid_block, state))
        block = unet.up_blocks[number - downs - 1]
        count = len(block.resnets)
        taken, left = state.skips[-count:], state.skips[:-count]
        size = left[-1].shape[2:] if state.forward_upsample_size and left else None
        hidden = self._call(block, state, res_hidden_states_tuple=taken, upsample_size=size)
        return state.with_(hidden=hidden, skips=left)

    def _call(self, block: nn.Module, state: UNetState, **more: Any) -> Any:
        text = state.text_options if getattr(block, "has_cross_attention", False) else {}
        return block(hidden_states=state.hidden, temb=state.time, **state.options, **text, **more)

    def head(self, state: UNetState) -> Tensor:
        """Compute the prediction from the state after the last layer, in float32 and shaped as the latent."""
        unet = self.unet
        return self.unpack(unet.conv_out(unet.conv_act(unet.conv_norm_out(state.hidden))), state).float()

    def needs_upsample_size(self, height: int, width: int) -> bool:
        """Return whether a latent size is not divisible by the UNet's downsampling factor, so that upsampling needs its size."""
        factor = 2 ** (len(self.unet.up_blocks) - 1)
        return height % factor != 0 or width % factor != 0
