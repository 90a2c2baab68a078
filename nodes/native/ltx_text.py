"""LTX-2's prompts: from the text encoder's tokens to the text context that the network attends to.

The context is [video | audio] on the channel axis. ComfyUI makes it when sampling begins, by two small networks of the model, the
connectors. They also append registers, so that short texts have one length. Some nodes give a context that is done already.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from .pair_prompts import Entry

ENCODE = "encode the prompt with the text encoder of this model"
RAW = "unprocessed_ltxav_embeds"  # ComfyUI's key of a prompt that has not been through the connectors
LEAST_LENGTH = 1024  # of a context made by the connectors


class LTXText:
    """What a network needs of a prompt.

    raw_width: of the text encoder's tokens. video_width, width: of the video's part of the context, and of all of it.
    """

    def __init__(self, network: nn.Module) -> None:
        self.registers = network.video_embeddings_connector.num_learnable_registers
        self.raw_width = network.caption_channels
        self.video_width, audio_width = network.caption_channels, network.caption_channels
        if network.caption_proj_before_connector:  # LTX-2.3 and newer
            self.video_width, audio_width = network.inner_dim, network.audio_inner_dim
            if not network.caption_projection_first_linear:  # the text encoder projects
                self.raw_width = network.cross_attention_dim + network.audio_cross_attention_dim
        self.width = self.video_width + audio_width

    def fits(self, entry: Entry) -> bool:
        """Returns whether the model can read a prompt."""
        width = _width(entry)
        return width == self.raw_width or (width == self.width and not entry.get(RAW))

    def is_raw(self, entry: Entry) -> bool:
        """Returns whether a prompt is still to be run through the connectors."""
        return bool(entry.get(RAW)) or _width(entry) != self.width

    def length(self, entry: Entry) -> int:
        """Returns the number of tokens in the context of a prompt."""
        length = entry["cross_attn"].shape[1]
        if self.is_raw(entry) and self.registers:
            return math.ceil(max(LEAST_LENGTH, length) / self.registers) * self.registers
        return length

    def join(self, video: Tensor, audio: Tensor) -> Tensor:
        """Returns the video's part of one context [B, L, D] and the audio's part of another.

        Contexts of different lengths are repeated to one length. This does not change attention: each token's weight is shared
        among its copies. Only contexts of more than 1024 tokens, or from other nodes, have different lengths.
        """
        parts = video[..., : self.video_width], audio[..., self.video_width :]
        batch, length = (math.lcm(*(part.shape[axis] for part in parts)) for axis in (0, 1))
        return torch.cat([part.repeat(batch // part.shape[0], length // part.shape[1], 1) for part in parts], -1)


def _width(entry: Entry) -> int:
    tokens = entry.get("cross_attn")
    return 0 if tokens is None else tokens.shape[-1]
