"""The templates of two experts that people download run headless with small models, and say what is missing without."""

from __future__ import annotations

import json
import re

import pytest
from PIL import Image

from duet_av.av_models.media import read_video
from duet_av.av_models.published.downloads import DOWNLOADS, PARTS
from duet_av.av_models.published.experts import wan_config
from duet_av.tests.page import FOLDER, NOTE, PAIRS, template
from duet_av.tests.test_joint_templates import SMALL, duet

LOADERS = ("DuetLoadVideoExpert", "DuetLoadAudioExpert")


def experts(name: str) -> list[str]:
    graph = json.loads((FOLDER / "api" / f"{name}.json").read_text())
    return [node["inputs"]["expert"] for kind in LOADERS for node in graph.values() if node["class_type"] == kind]


@pytest.mark.parametrize("name", PAIRS)
def test_a_template_runs_with_a_small_pair(name, tmp_path, small_wan_tangoflux, capsys, monkeypatch):
    for side in ("height", "width"):
        monkeypatch.setitem(wan_config.CLIP_TI2V, side, 64)  # of the encoded image
    (tmp_path / "models").symlink_to(small_wan_tangoflux)
    Image.new("RGB", (96, 64), "teal").save(tmp_path / "example.png")
    size = {key: value for key, value in SMALL.items() if "size" not in key} if "i2av" in name else SMALL
    small = size | {"Sampler.steps": 2, "Latent.seconds": 0.2}
    assert duet(name, tmp_path, **small) == 0
    made = json.loads(capsys.readouterr().out.splitlines()[-1])
    clip, reports = read_video(made["files"][0]), made["reports"]
    assert len(clip.frames) == 5 and clip.audio is not None and clip.sample_rate == 44_100
    assert "Not tried with published weights yet." in reports["Model"]["text"]
    assert "untrained as a pair" in reports["Model"]["warnings"][0]
    assert any("own scheduler" in line and "video_scale 5 and audio_scale 4.5" in line for line in reports["Sampler"]["text"])


@pytest.mark.parametrize("name", PAIRS)
def test_without_its_models_a_template_says_which_they_are_where_they_go_and_how_large_they_are(name, tmp_path, capsys):
    Image.new("RGB", (96, 64), "teal").save(tmp_path / "example.png")
    assert duet(name, tmp_path) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert str(DOWNLOADS[experts(name)[0]]) in line


@pytest.mark.parametrize("name", PAIRS)
def test_the_page_offers_what_the_commands_download(name):
    nodes = template(name)["nodes"]
    offered = {model["name"]: model for node in nodes for model in node["properties"].get("models", ())}
    downloads = [DOWNLOADS[experts(name)[0]], PARTS["UMT5"], PARTS["the VAE of Wan 2.2"]]
    for part in (part for each in downloads for part in each.parts):
        file = offered[part.choice.rpartition("/")[2]]
        assert file["url"] == f"https://huggingface.co/{part.repository}/resolve/main/{part.choice}"
        assert file["directory"] == part.folder
    assert all(part.folder in {file["directory"] for file in offered.values()} for part in DOWNLOADS["TangoFlux"].parts)
    note = next(node for node in nodes if node["type"] == NOTE)["widgets_values"][0]
    sizes = sum(each.gigabytes for each in (*downloads, DOWNLOADS["TangoFlux"]))
    assert f"about {round(sizes)} GB" in note and "Not tried with published weights yet." in note


def test_the_commands_of_the_page_are_those_of_the_node():
    page = (FOLDER.parent / "docs" / "experts.md").read_text(encoding="utf-8")
    shown = set(re.findall("`(hf download .+?)`", page))
    assert len(shown) == 5
    assert shown <= {part.command for each in (*DOWNLOADS.values(), *PARTS.values()) for part in each.parts}
