"""Encodes prompts once: what encoders made of the prompts that were used last is kept."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Generic, TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from ..contract import AVCondition, Condition
from .joint.comfyui_text import ComfyUIText, TextEmbedding

C = TypeVar("C", Condition, AVCondition)
T = TypeVar("T")
MOST_KEPT = 32  # encoded prompts; the largest of today's models needs about 8 MB for one


class CachedPrompts(nn.Module, Generic[C]):
    """Encodes prompts with text encoders that are on the device only while they encode.

    encode: encodes a prompt to a condition with one row, on the device given. It loads its text encoders when it is first called.
    comfyui_text: how a text encoder of ComfyUI encodes prompts for this model; None: it cannot.
    prompt_help: a line about special words of the prompts, "" if there are none.
    """

    takes_image = False
    encoder_bytes = 0  # of the text encoders
    device_marker: Tensor

    def __init__(
        self, encode: Callable[[str, torch.device], C], comfyui_text: ComfyUIText | None = None, prompt_help: str = ""
    ) -> None:
        super().__init__()
        self._encode: Callable[[str, torch.device], C] = encode
        self.comfyui_text, self.prompt_help = comfyui_text, prompt_help
        self.register_buffer("device_marker", torch.empty(0), persistent=False)
        self._kept: OrderedDict[str, C] = OrderedDict()
        self._kept_by_clip: WeakKeyDictionary[Any, OrderedDict[str, TextEmbedding]] = WeakKeyDictionary()

    def encode_prompt(self, prompt: str) -> C:
        """Return the condition of one prompt, on the CPU."""
        return _kept(self._kept, prompt.strip(), self._encode_words)

    def embed_prompt(self, clip: Any, prompt: str) -> TextEmbedding:
        """Return the embedding of a prompt by `clip`, a text encoder that ComfyUI has loaded. It is kept as long as `clip` exists.

        Raises ValueError, in one line, for a text encoder of another model.
        """
        text = self.comfyui_text
        if text is None:
            raise ValueError("this model takes no text encoder of ComfyUI")
        kept = self._kept_by_clip.setdefault(clip, OrderedDict())
        return _kept(kept, prompt.strip(), lambda words: text.encode(clip, words))

    def _encode_words(self, words: str) -> C:
        try:
            encoded = self._encode(words, self.device_marker.device)
        except IndexError as error:
            raise ValueError("the tokenizer has words that its text encoder lacks; download both again") from error
        return encoded.to(torch.device("cpu"))


def _kept(kept: OrderedDict[str, T], prompt: str, encode: Callable[[str], T]) -> T:
    """Return what is kept for a prompt, encoded if it is new. The prompts that were used last are kept."""
    prompt = prompt.encode(errors="replace").decode()  # tokenizers take no half of a surrogate pair
    if prompt not in kept:
        kept[prompt] = encode(prompt)
    kept.move_to_end(prompt)
    while len(kept) > MOST_KEPT:
        kept.popitem(last=False)
    return kept[prompt]
