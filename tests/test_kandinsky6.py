"""Kandinsky 6 in Duet's sampler: it equals its own pipeline, and runs with everything that Duet has."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers import Kandinsky6TI2VAPipeline
from PIL import Image

from duet_av.av_models.clip_latent import everything, make_known_masks, nothing
from duet_av.av_models.contract import CUT, AVCondition, AVLatent, AVTime, denoise
from duet_av.av_models.guidance import GUIDANCE, make_guidance
from duet_av.av_models.known_parts import KnownParts
from duet_av.av_models.latent_aligner import Aligner
from duet_av.av_models.load_joint import load_joint_model
from duet_av.av_models.noise import NoiseSource
from duet_av.av_models.sampling import sampling_cost
from duet_av.tests.kandinsky6 import (
    BAD_WORDS,
    FRAMES,
    HEIGHT,
    SCALE,
    STEPS,
    WIDTH,
    WORDS,
    by_pipeline,
    by_sampler,
    clip,
    draw_image,
    draw_noise,
    drawn_by,
    first_frame_of,
    load_pipeline,
    prompted,
    times,
)
from duet_av.tests.toy_binder import Quarters


@pytest.fixture(scope="module")
def model(small_kandinsky6):
    return load_joint_model(small_kandinsky6)


@pytest.fixture(scope="module")
def pipeline(small_kandinsky6):
    return load_pipeline(small_kandinsky6)


@pytest.fixture(scope="module")
def image() -> Image.Image:
    return draw_image()


def same(ours: AVLatent, theirs: AVLatent) -> bool:
    return torch.equal(ours.video, theirs.video) and torch.equal(ours.audio, theirs.audio)


def close(ours: AVLatent, theirs: AVLatent, tolerance: float = 1e-5) -> bool:
    pairs = ((ours.video, theirs.video), (ours.audio, theirs.audio))
    return all(bool((one - other).norm() <= tolerance * other.norm()) for one, other in pairs)


@pytest.mark.parametrize("scale", [SCALE, 1.0])
def test_the_clip_is_the_pipelines(model, pipeline, scale):
    noise, guidance = draw_noise(model), make_guidance("cfg", video_scale=scale, audio_scale=scale)
    theirs = by_pipeline(pipeline, noise, scale)
    assert same(by_sampler(model, noise, guidance, one_by_one=True).latent, theirs)
    assert close(by_sampler(model, noise, guidance).latent, theirs)


def test_a_clip_that_starts_from_a_picture_is_the_pipelines(model, pipeline, image):
    noise = draw_noise(model)
    theirs = by_pipeline(pipeline, noise, image=image, generator=torch.Generator().manual_seed(1))
    known = first_frame_of(model, drawn_by(pipeline, image, seed=1))
    assert same(by_sampler(model, noise, one_by_one=True, known=known).latent, theirs)
    assert close(by_sampler(model, noise, known=known).latent, theirs)
    assert not close(theirs, by_pipeline(pipeline, noise), 1e-2)


def test_prompts_are_encoded_as_the_pipeline_does(model, pipeline):
    tokens, pooled, mask, *negative = pipeline.encode_prompt(WORDS)
    ours, bad = model.encode(WORDS, "").audio, model.encode(*model.negative_words("", "")).video
    assert torch.equal(ours.tokens, tokens) and torch.equal(ours.vector, pooled) and torch.equal(ours.mask, mask)
    assert not mask.all() and [torch.equal(*pair) for pair in zip((bad.tokens, bad.vector, bad.mask), negative)] == [True] * 3


def test_the_processor_of_the_folder_gives_the_same_tokens(model, small_kandinsky6):
    pytest.importorskip("torchvision", reason="Qwen's processor needs it")
    whole = Kandinsky6TI2VAPipeline.from_pretrained(small_kandinsky6)
    assert type(whole.tokenizer).__name__ == "Qwen2_5_VLProcessor"
    tokens, pooled, mask, *_ = whole.encode_prompt(WORDS)
    ours = model.encode(WORDS, "").video
    assert torch.equal(ours.tokens, tokens) and torch.equal(ours.vector, pooled) and torch.equal(ours.mask, mask)


def test_the_times_are_the_pipelines(model, pipeline):
    pipeline.scheduler.set_timesteps(7)
    assert times(model, 7) == pipeline.scheduler.sigmas[:-1].tolist()


def test_other_words_for_the_audio_change_the_audio_alone_where_the_rows_are_cut(model):
    def cut(words: tuple[str, str]) -> AVLatent:
        cond, noise = model.encode(*words), draw_noise(model)
        return denoise(model.denoiser, noise, *rows_of(0.6, cond, 1), [CUT])

    one, other = cut((WORDS, "rain")), cut((WORDS, "<S>Hello<E>"))
    assert torch.equal(one.video, other.video) and not torch.allclose(one.audio, other.audio)
    one, other = cut((WORDS, "rain")), cut(("snow", "rain"))
    assert torch.equal(one.audio, other.audio) and not torch.allclose(one.video, other.video)


def rows_of(t: float, cond: AVCondition, rows: int):
    time = torch.full((rows,), t)
    return AVTime(time, time), cond


def test_each_seed_is_for_its_own_modality_and_a_longer_clip_starts_with_the_same_noise(model):
    short, long = (model.latent_shape(clip(model, frames)) for frames in (FRAMES, FRAMES + 8))
    apart = replace(make_guidance("none"), removed=True)
    one, other = (by_sampler(model, short, apart, seeds=seeds).latent for seeds in ((1, 2), (1, 3)))
    assert torch.equal(one.video, other.video) and not torch.allclose(one.audio, other.audio)
    few, many = (NoiseSource(shape, 1, 2).initial(torch.device("cpu")) for shape in (short, long))
    assert torch.equal(many.video[:, :, :3], few.video) and torch.equal(many.audio[:, :, :17], few.audio)


def test_eta_adds_new_noise_that_its_seed_repeats(model):
    shape = model.latent_shape(clip(model))
    plain, once, again = (by_sampler(model, shape, eta=eta, seeds=(4, 5)).latent for eta in (0.0, 1.0, 1.0))
    assert same(once, again) and not close(once, plain, 1e-2) and bool(once.video.isfinite().all())


def test_known_audio_stays_and_only_the_video_network_runs_where_nothing_couples(model, monkeypatch):
    noise, given = draw_noise(model), draw_noise(model, seed=9)
    known = KnownParts(given, make_known_masks(model, clip(model), nothing, everything), *model.known_modes)
    assert torch.equal(by_sampler(model, noise, known=known).latent.audio, given.audio)
    monkeypatch.setattr(type(model.denoiser), "_embed_audio", None)
    out = by_sampler(model, noise, replace(make_guidance("none"), removed=True), known=known).latent
    assert torch.equal(out.audio, given.audio) and bool(out.video.isfinite().all())


def test_the_picture_conditions_every_row_and_is_generated_like_the_others(model, image):
    pixels = torch.from_numpy(np.asarray(image).copy()).float()[None, None] / 255
    known = first_frame_of(model, model.video_codec.encode(pixels))
    with_picture, without = by_sampler(model, draw_noise(model), known=known).latent, by_sampler(model, draw_noise(model)).latent
    assert not torch.equal(with_picture.video[:, :, 0], known.latent.video[:, :, 0])
    assert not close(with_picture, without, 1e-2)


@pytest.mark.parametrize("name", [name for name in GUIDANCE if name != "autoguidance"])
def test_every_guidance_runs_and_costs_what_was_computed(model, name, monkeypatch):
    calls: list[int] = []
    run = model.denoiser.predict_rows
    monkeypatch.setattr(model.denoiser, "predict_rows", lambda latent, *rest: calls.append(latent.rows) or run(latent, *rest))
    guidance = model.recommended.make_guidance(name, a_to_v=0.5)
    schedule = model.make_schedule(model.latent_shape(clip(model)), 2)
    result = by_sampler(model, draw_noise(model), guidance, steps=2)
    cost = sampling_cost(guidance, schedule, model=model.denoiser)
    assert (sum(calls), len(calls)) == (cost.branches, cost.forwards) and result.branches_per_step == cost.branches_per_step
    assert bool(result.latent.video.isfinite().all() & result.latent.audio.isfinite().all()) and not result.warnings


def test_a_weaker_model_can_guide(model, small_kandinsky6):
    bad = replace(prompted(load_joint_model(small_kandinsky6)), negative=model.encode(BAD_WORDS, ""))
    guidance = make_guidance("autoguidance")
    assert same(by_sampler(model, draw_noise(model), guidance, bad_model=bad).latent,
                by_sampler(model, draw_noise(model), make_guidance("none")).latent)  # fmt: skip


@pytest.mark.parametrize("settings", [{}, {"through_denoiser": True, "prompt_rate": 10.0}])
def test_the_aligner_moves_latents_and_prompts(model, settings):
    aligner = Aligner(binder=Quarters(), words=0.0, update="sign", video_rate=0.05, audio_rate=0.05, first=0.0, **settings)
    alignment = aligner.begin(model, clip(model), ("", ""))
    moved = by_sampler(model, draw_noise(model), make_guidance("none"), alignment=alignment)
    assert len(alignment.losses) == STEPS and not alignment.skipped and not moved.warnings
    assert not close(moved.latent, by_sampler(model, draw_noise(model), make_guidance("none")).latent, 1e-3)


def test_a_clip_of_several_rows_is_its_rows(model):
    noise = draw_noise(model, rows=2)
    both = by_sampler(model, noise).latent
    for row in range(2):
        assert close(both[row : row + 1], by_sampler(model, noise[row : row + 1]).latent)


def test_the_decoded_clip_has_the_frames_and_samples_that_were_asked_for(model):
    shape = model.shape(seconds=0.5, height=30, width=50)
    noise = NoiseSource(model.latent_shape(shape)).initial(torch.device("cpu"))
    frames, sound = model.decode(noise, shape)
    assert frames.shape == (1, 12, 30, 50, 3) and sound.shape == (1, 1, 22050)
    assert noise.video.shape[3:] == (4, 8)


def test_clips_beyond_the_positions_of_the_network_are_refused_in_one_line(model):
    with pytest.raises(ValueError, match="the clip has 600 frames, which are 25 s; Kandinsky 6 takes at most 509, 21.21 s at 24"):
        model.shape(frames=600)
    with pytest.raises(ValueError, match="width is 2064; Kandinsky 6 takes at most 2048"):
        model.shape(width=2064)
    slow = model.shape(frames=FRAMES, height=HEIGHT, width=WIDTH, fps=0.18)
    with pytest.raises(ValueError, match="the audio has 2154 latent steps, this model takes at most 2048; make the clip shorter"):
        by_sampler(model, model.latent_shape(slow))
