"""Stable Video Diffusion's single file, as Stability AI publishes it, is the folder that diffusers has of it."""

from __future__ import annotations

from itertools import chain

import pytest
import torch
from diffusers import AutoencoderKLTemporalDecoder, UNetSpatioTemporalConditionModel
from safetensors.torch import load_file, save_file

from duet_av.av_models.published import svd_file
from duet_av.av_models.published.load_published import is_published, load_published, published_card
from duet_av.av_models.published.svd_file import Architecture, from_single_file
from duet_av.av_models.published.svd_names import unet_name, vae_name
from duet_av.tests import svd_published_names as published
from duet_av.tests.published import SVD_VAE, SVD_VISION, saved, svd_pipeline

PARTS = {
    "unet": lambda: published.video_unet((32, 64), 1, {0}),
    "vae": lambda: chain(published.encoder((32, 64), 2), published.video_decoder((32, 64), 2)),
    "image_encoder": lambda: published.vision(2),
}
UNUSED = [
    "first_stage_model.encoder.conv_in.weight", "conditioner.embedders.0.open_clip.model.text_projection",
    "conditioner.embedders.3.encoder.post_quant_conv.weight", "model_ema.decay",
]  # fmt: skip


@pytest.fixture(scope="module")
def pipeline():
    return svd_pipeline()


@pytest.fixture(scope="module")
def small(pipeline) -> Architecture:
    unet = {key: value for key, value in pipeline.unet.config.items() if not key.startswith("_") and key != "num_frames"}
    return Architecture(unet, SVD_VAE, SVD_VISION)


@pytest.fixture
def file(pipeline, tmp_path):
    save_file(as_published(pipeline), tmp_path / "svd.safetensors")
    return tmp_path / "svd.safetensors"


def as_published(pipeline) -> dict[str, torch.Tensor]:
    """The pipeline's tensors under their published names, in their published layouts."""
    tensors = {name: torch.zeros(1) for name in UNUSED}
    for part, pairs in PARTS.items():
        own = getattr(pipeline, part).state_dict()
        for name, ours in pairs():
            value = own[ours]
            if name.endswith("visual.proj"):
                value = value.T
            if ".mid.attn_1." in name and name.endswith("weight") and ".norm." not in name:
                value = value[:, :, None, None]
            tensors[name] = torch.cat([tensors[name], value]) if "in_proj" in name and name in tensors else value
    return {name: value.contiguous().clone() for name, value in tensors.items()}


def changed(file, change) -> None:
    tensors = load_file(file)
    change(tensors)
    save_file(tensors, file)


def test_every_tensor_of_the_full_size_has_its_published_name():
    with torch.device("meta"):
        unet = UNetSpatioTemporalConditionModel()
        vae = AutoencoderKLTemporalDecoder(**svd_file.SVD.vae)
    attended = {1, 2, 3}
    pairs = {ours: name for name, ours in published.video_unet((320, 640, 1280, 1280), 2, {0, 1, 2})}
    assert {name: unet_name(name, 2, attended) for name in unet.state_dict()} == pairs
    widths = (128, 256, 512, 512)
    pairs = {ours: name for name, ours in chain(published.encoder(widths, 2), published.video_decoder(widths, 2))}
    assert {name: vae_name(name, 4) for name in vae.state_dict()} == pairs
    assert unet_name("up_blocks.3.attentions.2.temporal_transformer_blocks.0.ff_in.net.2.bias", 2, attended) == (
        "model.diffusion_model.output_blocks.11.1.time_stack.0.ff_in.net.2.bias"
    )


def test_the_single_file_is_the_folder_bit_for_bit(pipeline, small, file, tmp_path):
    one, folder = from_single_file(file, architecture=small), load_published(saved(pipeline, tmp_path / "svd"), "video")
    for part in (lambda p: p.expert.unet, lambda p: p.codec.vae, lambda p: p.conditioner.image_encoder):
        ours, theirs = part(one).state_dict(), part(folder).state_dict()
        assert ours.keys() == theirs.keys() and all(torch.equal(value, theirs[key]) for key, value in ours.items())
    noise = torch.randn(1, 4, 3, 8, 8)
    assert torch.equal(one.codec.decode(noise), folder.codec.decode(noise))


def test_the_xt_file_makes_more_frames(pipeline, small, file):
    longer = file.rename(file.with_name("svd_xt.safetensors"))
    assert from_single_file(longer, architecture=small).clip["frames"] == 25


def test_the_file_is_known_by_its_names(file):
    assert is_published(file) and published_card(file)["kind"] == "video_expert"


@pytest.mark.parametrize("change, words", [
    (lambda t: t.pop("model.diffusion_model.middle_block.1.time_pos_embed.2.bias"),
     "missing model.diffusion_model.middle_block.1.time_pos_embed.2.bias, unexpected none"),
    (lambda t: t.update({"model.diffusion_model.extra": torch.zeros(1)}), "missing none, unexpected model.diffusion_model.extra"),
    (lambda t: t.update({"first_stage_model.decoder.conv_in.bias": torch.zeros(3)}),
     "first_stage_model.decoder.conv_in.bias has shape 3, expected 64 (decoder.conv_in.bias)"),
    (lambda t: [t.pop(f"first_stage_model.decoder.conv_out.time_mix_conv.{part}") for part in ("weight", "bias")],
     "has the image decoder, not the temporal decoder; use svd.safetensors"),
])  # fmt: skip
def test_what_does_not_fit_is_one_line(small, file, change, words):
    changed(file, change)
    with pytest.raises(ValueError) as error:
        from_single_file(file, architecture=small)
    assert words in str(error.value) and "\n" not in str(error.value)


def test_the_precision_is_the_files_own_where_it_is_wanted(small, file):
    changed(file, lambda tensors: tensors.update({name: value.half() for name, value in tensors.items()}))
    half, full = (from_single_file(file, own, small) for own in (True, False))
    assert (
        half.expert.unet.dtype == half.conditioner.image_encoder.dtype == torch.float16 and full.expert.unet.dtype == torch.float32
    )
