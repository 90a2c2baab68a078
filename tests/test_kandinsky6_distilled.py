"""Distilled weights of Kandinsky 6: their scheduler makes the steps, guidance is refused, and the rest of Duet runs."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler

from duet_av.av_models.clip_latent import before, everything, make_known_masks, nothing
from duet_av.av_models.contract import FULL, AVLatent, AVTime, LatentShape, denoise
from duet_av.av_models.guidance import GUIDANCE, make_guidance
from duet_av.av_models.joint.kandinsky6 import Kandinsky6
from duet_av.av_models.known_parts import KnownParts
from duet_av.av_models.latent_aligner import Aligner
from duet_av.av_models.load_joint import load_joint_model
from duet_av.av_models.noise import VIDEO, NoiseSource
from duet_av.av_models.path import FLOW
from duet_av.av_models.policy_clock import PolicyClock
from duet_av.av_models.sampling import RunOptions, sample
from duet_av.av_models.schedule import SamplingSchedule
from duet_av.tests.kandinsky6 import (
    STEPS,
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

NONE = make_guidance("none")


@pytest.fixture(scope="module")
def model(small_kandinsky6_distilled):
    return load_joint_model(small_kandinsky6_distilled)


@pytest.fixture(scope="module")
def noise(model) -> AVLatent:
    return draw_noise(model)


def same(one: AVLatent, other: AVLatent) -> bool:
    return torch.equal(one.video, other.video) and torch.equal(one.audio, other.audio)


def relative(one: AVLatent, other: AVLatent) -> float:
    return float(max((a - b).norm() / b.norm() for a, b in ((one.video, other.video), (one.audio, other.audio))))


def run(model, noise, schedule: SamplingSchedule, guidance=NONE, **parts) -> AVLatent:
    return sample(prompted(model), NoiseSource(noise), guidance, schedule, **parts).latent


def refused(run, message: str) -> None:
    with pytest.raises(ValueError, match=message) as error:
        run()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("steps", [STEPS, 1, 5])
def test_the_clip_is_the_pipelines(model, small_kandinsky6_distilled, noise, steps):
    theirs = by_pipeline(load_pipeline(small_kandinsky6_distilled), noise, 1.0, num_inference_steps=steps)
    assert same(by_sampler(model, noise, NONE, steps=steps).latent, theirs)


def test_a_clip_that_starts_from_a_picture_is_the_pipelines(model, small_kandinsky6_distilled, noise):
    pipeline, image = load_pipeline(small_kandinsky6_distilled), draw_image()
    theirs = by_pipeline(pipeline, noise, 1.0, image=image, generator=torch.Generator().manual_seed(1))
    known = first_frame_of(model, drawn_by(pipeline, image, seed=1))
    assert same(by_sampler(model, noise, NONE, known=known).latent, theirs)


def test_its_own_settings_are_its_schedulers_and_no_guidance(model, small_kandinsky6_distilled):
    scheduler = load_pipeline(small_kandinsky6_distilled).scheduler
    scheduler.set_timesteps(16)
    assert times(model, 16) == scheduler.sigmas[:-1].tolist()
    assert (model.recommended.steps, model.recommended.guidance) == (16, "none")


@pytest.mark.parametrize("name", [name for name in GUIDANCE if name not in ("none", "autoguidance")])
def test_guidance_is_refused_with_the_reason(model, noise, name):
    message = f"guidance is {name}, but these weights are distilled and were trained to be sampled without guidance; choose none"
    refused(lambda: by_sampler(model, noise, make_guidance(name)), message)


def test_guidance_with_scales_of_one_is_none(model, noise):
    plain = by_sampler(model, noise, NONE).latent
    ones = {"video_scale": 1.0, "audio_scale": 1.0}
    for name in ("cfg", "joint_cfg"):
        assert same(by_sampler(model, noise, make_guidance(name, **ones)).latent, plain)
    crossed = {f"{stream}_{kind}_scale": 1.0 for stream in ("video", "audio") for kind in ("cross", "skip")}
    for in_x0 in (make_guidance("apg", **ones), make_guidance("modality_cfg", **ones, **crossed)):
        assert relative(by_sampler(model, noise, in_x0).latent, plain) < 1e-5


def test_the_times_of_the_distillation_cannot_be_changed(model, noise):
    message = "shift and times cannot be changed, because this model is distilled for the times of its own scheduler"
    for schedule in (SamplingSchedule(STEPS), SamplingSchedule(STEPS, 5.0), SamplingSchedule(times=(1.0, 0.5))):
        refused(lambda: run(model, noise, schedule), message)
    own = SamplingSchedule(STEPS, times=tuple(times(model, STEPS)))
    refused(lambda: run(model, noise, replace(own, audio_shift=2.0)), "times are given; leave parity off and audio_shift at None")
    other = replace(own, video_scheduler=FlowMatchEulerDiscreteScheduler())
    message = "video_scheduler is FlowMatchEulerDiscreteScheduler, but this model is distilled for PiflowScheduler; use None"
    refused(lambda: run(model, noise, other), message)


def test_previews_are_the_estimates_at_the_beginning_of_each_step(model, noise):
    """The last of the predictions of a step is for the time at its beginning."""
    seen: list[AVLatent] = []
    schedule = SamplingSchedule(times=tuple(times(model, 2)))
    run(model, noise, schedule, options=RunOptions(on_step=lambda step, steps, x0: seen.append(x0)))
    assert [each.video.shape for each in seen] == [noise.video.shape] * 2 and seen[0].audio.shape == noise.audio.shape
    prompts, time = prompted(model), torch.ones(1)
    predicted = denoise(model.denoiser, noise, AVTime(time, time), prompts.positive, [FULL])
    torch.testing.assert_close(seen[0].video, noise.video - predicted.video[:, -4:])
    torch.testing.assert_close(seen[0].audio, noise.audio - predicted.audio[:, -6:])


def test_eta_replaces_noise_and_almost_none_at_almost_zero(model, noise):
    shape = model.latent_shape(clip(model))
    initial = NoiseSource(shape, 4, 5).initial(torch.device("cpu"))
    plain = by_sampler(model, initial, NONE).latent
    once, again, little = (by_sampler(model, shape, NONE, eta=eta, seeds=(4, 5)).latent for eta in (1.0, 1.0, 1e-6))
    assert same(once, again) and relative(once, plain) > 1e-2 and relative(little, plain) < 1e-4


def test_the_state_after_a_step_is_split_at_the_end_of_the_step(model, noise):
    """The first of the predictions of a step is for the time at its end."""
    clock = PolicyClock(FLOW, model.denoiser.policy, VIDEO, 0)
    clock.use_own_grid(2)
    x, velocities = noise.video, torch.randn(1, 12, *noise.video.shape[2:], generator=torch.Generator().manual_seed(2))
    for index in (0, 1):
        clean, epsilon = clock.split_after(index, "flow", velocities, x)
        alpha, sigma = clock.path_after(index)
        torch.testing.assert_close(alpha * clean + sigma * epsilon, clock.step(index, "flow", velocities, x, x))
        if index == 0:
            torch.testing.assert_close(clean, x - clock.times[0] * velocities[:, :4])


def test_known_parts_stay_as_they_are(model, noise):
    given = draw_noise(model, seed=9)
    masks = make_known_masks(model, clip(model), before(0.2), nothing)
    out = by_sampler(model, noise, NONE, known=KnownParts(given, masks, *model.known_modes)).latent
    kept = masks.video.expand_as(out.video)
    assert masks.video.any() and torch.equal(out.video[kept], given.video[kept]) and not torch.equal(out.video, given.video)
    whole = KnownParts(given, make_known_masks(model, clip(model), nothing, everything), *model.known_modes)
    for guidance in (NONE, replace(NONE, removed=True)):
        out = by_sampler(model, noise, guidance, known=whole).latent
        assert torch.equal(out.audio, given.audio) and bool(out.video.isfinite().all())


def test_the_aligner_moves_latents(model, noise):
    aligner = Aligner(binder=Quarters(), words=0.0, update="sign", video_rate=0.05, audio_rate=0.05, first=0.0)
    alignment = aligner.begin(model, clip(model), ("", ""))
    moved = by_sampler(model, noise, NONE, alignment=alignment)
    assert len(alignment.losses) == STEPS and not moved.warnings
    assert relative(moved.latent, by_sampler(model, noise, NONE).latent) > 1e-3


def test_separate_seeds_and_one_way_coupling_run(model, noise):
    shape: LatentShape = model.latent_shape(clip(model))
    one, other = (by_sampler(model, shape, make_guidance("none", a_to_v=0.0), seeds=(1, seed)).latent for seed in (2, 3))
    assert torch.equal(one.video, other.video) and relative(one, other) > 1e-2


def test_weights_that_do_not_fit_their_scheduler_are_refused(model, small_kandinsky6):
    plain = load_joint_model(small_kandinsky6).denoiser.transformer
    refused(lambda: Kandinsky6(plain, model.denoiser.policy), "out_visual_dim is 4; use 12, 3 for each of 4 channels")
    refused(lambda: Kandinsky6(model.denoiser.transformer), "out_visual_dim is 12; use 4, 1 for each of 4 channels")
