"""Diffusers folders of strangers: a model or one line; nothing is fetched, and no code of the folder runs."""

from __future__ import annotations

import json
import random
import resource
import shutil
from pathlib import Path

import pytest
from transformers import CLIPVisionModelWithProjection, SpeechT5HifiGan

from duet_av.av_models.published.folder import DiffusersFolder
from duet_av.av_models.published.load_published import load_published
from duet_av.tests.published import audioldm2_pipeline, saved, svd_pipeline
from duet_av.tests.test_strange_cards import mutated, one_line

CONFIGS = ("model_index.json", "unet/config.json", "vae/config.json", "image_encoder/config.json")
LOADED = {"image_encoder": CLIPVisionModelWithProjection, "vocoder": SpeechT5HifiGan}


@pytest.fixture(scope="module")
def published(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("published")
    return {"svd": saved(svd_pipeline(), folder / "svd"), "audio": saved(audioldm2_pipeline(), folder / "audio")}


@pytest.fixture
def folder(published, tmp_path) -> Path:
    return Path(shutil.copytree(published["svd"], tmp_path / "svd"))


def change(path: Path, **fields) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def refused(load) -> str:
    with pytest.raises((ValueError, FileNotFoundError)) as error:
        load()
    message = str(error.value)
    assert len(message.splitlines()) == 1 and message.isprintable() and "; " in message, message
    return message


def load_all(folder: Path) -> None:
    load_published(folder, "video")
    DiffusersFolder(folder).load("image_encoder", LOADED["image_encoder"])


@pytest.mark.parametrize("name", CONFIGS)
def test_a_changed_config_gives_a_model_or_one_line(folder, name):
    path, rng = folder / name, random.Random(name)
    before = path.read_text()
    for _ in range(8):
        path.write_text(json.dumps(mutated(json.loads(before), rng)))
        try:
            load_all(folder)
        except Exception as error:
            one_line(error, folder)


@pytest.mark.parametrize("name", CONFIGS)
@pytest.mark.parametrize("text", ["", "[]", "null", "{", "[" * 100_000, '{"a": NaN}', b"\xff\xfe\x00"])
def test_a_config_that_is_no_table_is_one_line(folder, name, text):
    (folder / name).write_bytes(text.encode() if isinstance(text, str) else text)
    assert name in refused(lambda: load_all(folder))


@pytest.mark.parametrize("fields", [
    {"auto_map": {"AutoModel": "evil.Model"}}, {"trust_remote_code": True}, {"quantization_config": {"a": "b"}},
    {"_attn_implementation": "someone/kernel"}, {"attn_implementation": "someone/kernel"}, {"deeper": {"auto_map": "x--y"}},
])  # fmt: skip
@pytest.mark.parametrize("component", ["unet", "image_encoder"])
def test_a_config_that_names_code_is_refused(folder, component, fields):
    change(folder / component / "config.json", **fields)
    assert "may run other code" in refused(lambda: load_all(folder))


def test_a_processor_that_names_code_is_refused(folder):
    change(folder / "feature_extractor/preprocessor_config.json", auto_map={"AutoImageProcessor": "evil.Processor"})
    assert "may run other code" in refused(lambda: load_all(folder))


def test_a_component_of_another_class_is_refused(folder):
    change(folder / "unet/config.json", _class_name="os.system\x1b[2J")
    assert "holds os.system" in refused(lambda: load_all(folder))
    change(folder / "model_index.json", _class_name="Evil\x1b[2J")
    assert "holds Evil" in refused(lambda: load_all(folder))


@pytest.mark.parametrize("name", ["../outside.safetensors", "/etc/passwd", "", 5])
def test_an_index_names_files_of_its_folder(folder, name):
    index = folder / "unet/diffusion_pytorch_model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": {"conv_in.weight": name}}))
    assert index.name in refused(lambda: load_all(folder))


@pytest.mark.parametrize("component, field, value", [
    ("unet", "layers_per_block", 10**9), ("unet", "cross_attention_dim", 10**8), ("vae", "layers_per_block", 10**9),
    ("vae", "block_out_channels", [10**6, 10**6]), ("image_encoder", "intermediate_size", 10**7),
    ("unet", "layers_per_block", 10**7),
    ("image_encoder", "num_hidden_layers", 10**9), ("image_encoder", "image_size", 10**6),
    ("vocoder", "upsample_initial_channel", 10**6), ("vocoder", "model_in_dim", 10**8), ("vocoder", "sampling_rate", 10**7),
])  # fmt: skip
def test_memory_stays_in_the_size_of_the_files(folder, published, tmp_path, component, field, value):
    if component == "vocoder":
        folder = Path(shutil.copytree(published["audio"], tmp_path / "audio"))
    change(folder / component / "config.json", **{field: value})
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    load = (lambda: load_published(folder, "audio")) if component == "vocoder" else (lambda: load_all(folder))
    assert str(folder) in refused(load)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 300 * 1024


def test_a_clip_without_end_is_refused(folder):
    change(folder / "unet/config.json", num_frames=10**7)
    assert "field clip.frames is 10000000" in refused(lambda: load_all(folder))
