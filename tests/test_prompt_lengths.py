"""Prompts of a model that attends to padding have one length, whether rows run in one batch or one by one."""

import torch

from duet_av.av_models.branch_runner import PromptedModel
from duet_av.av_models.contract import AVCondition, Condition

WIDTH = 3


def text(length: int, more: int | None, value: float) -> Condition:
    """`length` tokens, and `more` positions of padding; None: of a model that ignores padding."""
    tokens = torch.full((1, length, WIDTH), value)
    padding = None if more is None else -value * torch.arange(1, more + 1).view(1, -1, 1).expand(1, more, WIDTH)
    return Condition(tokens, torch.ones(1, length, dtype=torch.bool), padding=padding)


def prompted(positive: Condition, negative: Condition) -> PromptedModel:
    plain = text(2, None, 9.0), text(4, None, 9.0)
    return PromptedModel(None, AVCondition(plain[0], positive), AVCondition(plain[1], negative))  # type: ignore[arg-type]


def test_the_shorter_prompt_gets_the_encoders_padding():
    model = prompted(text(4, 2, 1.0), text(1, 5, 2.0))
    positive, negative = model.condition("positive"), model.condition("negative")
    assert positive.audio.tokens[0, :, 0].tolist() == [1.0] * 4
    assert negative.audio.tokens[0, :, 0].tolist() == [2.0, -2.0, -4.0, -6.0] and negative.audio.mask.tolist() == [
        [True] + [False] * 3
    ]
    assert positive.video is model.positive.video and negative.video.tokens.shape[1] == 4, "other models' prompts are as they were"
    batched = Condition.cat([model.positive.audio, model.negative.audio])
    assert torch.equal(batched.tokens, torch.cat([positive.audio.tokens, negative.audio.tokens]))


def test_a_longer_negative_pads_the_positive_and_zeros_stand_where_padding_is_unknown():
    model = prompted(text(2, 1, 1.0), text(5, 0, 2.0))
    assert model.condition("positive").audio.tokens[0, :, 0].tolist() == [1.0, 1.0, -1.0, 0.0, 0.0]
    assert model.condition("negative").audio.tokens.shape[1] == 5


def test_padding_follows_its_tokens():
    one = text(2, 4, 1.0)
    both = Condition.cat([one, text(4, 3, 2.0)])
    assert both.padding.shape == (2, 2, WIDTH) and both.padded(5).tokens[:, 4, 0].tolist() == [-3.0, -2.0]
    assert torch.equal(one.expand(2).padding, one.padding.expand(2, -1, -1)) and one.each(lambda x: x[:0]).padding.shape[0] == 0
    assert one.padded(2) is one and one.padded(4).padding.shape[1] == 2 and Condition.cat([text(1, None, 1.0)]).padding is None
