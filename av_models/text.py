"""A word-level text encoder for experts whose captions have a small vocabulary.

Large experts have their own text encoders (UMT5, T5). The word-level encoder is trained together with its expert.
"""

from __future__ import annotations

import difflib
import re

import torch
from torch import Tensor, nn

from .contract import Condition

PAD = 0


class WordEncoder(nn.Module):
    """Encodes prompts to embeddings [B, length, width] with a small transformer.

    Positions after the last word are zero, as in Wan's padding. The encoding of an empty prompt is all zeros: the null
    condition ∅.

    vocabulary: the known words, in lower case. length: maximum number of words. width: size of the embeddings.
    layers, heads: of the transformer.
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

    def token_ids(self, prompt: str) -> list[int]:
        """Return the ids of the prompt's known words, from 1, at most `length` of them. Unknown words are left out."""
        return [self._index[word] for word in split_words(prompt) if word in self._index][: self.length]

    def unknown_words(self, prompt: str) -> list[str]:
        """Return one message per word that is not in the vocabulary, and one if the prompt is too long."""
        messages = []
        for word in dict.fromkeys(split_words(prompt)):
            if word not in self._index:
                similar = difflib.get_close_matches(word, self.vocabulary, n=3, cutoff=0.5)
                hint = f"similar known words: {', '.join(similar)}" if similar else "no known word is similar"
                messages.append(f"unknown word {word!r} ignored ({hint})")
        extra = sum(word in self._index for word in split_words(prompt)) - self.length
        if extra > 0:
            messages.append(f"the prompt is {extra} words too long and was cut after {self.length}; shorten it")
        return messages

    def tokenize(self, prompts: list[str]) -> Tensor:
        """Return the ids of the prompts' words, [B, length] int64, padded with 0."""
        out = torch.zeros(len(prompts), self.length, dtype=torch.long)
        for row, prompt in enumerate(prompts):
            ids = self.token_ids(prompt)
            out[row, : len(ids)] = torch.tensor(ids, dtype=torch.long)
        return out

    def encode(self, token_ids: Tensor) -> Condition:
        """Encode ids [B, length], as `tokenize` returns them, to a condition with tokens [B, length, width] and their mask."""
        mask = token_ids != PAD
        readable = mask.clone()
        readable[:, 0] = True  # softmax is undefined for a row of padding alone; the row's output is zeroed below
        tokens = self.layers(self.words(token_ids) + self.places, src_key_padding_mask=~readable)
        return Condition(tokens * mask[..., None], mask)

    def forward(self, prompts: list[str]) -> Condition:
        """Encode prompts to a condition with tokens [B, length, width] and their mask [B, length]."""
        return self.encode(self.tokenize(prompts).to(self.places.device))


def split_words(prompt: str) -> list[str]:
    """Split a prompt into its words, in lower case. Everything but the letters a to z separates words."""
    return re.findall(r"[a-z]+", prompt.lower())
