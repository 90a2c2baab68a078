import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from duet_av.av_models.compare_guidances import (
    Clip,
    Variant,
    describe_differences,
    differing_settings,
    format_setting,
    label_guidances,
)
from duet_av.av_models.contract import AVLatent
from duet_av.av_models.guidance import Curve, make_guidance
from duet_av.av_models.media import read_video
from duet_av.av_models.metrics.grid import (
    GAP,
    LABEL_HEIGHT,
    MIN_WIDTH,
    draw_grid,
    draw_table,
    format_table,
    iter_grid,
    match_loudness,
)
from duet_av.av_models.metrics.loudness import measure_loudness
from duet_av.nodes.compare import DuetCompare
from duet_av.nodes.compare_guiders import DuetCompareGuiders
from duet_av.nodes.comparison import row_of
from duet_av.nodes.headless.execute import _saved_files
from duet_av.nodes.joint_sampler import DuetJointSampler
from duet_av.nodes.show_comparison import DuetShowComparison
from duet_av.nodes.sockets import GuidanceInput
from duet_av.nodes.stand_in import Folders, Session, session
from duet_av.tests.test_nodes import latent_of, prompts_of
from duet_av.tests.tiny import tiny_model

RATE = 16_000
SETTINGS = {"video_seed": 1, "audio_seed": 2, "steps": 2, "shift": 1.0, "batch_branches": True}
THREE = [
    GuidanceInput(make_guidance("none")),
    GuidanceInput(make_guidance("cfg", video_scale=3.0, audio_scale=3.0)),
    GuidanceInput(make_guidance("cfg", video_scale=3.0, audio_scale=6.0)),
]


def compared(guidances=THREE, model=None, **changes):
    model = model or tiny_model()
    named = {f"guidance{i}": each for i, each in enumerate(guidances)}
    latent = changes.pop("latent", None) or latent_of(model)
    return DuetCompare.clone_for_run({"unique_id": "1"}).execute(
        model=model, prompts=prompts_of(model), latent=latent, guidances=named, **SETTINGS | changes
    )


def shown(sound=None, **changes):
    comparison = compared(**changes).args[0]
    return DuetShowComparison.execute(comparison, sound or {"sound": "one after another"}).args


def test_every_cell_is_the_clip_that_the_sampler_makes_with_that_guidance():
    """The picture under each label, enlarged by a whole number, and the sound at one loudness."""
    images, audio, fps = shown({"sound": "one cell", "cell": 2})
    model = tiny_model()
    shape = latent_of(model)["duet_shape"]
    times = MIN_WIDTH // 16
    side = 16 * times
    for index, guidance in enumerate(THREE):
        sampler = DuetJointSampler.clone_for_run({"unique_id": "1"})
        latent = sampler.execute(model, prompts_of(model), latent_of(model), guidance, **SETTINGS).args[0]
        frames, wave = model.decode(AVLatent(*latent["samples"].unbind()), shape)
        y, x = index // 2 * (LABEL_HEIGHT + side + GAP) + LABEL_HEIGHT, index % 2 * (side + GAP)
        torch.testing.assert_close(images[:, y : y + side : times, x : x + side : times], frames[0])
        if index == 1:
            heard = audio["waveform"][0]
            torch.testing.assert_close(heard / heard.abs().max(), wave[0] / wave[0].abs().max())
    assert images.shape[0] == 8 and fps == 16.0 and audio["sample_rate"] == 8000


def test_one_after_another_plays_the_grid_once_for_each_cell_and_marks_it():
    images, audio, _ = shown()
    assert len(images) == 3 * 8 and audio["waveform"].shape == (1, 1, 3 * 4000)
    first, second = images[0], images[8]
    cell = 16 * (MIN_WIDTH // 16)
    assert not torch.equal(first[:LABEL_HEIGHT, :cell], second[:LABEL_HEIGHT, :cell])  # the mark has moved on
    assert torch.equal(first[LABEL_HEIGHT : LABEL_HEIGHT + cell], second[LABEL_HEIGHT : LABEL_HEIGHT + cell])


@pytest.mark.parametrize("seconds", [0.45, 0.55])
def test_the_audio_of_each_cell_starts_with_its_frames(seconds):
    """Joint models of ComfyUI make audio that is a little shorter or longer than their video."""
    made = compared().args[0]
    lasting = torch.full((1, round(seconds * made.sample_rate)), 0.5)
    variants = [replace(each, clips=(replace(each.clips[0], waveform=lasting),)) for each in made.variants]
    uneven = replace(made, variants=variants)
    assert uneven.sound([1]).shape == lasting.shape
    cells = uneven.sound([0, 1, 2]).view(3, 4000)
    assert torch.equal(cells[0], cells[2]) and float(cells[:, 0].min()) > 0


def test_the_table_says_what_each_cell_cost_and_what_differs():
    output = compared()
    lines = output.args[1].split("\n")
    assert lines[0].split() == ["guidance", "sync", "F1", "chance", "motion", "%", "LUFS", "branches", "calls", "seconds"]
    assert [line.split()[0] for line in lines[1:4]] == ["none", "cfg", "cfg"]
    cells = output.shown["duet"][0]["cells"]
    assert [cell["branches_per_step"] for cell in cells] == [1, 2, 2]
    assert lines[4:] == ["audio_scale: –, 3, 6"]
    assert [cell["label"] for cell in cells] == ["none", "cfg audio_scale 3", "cfg audio_scale 6"]
    table_image = output.args[2]
    assert table_image.shape[0] == 1 and table_image.shape[3] == 3 and float(table_image.max()) > 0.5


def test_two_of_one_strategy_are_told_apart_by_what_differs():
    curve = Curve(((0.0, 1.0), (1.0, 0.0)))
    pair = make_guidance("cfg", video_scale=2.0), make_guidance("cfg", video_scale=2.0, scale_curve=curve)
    assert label_guidances(pair) == ["cfg scale_curve –", "cfg scale_curve 0:1 1:0"]
    assert describe_differences([pair[0], make_guidance("joint_cfg")]) == ["video_scale: 2, 2.5"]
    assert describe_differences([pair[0], make_guidance("none")]) == ["only the strategy differs"]
    assert differing_settings(pair) == {"scale_curve": [None, curve]} and format_setting(2.5) == "2.5"
    assert label_guidances([pair[0], pair[0]]) == ["cfg (1)", "cfg (2)"]


def test_progress_goes_once_from_begin_to_end():
    heard = []
    token = session.set(Session(on_progress=lambda *at: heard.append(at)))
    try:
        compared()
    finally:
        session.reset(token)
    assert heard == [(i, 6) for i in range(1, 7)]


@pytest.mark.parametrize("clips, columns, rows", [(1, 1, 1), (2, 2, 1), (4, 2, 2), (5, 3, 2), (9, 3, 3)])
def test_a_grid_has_room_for_all_and_even_sides(clips, columns, rows):
    sheet = draw_grid([torch.rand(2, 15, 257, 3) for _ in range(clips)], ["a"] * clips)
    height, width = rows * (15 + LABEL_HEIGHT + GAP) - GAP, columns * (257 + GAP) - GAP
    assert sheet.shape == (2, height + height % 2, width + width % 2, 3) and 0 <= float(sheet.min()) and float(sheet.max()) <= 1


def test_sounds_are_brought_to_one_loudness_and_none_clips():
    g = torch.Generator().manual_seed(0)
    noise = torch.randn(1, RATE, generator=g)
    spiky = 0.1 * noise
    spiky[0, 100] = 0.9
    matched = match_loudness([0.3 * noise.clamp(-3, 3), spiky, torch.zeros(1, RATE)], RATE)
    levels = [measure_loudness(wave, RATE) for wave in matched]
    assert levels[0] == pytest.approx(levels[1], abs=0.05) and levels[2] == -math.inf
    assert max(float(wave.abs().max()) for wave in matched) <= 1 + 1e-6


def test_silence_alone_stays_as_it_is():
    silence = [torch.zeros(1, RATE)] * 2
    assert all(torch.equal(a, b) for a, b in zip(match_loudness(silence, RATE), silence))


def test_a_table_is_aligned():
    head, rows = ("name", "f1"), [("cfg", "0.50"), ("joint_cfg", "0.9")]
    assert format_table(head, rows).split("\n") == ["name         f1", "cfg        0.50", "joint_cfg   0.9"]
    assert draw_table(head, rows, ["note"]).shape[2] == 3


def test_bad_input_is_named():
    with pytest.raises(ValueError, match="^latent holds 2 clips; use a batch of 1$"):
        compared(latent=latent_of(tiny_model(), batch=2))
    with pytest.raises(ValueError, match="^sound.cell is 4; use a number from 1 to 3$"):
        shown({"sound": "one cell", "cell": 4})


def test_what_went_wrong_in_a_cell_is_said():
    wild = GuidanceInput(make_guidance("cfg", video_scale=1e38, audio_scale=1.0))
    notes = compared([THREE[0], wild]).args[1].split("\n")
    assert "cfg: the video came out with NaN or infinite values; lower the guidance scale" in notes


def test_comparing_guiders_needs_comfyui():
    inputs = dict.fromkeys(("noise", "sampler", "sigmas", "latent", "vae", "audio_vae"))
    with pytest.raises(ValueError, match="^Compare Guiders needs ComfyUI's models and samplers; run this workflow in ComfyUI$"):
        DuetCompareGuiders.execute(guiders={}, **inputs)


def test_bad_models_are_named():
    bad = GuidanceInput(make_guidance("autoguidance"), tiny_model())
    cells = compared([bad, bad]).shown["duet"][0]["cells"]
    assert [cell["label"] for cell in cells] == ["autoguidance (1) from Tiny", "autoguidance (2) from Tiny"]


def test_frames_come_one_by_one_as_in_the_whole_grid():
    clips, labels = [torch.rand(3, 15, 100, 3) for _ in range(5)], ["a", "b", "c", "d", "e"]
    frames = list(iter_grid(clips, labels, (0, None, 2)))
    assert torch.equal(torch.stack(frames), draw_grid(clips, labels, (0, None, 2)))


def test_frames_of_a_wide_grid_are_reduced():
    clips = [torch.full((1, 300, 400, 3), level / 4) for level in range(4)]
    (frame,) = iter_grid(clips, ["a"] * 4, max_width=300)
    assert frame.shape == (2 * (100 * 2 + LABEL_HEIGHT + GAP) - GAP, 2 * 133 * 2 + GAP, 3)
    assert float(frame[-1, -1, 0]) == pytest.approx(0.75)


def scored(f1: float | None, chance: float | None = 0.25) -> Clip:
    facts = {"sync": {"f1": f1, "chance": chance}, "motion": 0.01, "sound": {"lufs": None}}
    return Clip(SimpleNamespace(facts=lambda: facts), 2, 1, seconds=4 * (f1 or 0))


def test_a_cell_of_several_clips_has_means_and_an_interval_of_what_was_measured():
    facts = Variant("cfg", (scored(0.5), scored(1.0), scored(None))).facts()
    assert (facts["f1"], facts["chance"], facts["lufs"], facts["seconds"]) == (0.75, 0.25, None, 2.0)
    assert facts["f1_interval"] == [0.5, 1.0] and facts["clips"] == 3
    assert row_of(facts) == ("cfg", "0.75 [0.50, 1.00]", "0.25", "1.00", "–", "2", "1", "2.0")
    alone = Variant("cfg", (scored(0.5), scored(None))).facts()
    assert alone["f1_interval"] is None and row_of(alone)[1] == "0.50"
    assert row_of(Variant("cfg", (scored(None, None),)).facts())[1:3] == ("–", "–")


@pytest.fixture
def page(monkeypatch, tmp_path):
    """Runs the node as in ComfyUI's page; gives the folder for temporary files."""
    monkeypatch.setattr("duet_av.nodes.comparison.has_page", lambda: True)
    monkeypatch.setattr("duet_av.nodes.saving.temp_folder", lambda: tmp_path)
    return tmp_path


def test_the_node_shows_its_grid_with_the_sounds_one_after_another(page):
    output = compared()
    (shown,) = output.shown["images"]
    assert output.shown["animated"] == (True,) and (shown["type"], shown["subfolder"]) == ("temp", "duet")
    clip = read_video(page / "duet" / shown["filename"])
    images, audio, fps = DuetShowComparison.execute(output.args[0], {"sound": "one after another"}).args
    assert clip.frames.shape == images.shape and float(clip.fps) == fps
    assert float((clip.frames / 255 - images).abs().mean()) < 0.02
    assert clip.audio.shape[-1] / clip.sample_rate == pytest.approx(audio["waveform"].shape[-1] / 8000, abs=0.01)


def test_the_page_gets_the_table_as_data():
    output = compared()
    table = output.shown["duet"][0]["table"]
    lines = output.shown["text"][: table["lines"]]
    assert format_table(table["head"], table["rows"]).split("\n") == lines and len(table["rows"]) == 3


def test_without_a_page_nothing_is_written(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert "images" not in compared().shown and not list(tmp_path.iterdir())


def test_temporary_files_are_not_among_the_files_of_a_run():
    saved = [{"filename": "a.mp4", "subfolder": "", "type": kind} for kind in ("temp", "output")]
    files = _saved_files({"Compare": {"images": saved[:1]}, "Mux": {"images": saved[1:]}}, Folders(Path("out")))
    assert files == [Path("out/a.mp4")]
