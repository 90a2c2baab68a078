"""Components of diffusers folders: one copy in memory, layers that stay in float32, and downloads that are not complete."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from shutil import copytree

import pytest
import torch
from diffusers import Kandinsky6Transformer3DModel, LTX2VideoTransformer3DModel, UNet2DModel
from safetensors.torch import load_file

from duet_av.av_models.published.folder import DiffusersFolder
from duet_av.av_models.published.joint import LoadOptions
from duet_av.av_models.published.load_network import load_network

SIZES = {
    "model_dim": 32, "ff_dim": 64, "num_text_blocks": 1, "num_visual_blocks": 2, "time_dim": 16, "axes_dims": (4, 4, 8),
    "in_text_dim": 12, "in_text_dim2": 8,
}  # fmt: skip


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> Path:
    """A transformer in several files, and a second component."""
    folder = tmp_path_factory.mktemp("published")
    torch.manual_seed(0)
    network = Kandinsky6Transformer3DModel(**SIZES).to(torch.bfloat16)
    network.save_pretrained(folder / "transformer", max_shard_size="60KB")
    UNet2DModel(block_out_channels=(8, 8), norm_num_groups=4, **BLOCKS).save_pretrained(folder / "unet")
    return folder


BLOCKS = {"down_block_types": ("DownBlock2D",) * 2, "up_block_types": ("UpBlock2D",) * 2, "layers_per_block": 1}


@pytest.fixture
def folder(published, tmp_path) -> Path:
    return Path(copytree(published, tmp_path / "broken"))


def shards(folder: Path) -> list[Path]:
    return sorted((folder / "transformer").glob("*.safetensors"))


def load(folder: Path, **options):
    return DiffusersFolder(folder, **options).load("transformer", Kandinsky6Transformer3DModel)


def refused(folder: Path, kind: type[Exception], *words: str) -> None:
    """Loading fails with one line, before any weight is read."""
    with pytest.MonkeyPatch.context() as patch, pytest.raises(kind) as error:
        patch.setattr(Kandinsky6Transformer3DModel, "from_pretrained", lambda *_, **__: pytest.fail("weights were read"))
        load(folder)
    message = str(error.value)
    assert "\n" not in message and all(word in message for word in words), message


def test_layers_stay_in_float32_where_the_class_wants_it(published):
    assert len(shards(published)) > 2
    network, stored = load(published, keep_dtype=True), {k: v for file in shards(published) for k, v in load_file(file).items()}
    dtypes = {name: parameter.dtype for name, parameter in network.named_parameters()}
    kept = [name for name in dtypes if {"time_embeddings", "modulation"} & set(name.split("."))]
    assert kept and all(dtypes[name] == (torch.float32 if name in kept else torch.bfloat16) for name in dtypes)
    assert all(torch.equal(parameter, stored[name].to(parameter.dtype)) for name, parameter in network.named_parameters())


def test_float32_is_the_default_and_has_the_values_of_the_files(published):
    network = load(published)
    assert {parameter.dtype for parameter in network.parameters()} == {torch.float32}
    own = network.state_dict()
    assert all(torch.equal(own[name], value.float()) for file in shards(published) for name, value in load_file(file).items())


def resident() -> dict[str, int]:
    """Memory of this process in bytes: pages of its own, and pages of files, which the system can drop."""
    fields = re.findall(r"(RssAnon|RssFile):\s+(\d+) kB", Path("/proc/self/status").read_text())
    return {name: 1024 * int(size) for name, size in fields}


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the memory of Linux's processes")
def test_weights_of_the_stored_dtype_are_in_memory_once(tmp_path):
    with torch.device("meta"):
        network = Kandinsky6Transformer3DModel(**SIZES | {"model_dim": 512, "ff_dim": 4096, "num_visual_blocks": 4, "time_dim": 32})
    network.to_empty(device="cpu").to(torch.bfloat16).save_pretrained(tmp_path / "transformer", max_shard_size="20MB")
    size = sum(file.stat().st_size for file in shards(tmp_path))
    del network
    before = resident()
    network = load(tmp_path, keep_dtype=True)
    for parameter in network.parameters():
        parameter.view(-1)[::512].sum()
    after = resident()
    assert size > 60e6 and sum(after.values()) - sum(before.values()) < 1.2 * size
    assert after["RssAnon"] - before["RssAnon"] < 0.2 * size


def test_a_file_of_any_component_that_is_cut_short_is_named_before_weights_are_read(folder):
    file = folder / "unet/diffusion_pytorch_model.safetensors"
    file.write_bytes(file.read_bytes()[:-1])
    refused(folder, ValueError, str(file), "not a complete safetensors file", "download")


def test_a_file_that_the_index_names_is_missing(folder):
    file = shards(folder)[1]
    file.unlink()
    refused(folder, FileNotFoundError, f"{file} is missing", "safetensors.index.json names", "finish the download")


def test_the_index_of_a_variant_that_was_not_downloaded_is_no_problem(folder):
    index = {"metadata": {}, "weight_map": {"a": "diffusion_pytorch_model.fp16-00001-of-00001.safetensors"}}
    (folder / "unet/diffusion_pytorch_model.safetensors.index.fp16.json").write_text(json.dumps(index))
    load(folder)


@pytest.mark.parametrize("written, fails", [("99.1.0.dev0", True), ("0.30.0", False), (None, False)])
def test_a_config_of_a_newer_diffusers_is_named(folder, written, fails):
    path = folder / "transformer/config.json"
    config = json.loads(path.read_text()) | {"twist": 3, "_diffusers_version": written}
    path.write_text(json.dumps(config))
    if fails:
        refused(folder, ValueError, f"{path} was written by diffusers 99.1.0.dev0 and has twist", "update diffusers")
    else:
        load(folder)


def test_a_newer_diffusers_without_new_settings_is_no_problem(folder):
    path = folder / "transformer/config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"_diffusers_version": "99.0"}))
    load(folder)


def loaded(folder: Path, **options) -> Kandinsky6Transformer3DModel:
    return load_network(DiffusersFolder(folder), "transformer", Kandinsky6Transformer3DModel, LoadOptions(**options))


def run(network: Kandinsky6Transformer3DModel) -> torch.Tensor:
    """A picture alone: the video of one call, in float32."""
    generator = torch.Generator().manual_seed(0)
    latent, text, pooled = (torch.randn(shape, generator=generator) for shape in ((1, 2, 4, 4, 33), (1, 3, 12), (1, 8)))
    with torch.no_grad():
        dtype = network.dtype
        output = network(latent.to(dtype), text.to(dtype), pooled.to(dtype), torch.tensor([500.0]), return_dict=False)
    return next(each for each in output if each is not None).float()


def test_a_dtype_can_be_chosen(published):
    assert loaded(published, dtype="float16").dtype == torch.float16
    assert loaded(published).dtype == torch.float32
    half = load_network(DiffusersFolder(published, True), "transformer", Kandinsky6Transformer3DModel, LoadOptions(keep_dtype=True))
    assert half.dtype == torch.bfloat16


def test_fp8_halves_the_weights_and_leaves_sensitive_layers(published):
    full, small = loaded(published, dtype="bfloat16"), loaded(published, dtype="bfloat16", quantize="fp8")
    assert small.dtype == torch.bfloat16
    kinds = {name: parameter.dtype for name, parameter in small.named_parameters()}
    sensitive = {name: dtype for name, dtype in kinds.items() if any(word in name for word in ("modulation", "time_emb", "norm"))}
    assert sensitive == {name: parameter.dtype for name, parameter in full.named_parameters() if name in sensitive}
    assert {dtype for name, dtype in kinds.items() if ".to_query.weight" in name} == {torch.float8_e4m3fn}
    expected = run(full)
    error = (run(small) - expected).norm() / expected.norm()
    assert 0 < error < 0.1
    assert {name: p.dtype for name, p in small.named_parameters()} == kinds


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="reads the memory of Linux's processes")
def test_fp8_keeps_no_file_in_memory(folder):
    network = load(folder, keep_dtype=True)
    assert str(shards(folder)[0]) in Path("/proc/self/maps").read_text()
    del network
    network = loaded(folder, dtype="bfloat16", quantize="fp8")
    assert network.dtype == torch.bfloat16 and str(folder) not in Path("/proc/self/maps").read_text()


@pytest.mark.parametrize("options, words", [
    ({"dtype": "int8"}, "dtype is 'int8'; use float32, bfloat16, float16"), ({"quantize": "int4"}, "quantize is 'int4'; use fp8"),
    ({"quantize": "fp8", "gguf": Path("a.gguf")}, "a.gguf is quantized already"),
    ({"gguf": Path("a.gguf")}, "there is no file a.gguf"),
])  # fmt: skip
def test_options_that_there_are_not(published, options, words):
    with pytest.raises((ValueError, FileNotFoundError), match=re.escape(words)):
        loaded(published, **options)


def test_a_gguf_file_for_a_class_that_diffusers_reads_none_for(published, tmp_path):
    (tmp_path / "a.gguf").write_bytes(b"GGUF")
    with pytest.raises(ValueError, match="reads no GGUF file for Kandinsky6Transformer3DModel; leave gguf out"):
        loaded(published, gguf=tmp_path / "a.gguf")


LTX2 = {
    "in_channels": 8, "out_channels": 8, "num_attention_heads": 2, "attention_head_dim": 16, "cross_attention_dim": 32,
    "num_layers": 2, "audio_in_channels": 8, "audio_out_channels": 8, "audio_num_attention_heads": 2,
    "audio_attention_head_dim": 16, "audio_cross_attention_dim": 32, "caption_channels": 32,
}  # fmt: skip


@pytest.fixture(scope="module")
def ltx2(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("ltx2")
    torch.manual_seed(0)
    LTX2VideoTransformer3DModel(**LTX2).save_pretrained(folder / "transformer")
    return folder


def test_a_gguf_file_without_its_package(ltx2, tmp_path, monkeypatch):
    (tmp_path / "a.gguf").write_bytes(b"GGUF")
    monkeypatch.setitem(sys.modules, "gguf", None)
    with pytest.raises(ValueError, match="gguf is not installed, which reads GGUF files; install it with pip install gguf"):
        load_network(DiffusersFolder(ltx2), "transformer", LTX2VideoTransformer3DModel, LoadOptions(gguf=tmp_path / "a.gguf"))


def test_a_gguf_file_replaces_the_weights(ltx2, tmp_path):
    gguf = pytest.importorskip("gguf")
    tensors = load_file(ltx2 / "transformer/diffusion_pytorch_model.safetensors")
    whole = tmp_path / "whole.gguf"
    write_gguf(gguf, whole, tensors)
    folder, options = DiffusersFolder(ltx2), LoadOptions(gguf=whole)
    network = load_network(folder, "transformer", LTX2VideoTransformer3DModel, options)
    full = folder.load("transformer", LTX2VideoTransformer3DModel)
    own = network.transformer_blocks[0].attn1.to_q
    assert own.weight.dtype == torch.uint8 and network.dtype != torch.uint8
    x = torch.randn(3, 32)
    expected = full.transformer_blocks[0].attn1.to_q(x)
    assert (own(x) - expected).norm() < 0.02 * expected.norm()
    for name in ("proj_in.weight", "transformer_blocks.0.attn1.to_q.weight"):
        part = tmp_path / "part.gguf"
        write_gguf(gguf, part, {key: value for key, value in tensors.items() if key != name})
        with pytest.raises(ValueError, match="part.gguf (lacks|cannot be loaded)") as error:
            load_network(folder, "transformer", LTX2VideoTransformer3DModel, LoadOptions(gguf=part))
        assert "\n" not in str(error.value)


def write_gguf(gguf, path: Path, tensors: dict[str, torch.Tensor]) -> None:
    """Matrices whose rows are multiples of 32 in 8 bits, other tensors in float32."""
    writer = gguf.GGUFWriter(path, "ltx2")
    kind = gguf.GGMLQuantizationType.Q8_0
    for name, tensor in tensors.items():
        if tensor.ndim == 2 and tensor.shape[1] % 32 == 0 and "attn" in name:
            writer.add_tensor(name, gguf.quants.quantize(tensor.numpy(), kind), raw_dtype=kind)
        else:
            writer.add_tensor(name, tensor.numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
