"""Encodes prompts with the text encoder of a published expert."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from ...contract import Condition
from ...shapes import AVShape
from ..cached_prompts import CachedPrompts
from ..joint.comfyui_text import ComfyUIText, TextEmbedding


class PromptConditioner(CachedPrompts[Condition]):
    """The `StreamConditioner` of an expert that takes text. Encoded prompts are kept.

    encode(words, device): encodes a prompt to a condition with one row. It loads its text encoder when it is first called, and has
        it on the device only while it runs (see `on_device_while_used`).
    from_embedding: makes a condition with one row from the embedding of the same text encoder. Raises ValueError, in one line,
        for another width.
    encoder_bytes: of the text encoder.
    default_negative: the negative prompt that replaces an empty one.
    comfyui_text: how a text encoder of ComfyUI encodes prompts for this expert; None: it cannot.
    prompt_help: a line about special words of the prompts, "" if there are none.
    """

    def __init__(
        self,
        encode: Callable[[str, torch.device], Condition],
        from_embedding: Callable[[TextEmbedding], Condition],
        encoder_bytes: int = 0,
        default_negative: str = "",
        comfyui_text: ComfyUIText | None = None,
        prompt_help: str = "",
    ) -> None:
        super().__init__(encode, comfyui_text, prompt_help)
        self.from_embedding, self.default_negative, self.encoder_bytes = from_embedding, default_negative, encoder_bytes

    def condition(self, prompt: str, image: Tensor | None, shape: AVShape) -> Condition:
        """Return the condition of a prompt, with one row. The image, which is for the other expert, is not used."""
        return self.encode_prompt(prompt).to(self.device_marker.device)

    def unknown_words(self, prompt: str) -> list[str]:
        """Return no messages: the text encoder takes every word."""
        return []
