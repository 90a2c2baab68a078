"""The hearing study: its training runs, measures and paired effects."""

from __future__ import annotations

import json
import shutil
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch

from duet_av.av_models.training.latents import LatentSet
from duet_av.bounce.binder import BounceBind
from duet_av.bounce.measure.hearing_measures import measure_frames, paired_effect, prompt_subsets
from duet_av.bounce.shipped import BOUNCE, load_joint_model
from duet_av.bounce.studies import hearing_clips, hearing_loss, hearing_study
from duet_av.bounce.studies.hearing_arms import SEEDS, all_arms
from duet_av.bounce.studies.hearing_report import SHOWN, draw
from duet_av.bounce.world.captions import VOCABULARY
from duet_av.bounce.world.render import render
from duet_av.bounce.world.world import FRAMES, simulate
from duet_av.commands import main
from duet_av.tests.test_training import toml

CONFIGS = Path(__file__).parent.parent / "bounce" / "configs"


def test_the_pair_differs_in_audio_only_and_is_first():
    planned = all_arms(32)
    pair = planned[: 2 * len(SEEDS)]
    assert [(arm.name, arm.seed, arm.hears) for arm in pair] == [
        (f"{kind}_{seed}", seed, kind == "t2av") for seed in (1, 2, 3) for kind in ("t2av", "t2v")
    ]
    assert all(arm.stage in ({}, {"lambda_a": 0.0, "removed_rows": 32}) and arm.sound == "tight" for arm in pair)
    assert len({arm.name for arm in planned}) == len(planned)


def test_simulated_clips_have_good_measures():
    worlds = simulate(8, "test", seed=0)
    for row, clip in enumerate(render(worlds, 64)[:, :FRAMES] / np.float32(255)):
        found = measure_frames(clip, worlds, row)
        assert found["physics"] == 6 and found["colour"] == found["size"] == found["count"] == 1
        assert found["fidelity"] > 20 and 0.3 < found["motion"] < 8


def test_a_clip_of_another_prompt_has_wrong_attributes():
    worlds = simulate(8, "test", seed=0)
    clips = render(worlds, 64)[:, :FRAMES] / np.float32(255)
    wrong = [measure_frames(clips[(row + 1) % 8], worlds, row) for row in range(8)]
    assert sum(each["colour"] for each in wrong) < 3


def test_subsets_differ_in_contacts_and_motion():
    worlds = simulate(300, "test", seed=0)
    found = prompt_subsets(worlds)
    contacts = np.isfinite(worlds.contact_time).sum(1)
    steps = np.linalg.norm(np.diff(worlds.position, axis=2), axis=-1).mean(-1)
    moved = (steps * worlds.exists).sum(1) / worlds.count
    assert found["all"].all() and not (found["large motion"] & found["small motion"]).any()
    assert contacts[found["contact-rich"]].mean() > contacts[found["contact-poor"]].mean() + 1
    assert moved[found["large motion"]].mean() > 1.1 * moved[found["small motion"]].mean()


def test_an_effect_is_paired_over_prompts():
    """Variation between prompts that both models share does not widen the interval."""
    rng = np.random.default_rng(0)
    hard = rng.normal(0, 1, 500)
    deaf = 4 + hard + rng.normal(0, 0.1, (3, 500))
    hearing = deaf + 0.08
    found = paired_effect(hearing, deaf)
    assert found["effect"] == pytest.approx(2.0, rel=0.05)
    low, high = found["interval"]
    assert low < found["effect"] < high and high - low < 0.3


@pytest.mark.parametrize("coupling", ["tight", "delayed", "absent"])
def test_changed_audio_keeps_the_sounds_at_other_times(coupling):
    audio = torch.randn(50, 3, 16)
    clips = LatentSet(torch.zeros(50, 1), audio, [], [], None).with_sound(coupling, seed=1)
    again = LatentSet(torch.zeros(50, 1), audio, [], [], None).with_sound(coupling, seed=1)
    assert torch.equal(clips.audio, again.audio)
    same_time = (clips.audio == audio).all(1).float().mean()
    assert same_time == 1 if coupling == "tight" else same_time < 0.1
    if coupling == "delayed":  # each sound is rotated in time
        torch.testing.assert_close(clips.audio.sort(-1).values, audio.sort(-1).values)
    if coupling == "absent":
        assert {tuple(x) for x in clips.audio[:, 0].tolist()} == {tuple(x) for x in audio[:, 0].tolist()}


def test_an_unknown_sound_is_rejected():
    with pytest.raises(ValueError, match="sound is 'late'; use 'tight', 'delayed' or 'absent'"):
        LatentSet(None, torch.zeros(1, 1, 8), [], [], None).with_sound("late", 0)


SMALL = {
    "schedule": {"steps": 1, "lr": 1e-4},
    "data": {"clips": 8},
    "stage_config": {"batch": 4, "compile": False},
}


@pytest.fixture
def small_config(tmp_path):
    """The config of the study with one training step."""
    config = tomllib.loads((CONFIGS / "hearing.toml").read_text())
    for name, part in SMALL.items():
        config[name] |= part
    config["data"]["cache"] = str(tmp_path / "cache")
    lines = [f"{key} = {toml(value)}" for key, value in config.items()]
    path = tmp_path / "hearing.toml"
    path.write_text("\n".join(lines).replace("../models", str(CONFIGS.parent / "models")))
    return path


@pytest.fixture
def small_study(monkeypatch):
    """A study with one seed of the pair, one sampler step, few clips, and embeddings of size four."""
    binder = BounceBind(list(VOCABULARY), width=32, out=4)
    monkeypatch.setattr(hearing_study, "load_bounce_bind", lambda: binder)
    monkeypatch.setattr(hearing_loss, "CLIPS", 2)
    monkeypatch.setattr(hearing_study, "paired_arms", lambda batch: all_arms(batch)[:2])
    monkeypatch.setattr(hearing_study, "SEEDS", SEEDS[:1])
    monkeypatch.setattr(hearing_clips, "STEPS", 1)
    monkeypatch.setattr(hearing_clips, "REFERENCE_CLIPS", 6)


def test_the_study_trains_measures_and_reports_and_repeats_nothing(small_config, small_study, tmp_path, capsys):
    out = tmp_path / "study"
    command = ["experiment", "hearing", "--pair", "--config", str(small_config), "--test", "6", "--out", str(out)]
    assert main(command) == 0
    said = capsys.readouterr().out
    assert "| physics | " in said and "| t2v 1" not in said and "| t2v_1 |" in said and "| contact-rich |" in said
    checkpoints = {path: path.stat().st_mtime_ns for path in out.glob("models/*.safetensors")}
    assert {path.stem for path in checkpoints} == {"t2av_1", "t2v_1", "video_codec", "audio_codec"}
    found = json.loads((out / "results.json").read_text())
    assert found["arms"]["truth"]["physics"] > 5.7 and found["arms"]["t2av_1"]["physics"] < 4
    assert main(command) == 0
    assert {path: path.stat().st_mtime_ns for path in out.glob("models/*.safetensors")} == checkpoints
    assert json.loads((out / "results.json").read_text()) == found
    shutil.rmtree(out / "features")  # as in a fresh clone of the repository
    (out / "figures.jsonl").unlink()
    assert main(command) == 0
    assert json.loads((out / "results.json").read_text()) == found


def test_a_run_of_one_seed_is_compared_with_the_pair_of_that_seed():
    def clips(physics: float) -> list[dict]:
        return [{"physics": physics + 0.1 * row} for row in range(20)]

    pair = {f"{kind}_{seed}": clips(2.0 if kind == "t2v" else 2.5) for kind in ("t2av", "t2v") for seed in SEEDS}
    found = hearing_study.single_effects({"truth": clips(5.0), **pair, "cross_attention": clips(2.5)})
    assert list(found) == ["cross_attention"]
    assert found["cross_attention"]["t2av"]["physics"]["effect"] == 0
    against_deaf = found["cross_attention"]["t2v"]["physics"]
    assert against_deaf["effect"] == pytest.approx(100 * 0.5 / 2.95) and against_deaf["interval"][0] > 0


def test_the_video_of_bounce_depends_on_the_audio(monkeypatch):
    monkeypatch.setattr(hearing_loss, "CLIPS", 16)
    found = hearing_loss.measure_audio_use(load_joint_model(BOUNCE))
    assert 0 < found["interval"][0] < found["use"] < found["interval"][1]


def test_plots_are_drawn(tmp_path):
    pytest.importorskip("matplotlib")
    effect = {"hearing": 4.4, "deaf": 4.3, "effect": 2.3, "interval": [1.0, 3.5]}
    arm = {"physics": 4.4, "intervals": {"physics": [4.3, 4.5]}}
    found = {
        "clips": 500, "arms": {"t2av_1": arm, "t2v_1": arm, "truth": arm},
        "effects": {part: {"n": 9, **dict.fromkeys(("physics", "gravity", *SHOWN), effect)} for part in ("all", "large motion")},
    }  # fmt: skip
    assert all((tmp_path / name).read_bytes().startswith(b"\x89PNG") for name in draw(found, tmp_path))
