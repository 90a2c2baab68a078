"""Oobleck, the VAE of Stable Audio and TangoFlux, from every kind of file."""

import re

import pytest
import torch
from diffusers import AutoencoderOobleck
from safetensors.torch import load_file, save_file

from duet_av.av_models.codecs.oobleck import OobleckCodec
from duet_av.av_models.published.oobleck_file import is_oobleck, load_oobleck, original_name
from duet_av.av_models.published.tensor_files import read_header
from duet_av.av_models.shapes import AudioShape, AudioStride
from duet_av.tests.test_diffusers_codecs import OOBLECK

SIZES = OOBLECK | {"downsampling_ratios": [2, 4, 8], "channel_multiples": [1, 2, 2], "decoder_channels": 6, "sampling_rate": 44100}


@pytest.fixture(scope="module")
def vae() -> AutoencoderOobleck:
    torch.manual_seed(3)
    vae = AutoencoderOobleck(**SIZES).eval().requires_grad_(False)
    for name, x in vae.named_parameters():
        if name.endswith(("alpha", "beta")):  # zeros as built
            torch.nn.init.normal_(x, std=0.3)
    return vae


def original(vae: AutoencoderOobleck, new_norm: bool = False) -> dict[str, torch.Tensor]:
    """The tensors as stable-audio-tools names them; with PyTorch's newer weight normalization, as Stable Audio's files have it."""
    found = {original_name(name, 3): x for name, x in vae.state_dict().items()}
    if new_norm:
        kinds = {"weight_g": "parametrizations.weight.original0", "weight_v": "parametrizations.weight.original1"}
        found = {re.sub("weight_[gv]$", lambda kind: kinds[kind[0]], name): x for name, x in found.items()}
    return {name: x.flatten() if name.endswith(("alpha", "beta")) else x for name, x in found.items()}


def write(kind: str, vae: AutoencoderOobleck, path) -> None:
    if kind == "diffusers":
        return save_file(vae.state_dict(), path)
    prefix, _, norm = kind.partition("|")
    others = {"model.model.to_out.weight": torch.zeros(3), "conditioner.x.weight": torch.zeros(2)}
    save_file({prefix + name: x.contiguous() for name, x in original(vae, norm == "new").items()} | others, path)
    return None


@pytest.mark.parametrize("kind", ["diffusers", "|old", "|new", "pretransform.model.|old", "first_stage_model.|new"])
def test_every_kind_of_file_gives_the_same_network(vae, kind, tmp_path):
    path = tmp_path / "vae.safetensors"
    write(kind, vae, path)
    loaded = load_oobleck(path)
    own = vae.state_dict()
    assert loaded.state_dict().keys() == own.keys() and is_oobleck(read_header(path).shapes)
    assert all(torch.equal(x, own[name]) for name, x in loaded.state_dict().items())
    assert {key: loaded.config[key] for key in SIZES} == SIZES
    x = torch.rand(1, 2, 192) - 0.5
    assert torch.equal(loaded.encode(x).latent_dist.mode(), vae.encode(x).latent_dist.mode())
    z = torch.randn(1, 4, 3)
    assert torch.equal(loaded.decode(z).sample, vae.decode(z).sample)


def test_diffusers_names_are_those_of_its_own_conversion(vae):
    """A few names of stable-audio-tools, written out."""
    names = original(vae)
    assert {
        "encoder.layers.0.weight_v", "encoder.layers.1.layers.2.layers.3.weight_g", "encoder.layers.3.layers.4.bias",
        "encoder.layers.4.alpha", "encoder.layers.5.weight_v", "decoder.layers.1.layers.1.weight_v",
        "decoder.layers.3.layers.4.layers.2.beta", "decoder.layers.5.weight_g",
    } <= names.keys()  # fmt: skip


def test_weights_that_were_merged_with_their_lengths_are_the_same_network(vae, tmp_path):
    tensors = vae.state_dict()
    for name in [name for name in tensors if name.endswith("weight_v")]:
        length, direction = tensors.pop(name[:-1] + "g"), tensors.pop(name)
        tensors[name.removesuffix("_v")] = torch._weight_norm(direction, length, 0)
    save_file(tensors, tmp_path / "vae.safetensors")
    x = torch.rand(1, 2, 192) - 0.5
    found, exact = (net.encode(x).latent_dist.mode() for net in (load_oobleck(tmp_path / "vae.safetensors"), vae))
    torch.testing.assert_close(found, exact, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("subfolder", ["", "vae"])
def test_a_folder_of_diffusers_has_its_own_sample_rate(vae, tmp_path, subfolder):
    other = AutoencoderOobleck(**SIZES | {"sampling_rate": 16000})
    other.load_state_dict(vae.state_dict())
    other.save_pretrained(tmp_path / subfolder)
    loaded = load_oobleck(tmp_path, torch.bfloat16)
    assert loaded.config.sampling_rate == 16000 and loaded.dtype == torch.bfloat16


def test_a_wrong_file_is_one_line(vae, tmp_path):
    path = tmp_path / "vae.safetensors"
    for edit, line in (
        (lambda t: t.clear() or t.update(x=torch.zeros(1)), "holds no Oobleck VAE; use"),
        (lambda t: t.pop("decoder.snake1.beta"), "lacks 1 tensors of AutoencoderOobleck, such as decoder.snake1.beta; download"),
        (lambda t: t.pop("decoder.conv2.weight_v"), "lacks decoder.conv2.weight_v, a tensor of Oobleck; download it again"),
        (lambda t: t.update({"encoder.snake1.alpha": torch.zeros(1, 5, 1)}), "encoder.snake1.alpha has shape 1×5×1, but"),
    ):
        tensors = vae.state_dict()
        edit(tensors)
        save_file(tensors, path)
        with pytest.raises(ValueError, match=re.escape(line)) as error:
            load_oobleck(path)
        assert str(path) in str(error.value) and "\n" not in str(error.value)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="not a complete safetensors file"):
        load_oobleck(path)
    with pytest.raises(FileNotFoundError, match="there is no VAE .*none.safetensors; check the name"):
        load_oobleck(tmp_path / "none.safetensors")


def test_clips_of_one_length_are_padded_and_those_of_the_last_part_of_a_step_are_cut_off(vae):
    codec = OobleckCodec.of(vae, steps=5)
    assert codec.stride == AudioStride(64, 4, steps=5) and codec.with_steps(0).stride.steps == 0
    x = torch.rand(1, 2, 100) - 0.5
    assert torch.equal(codec.encode(x), codec.with_steps(0).encode(torch.nn.functional.pad(x, (0, 220))))
    long = torch.rand(1, 2, 383) - 0.5
    assert torch.equal(codec.encode(long), codec.encode(long[..., :320]))
    assert codec.with_steps(0).encode(x).shape[-1] == 2
    with pytest.raises(
        ValueError, match="the clip is 0.008707 s long; use at most 0.008707 s, the longest clip of this audio model"
    ):
        codec.stride.latent_shape(AudioShape(384, 44100))


def test_30_seconds_are_the_645_steps_of_tangoflux():
    stride = AudioStride(2048, 64, steps=645)
    assert stride.latent_shape(AudioShape(30 * 44100, 44100)) == (64, 645)
    with pytest.raises(ValueError, match="the clip is 30.04 s long; use at most 30 s,"):
        stride.latent_shape(AudioShape(round(30.04 * 44100), 44100))


def test_half_precision_is_only_inside(vae, tmp_path):
    save_file(vae.state_dict(), tmp_path / "vae.safetensors")
    codec = OobleckCodec.of(load_oobleck(tmp_path / "vae.safetensors", torch.bfloat16))
    x = torch.rand(1, 2, 64) - 0.5
    latent = codec.encode(x)
    assert latent.dtype == codec.decode(latent).dtype == torch.float32
    assert load_file(tmp_path / "vae.safetensors")["decoder.conv1.bias"].dtype == torch.float32
