"""The conditioner of a published expert that takes text."""

from __future__ import annotations

import pytest
import torch

from duet_av.av_models.conditioning import SeparateConditioner
from duet_av.av_models.contract import Condition
from duet_av.av_models.published.experts.prompts import PromptConditioner
from duet_av.av_models.published.joint.comfyui_text import ComfyUIText, TextEmbedding


def encoded(words: str, device: torch.device) -> Condition:
    assert device.type == "cpu"
    return Condition(torch.full((1, 3, 2), float(len(words))), torch.ones(1, 3, dtype=torch.bool))


def from_embedding(embedding: TextEmbedding) -> Condition:
    return Condition(embedding.tokens, embedding.mask)


class Counted:
    def __init__(self) -> None:
        self.asked: list[str] = []

    def __call__(self, words: str, device: torch.device) -> Condition:
        self.asked.append(words)
        return encoded(words, device)


def test_a_prompt_is_encoded_once():
    encode = Counted()
    conditioner = PromptConditioner(encode, from_embedding)
    first, again = (conditioner.condition(words, None, None) for words in ("rain", " rain\n"))
    assert torch.equal(first.tokens, torch.full((1, 3, 2), 4.0)) and torch.equal(first.tokens, again.tokens)
    assert encode.asked == ["rain"]


def test_it_is_the_conditioner_of_a_stream():
    one = PromptConditioner(encoded, from_embedding, 7, "bad")
    both = SeparateConditioner(one, one)
    condition = both.condition("rain", "a dog", None, None, None)
    assert condition.video.tokens.mean() == 4 and condition.audio.tokens.mean() == 5
    assert both.ignored_prompts("any", "words") == [] and (one.encoder_bytes, one.default_negative) == (7, "bad")
    with pytest.raises(ValueError, match="takes text prompts, not an image"):
        both.condition("rain", "", torch.zeros(1, 8, 8, 3), None, None)


def test_words_that_the_encoder_lacks():
    def encode(words: str, device: torch.device) -> Condition:
        raise IndexError("index out of range in self")

    with pytest.raises(ValueError, match="the tokenizer has words that its text encoder lacks; download both again"):
        PromptConditioner(encode, from_embedding).encode_prompt("rain")


class Clip:
    """As ComfyUI's CLIP, counting."""

    encoded = 0

    def clone(self):
        return self

    def clip_layer(self, layer: int) -> None:
        pass

    def tokenize(self, text: str) -> dict:
        return {"umt5xxl": [[(1, 1.0)] * len(text)]}

    def encode_from_tokens_scheduled(self, tokens: dict) -> list:
        self.encoded += 1
        return [(torch.ones(1, len(tokens["umt5xxl"][0]), 2), {})]


def test_a_prompt_is_embedded_once_by_each_text_encoder_of_comfyui():
    conditioner = PromptConditioner(encoded, from_embedding, comfyui_text=ComfyUIText("Wan", "Load CLIP", ("umt5",), 512))
    clips = Clip(), Clip()
    for clip in clips * 2:
        assert conditioner.from_embedding(conditioner.embed_prompt(clip, "rain")).tokens.shape == (1, 4, 2)
    assert [clip.encoded for clip in clips] == [1, 1]
    with pytest.raises(ValueError, match="this model takes no text encoder of ComfyUI"):
        PromptConditioner(encoded, from_embedding).embed_prompt(clips[0], "rain")
