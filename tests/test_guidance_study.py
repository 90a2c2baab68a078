import json
from types import SimpleNamespace

import pytest

from duet_av.bounce.studies import eval_runner
from duet_av.bounce.studies.guidance_study import RESULTS, candidates, draw, markdown_table, study
from duet_av.commands import main

MODEL = SimpleNamespace(card={"run": {"seed": 1, "steps": 2, "seconds": 3}})
OTHER = SimpleNamespace(card={"run": {"seed": 1, "steps": 9, "seconds": 3}})


class Killed(Exception):
    pass


@pytest.fixture
def measured(monkeypatch):
    """Records the evaluated settings in order. A larger scale gives a better sync."""
    asked = []

    def run_eval(model, settings, **others):
        split, n, guidance, scale, steps = (getattr(settings, name) for name in ("split", "n", "guidance", "scale", "steps"))
        asked.append((split, guidance, scale, steps, *settings.extra.values()))
        shares = dict.fromkeys(("colour", "size", "material_heard", "count"), 0.5)
        return {
            "guidance": guidance, "scale": scale, "settings": dict(settings.extra), "split": split, "n": n, "steps": steps,
            "sync_f1": scale / 10, "sync_ci": [scale / 10 - 0.05, scale / 10 + 0.05], "chance": 0.3, "attributes": shares,
            "attributes_ci": dict.fromkeys(shares, [0.4, 0.6]), "motion_residual": 1.0, "motion_residual_ci": [0.9, 1.1],
            "branches_per_step": 2, "seconds_per_clip": 0.5,
        }  # fmt: skip

    monkeypatch.setattr(eval_runner, "run_eval", run_eval)
    return asked


def quiet(*_):
    pass


def test_scales_are_selected_on_validation_clips_and_test_clips_run_once(measured, tmp_path):
    found = study(MODEL, tmp_path, 2, 3, quiet)
    tested = [(guidance, scale) for split, guidance, scale, *_ in measured if split == "test"]
    assert tested == [("none", 1.0), ("cfg", 6.0), ("joint_cfg", 6.0), ("joint_cfg_star", 6.0), ("apg", 6.0), ("dual_cfg", 4.0)]
    assert [split for split, *_ in measured].index("test") == len(measured) - len(tested)
    assert list(found["test"]) == list(candidates(2)) and found["test"]["cfg"]["n"] == 3


def test_an_interrupted_study_resumes_and_repeats_nothing(measured, tmp_path):
    def kill(done, total, key):
        if done == 7:
            raise Killed

    with pytest.raises(Killed):
        study(MODEL, tmp_path, 2, 3, kill)
    seen = []
    found = study(MODEL, tmp_path, 2, 3, lambda done, total, key: seen.append((done, total)))
    assert len(measured) == len(set(measured))
    assert seen[-1][0] == seen[-1][1]
    assert study(MODEL, tmp_path, 2, 3, quiet) == found


def test_another_model_is_measured_again(measured, tmp_path):
    study(MODEL, tmp_path, 2, 3, quiet)
    before = len(measured)
    study(OTHER, tmp_path, 2, 3, quiet)
    assert len(measured) == 2 * before


def test_an_incomplete_line_is_measured_again(measured, tmp_path):
    study(MODEL, tmp_path, 2, 3, quiet)
    results = tmp_path / RESULTS
    results.write_text(results.read_text()[:-20])
    before = len(measured)
    study(MODEL, tmp_path, 2, 3, quiet)
    assert len(measured) == before + 1 and all(json.loads(line) for line in results.read_text().splitlines())


def test_every_line_of_the_results_says_what_was_measured(measured, tmp_path):
    study(MODEL, tmp_path, 2, 3, quiet)
    lines = [json.loads(line) for line in (tmp_path / RESULTS).read_text().splitlines()]
    assert len({line["key"] for line in lines}) == len(lines)
    assert {"key", "guidance", "scale", "sync_f1", "sync_ci", "split", "n"} <= set(lines[0])


def test_the_table_has_a_row_per_strategy_with_intervals(measured, tmp_path):
    found = study(MODEL, tmp_path, 2, 3, quiet)
    rows = markdown_table(found["test"]).split("\n")
    assert len(rows) == 2 + len(found["test"]) and len({row.count("|") for row in rows}) == 1
    assert "| cfg | 6 | 0.600 [0.550, 0.650] | 50 [40, 60] |" in rows[3]


def test_plots_are_drawn(measured, tmp_path):
    pytest.importorskip("matplotlib")
    draw(study(MODEL, tmp_path, 2, 3, quiet), tmp_path)
    assert all((tmp_path / name).read_bytes().startswith(b"\x89PNG") for name in ("sweep.png", "steps.png"))


def test_too_few_clips_are_rejected_in_one_line(capsys):
    assert main(["experiment", "guidance", "--test", "1"]) == 2
    assert capsys.readouterr().err == "duet: --test is 1; use at least 2\n"
