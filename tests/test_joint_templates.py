"""The templates of joint models that people can download run headless with small models, and say what is missing without."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from shutil import copytree

import pytest
from PIL import Image

from duet_av.av_models.media import read_video
from duet_av.av_models.published.downloads import DOWNLOADS
from duet_av.av_models.published.joint import kandinsky6
from duet_av.commands import main
from duet_av.tests.page import FOLDER, JOINT, NOTE, template

FAMILY = {"kandinsky6_t2av": "kandinsky6", "kandinsky6_i2av": "kandinsky6", "ltx2_diffusers": "ltx2", "ovi_t2av": "ovi"}
SMALL = {
    "Sampler.steps": 2, "Latent.seconds": 0.2, "Latent.size": "custom", "Latent.size.width": 64, "Latent.size.height": 64,
    "Latent.size.fps": 24.0,
}  # fmt: skip


def model_of(name: str) -> str:
    graph = json.loads((FOLDER / "api" / f"{name}.json").read_text())
    return next(node["inputs"]["model"] for node in graph.values() if node["class_type"] == "DuetLoadJointModel")


def put(models: Path, name: str, small: Path) -> None:
    """Puts a small model where the template's model belongs."""
    copytree(small, models / DOWNLOADS[model_of(name)].parts[0].folder)


def duet(name: str, folder: Path, **settings: object) -> int:
    folders = ["--models-dir", str(folder / "models"), "--input-dir", str(folder), "--output-dir", str(folder / "out")]
    changed = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
    return main(["run", name, *folders, *changed, "--json"])


def test_each_family_has_a_template():
    assert set(FAMILY) == set(JOINT)


@pytest.mark.parametrize("name", FAMILY)
def test_a_template_runs_with_a_small_model(name, tmp_path, request, capsys, monkeypatch):
    monkeypatch.setattr(kandinsky6, "CLIP", replace(kandinsky6.CLIP, height=64, width=64))  # of the encoded image
    put(tmp_path / "models", name, request.getfixturevalue(f"small_{FAMILY[name]}"))
    Image.new("RGB", (96, 64), "teal").save(tmp_path / "example.png")
    settings = SMALL if "i2av" not in name else {"Sampler.steps": 2, "Latent.seconds": 0.2}
    assert duet(name, tmp_path, **settings) == 0
    made = json.loads(capsys.readouterr().out.splitlines()[-1])
    clip = read_video(made["files"][0])
    assert len(clip.frames) == 5 and clip.audio is not None
    reports = made["reports"]
    assert "Not tried with published weights yet." in reports["Model"]["text"]
    assert any("own scheduler" in line for line in reports["Sampler"]["text"])
    assert "audio_prompt is empty: it follows video_prompt" in reports["Prompts"]["text"]


@pytest.mark.parametrize("name", FAMILY)
def test_without_its_model_a_template_says_which_it_is_where_it_goes_and_how_large_it_is(name, tmp_path, capsys):
    Image.new("RGB", (96, 64), "teal").save(tmp_path / "example.png")
    assert duet(name, tmp_path) == 2
    (line,) = capsys.readouterr().err.splitlines()
    download = DOWNLOADS[model_of(name)]
    assert model_of(name) in line and f"about {download.gigabytes:g} GB" in line and download.command in line


@pytest.mark.parametrize("name", FAMILY)
def test_the_note_has_the_commands_and_the_size(name):
    note = next(node for node in template(name)["nodes"] if node["type"] == NOTE)["widgets_values"][0].replace("\\*", "*")
    download = DOWNLOADS[model_of(name)]
    assert f"about {download.gigabytes:g} GB" in note and all(f"   {part.command}\n" in note for part in download.parts)
    assert "Not tried with published weights yet." in note


def test_the_commands_of_the_page_are_those_of_the_node():
    page = (FOLDER.parent / "docs" / "joint_models.md").read_text(encoding="utf-8")
    shown = set(re.findall("`(hf download .+?)`", page))
    assert len(shown) == 8 and shown <= {part.command for download in DOWNLOADS.values() for part in download.parts}
