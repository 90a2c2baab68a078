"""Training configs with wrong values: one line that names the file and the field, before anything is made."""

import os
from pathlib import Path

import pytest
from accelerate.commands.config.config_args import load_config_from_file

from duet_av.bounce.training.stages import STAGES, read_config
from duet_av.commands import main
from duet_av.tests.test_training import CONFIGS, toml, write

ROOT = Path(__file__).parent.parent
SHIPPED = sorted(path for folder in ("bounce/configs", "configs") for path in (ROOT / folder).glob("*.toml"))
WRONG = ("x", True, [], [1], {}, {"x": 1}, float("nan"), float("inf"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_the_shipped_configs_are_accepted(path):
    assert read_config(path)["stage"] in STAGES


def test_the_shipped_launch_configs_ask_for_fsdp():
    for path in (ROOT / "configs").glob("*.yaml"):
        config = load_config_from_file(str(path))
        assert config.distributed_type == "FSDP" and config.fsdp_config["fsdp_version"] == 2


def refused(path: Path, *words: str) -> None:
    with pytest.raises((ValueError, FileNotFoundError)) as error:
        read_config(path)
    assert all(word in str(error.value) for word in (str(path), *words)) and "\n" not in str(error.value)
    assert os.listdir(path.parent) == [path.name]


def test_the_word_encoder_is_checked_before_clips_are_encoded(tmp_path):
    config = next(path for path in SHIPPED if path.stem == "video_expert").read_text()
    (tmp_path / "a.toml").write_text(config.replace("text = { length = 20, width = 96 }", "text = { length = 20, wide = 96 }"))
    refused(tmp_path / "a.toml", "stage_config.text", "wide")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"run": 3}, "run is 3; give text in quotes"),
        ({"run": ""}, "run is ''; give text"),
        ({"run": "/"}, "run is '/'; give a path that ends with a name"),
        ({"run": "a" * 5000}, "run is 'aaa"),
        ({"out": []}, "out is []; give text in quotes"),
        ({"out": ".."}, "out is '..'; give a path that ends"),
        ({"schedule": 3}, "schedule is 3; give a table with steps, lr, warmup"),
        ({"schedule": {"steps": 2.5, "lr": 1e-3}}, "schedule.steps is 2.5; give a whole number from 1"),
        ({"schedule": {"steps": True, "lr": 1e-3}}, "schedule.steps is True; give a whole number"),
        ({"schedule": {"steps": 10**12, "lr": 1e-3}}, "schedule.steps is 1000000000000; give"),
        ({"schedule": {"steps": 5, "lr": "fast"}}, "schedule.lr is 'fast'; give a number above 0"),
        ({"schedule": {"steps": 5, "lr": 1e-3, "ema": 2}}, "schedule.ema is 2; give a number from 0 to 1"),
        ({"schedule": {"steps": 5, "lr": 1e-3, "muon": 1}}, "schedule.muon is 1; give true or false"),
        ({"seed": "x"}, "seed is 'x'; give a whole number from 0"),
        ({"seed": -1}, "seed is -1; give"),
        ({"stage": ["joint"]}, "stage is ['joint']; give one of"),
        ({"stage_config": 3}, "stage_config is 3; give a table"),
        ({"stage_config": CONFIGS["audio_codec"]["stage_config"] | {"model": 3}}, "stage_config.model is 3; give a table"),
        ({"stage_config": CONFIGS["audio_codec"]["stage_config"] | {"model": {"width": 10**7}}}, "stage_config.model.width is"),
        ({"stage_config": CONFIGS["audio_codec"]["stage_config"] | {"bath": 3}}, "stage_config has no bath; it has batch"),
        ({"colour": 3}, "has no colour; it has stage, run"),
        ({"data": 3}, "data is 3; give a table"),
    ],
)
def test_a_wrong_value_is_named(tmp_path, changes, said):
    refused(write(tmp_path, "audio_codec", **changes), said)


@pytest.mark.parametrize("name", [name for name in CONFIGS if name != "video_decoder"])
def test_every_setting_of_every_stage_is_checked(tmp_path, name):
    settings = CONFIGS[name]["stage_config"]
    for field, right in settings.items():
        for wrong in (value for value in WRONG if not isinstance(value, type(right))):
            refused(write(tmp_path, name, stage_config=settings | {field: wrong}), f"stage_config.{field}")


@pytest.mark.parametrize("name", ["audio_expert", "joint", "svd_expert", "binder"])
def test_every_setting_that_a_stage_needs_is_named(tmp_path, name):
    settings = CONFIGS[name]["stage_config"]
    for field in settings.keys() - {"neutral"}:
        left = {key: value for key, value in settings.items() if key != field}
        refused(write(tmp_path, name, stage_config=left), f"stage_config.{field} is missing")


@pytest.mark.parametrize(
    ("name", "changes", "said"),
    [
        ("joint", {"video_expert": None}, "video_expert is missing"),
        ("joint", {"data": None}, "data is missing"),
        ("joint", {"data": {"cache": "c", "clips": 3, "size": 32, "seed": 1}}, "data.video_codec is missing"),
        ("video_expert", {"data": {"cache": "c", "video_codec": "v"}}, "data.clips is missing"),
        ("joint", {"stage_config": CONFIGS["joint"]["stage_config"] | {"modes": {"video": 0.5}}}, "modes adds up to 0.5"),
        ("joint", {"stage_config": CONFIGS["joint"]["stage_config"] | {"given_rows": 7}}, "given_rows is 7; give at most 6"),
        ("video_codec", {"stage_config": CONFIGS["video_codec"]["stage_config"] | {"crop": 64}}, "crop is 64; give at most 32"),
    ],
)
def test_what_a_stage_needs_is_named_before_clips_are_encoded(tmp_path, name, changes, said):
    refused(write(tmp_path, name, **changes), said)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"x = " + b"[" * 50_000, "nested too deeply"),
        (b"x = 1\xff", "is not TOML"),
        (b"x = " + b"9" * 5000, "is not TOML"),
        (b"x = [" + b"1, " * 10**6 + b"]", "larger than 64 KiB"),
        (b"stage = 2020-01-01", "stage is datetime.date(2020, 1, 1); give one of"),
        (b'stage = "a\\u001b[31m"', "stage is 'a\\x1b[31m'; give one of"),
        (b"", "stage is None"),
    ],
)
def test_a_file_that_is_no_config_is_one_line(tmp_path, content, said):
    (tmp_path / "c.toml").write_bytes(content)
    refused(tmp_path / "c.toml", said)


def test_a_config_with_a_byte_order_mark_is_read(tmp_path):
    path = write(tmp_path, "audio_codec")
    path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes())
    assert read_config(path)["seed"] == 1


def test_a_folder_and_a_pipe_are_no_config(tmp_path, capsys):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        assert main(["train", str(path)]) == 2
        assert f"{path} is not a file; give a training config" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["run", "out"])
def test_a_result_that_would_replace_something_else_is_refused(tmp_path, capsys, name):
    path, taken = write(tmp_path, "audio_codec", **{name: "taken"}), tmp_path / "taken"
    taken.write_text("x") if name == "run" else taken.mkdir()
    assert main(["train", str(path)]) == 2
    line = capsys.readouterr().err
    assert f"{path}: {name} is {taken}, which is a" in line and line.count("\n") == 1


def test_settings_that_do_not_fit_each_other_are_one_line(tmp_path, capsys):
    model = {"latent_channels": "x", "width": 16}
    path = write(tmp_path, "audio_codec", stage_config=CONFIGS["audio_codec"]["stage_config"] | {"model": model})
    assert main(["train", str(path)]) == 2
    line = capsys.readouterr().err
    assert line.startswith(f"duet: {path}: stage_config does not fit its network (") and line.count("\n") == 1
    assert os.listdir(tmp_path) == [path.name]


def test_toml_of_these_tests_is_toml():
    assert toml({"a": [1, True], "b": "x"}) == '{ a = [1, true], b = "x" }'
