"""What the real host alone shows of files: videos that core loads, names that core replaces, previews that are not saved."""

import re

import pytest

from duet_av.av_models.media import read_video
from duet_av.av_models.metrics.score import score_file
from duet_av.benchmarks.odd_files import make_odd_file
from duet_av.tests.comfyui.graphs import DECODE, LATENT, MODEL, MUX, node, short
from duet_av.tests.foley import FPS, FRAMES, assert_only_the_sound_is_new, write_noise


def foley(file: str, seed: int, **save):
    """LoadVideo → Encode → Sampler → Decode → Save Video with New Audio."""
    graph = short(seed=seed)
    del graph[MUX]
    options = {"filename_prefix": "files/clip", "audio_kbps": 128} | save
    return graph | {
        "load": node("LoadVideo", file=file),
        LATENT: node("DuetEncode", model=[MODEL, 0], video=["load", 0], fps=16.0, seconds=0.0, keep="the video"),
        "save": node("DuetReplaceSound", video=["load", 0], audio=[DECODE, 1], **options),
    }


def test_a_large_video_gets_a_new_sound_and_keeps_its_packets(comfyui):
    source = comfyui.base / "input" / "large.mp4"
    write_noise(source, 720, 1280)
    run = comfyui.run(foley("large.mp4", seed=31))
    assert run.succeeded, run.messages
    (file,) = run.files
    assert_only_the_sound_is_new(source, file)


def test_a_trimmed_video_and_one_in_memory_are_encoded(comfyui):
    write_noise(comfyui.base / "input" / "cut.mp4")
    graph = foley("cut.mp4", seed=32, filename_prefix="files/%width%x%height% %year%")
    graph |= {
        "slice": node("Video Slice", video=["load", 0], start_time=0.2, duration=0.4, strict_duration=False),
        "made": node("DuetBounceClip", seed=1, split="val", balls="1"),
        "short": node("DuetReplaceSound", video=["slice", 0], audio=[DECODE, 1], filename_prefix="files/cut", audio_kbps=128),
        "other": node("DuetReplaceSound", video=["made", 6], audio=[DECODE, 1], filename_prefix="files/made", audio_kbps=128),
    }
    run = comfyui.run(graph)
    assert run.succeeded, run.messages
    files = {file.name.split("_")[0]: file for file in run.files}
    [whole] = (name for name in files if re.fullmatch(r"96x80 20\d\d", name))
    assert len(read_video(files[whole]).frames) == FRAMES
    assert len(read_video(files["cut"]).frames) == round(0.4 * FPS) and len(read_video(files["made"]).frames) == 32
    assert run.texts["short"][1] == "video is trimmed, so its frames were encoded"
    assert run.texts["other"][1] == "video is not a file, so its frames were encoded"


def test_a_preview_leaves_the_output_folder_empty(comfyui):
    write_noise(comfyui.base / "input" / "seen.mp4")
    before = sorted((comfyui.base / "output").rglob("*"))
    graph = foley("seen.mp4", seed=33, save_output=False)
    options = short()[MUX]["inputs"]
    graph["mux"] = node("DuetMux", **options | {"save_output": False})
    run = comfyui.run(graph)
    assert run.succeeded, run.messages
    assert sorted((comfyui.base / "output").rglob("*")) == before and run.files == []
    for key in ("save", "mux"):
        (shown,) = run.outputs[key]["images"]
        assert shown["type"] == "temp" and comfyui.path(shown).is_file() and run.outputs[key]["animated"] == [True]
        assert "preview only: not saved in the output folder" in run.texts[key]


def test_the_timeline_is_shown_on_the_node(comfyui):
    graph = {
        "clip": node("DuetBounceClip", seed=2, split="val", balls="1"),
        "report": node("DuetSyncReport", video=["clip", 6], fps=1.0),
    }
    run = comfyui.run(graph)
    assert run.succeeded, run.messages
    (shown,) = run.outputs["report"]["images"]
    assert shown["type"] == "temp" and comfyui.path(shown).is_file() and run.texts["report"]


def test_what_was_resized_is_said_in_numbers(comfyui):
    write_noise(comfyui.base / "input" / "seen.mp4")
    run = comfyui.run(foley("seen.mp4", seed=34))
    said = f"video: 96×80 resized to 77×64, cropped to 64×64; {FRAMES} frames at {FPS} fps to 24 at 16 fps"
    assert run.texts[LATENT][0] == said


@pytest.mark.parametrize("name", ["latevideo.mkv", "vfr.mp4", "trimmed.mp4"])
def test_the_sync_report_of_a_video_is_the_score_of_its_file(comfyui, name):
    path = make_odd_file(name, comfyui.base / "input")
    run = comfyui.run({"load": node("LoadVideo", file=name), "report": node("DuetSyncReport", video=["load", 0], fps=1.0)})
    score = score_file(path)
    assert run.texts["report"] == [*score.measurements(), *score.warnings()]
