import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from duet_av import commands
from duet_av.av_models.checkpoint import save_checkpoint
from duet_av.bounce import checkout
from duet_av.bounce.detect import fit_listener
from duet_av.tests.conftest import WORKFLOW

SHORT = ["--set", "Latent.seconds=0.5", "--set", "Sampler.steps=2", "--set", "Prompts.video_prompt=a red ball"]


@pytest.fixture
def duet(tmp_path, monkeypatch, capsys):
    """Runs a command in an empty folder; its exit code, lines of output and lines of errors."""
    monkeypatch.chdir(tmp_path)

    def run(*args):
        code = commands.main([str(arg) for arg in args])
        out, err = capsys.readouterr()
        return code, out.splitlines(), err.splitlines()

    return run


def refused(result, *words) -> None:
    code, out, err = result
    assert code == 2 and not out and len(err) == 1 and err[0].startswith("duet: ")
    assert all(word in err[0] for word in words)


def test_run_prints_the_file_the_seeds_and_what_was_done(duet, loads, tmp_path):
    code, out, err = duet("run", WORKFLOW, *SHORT)
    assert code == 0 and out[-1] == str(tmp_path / "output" / "duet" / "bounce_t2av_00001_.mp4")
    assert Path(out[-1]).is_file() and "video seed 1, audio seed 2" in "\n".join(out) and "8 frames" in "\n".join(out)


def test_run_of_a_text_workflow_imports_only_what_it_uses(tmp_path):
    unused = ("matplotlib", "diffusers.pipelines.pipeline_utils", "transformers.models.clip.modeling_clip",
              "duet_av.av_models.training", "duet_av.av_models.joining", "duet_av.av_models.joint.jointdit")  # fmt: skip
    code = (
        "import gc, sys; from duet_av.commands import main; code = main(sys.argv[1:]); "
        f"loaded = [name for name in {unused} if name in sys.modules]; "
        "assert not loaded, loaded; assert gc.isenabled() and not gc.get_freeze_count(); sys.exit(code)"
    )
    subprocess.run([sys.executable, "-c", code, "run", str(WORKFLOW), *SHORT], cwd=tmp_path, check=True)


def test_json_ends_with_one_line_that_says_everything(duet, loads, tmp_path):
    code, out, err = duet("run", WORKFLOW, *SHORT, "--set", "Sampler.audio_seed=5", "--json", "--output-dir", tmp_path / "o")
    said = json.loads(out[-1])
    assert code == 0 and set(said) == {"files", "seconds", "forwards_per_step", "reports"}
    assert said["files"] == [str(tmp_path / "o" / "duet" / "bounce_t2av_00001_.mp4")] and said["forwards_per_step"] == 1
    assert said["reports"]["Sampler"]["audio_seed"] == 5 and said["reports"]["Mux"]["files"][0]["frames"] == 8
    assert "'large'" in said["reports"]["Prompts"]["unknown_words"][0]


def test_unknown_words_are_told_and_generation_goes_on(duet, loads):
    code, out, err = duet("run", WORKFLOW, *SHORT, "--set", "Prompts.video_prompt=a rod ball", "--json")
    assert code == 0 and any("'rod'" in line and "red" in line for line in json.loads(out[-1])["reports"]["Prompts"]["text"])


def test_an_empty_prompt_is_told_and_generation_goes_on(duet, loads):
    code, out, err = duet("run", WORKFLOW, *SHORT, "--set", "Prompts.audio_prompt=")
    assert code == 0 and "Prompts: audio_prompt is empty: the audio can be anything" in out


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("Sampler.steps=-1", ["Sampler.steps", "-1", "0 to 1000"]),
        ("Sampler.shift=nan", ["Sampler.shift", "nan"]),
        ("Latent.seconds=-1", ["Latent.seconds", "-1"]),
        ("Sampler.speed=3", ["'speed'"]),
        ("Model.model=gone.safetensors", ["gone.safetensors"]),
    ],
)
def test_a_bad_setting_is_one_line_and_writes_nothing(duet, loads, tmp_path, setting, words):
    refused(duet("run", WORKFLOW, "--set", setting), *words)
    assert not list(tmp_path.iterdir()) and not loads


def test_a_missing_workflow_is_one_line(duet):
    refused(duet("run", "gone.json"), "gone.json", "bounce_t2av")


@pytest.mark.parametrize("steps", ["x", 10**400, [], ["99", 0]])
def test_a_wrong_value_of_a_workflow_names_the_file_and_the_input(duet, tmp_path, graph, steps):
    graph["5"]["inputs"]["steps"] = steps
    (tmp_path / "mine.json").write_text(json.dumps(graph))
    refused(duet("run", "mine.json"), "mine.json: Sampler.steps ")


def test_a_node_that_fails_is_named_with_the_file(duet, loads, tmp_path, graph):
    graph["5"]["inputs"]["eta"] = -0.5
    (tmp_path / "mine.json").write_text(json.dumps(graph))
    refused(duet("run", "mine.json"), "mine.json: Sampler: eta is -0.5; use -1")


def test_text_that_a_terminal_cannot_show_is_printed_without_it(duet, loads, tmp_path, graph):
    graph["2"]["inputs"]["video_prompt"] = "a \ud800 \x1b[31mball"
    (tmp_path / "mine.json").write_text(json.dumps(graph))
    code, out, err = duet("run", "mine.json")
    assert code == 0 and Path(out[-1]).is_file() and all(line.isprintable() for line in out)


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--n=0", "--n is 0; use at least 1"),
        (f"--n={10**20}", "use a number from 1 to 1000000"),
        (f"--steps={10**10}", "--steps is 10000000000; use a number from 1 to 10000"),
        ("--seed=-1", "--seed is -1; use a number from 0"),
        ("--sheet=x.txt", "--sheet is x.txt; give a file name that ends with .png"),
        ("--set==1", "--set is '=1'; give NAME=VALUE"),
        ("--set=name=1", "--set is 'name=1'; give NAME=VALUE"),
    ],
)
def test_a_wrong_option_of_an_evaluation_is_one_line(duet, loads, option, said):
    refused(duet("eval", "bounce", "--n", "1", "--steps", "1", option), said)


@pytest.mark.parametrize("workflow", ["bounce_t2av", "workflows/api/bounce_t2av.json"])
def test_a_shipped_workflow_runs_in_any_folder(duet, loads, workflow):
    code, out, err = duet("run", workflow, *SHORT)
    assert code == 0 and Path(out[-1]).is_file()


def test_a_file_of_the_user_comes_before_a_shipped_one(duet, tmp_path):
    (tmp_path / "bounce_t2av").write_text("{}")
    refused(duet("run", "bounce_t2av"), "empty workflow")


@pytest.mark.parametrize("content", [b"not safetensors", b""])
def test_a_broken_model_file_is_one_line_and_writes_nothing(duet, tmp_path, content):
    (tmp_path / "mine.safetensors").write_bytes(content)
    refused(duet("run", WORKFLOW, "--set", "Model.model=mine.safetensors"), "mine.safetensors", "safetensors")
    assert not (tmp_path / "output").exists()


def test_a_model_of_another_architecture_is_one_line(duet, tmp_path):
    save_checkpoint(tmp_path / "other.safetensors", {"x": torch.zeros(1)}, {"kind": "joint", "architecture": "Other"})
    refused(duet("run", WORKFLOW, "--set", "Model.model=other.safetensors"), "Other", "AVFullDiT")


def test_an_output_folder_that_is_a_file_is_refused_at_once(duet, tmp_path, loads):
    (tmp_path / "taken").write_text("x")
    refused(duet("run", WORKFLOW, "--output-dir", "taken"), "taken", "give a folder")
    refused(duet("run", WORKFLOW, "--output-dir", "taken/below"), "taken")
    assert not loads


def test_an_unwritable_output_folder_is_refused_at_once(duet, tmp_path, loads, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    refused(duet("run", WORKFLOW, "--output-dir", "locked"), "locked", "may write")
    assert not loads


def test_a_full_disk_is_one_line_and_leaves_nothing(duet, tmp_path, loads, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("duet_av.av_models.atomic.os.link", full)
    monkeypatch.setattr("duet_av.commands.bars.DELAY", 600.0)  # a busy machine would show a bar beside the line
    refused(duet("run", WORKFLOW, *SHORT), "No space left", "free some space")
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_an_interrupt_leaves_nothing(duet, tmp_path, loads, monkeypatch):
    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr("duet_av.nodes.live_preview.report_progress", interrupt)
    assert duet("run", WORKFLOW, *SHORT) == (130, [], ["duet: interrupted"])
    assert not list(tmp_path.iterdir())


def test_nodes_lists_every_node(duet):
    code, out, err = duet("nodes", "--json")
    assert code == 0 and list(json.loads("\n".join(out)))[0] == "DuetLoadJointModel"
    code, out, err = duet("nodes")
    assert "  container (one of mp4, mkv, webm, mov, gif, webp, wav, flac, mp3, opus)" in out


def test_info_shows_the_card(duet, tmp_path):
    save_checkpoint(tmp_path / "m.safetensors", {"x": torch.zeros(1)}, {"name": "M", "clip": {"fps": 16}})
    code, out, err = duet("info", "m.safetensors")
    assert out[1:] == ["name: M", "clip:", "  fps: 16"]
    code, out, err = duet("info", "m.safetensors", "--json")
    assert json.loads(out[0]) == {"name": "M", "clip": {"fps": 16}}
    refused(duet("info", "gone.safetensors"), "gone.safetensors")


def test_shipped_files_are_found_in_any_folder(duet, tmp_path):
    code, out, err = duet("info", "bounce/models/bind.safetensors")
    assert code == 0 and "architecture: BounceBind" in out
    code, out, err = duet("convert", "video_expert", "bounce/models/bounce.safetensors", "models/seen.safetensors")
    assert code == 0 and (tmp_path / "models" / "seen.safetensors").is_file()


@pytest.fixture
def installed(monkeypatch):
    """Duet as an installed package, which has no pyproject.toml."""
    monkeypatch.setattr(checkout, "is_checkout", lambda: False)
    monkeypatch.setattr("duet_av.commands.experiment.is_checkout", lambda: False)


def test_an_installed_package_is_not_written_to(duet, installed, capsys):
    refused(duet("train", "bounce/configs/audio_codec.toml"), "audio_codec.toml", "copy the folder", "bounce")
    refused(duet("experiment", "guidance"), "--out")
    refused(duet("experiment", "hearing", "--out", "study"), "hearing.toml", "copy the folder")
    with pytest.raises(SystemExit, match="2"):
        fit_listener.main()
    assert capsys.readouterr().err.startswith("fit_listener needs a checkout of Duet")


def test_help_is_instant_and_loads_nothing_heavy():
    code = "import sys; from duet_av.commands import _parser; _parser(); assert not {'torch', 'numpy', 'tqdm'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
