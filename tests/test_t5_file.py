"""The encoder of a T5 from every kind of file."""

import re

import pytest
import torch
from safetensors.torch import save_file
from transformers import T5Config, T5EncoderModel, T5ForConditionalGeneration, UMT5Config, UMT5EncoderModel

from duet_av.av_models.published import umt5_file
from duet_av.av_models.published.t5_file import load_t5, t5_width
from duet_av.av_models.published.tensor_files import read_header

SIZES = {"vocab_size": 40, "d_model": 24, "d_kv": 6, "d_ff": 20, "num_layers": 3, "num_heads": 3, "dropout_rate": 0.0}
GATED, PLAIN = {"feed_forward_proj": "gated-gelu"}, {"feed_forward_proj": "relu"}
WORDS = torch.arange(2, 12)[None], torch.ones(1, 10, dtype=torch.long)


def encoder_of(kind: dict) -> T5EncoderModel:
    torch.manual_seed(4)
    return T5EncoderModel(T5Config(**SIZES, **kind)).eval().requires_grad_(False)


def encoded(encoder: torch.nn.Module) -> torch.Tensor:
    return encoder(input_ids=WORDS[0], attention_mask=WORDS[1])[0]


def tensors_of(encoder: torch.nn.Module, prefix: str = "") -> dict[str, torch.Tensor]:
    return {prefix + name: x.clone() for name, x in encoder.named_parameters()}


@pytest.mark.parametrize("kind", [GATED, PLAIN], ids=["FLAN-T5", "T5 1.0"])
@pytest.mark.parametrize("form", ["file", "other words", "inside", "folder", "shards"])
def test_every_form_gives_the_same_encoder(kind, form, tmp_path):
    encoder, path, prefix = encoder_of(kind), tmp_path, ""
    if form in ("folder", "shards"):
        encoder.save_pretrained(path, max_shard_size="8kB" if form == "shards" else "1GB")
        assert (len(list(path.glob("*.safetensors"))) > 2) == (form == "shards")
    else:
        path, prefix = tmp_path / "t5.safetensors", "text_encoder." if form == "inside" else ""
        tensors = tensors_of(encoder, prefix)
        if form == "other words":
            tensors["encoder.embed_tokens.weight"] = tensors.pop("shared.weight")
        save_file(tensors, path)
    loaded = load_t5(path, torch.float32, prefix)
    assert torch.equal(encoded(loaded), encoded(encoder)) and t5_width(read_header(path).shapes, prefix) == 24
    assert loaded.encoder.embed_tokens.weight is loaded.shared.weight
    if form == "inside":
        assert t5_width(read_header(path).shapes) is None


def test_a_whole_t5_gives_its_encoder(tmp_path):
    torch.manual_seed(5)
    whole = T5ForConditionalGeneration(T5Config(**SIZES, **GATED)).eval().requires_grad_(False)
    whole.save_pretrained(tmp_path)
    loaded = load_t5(tmp_path, torch.float32)
    assert len(loaded.encoder.block) == 3
    assert torch.equal(encoded(loaded), whole.encoder(input_ids=WORDS[0], attention_mask=WORDS[1])[0])


@pytest.mark.parametrize("marks", ["scale_weight", "weight_scale"])
def test_8_bits_with_scales_are_what_they_stand_for(tmp_path, marks):
    encoder = encoder_of(GATED)
    tensors = {name: x.half() for name, x in tensors_of(encoder).items()}
    for name in [name for name in tensors if name.endswith(("q.weight", "wo.weight"))]:
        tensors[name] = (tensors[name] * 64).to(torch.float8_e4m3fn)
        tensors[name.removesuffix("weight") + marks] = torch.tensor(1 / 64)
    save_file(tensors, tmp_path / "t5.safetensors")
    found = load_t5(tmp_path / "t5.safetensors", torch.float32)
    assert {x.dtype for x in found.parameters()} == {torch.float32}
    torch.testing.assert_close(encoded(found), encoded(encoder), rtol=0.1, atol=0.1)


@pytest.mark.parametrize("edit, line", [
    (lambda t: t.pop("shared.weight"), "lacks shared.weight, so that it is not the encoder of a T5; use another file"),
    (lambda t: t.pop("encoder.final_layer_norm.weight"), "lacks encoder.final_layer_norm.weight, so that"),
    (lambda t: t.pop("encoder.block.2.layer.0.SelfAttention.v.weight"), "lacks 1 tensors of T5EncoderModel, such as"),
    (lambda t: t.update({"encoder.block.1.layer.1.layer_norm.weight": torch.zeros(3)}), "has shape 3, but T5EncoderModel needs 24"),
    (lambda t: t.update({"encoder.block.1.layer.0.SelfAttention.relative_attention_bias.weight": torch.zeros(32, 3)}),
     "has the position biases of UMT5, so that"),
])  # fmt: skip
def test_another_file_is_one_line(tmp_path, edit, line):
    tensors, path = tensors_of(encoder_of(GATED)), tmp_path / "t5.safetensors"
    edit(tensors)
    save_file(tensors, path)
    with pytest.raises(ValueError, match=re.escape(line)) as error:
        load_t5(path, torch.float32)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


def test_t5_and_umt5_are_told_apart(tmp_path):
    torch.manual_seed(6)
    umt5 = UMT5EncoderModel(UMT5Config(**SIZES)).eval().requires_grad_(False)
    for name, encoder in (("umt5", umt5), ("t5", encoder_of(GATED))):
        save_file(tensors_of(encoder), tmp_path / f"{name}.safetensors")
    umt5_shapes, t5_shapes = (read_header(tmp_path / f"{name}.safetensors").shapes for name in ("umt5", "t5"))
    assert umt5_file.is_encoder(umt5_shapes) and not umt5_file.is_encoder(t5_shapes)
    assert t5_width(t5_shapes) == 24 and t5_width(umt5_shapes) is None
    loaded = umt5_file.load_encoder(tmp_path / "umt5.safetensors", torch.float32)
    assert torch.equal(encoded(loaded), encoded(umt5))
