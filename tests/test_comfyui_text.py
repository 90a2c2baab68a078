"""Text encoders of ComfyUI in Prompts for Video and Audio: called as each published model was trained."""

from __future__ import annotations

from shutil import copytree, rmtree
from typing import Any

import pytest
import torch
from diffusers.pipelines.kandinsky6.pipeline_kandinsky6_ti2va import _PROMPT_TEMPLATE
from torch.nn.functional import rms_norm

from duet_av.av_models.joint_model import JointModel
from duet_av.av_models.published.joint import load_family
from duet_av.nodes.conditioning_prompts import DuetPromptsFromConditioning
from duet_av.nodes.encode_prompts import DuetEncodePrompts
from duet_av.tests.fake_clip import NORM, FakeClip
from duet_av.tests.tiny import tiny_model

WIDTHS = {"kandinsky6": (16, 12, ("qwen25_7b", "l")), "ltx2": (48, None, ("gemma3_12b",)), "ovi": (32, None, ("umt5xxl",))}
WORDS = "A (red) ball &amp; a  cat"


@pytest.fixture(scope="module")
def models(small_kandinsky6, small_ltx2, small_ovi, tmp_path_factory) -> dict[str, JointModel]:
    """A small model of each family, without its own text encoder."""
    loaded = {}
    for name, folder in {"kandinsky6": small_kandinsky6, "ltx2": small_ltx2, "ovi": small_ovi}.items():
        copy = copytree(folder, tmp_path_factory.mktemp("text") / name)
        for part in copy.glob("text_encoder*"):
            rmtree(part)
        loaded[name] = load_family(copy)
    return loaded


def clip_of(family: str, **changes: Any) -> FakeClip:
    width, pooled, names = WIDTHS[family]
    return FakeClip(**{"width": width, "pooled": pooled, "names": names} | changes)


def encode(model: JointModel, clip: FakeClip, *words: str) -> Any:
    return DuetEncodePrompts.execute(model, *words, *[""] * (4 - len(words)), clip=clip)


def one_line(error: pytest.ExceptionInfo, *words: str) -> None:
    assert "\n" not in str(error.value)
    assert all(word in str(error.value) for word in words), str(error.value)


@pytest.mark.parametrize("family, text, options, layer", [
    ("kandinsky6", "A \\(red\\) ball &amp; a  cat", {"llama_template": _PROMPT_TEMPLATE}, -1),
    ("ltx2", "A \\(red\\) ball &amp; a  cat", {}, -9999), ("ovi", "A \\(red\\) ball & a cat", {}, -9999),
])  # fmt: skip
def test_words_are_given_as_in_training(models, family, text, options, layer):
    clip = clip_of(family)
    encode(models[family], clip, f" {WORDS} ", "", "bad", "bad")
    assert clip.texts[0] == (text, options) and clip.encoded[0][0] == layer and clip.layer is None


class LoadersOwn(torch.Tensor):
    """Weights as loaders of other packs have them."""


def test_kandinsky_takes_the_states_after_the_final_norm(models):
    clip = clip_of("kandinsky6")
    weight = clip.weights[NORM]
    clip.weights[NORM] = weight.as_subclass(LoadersOwn)
    positive = encode(models["kandinsky6"], clip, WORDS).args[0].encoded[0]
    states = clip.states(clip.encoded[0][1]["qwen25_7b"][0])
    expected = rms_norm(states, (16,), weight, 1e-6)
    torch.testing.assert_close(positive.video.tokens, expected, rtol=0, atol=1e-6)
    assert type(positive.video.tokens) is torch.Tensor
    assert positive.video.mask.all() and positive.video.vector.shape == (1, 12) and positive.audio is positive.video


def test_ovi_takes_the_states_and_ltx_runs_its_connectors_on_them(models):
    clip = clip_of("ovi")
    positive = encode(models["ovi"], clip, WORDS).args[0].encoded[0]
    assert torch.equal(positive.video.tokens, clip.states(clip.encoded[0][1]["umt5xxl"][0]))
    clip, model = clip_of("ltx2"), models["ltx2"]
    positive = encode(model, clip, WORDS).args[0].encoded[0]
    states = clip.states(clip.encoded[0][1]["gemma3_12b"][0])
    with torch.no_grad():
        expected = model.conditioner.from_embeddings(states, None, None)
    assert torch.equal(positive.video.tokens, expected.video.tokens) and torch.equal(positive.audio.tokens, expected.audio.tokens)
    assert positive.video.tokens.shape == (1, 1024, 32)


@pytest.mark.parametrize("family, longest, ends", [("kandinsky6", 1153, False), ("ltx2", 1024, False), ("ovi", 512, True)])
def test_long_prompts_are_cut_as_in_training(models, family, longest, ends):
    clip = clip_of(family)
    encode(models[family], clip, "word " * 2000)
    (row,) = clip.encoded[0][1][clip.names[0]]
    assert len(row) == longest and ((row[-1] == (1, 1.0)) == ends)


def test_positives_and_negatives_of_both_are_encoded(models):
    clip, model = clip_of("ovi"), models["ovi"]
    prompts = encode(model, clip, "a ball", "a thud", "blurry", "").args[0]
    own = model.conditioner.default_negatives[1]
    assert [text for text, _ in clip.texts] == ["a ball", "a thud", "blurry", own]
    rows = {text: clip.states(tokens["umt5xxl"][0]) for (text, _), (_, tokens) in zip(clip.texts, clip.encoded)}
    (positive, negative) = prompts.conditions(model, model.shape())
    made = positive.video, positive.audio, negative.video, negative.audio
    assert all(torch.equal(each.tokens, rows[text]) for each, text in zip(made, rows))


def test_each_prompt_is_encoded_once_by_each_text_encoder(models):
    model, first, second = models["ovi"], clip_of("ovi"), clip_of("ovi")
    second.weights = {}
    encode(model, first, "a ball", "", "bad", "bad")
    encode(model, first, "a ball", "a thud", "bad", "bad")
    assert [text for text, _ in first.texts] == ["a ball", "bad", "a thud"]
    encode(model, second, "a ball", "", "bad", "bad")
    assert [text for text, _ in second.texts] == ["a ball", "bad"]


def test_what_a_text_encoder_encoded_goes_with_it(models):
    model, clip = models["ovi"], clip_of("ovi")
    encode(model, clip, "a ball")
    kept = model.conditioner._kept_by_clip
    assert clip in kept
    before = len(kept)
    del clip
    assert len(kept) == before - 1


def test_another_model_takes_the_same_prompts_without_the_text_encoder(models, small_ovi):
    clip = clip_of("ovi")
    prompts = encode(models["ovi"], clip, "a ball", "", "bad", "").args[0]
    calls, other = len(clip.texts), load_family(small_ovi)  # as the bad model of autoguidance
    mine, theirs = prompts.conditions(models["ovi"], other.shape()), prompts.conditions(other, other.shape())
    assert all(torch.equal(a.audio.tokens, b.audio.tokens) for a, b in zip(mine, theirs)) and len(clip.texts) == calls


def test_the_report_says_that_the_text_encoder_was_used(models):
    model = models["kandinsky6"]
    text = encode(model, clip_of("kandinsky6"), "a red ball", "", "bad", "bad").shown["text"]
    assert text[0] == "audio_prompt is empty: it follows video_prompt" and text[-1].startswith("encoded by clip as in training: ")


def test_a_model_of_another_kind_takes_none():
    with pytest.raises(ValueError) as error:
        encode(tiny_model(), clip_of("ovi"), "a ball")
    one_line(error, "clip is connected, but Tiny", "disconnect clip")


@pytest.mark.parametrize("family, changes, words", [
    ("kandinsky6", {"names": ("umt5xxl",)}, ("('umt5xxl')", "Kandinsky 6", "DualCLIPLoader, type kandinsky5")),
    ("kandinsky6", {"names": ("qwen25_7b",)}, ("('qwen25_7b')", "DualCLIPLoader, type kandinsky5")),
    ("kandinsky6", {"width": 24}, ("clip: the embeddings are 24 wide", "needs 16", "DualCLIPLoader, type kandinsky5")),
    ("kandinsky6", {"pooled": None}, ("clip: the prompt has no pooled embedding", "DualCLIPLoader, type kandinsky5")),
    ("ltx2", {"names": ("t5xxl",)}, ("('t5xxl')", "LTX-2", "LTXV Audio Text Encoder Loader")),
    ("ltx2", {"width": 24}, ("clip: the embeddings are 24 wide", "LTXV Audio Text Encoder Loader")),
    ("ovi", {"names": ("qwen25_7b", "l")}, ("Ovi", "Load CLIP with type wan")),
    ("ovi", {"width": 24}, ("clip: the embeddings are 24 wide", "Load CLIP with type wan")),
    ("ovi", {"ranges": 2}, ("hooks", "2 ranges of steps")),
])  # fmt: skip
def test_another_text_encoder_is_one_line(models, family, changes, words):
    with pytest.raises(ValueError) as error:
        encode(models[family], clip_of(family, **changes), "a ball")
    one_line(error, *words)


def test_a_text_encoder_without_the_final_norm_is_one_line(models):
    clip = clip_of("kandinsky6")
    clip.weights = {}
    with pytest.raises(ValueError) as error:
        encode(models["kandinsky6"], clip, "a ball")
    one_line(error, NORM, "DualCLIPLoader, type kandinsky5")


def test_without_one_the_missing_text_encoder_is_named(models):
    with pytest.raises(FileNotFoundError, match="connect clip of Prompts for Video and Audio"):
        encode(models["kandinsky6"], None, "a ball")


@pytest.mark.parametrize("family, warned", [("kandinsky6", True), ("ovi", False)])
def test_conditioning_of_kandinsky_5_is_said_not_to_be_exact(models, family, warned):
    width, pooled, _ = WIDTHS[family]
    given = [[torch.randn(1, 3, width), {"pooled_output": None if pooled is None else torch.randn(1, pooled)}]]
    (facts,) = DuetPromptsFromConditioning.execute(models[family], given, given).shown["duet"]
    assert [("no final norm" in line and "Prompts for Video and Audio" in line) for line in facts["warnings"]] == [True] * warned
