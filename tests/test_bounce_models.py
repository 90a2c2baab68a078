"""The shipped models: files, sizes, cards, and sampling."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import torch

from duet_av.av_models.checkpoint import read_card
from duet_av.av_models.guidance import make_guidance
from duet_av.bounce.shipped import BOUNCE, load_joint_model
from duet_av.tests.sample_with import sample_with

ROOT = Path(__file__).parent.parent
MODELS = sorted((ROOT / "bounce" / "models").glob("*.safetensors"))
BUDGET = 35_000_000  # bytes, of all models that are not in BUDGETS
BUDGETS = {
    "bind": 5_000_000, "bind_robust": 5_000_000, "jointdit": 20_000_000, "hearing_t2av": 13_000_000, "hearing_t2v": 8_000_000,
    "video_expert_first": 8_000_000, "audio_expert_first": 5_000_000, "bind_times": 3_000_000,
}  # fmt: skip
STUDIED = {"hearing_t2av": "t2av_1", "hearing_t2v": "t2v_1"}  # runs of docs/hearing
FIGURES = (
    "model", "guidance", "scale", "n", "balls", "split", "sync_f1", "sync_ci", "chance", "ceiling", "detector", "attributes",
    "motion_residual", "branches_per_step", "forwards_per_step", "seconds_per_clip",
)  # fmt: skip
WITHOUT_SIMULATOR = """
import sys
class Deleted:
    def find_spec(self, name, path=None, target=None):
        if name.startswith("duet_av.bounce.") and name not in ("duet_av.bounce.shipped", "duet_av.bounce.checkout"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Deleted())
from duet_av.commands import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture(scope="module")
def bounce():
    return load_joint_model(BOUNCE)


def test_they_fit_their_budget():
    sizes = {path.stem: path.stat().st_size for path in MODELS}
    assert sum(size for name, size in sizes.items() if name not in BUDGETS) <= BUDGET
    assert all(sizes.get(name, 0) <= most for name, most in BUDGETS.items())


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.stem)
def test_each_has_a_card_and_half_precision(path):
    card = read_card(path)
    assert card["trained"] and card["licence"] == "Apache-2.0" and card["run"]["seconds"] > 0


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.stem)
def test_each_has_its_config_and_its_curve(path):
    if path.stem in STUDIED:
        assert (ROOT / "docs" / "hearing" / "runs" / STUDIED[path.stem] / "curve.csv").exists()
        return
    config = ROOT / "bounce" / "configs" / f"{path.stem}.toml"
    run = config.parent / tomllib.loads(config.read_text())["run"]
    assert (run / "curve.csv").exists() and (run / "curve.png").exists()


def test_a_clip_is_made_without_the_simulator(tmp_path):
    workflow = ROOT / "workflows" / "api" / "bounce_t2av.json"
    ran = subprocess.run(
        [sys.executable, "-c", WITHOUT_SIMULATOR, "run", workflow, "--set", "Sampler.steps=2", "--json",
         "--output-dir", tmp_path],
        capture_output=True, text=True,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert Path(json.loads(ran.stdout.splitlines()[-1])["files"][0]).stat().st_size > 0


def _sampled(model, frames=32, **settings):
    shape = model.shape(frames=frames)
    texts = model.encode("a small red metal ball bouncing", "a small metal ball clanging"), model.encode("", "")
    strength = {name: settings.pop(name) for name in ("a_to_v", "v_to_a") if name in settings}
    guidance = make_guidance("joint_cfg", video_scale=2.0, audio_scale=2.0, **strength)
    result = sample_with(model.denoiser, model.latent_shape(shape), *texts, guidance, steps=2, **settings)
    return model.decode(result.latent, shape)


def test_the_same_seeds_make_the_same_clip(bounce):
    first, again = _sampled(bounce, video_seed=1, audio_seed=2), _sampled(bounce, video_seed=1, audio_seed=2)
    assert torch.equal(first[0], again[0]) and torch.equal(first[1], again[1])


def test_without_audio_to_video_coupling_the_audio_seed_does_not_change_the_video(bounce):
    frames, sound = _sampled(bounce, video_seed=1, audio_seed=2, a_to_v=0.0)
    others, other_sound = _sampled(bounce, video_seed=1, audio_seed=3, a_to_v=0.0)
    assert torch.equal(frames, others) and not torch.equal(sound, other_sound)


def test_a_clip_is_as_long_as_asked(bounce):
    frames, sound = _sampled(bounce, frames=21)
    assert frames.shape == (1, 21, 64, 64, 3) and sound.shape == (1, 1, 21_000)


def test_eval_ends_with_one_line_of_every_figure(capsys):
    from duet_av.commands import main

    assert main(["eval", "bounce", "--n", "2", "--steps", "1", "--balls", "1", "--likeness", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert set(FIGURES) <= figures.keys() and set(figures["detector"]) == {"contacts_f1", "onsets_f1"}
    assert {"colour", "size", "material_heard", "count"} <= figures["attributes"].keys()
    assert figures["eta"] == 2.0 and -1 <= figures["similarity"]["mean"] <= 1


@pytest.mark.parametrize("wrong", [
    ["--n", "0"], ["--steps", "0"], ["--guidance", "cgf"], ["--scale", "nan"], ["--eta", "-1"], ["--nearest"],
    ["--model", "jointdit", "--guidance", "autoguidance"],
])  # fmt: skip
def test_eval_refuses_in_one_line(wrong, capsys):
    from duet_av.commands import main

    assert main(["eval", "bounce", "--n", "2", *wrong]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert said[-1].startswith("duet: ") and "Traceback" not in "".join(said)
