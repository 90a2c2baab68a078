"""A text encoder as ComfyUI's nodes pass it on (a CLIP), of no size: it remembers how it was called."""

from __future__ import annotations

from typing import Any

import torch

NORM = "qwen25_7b.transformer.model.norm.weight"


class FakeClip:
    """Words are tokens, and are encoded by their numbers.

    width, pooled: of the embeddings; pooled None: none. names: of the tokenizers. longest: tokens to which prompts are filled up.
    """

    def __init__(self, width: int, pooled: int | None = None, names: tuple[str, ...] = ("qwen25_7b", "l"), ranges: int = 1) -> None:
        self.width, self.pooled, self.names, self.ranges = width, pooled, names, ranges
        self.layer: int | None = None
        self.texts: list[tuple[str, dict[str, Any]]] = []
        self.encoded: list[tuple[int | None, dict[str, list]]] = []
        self.weights = {NORM: torch.linspace(0.5, 2, width)}

    def clone(self) -> FakeClip:
        copy = FakeClip(self.width, self.pooled, self.names, self.ranges)
        copy.texts, copy.encoded, copy.weights = self.texts, self.encoded, self.weights
        return copy

    def clip_layer(self, layer: int) -> None:
        self.layer = layer

    def tokenize(self, text: str, **options: Any) -> dict[str, list]:
        self.texts.append((text, options))
        row = [(sum(map(ord, word)), 1.0) for word in text.split()]
        return {name: [[*row, (1, 1.0)]] for name in self.names}

    def encode_from_tokens_scheduled(self, tokens: dict[str, list]) -> list:
        self.encoded.append((self.layer, tokens))
        (row,) = tokens[self.names[0]]
        return [[self.states(row), {"pooled_output": self.pool(row)}]] * self.ranges

    def states(self, row: list) -> torch.Tensor:
        numbers = torch.tensor([number for number, _ in row], dtype=torch.float32)
        return torch.sin(numbers[None, :, None] + torch.arange(self.width))

    def pool(self, row: list) -> torch.Tensor | None:
        return None if self.pooled is None else self.states(row)[:, :1].mean(2).expand(1, self.pooled)

    def get_sd(self) -> dict[str, torch.Tensor]:
        return self.weights
