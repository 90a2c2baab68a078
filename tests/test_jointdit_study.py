"""The JointDiT study: guidance strategies on the shipped model, and ablations trained with the same config."""

from types import SimpleNamespace

import pytest

from duet_av.bounce.checkout import ROOT
from duet_av.bounce.studies import eval_runner, jointdit_study
from duet_av.bounce.studies.jointdit_study import ARMS, GUIDANCES, arm_config, markdown_table
from duet_av.commands import main

SHARE = {"share": 0.9, "ci": [0.8, 1.0]}
MEAN = {"mean": 0.5, "ci": [0.4, 0.6]}


@pytest.fixture
def measured(monkeypatch):
    """Records what is trained and measured. Each strategy is best at 2.5, and JointCFG is the best strategy."""
    asked, trained = [], []

    def run_eval(model, settings, **others):
        guidance, scale = settings.guidance, settings.scale
        asked.append((model.name, guidance, scale, settings.split, settings.n))
        sync = 0.8 - abs(scale - 2.5) / 10 + (guidance == "joint_cfg") / 20
        distance = {"frechet": 0.1} if guidance == "joint_cfg_star" else {}  # missing with too few clips
        shares = dict.fromkeys(("colour", "material_heard"), 0.9)
        return {
            "scale": scale, "sync_f1": sync, "sync_ci": [0.4, 0.9], "sync_normalised": sync, "sync_normalised_ci": [0.3, 0.9],
            "attributes": shares, "attributes_ci": dict.fromkeys(shares, [0.8, 1.0]), "first_frame_within_2px": SHARE,
            "similarity": MEAN, "motion": MEAN, **distance,
        }  # fmt: skip

    def train_arm(name, settings, config, folder, progress):
        trained.append((name, settings["stage_config"]["joint"]))
        return name

    def load(name):
        run = {"seed": 1, "steps": 2, "seconds": 3}  # equal for all models
        return SimpleNamespace(name=name, card={"run": run})

    monkeypatch.setattr(eval_runner, "run_eval", run_eval)
    monkeypatch.setattr(jointdit_study, "train_arm", train_arm)
    monkeypatch.setattr(jointdit_study, "load_joint_model", load)
    return asked, trained


def test_scales_are_selected_on_validation_clips_and_arms_use_the_best(measured, tmp_path, capsys):
    assert main(["experiment", "jointdit", "--val", "2", "--test", "3", "--out", str(tmp_path)]) == 0
    asked, trained = measured
    tested = [each for each in asked if each[3] == "test"]
    assert [each[:3] for each in tested] == [
        *(("Bounce JointDiT", guidance, 2.5) for guidance in GUIDANCES.values()),
        ("standard_attention", "joint_cfg", 2.5), ("without_Joint_Block", "joint_cfg", 2.5),
    ]  # fmt: skip
    assert len(asked) == len(set(asked)) and {each[4] for each in tested} == {3}
    (standard, of_standard), (without, of_without) = trained
    assert of_standard["attention"] == "standard" and of_without["joint_blocks"] == 0
    said = capsys.readouterr().out
    assert "| JointCFG* | 2.5 | 0.100 | 0.500 [0.400, 0.600] |" in said and "| JointCFG | 2.5 | – | 0.500" in said
    assert (tmp_path / "table.md").read_text() in said + "\n"


def test_an_arm_does_not_change_the_common_config():
    settings = {"stage_config": {"joint": {"joint_blocks": 3, "heads": 4}, "align": {"path": 1}}}
    standard, without = (arm_config(settings, joint)["stage_config"] for joint in ARMS.values())
    assert settings == {"stage_config": {"joint": {"joint_blocks": 3, "heads": 4}, "align": {"path": 1}}}
    assert standard["align"] == {"path": 1} and "align" not in without


def test_the_table_has_a_row_for_each_model(measured, tmp_path):
    rows = jointdit_study.study(ROOT / "bounce" / "configs" / "jointdit.toml", tmp_path, 2, 3, lambda *_: None)["test"]
    assert list(rows) == [*GUIDANCES, *ARMS]
    table = markdown_table(rows).splitlines()
    assert len(table) == 2 + len(rows) and len({line.count("|") for line in table}) == 1
