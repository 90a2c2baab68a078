"""Encodes prompts with a text encoder that ComfyUI has loaded (its CLIP), as a published joint model was trained.

ComfyUI is not imported: only the public methods of the CLIP are called.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import rms_norm

from ...printable import quoted

LAST_LAYER, BEFORE_NORM = -9999, -1  # for `clip_layer`
EPSILON = 1e-6  # of the norm of Qwen2.5-VL


@dataclass(frozen=True)
class TextEmbedding:
    """A prompt as a text encoder has encoded it.

    tokens: [1, L, D]. mask: bool [1, L], False at padding. pooled: [1, D] or None.
    """

    tokens: Tensor
    mask: Tensor
    pooled: Tensor | None


@dataclass(frozen=True)
class ComfyUIText:
    """How prompts of a model are encoded with ComfyUI's text encoder.

    model: its name. loader: what loads the text encoder in ComfyUI.
    needs: how the names of the lists of tokens begin that its tokenizers make.
    longest: the most tokens of a prompt; others are cut off. keeps_end: not the last one.
    template: the text around a prompt; None: none. clean: how the words are prepared.
    norm: the name of the weights of the last norm, for a text encoder whose CLIP gives its states before it. (The text encoder
        of Kandinsky 5 does so even with the layer -9999: `CLIP.encode_from_tokens` sets its own layer again.)
    """

    model: str
    loader: str
    needs: tuple[str, ...]
    longest: int
    keeps_end: bool = False
    template: str | None = None
    clean: Callable[[str], str] = str.strip
    norm: str | None = None

    @torch.no_grad()
    def encode(self, clip: Any, prompt: str) -> TextEmbedding:
        """Return the embedding of one prompt, on the CPU. Raises ValueError, in one line, for another text encoder."""
        clip = clip.clone()
        clip.clip_layer(BEFORE_NORM if self.norm else LAST_LAYER)
        encoded = clip.encode_from_tokens_scheduled(self.tokenize(clip, prompt))
        if len(encoded) != 1:
            raise ValueError(f"clip has hooks that change it over {len(encoded)} ranges of steps; connect it without them")
        embedding = read_embedding(*encoded[0])
        return replace(embedding, tokens=self._normed(embedding.tokens, clip)) if self.norm else embedding

    def tokenize(self, clip: Any, prompt: str) -> dict[str, list]:
        """Return the tokens of one prompt, by the names of the tokenizers."""
        options = {} if self.template is None else {"llama_template": self.template}
        tokens = clip.tokenize(_escaped(self.clean(prompt)), **options)
        if not all(any(name.startswith(start) for name in tokens) for start in self.needs):
            found = ", ".join(quoted(str(name)) for name in tokens)
            raise ValueError(f"clip is another text encoder ({found}) than that of {self.model}; use {self.loader}")
        return {name: [self._cut(row) for row in rows] for name, rows in tokens.items()}

    def _normed(self, tokens: Tensor, clip: Any) -> Tensor:
        weight = clip.get_sd().get(self.norm)
        if not isinstance(weight, Tensor) or weight.shape != tokens.shape[-1:]:
            raise ValueError(f"clip has no {self.norm} for {tokens.shape[-1]} channels; use {self.loader}")
        plain = weight.detach().as_subclass(Tensor).to("cpu", torch.float32)  # loaders of other packs have tensors of their own
        return rms_norm(tokens.float(), plain.shape, plain, EPSILON)

    def _cut(self, row: list) -> list:
        if len(row) <= self.longest:
            return row
        return row[: self.longest - 1] + row[-1:] if self.keeps_end else row[: self.longest]


def read_embedding(tokens: Tensor, extras: dict[str, Any]) -> TextEmbedding:
    """Return the embedding in one entry of a CONDITIONING. Without a mask, all tokens are real."""
    mask, pooled = extras.get("attention_mask"), extras.get("pooled_output")
    real = mask.reshape(1, -1).bool() if isinstance(mask, Tensor) else torch.ones(tokens.shape[:2], dtype=torch.bool)
    return TextEmbedding(tokens.cpu(), real.cpu(), None if pooled is None else pooled.cpu())


def _escaped(text: str) -> str:
    """Return the text with parentheses that ComfyUI takes for words, not for weights of words."""
    return text.replace("(", "\\(").replace(")", "\\)")
