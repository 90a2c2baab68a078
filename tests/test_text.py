import pytest
import torch

from duet_av.av_models.text import WordEncoder, split_words
from duet_av.bounce.world.captions import VOCABULARY
from duet_av.tests.small import VOCABULARY as WORDS


def encoder(length: int = 7) -> WordEncoder:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return WordEncoder(list(WORDS), length, 8).eval()


@torch.no_grad()
def test_a_prompt_becomes_its_words_and_zeros():
    out = encoder()(["a red ball", ""])
    assert out.tokens.shape == (2, 7, 8)
    assert out.mask.tolist() == [[True] * 3 + [False] * 4, [False] * 7]
    assert bool((out.tokens[0, :3] != 0).any(-1).all()) and bool((out.tokens[0, 3:] == 0).all())


@torch.no_grad()
@pytest.mark.parametrize("prompt", ["", "   ", "?!", "zebra"])
def test_a_prompt_without_a_known_word_is_the_null_condition(prompt):
    out = encoder()([prompt])
    assert not bool(out.mask.any()) and bool((out.tokens == 0).all())


@torch.no_grad()
def test_order_matters_and_padding_does_not():
    model = encoder()
    one, other = model(["red ball"]).tokens, model(["ball red"]).tokens
    assert not torch.allclose(one, other)
    alone, beside = model(["red ball"]).tokens[0], model(["red ball", "a blue ball of metal bounces"]).tokens[0]
    torch.testing.assert_close(alone, beside, atol=1e-6, rtol=0)


def test_case_and_punctuation_do_not_matter():
    assert split_words("A RED, red-ish ball!") == ["a", "red", "red", "ish", "ball"]
    assert encoder().token_ids("A RED, ball!") == encoder().token_ids("a red ball")


def test_unknown_words_are_named_with_the_nearest_and_left_out():
    lines = encoder().unknown_words("a reed zzzzzz ball reed")
    assert lines == [
        "unknown word 'reed' ignored (similar known words: red)", "unknown word 'zzzzzz' ignored (no known word is similar)"
    ]  # fmt: skip
    assert encoder().token_ids("a reed ball") == encoder().token_ids("a ball")
    assert encoder().unknown_words("a red ball") == [] == encoder().unknown_words("")


def test_a_prompt_too_long_is_cut_and_said_so():
    model = encoder(length=3)
    assert len(model.token_ids("a red ball of metal")) == 3
    assert model.unknown_words("a red ball of metal") == ["the prompt is 2 words too long and was cut after 3; shorten it"]


def test_vocabulary_begins_at_one_and_the_config_rebuilds_it():
    model = encoder()
    assert model.tokenize(["a red"]).tolist() == [[1, 2, 0, 0, 0, 0, 0]]
    again = WordEncoder(**model.config)
    again.load_state_dict(model.state_dict())
    with torch.no_grad():
        assert torch.equal(again.eval()(["a red ball"]).tokens, model(["a red ball"]).tokens)


def test_bounce_s_words_are_words():
    assert len(set(VOCABULARY)) == len(VOCABULARY)
    assert all(split_words(word) == [word] for word in VOCABULARY)
