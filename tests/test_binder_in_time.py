"""Bounce-Bind Times: it sees when things happen; its training; the figures of its study."""

from pathlib import Path

import numpy as np
import pytest
import torch

from duet_av.av_models.binders.base import time_distance
from duet_av.av_models.checkpoint import half, save_checkpoint
from duet_av.bounce.binder import load_binder
from duet_av.bounce.binder_in_time import BounceBindTimes
from duet_av.bounce.shipped import BOUNCE_BIND_TIMES, load_untrained_bounce
from duet_av.bounce.studies.aligner_study import EXPERTS, SETTINGS, Arm, make_clips
from duet_av.bounce.studies.timing_study import TIMING, Work, figures, make_video_first
from duet_av.bounce.training.stages import make_stage, read_config
from duet_av.bounce.world.render import render
from duet_av.bounce.world.sound import render_sound
from duet_av.bounce.world.world import FPS, simulate

CONFIG = Path(__file__).parent.parent / "bounce/configs/bind_times.toml"
CLIPS, WINDOW, HOP = 16, 24, 1000


@pytest.fixture(scope="module")
def clips() -> tuple[torch.Tensor, torch.Tensor]:
    worlds = simulate(CLIPS, "val", 3)
    return torch.from_numpy(render(worlds, 64)).float() / 255, torch.from_numpy(render_sound(worlds))[:, None]


@pytest.fixture(scope="module")
def stage(tmp_path_factory):
    config = read_config(CONFIG)
    config["stage_config"] |= {"batch": 8, "clips_per_pool": 8, "model": {"width": 32, "out": 8}}
    torch.manual_seed(0)
    return make_stage(config, CONFIG.parent, 10, tmp_path_factory.mktemp("times") / "times.safetensors")


@torch.no_grad()
def distance(binder: BounceBindTimes, clips, first: int, heard: int) -> torch.Tensor:
    frames, sounds = clips
    seen = binder.embed_video_times(frames[:, first : first + WINDOW], FPS).tracks[0]
    return time_distance(seen, binder.embed_audio_times(sounds[..., heard * HOP : (heard + WINDOW) * HOP], FPS * HOP).tracks[0])


def test_the_shipped_binder_sees_when(clips):
    binder = load_binder(BOUNCE_BIND_TIMES)
    true = distance(binder, clips, 4, 4)
    for frames in (-4, -2, -1, 1, 2, 4):
        assert (true < distance(binder, clips, 4, 4 + frames)).float().mean() > 0.9
    assert (true < distance(binder, (clips[0], clips[1].roll(1, 0)), 4, 4)).float().mean() > 0.9


def test_gradients_reach_video_and_audio_at_any_size_and_rate():
    torch.manual_seed(0)
    binder = BounceBindTimes(width=32, out=8)
    frames, wave = torch.rand(2, 10, 40, 48, 3, requires_grad=True), torch.rand(2, 2, 15_000, requires_grad=True)
    seen, heard = binder.embed_video_times(frames, 16.0), binder.embed_audio_times(wave, 24_000)
    assert seen.tracks[0].features.shape == (2, 20, 8) and heard.tracks[0].features.shape == (2, 20, 8)
    assert seen.tracks[0].seconds.tolist() == pytest.approx(heard.tracks[0].seconds.tolist())
    assert seen.embedding.norm(dim=-1).tolist() == pytest.approx([1, 1])
    time_distance(seen.tracks[0], heard.tracks[0]).sum().backward()
    assert frames.grad.abs().sum() > 0 and wave.grad.abs().sum() > 0


def test_it_loads_from_its_file_and_has_no_text(tmp_path):
    binder = BounceBindTimes(width=32, out=8)
    card = {"kind": "binder", "architecture": "BounceBindTimes", "config": binder.config}
    save_checkpoint(tmp_path / "a.safetensors", half(binder.state_dict()), card)
    loaded = load_binder(tmp_path / "a.safetensors")
    assert not any(p.requires_grad for p in loaded.parameters())
    with pytest.raises(ValueError, match="cannot embed text; choose another binder"):
        loaded.embed_text(["a ball"])


def test_late_sounds_are_of_the_same_clips_at_other_times(stage):
    drawn = stage.draw_windows(0)
    frames, sounds, _ = stage.pool(0)
    for number, (shown, wave) in enumerate(zip(drawn.frames, drawn.sounds)):
        rows = [(row, at) for row in range(len(frames)) for at in range(33 - WINDOW)]
        (own,) = [(row, at) for row, at in rows if torch.equal(frames[row, at : at + WINDOW].float() / 255, shown)]
        assert torch.equal(wave[0], sounds[own[0], own[1] * HOP : (own[1] + WINDOW) * HOP])
        for late in drawn.late[number :: len(drawn.frames)]:
            times = [at for at in range(33 - WINDOW) if torch.equal(late[0], sounds[own[0], at * HOP : (at + WINDOW) * HOP])]
            assert len(times) == 1 and times[0] != own[1]


def test_attacks_move_sounds_away_from_their_video_and_late_ones_towards_it(stage):
    drawn, few = stage.draw_windows(0), 4
    sounds = torch.cat([drawn.sounds[:few], drawn.late[:few]])
    with torch.no_grad():
        seen = stage.model.embed_video_times(drawn.frames, FPS)
    stage.moves, stage.noise = 4, 0.0
    torch.manual_seed(0)
    attacked = stage._attack(sounds, seen, few)
    plain = stage.codec.decode_with_grad(stage.codec.encode(sounds))

    def near(wave: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            heard = stage.model.embed_audio_times(wave, FPS * HOP)
        what, when = stage.model.temperature.detach().exp()
        track = type(seen.tracks[0])(seen.tracks[0].features[:few].repeat(2, 1, 1), seen.tracks[0].seconds, seen.tracks[0].duration)
        alike = (heard.embedding * seen.embedding[:few].repeat(2, 1)).sum(1)
        return alike / what - time_distance(heard.tracks[0], track) / when

    moved = near(attacked) - near(plain)
    assert moved[:few].mean() < 0 < moved[few:].mean()
    assert all(p.requires_grad for p in stage.model.parameters())


def test_figures_count_each_clip_once_and_compare_with_shuffled_pairs():
    rng = np.random.default_rng(0)
    lines = []
    for row in range(20):
        times = sorted(rng.uniform(0.2, 1.8, 2))
        lines.append({"row": row, "seen": [["large", "metal"]], "heard": [["large", "metal" if row % 2 else "wood"]],
                      "contacts": times, "onsets": [time + 0.01 for time in times], "clipped": 0.0, "seconds": 1.0})  # fmt: skip
    found = figures([*reversed(lines), lines[3]])
    assert found["n"] == 20 and found["sync_f1"] == 1.0 and found["sync_chance"] < 0.4
    assert found["shares"]["material"]["share"] == 0.5 and found["shares"]["size"]["share"] == 1.0


def test_in_joint_the_sound_is_aligned_to_the_video_of_the_experts_apart(monkeypatch):
    for task in ("joint", "v2a"):
        monkeypatch.setitem(EXPERTS, task, EXPERTS[task] | {"steps": 2})
    model, binder, seen = load_untrained_bounce(), load_binder(BOUNCE_BIND_TIMES), []
    embed = binder.embed_video_times
    monkeypatch.setattr(binder, "embed_video_times", lambda frames, fps: seen.append(frames) or embed(frames, fps))
    settings = (
        {k: v for k, v in SETTINGS["v2a"].items() if k != "second_binder"}
        | TIMING
        | {"inner_steps": 1, "through_denoiser": False, "steps_ahead": 0}
    )

    def made(**changed):
        work = Work(Arm("joint", "aligned", "val", 1), [BOUNCE_BIND_TIMES], settings | changed)
        return next(make_video_first(work, model, binder, range(1)))

    (frames, moved), (_, unmoved) = made(), made(audio_rate=0.0)
    apart, _ = next(make_clips(Arm("joint", "apart", "val", 1), model, binder, {}, simulate(1, "val"), lambda *_: None))
    assert torch.allclose(frames, apart, atol=1e-5) and torch.allclose(seen[0][0], apart, atol=1e-5)
    assert (moved - unmoved).abs().max() > 1e-3
