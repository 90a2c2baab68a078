"""A word-level text encoder for experts whose captions use a small vocabulary.

Large experts bring their own (UMT5, T5); Bounce's are trained with each expert and frozen when the two are joined.
"""

from __future__ import annotations

import difflib
import re

import torch
from torch import Tensor, nn

from .contract import Condition

PAD = 0


class WordEncoder(nn.Module):
    """Prompts → tokens [B, length, width]; places beyond the prompt's last word are zero, as Wan pads its text.

    An empty prompt is all zeros: the null condition ∅.
    """

    def __init__(self, vocabulary: list[str], length: int = 20, width: int = 96, layers: int = 2, heads: int = 4) -> None:
        super().__init__()
        self.config = {"vocabulary": list(vocabulary), "length": length, "width": width, "layers": layers, "heads": heads}
        self.vocabulary, self.length, self.width = tuple(vocabulary), length, width
        self._index = {word: i + 1 for i, word in enumerate(vocabulary)}
        self.words = nn.Embedding(len(vocabulary) + 1, width, padding_idx=PAD)
        self.places = nn.Parameter(0.02 * torch.randn(length, width))
        layer = nn.TransformerEncoderLayer(
            width, heads, 2 * width, dropout=0.0, activation="gelu", batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, layers, nn.LayerNorm(width), enable_nested_tensor=False)

    def known(self, prompt: str) -> list[int]:
        """Indices of the prompt's known words, at most `length` of them."""
        return [self._index[word] for word in words_of(prompt) if word in self._index][: self.length]

    def unknown(self, prompt: str) -> list[str]:
        """One line for every word that is not in the vocabulary, with the nearest that are."""
        lines = []
        for word in dict.fromkeys(words_of(prompt)):
            if word not in self._index:
                near = difflib.get_close_matches(word, self.vocabulary, n=3, cutoff=0.5)
                hint = f"nearest known: {', '.join(near)}" if near else "no known word is near"
                lines.append(f"unknown word {word!r} ignored ({hint})")
        extra = sum(word in self._index for word in words_of(prompt)) - self.length
        if extra > 0:
            lines.append(f"the prompt has {extra} words too many and was cut after {self.length}; shorten it")
        return lines

    def indices(self, prompts: list[str]) -> Tensor:
        """[B, length] int64, 0 where there is no word."""
        out = torch.zeros(len(prompts), self.length, dtype=torch.long)
        for row, prompt in enumerate(prompts):
            known = self.known(prompt)
            out[row, : len(known)] = torch.tensor(known, dtype=torch.long)
        return out

    def encode(self, indices: Tensor) -> Condition:
        mask = indices != PAD
        readable = mask.clone()
        readable[:, 0] = True  # a row of padding alone has no softmax; its output is zeroed below
        tokens = self.layers(self.words(indices) + self.places, src_key_padding_mask=~readable)
        return Condition(tokens * mask[..., None], mask)

    def forward(self, prompts: list[str]) -> Condition:
        return self.encode(self.indices(prompts).to(self.places.device))


def words_of(prompt: str) -> list[str]:
    return re.findall(r"[a-z]+", prompt.lower())
