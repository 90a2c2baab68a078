"""The aligner study: agreement, and resuming an interrupted study."""

import json
from pathlib import Path

import numpy as np
import pytest

from duet_av.av_models.checkpoint import read_card
from duet_av.av_models.recommended import parse_sampling
from duet_av.bounce.binder import load_bounce_bind
from duet_av.bounce.detect.attributes import observe
from duet_av.bounce.measure.agreement import agreement, audio_kinds, true_kinds, video_kinds
from duet_av.bounce.measure.evaluate import true_clips
from duet_av.bounce.shipped import BOUNCE_BIND, BOUNCE_BIND_ROBUST, load_untrained_bounce, shipped
from duet_av.bounce.studies import aligner_study
from duet_av.bounce.studies.aligner_study import EXPERTS, GIVEN, GUIDED, SETTINGS, Arm, all_arms, gap_closed, markdown_table, study
from duet_av.bounce.world.world import FPS, simulate
from duet_av.commands import main
from duet_av.nodes.run_sampler import AS_RECOMMENDED

WORKFLOWS = Path(__file__).parent.parent / "workflows" / "api"
METAL, WOOD = frozenset({("large", "metal")}), frozenset({("small", "wood")})


def test_simulated_clips_agree_and_shuffled_ones_rarely_do():
    worlds = simulate(24, "val", 5)
    clips = list(true_clips(worlds))
    seen = [video_kinds(frames) for frames, _, _ in clips]
    heard = [audio_kinds(observe(*clip, FPS)) for clip in clips]
    assert np.mean([kinds == true_kinds(worlds, row) for row, kinds in enumerate(seen)]) > 0.9
    found = agreement(seen, heard)
    assert found["mean"]["share"] > 0.9 and found["mean_chance"] < 0.5


def test_agreement_counts_each_attribute():
    both = METAL | WOOD
    found = agreement([METAL, WOOD, both], [METAL, METAL, both])
    assert {name: each["share"] for name, each in found["shares"].items()} == {
        "material": pytest.approx(2 / 3, abs=1e-4), "size": pytest.approx(2 / 3, abs=1e-4), "number": 1.0,
    }  # fmt: skip
    # of the six shuffled pairs, only the first video and the second audio agree in material
    assert found["chance"] == {"material": pytest.approx(1 / 6, abs=1e-4), "size": pytest.approx(1 / 6, abs=1e-4), "number": 0.3333}


def test_a_clip_without_balls_does_not_agree():
    nothing = frozenset()
    found = agreement([nothing, nothing, METAL], [nothing, METAL, METAL])
    assert found["mean"]["share"] == pytest.approx(1 / 3, abs=1e-4)
    assert all(each["share"] == pytest.approx(1 / 3, abs=1e-4) for each in found["shares"].values())


def test_a_task_can_have_a_second_binder():
    joint, alone = SETTINGS["joint"], {**SETTINGS, "joint": {k: v for k, v in SETTINGS["joint"].items() if k != "second_binder"}}
    arm, model, worlds = Arm("joint", "aligned", "val", 1), load_untrained_bounce(), simulate(1, "val")
    binder = load_bounce_bind(BOUNCE_BIND_ROBUST)
    both, one = (aligner_study._make_alignment(arm, model, binder, settings, worlds)(0, 1) for settings in (SETTINGS, alone))
    assert joint["second_binder"] == BOUNCE_BIND and both.aligner.binder.parts[0] is binder and one.aligner.binder is binder
    assert arm.key(SETTINGS) != arm.key(alone)


@pytest.mark.parametrize("task", SETTINGS)
def test_templates_have_the_settings_that_were_measured(task):
    graph = json.loads((WORKFLOWS / f"bounce_align_{task}.json").read_text())
    inputs = {node["class_type"]: node["inputs"] for node in graph.values()}
    aligner, sampler = inputs["DuetAligner"], inputs["DuetJointSampler"]
    made = {"task": task, "turns": False} | SETTINGS[task]
    assert {name: aligner[name] for name in made} == made and aligner["binder"] == BOUNCE_BIND_ROBUST
    advice = parse_sampling(read_card(shipped("video_expert"))["sampling"], "video_expert")  # a joined pair takes it
    taken = {name: getattr(advice, name) for name, mark in AS_RECOMMENDED.items() if sampler[name] == mark}
    assert {name: (sampler | taken)[name] for name in EXPERTS[task]} == EXPERTS[task]
    guided, guidance = GUIDED.get(task, {}), inputs["DuetGuidance"]
    told = inputs.get("DuetGuidanceModifiers", {}) | {name.removeprefix("guidance."): value for name, value in guidance.items()}
    assert told["guidance"] == ("cfg" if guided else "none") and {name: told[name] for name in guided} == guided


def test_other_seeds_measure_an_arm_again(monkeypatch):
    arm = Arm("v2a", "aligned", "test", 1)
    before = arm.key(SETTINGS)
    monkeypatch.setitem(aligner_study.EXPERTS_FIRST_SEED, "test", 5)
    assert arm.first_seed == 5 and arm.key(SETTINGS) != before


@pytest.fixture
def measured(monkeypatch):
    asked = []

    def measure(arm, model, binder, settings, on_clip):
        asked.append(arm)
        share = {"share": {"apart": 0.2, "aligned": 0.5, "joint": 0.8}[arm.kind], "ci": [0.1, 0.9]}
        return {
            "shares": dict.fromkeys(("material", "size", "number"), share), "mean": share, "mean_chance": 0.2,
            "chance": dict.fromkeys(("material", "size", "number"), 0.2), "similarity": 0.5, "similarity_ci": [0.4, 0.6],
            "sync_f1": 0.3, "sync_ci": [0.2, 0.4], "sync_chance": 0.3, "fidelity_db": 20.0, "silent": 0.0, "clipped": 0.0,
            "seconds_per_clip": 1.0,
        }  # fmt: skip

    monkeypatch.setattr(aligner_study, "measure", measure)
    return asked


def test_a_study_measures_every_arm_once(measured, tmp_path):
    first = study(None, None, None, tmp_path, 3, lambda *_: None)
    again = study(None, None, None, tmp_path, 3, lambda *_: None)
    assert first == again and measured == all_arms("test", 3)
    assert gap_closed(first, "v2a") == pytest.approx(0.5)
    lines = markdown_table(first).splitlines()
    assert len(lines) == 2 + len(measured) and sum("| 50% |" in line for line in lines) == 3  # I2A has no joint model


def test_other_settings_measure_aligned_arms_again(measured, tmp_path):
    study(None, None, None, tmp_path, 3, lambda *_: None)
    del measured[:]
    study(None, None, None, tmp_path, 3, lambda *_: None, settings=dict.fromkeys(GIVEN, {"audio_rate": 9.0}))
    assert {arm.kind for arm in measured} == {"aligned"}


def test_another_audio_shift_measures_the_experts_again_but_not_bounce(measured, tmp_path, monkeypatch):
    monkeypatch.setitem(EXPERTS, "joint", EXPERTS["joint"] | {"audio_shift": 8.0})
    study(None, None, None, tmp_path, 3, lambda *_: None)
    del measured[:]
    monkeypatch.setitem(EXPERTS, "joint", EXPERTS["joint"] | {"audio_shift": 2.5})
    study(None, None, None, tmp_path, 3, lambda *_: None)
    assert [(arm.task, arm.kind) for arm in measured] == [("joint", "apart"), ("joint", "aligned")]


def test_the_study_is_a_command(measured, tmp_path, monkeypatch, capsys):
    for name in ("load_untrained_bounce", "load_joint_model"):
        monkeypatch.setattr(f"duet_av.bounce.shipped.{name}", lambda *_: None)
    monkeypatch.setattr("duet_av.bounce.binder.load_bounce_bind", lambda *_: None)
    assert main(["experiment", "aligner", "--test", "2", "--out", str(tmp_path)]) == 0
    assert "| v2a | aligned |" in capsys.readouterr().out and (tmp_path / "table.md").exists()
