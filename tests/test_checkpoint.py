import json
import os
import subprocess
import sys

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import nn

from duet_av.av_models import checkpoint
from duet_av.av_models.checkpoint import half, load_checkpoint, load_into, read_card, save_checkpoint, sub_tensors
from duet_av.av_models.load_parts import load_codec, load_expert
from duet_av.tests import small

CARD = {"kind": "test", "run": {"seed": 3}, "name": "Größe", "trained": True}


def saved(folder, name="model.safetensors", card=CARD):
    tensors = {"weight": torch.arange(6.0).view(2, 3), "bias": torch.ones(2)}
    save_checkpoint(folder / name, tensors, card)
    return folder / name


def line_of(error) -> str:
    message = str(error.value)
    assert "\n" not in message
    return message


def test_round_trip_with_its_card(tmp_path):
    path = saved(tmp_path / "new" / "folder")
    tensors, card = load_checkpoint(path)
    assert card == CARD == read_card(path)
    assert torch.equal(tensors["weight"], torch.arange(6.0).view(2, 3)) and set(tensors) == {"weight", "bias"}
    module = load_into(nn.Linear(3, 2), tensors, path)
    assert torch.equal(module.weight, tensors["weight"])


def test_views_and_half_precision_survive(tmp_path):
    tensors = {"a": torch.arange(6.0).view(2, 3).T, "count": torch.tensor(7)}
    save_checkpoint(tmp_path / "m.safetensors", half(tensors), CARD)
    loaded, _ = load_checkpoint(tmp_path / "m.safetensors")
    assert loaded["a"].dtype == torch.float16 and torch.equal(loaded["a"].float(), tensors["a"])
    assert loaded["count"].dtype == torch.int64 and loaded["count"] == 7
    module = nn.Linear(2, 3, bias=False)
    assert load_into(module, {"weight": loaded["a"]}, "m").weight.dtype == torch.float32


def test_sub_tensors_stop_at_the_dot():
    one, two = torch.ones(1), torch.zeros(1)
    assert sub_tensors({"video.a.b": one, "video_text.a": two}, "video") == {"a.b": one}


@pytest.mark.parametrize("read", [load_checkpoint, read_card])
def test_a_missing_file_is_named(tmp_path, read):
    for path in (tmp_path / "none.safetensors", tmp_path):
        with pytest.raises(FileNotFoundError) as error:
            read(path)
        assert str(path) in line_of(error)


@pytest.mark.parametrize("kept", [0, 4, 60, -1])
def test_a_truncated_file_is_named(tmp_path, kept):
    path = saved(tmp_path)
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(ValueError) as error:
        load_checkpoint(path)
    assert str(path) in line_of(error) and "not a complete safetensors file" in line_of(error)


@pytest.mark.parametrize("content", [b"PK\x03\x04 a pickle", b"\x89PNG\r\n\x1a\n" + bytes(100), b"text\n" * 50])
def test_another_kind_of_file_is_named(tmp_path, content):
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(ValueError) as error:
        load_checkpoint(path)
    assert str(path) in line_of(error) and "safetensors" in line_of(error)


@pytest.mark.parametrize("metadata, reason", [(None, "no Duet model card"), ({"duet": "{"}, "card that is not valid JSON")])
def test_a_file_without_a_readable_card_is_named(tmp_path, metadata, reason):
    path = tmp_path / "model.safetensors"
    save_file({"a": torch.ones(1)}, path, metadata=metadata)
    for read in (load_checkpoint, read_card):
        with pytest.raises(ValueError) as error:
            read(path)
        assert str(path) in line_of(error) and reason in line_of(error)


def test_other_keys_are_named():
    with pytest.raises(ValueError) as error:
        load_into(nn.Linear(3, 2), {"weight": torch.ones(2, 3), "gain": torch.ones(1)}, "here.safetensors")
    assert line_of(error) == (
        "here.safetensors does not fit Linear: missing keys bias, unexpected keys gain; give a file of this architecture"
    )


def test_many_other_keys_are_counted():
    with pytest.raises(ValueError) as error:
        load_into(nn.Identity(), {f"k{i}": torch.ones(1) for i in range(9)}, "here")
    assert "k0, k1, k2, k3 and 5 more" in line_of(error)


def test_other_shapes_are_named_and_nothing_is_loaded():
    module = nn.Linear(3, 2)
    before = module.bias.clone()
    with pytest.raises(ValueError) as error:
        load_into(module, {"bias": torch.full((2,), 9.0), "weight": torch.ones(2, 4)}, "here.safetensors")
    assert "weight has shape (2, 4), but Linear needs (2, 3)" in line_of(error)
    assert torch.equal(module.bias, before)


def test_another_architecture_is_named(tmp_path):
    path = saved(tmp_path, card={"architecture": "UNet", "kind": "codec"})
    with pytest.raises(ValueError) as error:
        load_codec(path)
    assert "architecture 'UNet'" in line_of(error) and "PatchVideoCodec" in line_of(error)
    with pytest.raises(ValueError) as error:
        load_expert(path)
    assert "kind 'codec'" in line_of(error)


def test_a_codec_comes_back_as_it_was_saved(tmp_path):
    codec = small.audio_codec()
    again = load_codec(small.save_codec(tmp_path / "audio.safetensors", codec))
    assert not again.training and again.config == codec.config
    assert all(torch.equal(a, b) for a, b in zip(codec.state_dict().values(), again.state_dict().values()))


# Written whole or not at all.


def broken_off(error):
    def save(tensors, path, metadata):
        with open(path, "wb") as file:
            file.write(b"half of it")
        raise error

    return save


@pytest.mark.parametrize("error", [OSError("disk"), SafetensorError("No space left on device"), KeyboardInterrupt()])
def test_a_save_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch, error):
    path = saved(tmp_path)
    before = path.read_bytes()
    monkeypatch.setattr(checkpoint, "save_file", broken_off(error))
    with pytest.raises((OSError, KeyboardInterrupt)):
        save_checkpoint(path, {"a": torch.zeros(1)}, {})
    assert path.read_bytes() == before and os.listdir(tmp_path) == [path.name]


def test_a_full_disk_is_one_line_that_names_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "save_file", broken_off(SafetensorError("No space left on device")))
    with pytest.raises(OSError) as error:
        save_checkpoint(tmp_path / "m.safetensors", {"a": torch.zeros(1)}, {})
    assert "m.safetensors" in line_of(error) and "No space left" in line_of(error)
    assert os.listdir(tmp_path) == []


def test_a_new_file_replaces_the_old_one(tmp_path):
    path = saved(tmp_path)
    save_checkpoint(path, {"a": torch.zeros(1)}, {"kind": "other"})
    assert read_card(path) == {"kind": "other"} and list(load_file(path)) == ["a"]
    assert os.listdir(tmp_path) == [path.name]
    assert json.dumps(read_card(path))


KILLED = """
import os, signal, sys, torch
from pathlib import Path
from duet_av.av_models import checkpoint
def save(tensors, path, metadata):
    Path(path).write_bytes(b"half of it")
    Path(path).with_name(".tmpAbCdEf").write_bytes(b"safetensors' own")
    os.kill(os.getpid(), signal.SIGKILL)
checkpoint.save_file = save
checkpoint.save_checkpoint(sys.argv[1], {"a": torch.zeros(1)}, {})
"""


@pytest.mark.skipif(os.name == "nt", reason="no kill -9")
def test_what_a_killed_process_left_is_deleted_by_the_next_save(tmp_path):
    subprocess.run([sys.executable, "-c", KILLED, tmp_path / "m.safetensors"])
    assert len(os.listdir(tmp_path)) == 2
    path = saved(tmp_path)
    assert os.listdir(tmp_path) == [path.name]


def test_a_file_may_be_read_by_all_that_the_system_lets(tmp_path):
    (tmp_path / "plain").touch()
    assert saved(tmp_path).stat().st_mode == (tmp_path / "plain").stat().st_mode
