from dataclasses import replace

import pytest
import torch
from diffusers import (
    DDIMScheduler,
    EDMEulerScheduler,
    EulerDiscreteScheduler,
    FlowMatchEulerDiscreteScheduler,
    FlowMatchHeunDiscreteScheduler,
    FlowMatchLCMScheduler,
    UniPCMultistepScheduler,
)

from duet_av.av_models.branch_runner import PromptedModel
from duet_av.av_models.clock import time_grid
from duet_av.av_models.contract import AVLatent, AVTime, CouplingKind, LatentShape
from duet_av.av_models.guidance import GUIDANCE, AffineGuidance, Branch, Curve, Weight, make_guidance
from duet_av.av_models.known_parts import KnownParts
from duet_av.av_models.noise import audio_noise, video_noise
from duet_av.av_models.parameterization import convert, to_x0
from duet_av.av_models.path import DDPM, EDM
from duet_av.av_models.sampling import sampling_cost
from duet_av.av_models.schedule import SamplingSchedule
from duet_av.tests.sample_with import sample_with
from duet_av.tests.toy import AUDIO_CHANNELS, VIDEO_CHANNELS, GaussianJoint, ToyJoint, plain_condition, toy_condition

SHAPE = LatentShape((1, VIDEO_CHANNELS, 3, 4, 4), (1, AUDIO_CHANNELS, 9))
PAIR = LatentShape((2, *SHAPE.video[1:]), (2, *SHAPE.audio[1:]))
POSITIVE, NEGATIVE = toy_condition(1), toy_condition(2)
JOINT = make_guidance("joint_cfg", video_scale=3.0, audio_scale=2.0)
NONE = make_guidance("none")


def run(guidance=JOINT, model=None, start=SHAPE, **options):
    options = {"steps": 4, "video_seed": 11, "audio_seed": 12, **options}
    return sample_with(model or ToyJoint(), start, POSITIVE, NEGATIVE, guidance, **options)


def equal(x: AVLatent, y: AVLatent) -> bool:
    return torch.equal(x.video, y.video) and torch.equal(x.audio, y.audio)


def assert_close(x: AVLatent, y: AVLatent, atol: float = 1e-5) -> None:
    torch.testing.assert_close(x.video, y.video, atol=atol, rtol=0)
    torch.testing.assert_close(x.audio, y.audio, atol=atol, rtol=0)


def noise(shape: LatentShape = SHAPE) -> AVLatent:
    return AVLatent(video_noise(shape.video, 11), audio_noise(shape.audio, 12))


def with_scales(name: str, video: float, audio: float, **settings):
    """`name` with every scale of a modality the same, for `ToyJoint`."""
    guidance = make_guidance(name)
    settings |= {scale: video if scale.startswith("video") else audio for scale in guidance.scales}
    return make_guidance(name, **settings, **({"skip_block": 0} if hasattr(guidance, "skip_block") else {}))


FADING = Curve(((0.0, 1.0), (0.5, 0.0)))
MODIFIERS = (
    {"a_to_v": 0.5}, {"interval_low": 0.5, "interval_high": 0.9}, {"scale_curve": FADING, "v_to_a_curve": FADING, "rescale": 0.5},
)  # fmt: skip


def strategies():
    yield NONE
    for name in list(GUIDANCE)[1:]:
        for video, audio in ((1.0, 1.0), (3.0, 3.0), (1.0, 2.5)):
            for modifiers in ({}, *MODIFIERS):
                yield with_scales(name, video, audio, **modifiers)
    yield make_guidance("dual_cfg", video_scale=3.0, audio_scale=3.0, video_cross_scale=2.0, audio_cross_scale=2.0)


# Closed forms: the flow ODE takes noise ε to mean + std · ε, and guidance extrapolates the mean.


def gaussian(guidance, steps: int = 400, **options) -> tuple[float, float, float]:
    """Means of video and audio, and the error of the whole sample against mean + std · ε."""
    model = GaussianJoint(std=0.5, cross=0.75)
    texts = plain_condition(2.0), plain_condition(-1.0)
    result = sample_with(model, SHAPE, *texts, guidance, bad_model=PromptedModel(GaussianJoint(std=0.5, cross=0.0), *texts),
                    steps=steps, video_seed=11, audio_seed=12, **options)  # fmt: skip
    residual = [x - 0.5 * e for x, e in ((result.latent.video, noise().video), (result.latent.audio, noise().audio))]
    means = [float(r.mean()) for r in residual]
    return *means, max(float((r - m).abs().max()) for r, m in zip(residual, means))


@pytest.mark.parametrize(
    "guidance, video_mean, audio_mean",
    [
        (NONE, 2.75, 2.75),
        (make_guidance("cfg", video_scale=3.0, audio_scale=2.0), -0.25 + 3 * 3, -0.25 + 2 * 3),
        (JOINT, -1 + 3 * 3.75, -1 + 2 * 3.75),
        (make_guidance("joint_cfg_star", video_scale=3.0, audio_scale=2.0), -1 + 3 * 3.75, -1 + 2 * 3.75),
        (make_guidance("dual_cfg", video_scale=3.0, audio_scale=2.0, video_cross_scale=5.0, audio_cross_scale=4.0),
         -1 + 5 * 0.75 + 3 * 3, -1 + 4 * 0.75 + 2 * 3),
        (make_guidance("modality_cfg", video_scale=3.0, audio_scale=2.0, video_cross_scale=5.0, audio_cross_scale=4.0),
         2.75 + 2 * 3 + 4 * 0.75, 2.75 + 3 + 3 * 0.75),
        (make_guidance("autoguidance", video_scale=3.0, audio_scale=2.0), 2 + 3 * 0.75, 2 + 2 * 0.75),
        (make_guidance("apg", video_scale=3.0, audio_scale=2.0, eta=1.0, momentum=0.0), -0.25 + 3 * 3, -0.25 + 2 * 3),
        (make_guidance("none", a_to_v=0.5, v_to_a=0.0), 2 + 0.5 * 0.75, 2.0),
        (make_guidance("none", removed=True), 2.0, 2.0),
    ],
)  # fmt: skip
def test_gaussian_data_ends_with_the_right_mean_and_every_sample_in_place(guidance, video_mean, audio_mean):
    video, audio, error = gaussian(guidance)
    assert video == pytest.approx(video_mean, abs=0.02) and audio == pytest.approx(audio_mean, abs=0.02)
    assert error < 0.02


def test_an_interval_guides_the_part_of_the_path_that_it_names():
    """x_t = (1 − t) m + σ_t ε, σ_t² = (1 − t)² std² + t²; where m changes at τ, what is left of the first shrinks by std/σ_τ."""
    tau, first, then = 0.6, -0.25 + 3 * 3, 2.75
    video, _, error = gaussian(make_guidance("cfg", video_scale=3.0, audio_scale=3.0, interval_low=tau), steps=1000)
    left = 0.5 / (((1 - tau) * 0.5) ** 2 + tau**2) ** 0.5 * (1 - tau)
    assert video == pytest.approx(then + left * (first - then), abs=0.03) and error < 0.02


def test_gaussian_data_end_with_the_right_spread():
    big = LatentShape((1, VIDEO_CHANNELS, 4, 32, 32), (1, AUDIO_CHANNELS, 4000))
    out = sample_with(GaussianJoint(0.5), big, plain_condition(2.0), plain_condition(0.0), NONE, steps=100).latent
    for x in (out.video, out.audio):
        assert float(x.mean()) == pytest.approx(2.75, abs=0.02) and float(x.std()) == pytest.approx(0.5, abs=0.02)


def test_more_steps_come_closer_and_a_better_solver_closer_still():
    errors = [gaussian(NONE, steps)[2] for steps in (10, 40)]
    unipc = UniPCMultistepScheduler(use_flow_sigmas=True, prediction_type="flow_prediction")
    assert errors[1] < errors[0] / 2
    assert gaussian(NONE, 10, video_scheduler=unipc, audio_scheduler=unipc)[2] < errors[1]


@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_shift_changes_the_path_and_not_the_end(shift):
    video, audio, error = gaussian(NONE, shift=shift)
    assert video == pytest.approx(2.75, abs=0.02) and audio == pytest.approx(2.75, abs=0.02) and error < 0.02


def test_a_sound_on_a_grid_of_its_own_runs_ahead_and_ends_in_place():
    video, audio, error = gaussian(NONE, shift=8.0, audio_shift=1.0)
    assert video == pytest.approx(2.75, abs=0.03) and audio == pytest.approx(2.75, abs=0.02) and error < 0.03


def test_each_modality_is_told_its_own_time_and_stepped_on_its_own_grid():
    apart = make_guidance("none", removed=True)
    staged = run(apart, steps=3, shift=8.0, audio_shift=0.5).latent
    assert torch.equal(staged.video, run(apart, steps=3, shift=8.0).latent.video)
    assert torch.equal(staged.audio, run(apart, steps=3, shift=0.5).latent.audio)
    assert equal(run(shift=2.0, audio_shift=2.0).latent, run(shift=2.0).latent)


def test_cost_knows_an_interval_on_two_grids():
    guidance = make_guidance("cfg", video_scale=3.0, audio_scale=3.0, interval_low=0.5)
    settings = {"steps": 8, "shift": 8.0, "audio_shift": 1.0}
    cost, ran = sampling_cost(guidance, SamplingSchedule(**settings)), run(guidance, **settings)
    assert cost.branches_per_step == ran.branches_per_step
    assert cost.branches_per_step == sampling_cost(guidance, SamplingSchedule(8, 8.0)).branches_per_step  # while either is guided


# Identities.


def test_dual_with_equal_scales_is_joint_cfg():
    scales = dict(video_scale=3.0, audio_scale=2.0)
    dual = make_guidance("dual_cfg", **scales, video_cross_scale=3.0, audio_cross_scale=2.0)
    assert equal(run(dual).latent, run(JOINT).latent)


def test_joint_cfg_is_cfg_for_a_model_with_no_cross_modal_path():
    cfg = make_guidance("cfg", video_scale=3.0, audio_scale=2.0)
    assert_close(run(cfg, ToyJoint(cross=False)).latent, run(JOINT, ToyJoint(cross=False)).latent)
    assert not torch.allclose(run(cfg).latent.video, run(JOINT).latent.video, atol=1e-3)


@pytest.mark.parametrize("name", list(GUIDANCE)[1:])
def test_scale_one_is_no_guidance(name):
    guidance = with_scales(name, 1.0, 1.0)
    result, plain = run(guidance).latent, run(NONE).latent
    assert_close(result, plain)
    assert guidance.space or equal(result, plain)  # bit for bit, where predictions are taken as they come
    result = run(guidance)
    assert result.branches_per_step == result.forwards_per_step == 1


@pytest.mark.parametrize("guidance", list(strategies()), ids=repr)
def test_batched_equals_unbatched_and_the_cost_is_known_before(guidance):
    latents = []
    for batched in (True, False):
        models = ToyJoint(), ToyJoint(seed=1)
        result = run(guidance, models[0], PAIR, bad_model=PromptedModel(models[1], POSITIVE, NEGATIVE), batch_branches=batched)
        cost = sampling_cost(guidance, SamplingSchedule(4), batch_branches=batched)
        calls = models[0].calls + models[1].calls
        assert len(calls) == cost.forwards and sum(calls) == 2 * cost.branches
        assert result.forwards_per_step == cost.forwards_per_step
        assert result.branches_per_step == cost.branches_per_step
        latents.append(result.latent)
    assert_close(*latents, atol=1e-4)


@pytest.mark.parametrize("steps", [10, 20])
@pytest.mark.parametrize("bounds", [(0.7, 1.0), (0.0, 0.6), (0.35, 0.85)])
def test_the_cost_is_known_where_a_bound_meets_a_step(steps, bounds):
    guidance = make_guidance("cfg", interval_low=bounds[0], interval_high=bounds[1])
    result, cost = run(guidance, steps=steps), sampling_cost(guidance, SamplingSchedule(steps))
    inside = sum(bounds[0] - 1e-9 <= 1 - i / steps <= bounds[1] + 1e-9 for i in range(steps))
    assert result.branches_per_step == cost.branches_per_step == pytest.approx(1 + inside / steps)


def test_a_prompt_of_another_length_is_padded_in_a_batch():
    negative = toy_condition(2, length=8)
    batched, in_turn = (
        sample_with(ToyJoint(), SHAPE, POSITIVE, negative, JOINT, steps=3, batch_branches=b).latent for b in (True, False)
    )
    assert_close(batched, in_turn)


# Seeds.


def test_each_seed_moves_its_own_noise():
    starts = []
    for seeds in ((11, 12), (11, 99)):
        starts.append(run(NONE, FirstLatent(), steps=1, video_seed=seeds[0], audio_seed=seeds[1]).latent)
    assert torch.equal(starts[0].video, starts[1].video) and not torch.equal(starts[0].audio, starts[1].audio)
    assert equal(starts[0], noise())


class FirstLatent(ToyJoint):
    """Predicts a velocity of zero: the result is the noise that sampling began with."""

    def predict(self, latent, t, cond, kinds):
        return AVLatent(torch.zeros_like(latent.video), torch.zeros_like(latent.audio))


@pytest.mark.parametrize("batched", [True, False])
@pytest.mark.parametrize("name", GUIDANCE)
def test_with_a_to_v_zero_another_sound_leaves_the_picture_bit_identical(name, batched):
    deaf, hearing = with_scales(name, 3.0, 2.0, a_to_v=0.0), with_scales(name, 3.0, 2.0)
    options = {"bad_model": PromptedModel(ToyJoint(seed=1), POSITIVE, NEGATIVE), "batch_branches": batched}
    one, other = (run(deaf, audio_seed=seed, **options).latent for seed in (12, 99))
    assert torch.equal(one.video, other.video) and not torch.equal(one.audio, other.audio)
    one, other = (run(hearing, audio_seed=seed, **options).latent for seed in (12, 99))
    assert not torch.equal(one.video, other.video)


def test_sampling_is_repeatable_and_row_zero_is_the_single_sample():
    assert equal(run().latent, run().latent)
    assert_close(run(start=PAIR).latent[:1], run().latent)


def test_given_noise_is_used_as_it_is():
    assert equal(run(start=noise()).latent, run().latent)


# Parity with the experts' own loops.


def expert_loop(tower, scheduler, x, text, empty, steps: int, scale: float):
    """The loop of a diffusers pipeline, for one expert alone."""
    scheduler.set_timesteps(steps)
    for timestep in scheduler.timesteps:
        t = timestep.expand(len(x)).float()
        prediction = tower(x, t, text)
        if scale != 1:
            unconditional = tower(x, t, empty)
            prediction = unconditional + scale * (prediction - unconditional)
        x = scheduler.step(prediction, timestep, x, return_dict=False)[0]
    return x


@pytest.mark.parametrize("scale", [1.0, 3.0])
@pytest.mark.parametrize(
    "make",
    [
        lambda: FlowMatchEulerDiscreteScheduler(),
        lambda: FlowMatchEulerDiscreteScheduler(shift=3.0),
        lambda: FlowMatchHeunDiscreteScheduler(),
        lambda: UniPCMultistepScheduler(use_flow_sigmas=True, prediction_type="flow_prediction", flow_shift=5.0),
    ],
    ids=["euler", "euler-shift-3", "heun", "unipc-shift-5"],
)
def test_parity_equals_each_experts_own_loop_bit_for_bit(make, scale):
    model = ToyJoint()
    guidance = make_guidance("joint_cfg", video_scale=scale, audio_scale=scale)
    options = dict(steps=5, parity=True, video_scheduler=make(), audio_scheduler=make(), start=PAIR)
    texts = [type(x)(x.tokens.expand(2, -1, -1), x.mask.expand(2, -1))
             for x in (POSITIVE.video, NEGATIVE.video, POSITIVE.audio, NEGATIVE.audio)]  # fmt: skip
    start = noise(PAIR)
    own = AVLatent(
        expert_loop(model.video, make(), start.video, *texts[:2], 5, scale),
        expert_loop(model.audio, make(), start.audio, *texts[2:], 5, scale),
    )
    in_turn = run(guidance, model, batch_branches=False, **options).latent
    assert_close(in_turn, own)
    if not isinstance(make(), UniPCMultistepScheduler):  # it rounds its timesteps
        assert equal(in_turn, own)
    assert_close(run(guidance, model, batch_branches=True, **options).latent, own)


def test_parity_takes_a_scheduler_for_each_modality():
    schedulers = FlowMatchEulerDiscreteScheduler(shift=5.0), FlowMatchEulerDiscreteScheduler()
    model, start = ToyJoint(), noise()
    out = run(NONE, model, steps=5, parity=True, video_scheduler=schedulers[0], audio_scheduler=schedulers[1]).latent
    assert torch.equal(out.video, expert_loop(model.video, schedulers[0], start.video, POSITIVE.video, None, 5, 1))
    assert torch.equal(out.audio, expert_loop(model.audio, schedulers[1], start.audio, POSITIVE.audio, None, 5, 1))


def test_euler_tells_the_network_the_very_timestep_of_the_pipeline():
    seen = []

    class Watching(ToyJoint):
        def predict(self, latent, t, cond, kinds):
            seen.append(float(t.video[0] * 1000))
            return super().predict(latent, t, cond, kinds)

    scheduler = FlowMatchEulerDiscreteScheduler(shift=3.0)
    run(NONE, Watching(), steps=200, parity=True, video_scheduler=scheduler)
    scheduler.set_timesteps(200)
    assert seen == scheduler.timesteps.tolist()


# Schedulers, callbacks, memory, interruption.


def test_schedulers_are_left_as_they_were():
    scheduler = FlowMatchEulerDiscreteScheduler()
    before = scheduler.timesteps.clone()
    run(video_scheduler=scheduler, audio_scheduler=scheduler)
    assert torch.equal(scheduler.timesteps, before) and scheduler.step_index is None


def test_a_stochastic_schedulers_picture_does_not_depend_on_the_sounds_seed():
    deaf = make_guidance("none", a_to_v=0.0)
    options = dict(video_scheduler=FlowMatchLCMScheduler(), audio_scheduler=FlowMatchLCMScheduler())
    one, other = (run(deaf, audio_seed=seed, **options).latent for seed in (12, 99))
    assert torch.equal(one.video, other.video) and not torch.equal(one.audio, other.audio)


# Noise drawn anew, η.


def test_eta_follows_ddim():
    """x' = α' x̂_0 + √(σ'² − σ̃²) ε̂ + σ̃ z (arXiv 2010.02502, eqs. 12 and 16), by hand."""
    model, eta, grid = ToyJoint(), 0.7, [*time_grid(3), 0.0]
    x = noise()
    for i, (t, after) in enumerate(zip(grid, grid[1:])):
        v = model.predict(x, AVTime(*torch.full((2, 1), t)), POSITIVE, [CouplingKind.FULL])
        z = AVLatent(video_noise(SHAPE.video, 11, i + 1), audio_noise(SHAPE.audio, 12, i + 1))
        sigma = eta * after * (1 - ((1 - t) * after / ((1 - after) * t)) ** 2) ** 0.5
        straight = (after**2 - sigma**2) ** 0.5
        parts = zip((x.video, x.audio), (v.video, v.audio), (z.video, z.audio))
        x = AVLatent(*((1 - after) * (p - t * q) + straight * (p + (1 - t) * q) + sigma * new for p, q, new in parts))
    assert_close(run(NONE, model, steps=3, eta=eta).latent, x)


def test_ancestral_sampling_keeps_the_distribution():
    model, text, many = GaussianJoint(std=0.5, cross=0.0), plain_condition(2.0), LatentShape((1, 4, 3, 40, 40), SHAPE.audio)
    straight, ancestral = (sample_with(model, many, text, text, NONE, steps=200, eta=eta).latent.video for eta in (0.0, 1.0))
    assert float(ancestral.mean()) == pytest.approx(2.0, abs=0.02) and float(ancestral.std()) == pytest.approx(0.5, rel=0.03)
    assert abs(torch.corrcoef(torch.stack([straight.flatten(), ancestral.flatten()]))[0, 1]) < 0.1


class OtherWorlds(GaussianJoint):
    """The same data in EDM's and DDPM's noise: x̂_0 = m + α std² / (α² std² + σ²) · (x − α m)."""

    paths = (EDM(), DDPM())
    prediction = "x0"

    def predict(self, latent, t, cond, kinds):
        levels = torch.exp(4 * t.video), (1 / DDPM().alphas_cumprod[t.audio.long()] - 1) ** 0.5
        return AVLatent(*(self.clean(x, level, text.tokens[:, 0, 0]) for x, level, text in zip(
            (latent.video, latent.audio), levels, (cond.video, cond.audio))))  # fmt: skip

    def clean(self, x, level, mean):
        level, mean = (value.view(-1, *[1] * (x.ndim - 1)) for value in (level, mean))
        alpha = (1 + level**2) ** -0.5
        return mean + alpha * self.std**2 / (alpha**2 * (self.std**2 + level**2)) * (x - alpha * mean)


def in_other_worlds(eta: float, shape: LatentShape = SHAPE, **options) -> AVLatent:
    text = plain_condition(2.0)
    return sample_with(OtherWorlds(std=0.5), shape, text, text, NONE, **{"steps": 100} | options, eta=eta).latent


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_ancestral_sampling_keeps_the_distribution_in_other_worlds(eta):
    for part in vars(in_other_worlds(eta, LatentShape((1, 4, 3, 40, 40), (1, 3, 4000)))).values():
        assert float(part.mean()) == pytest.approx(2.0, abs=0.03) and float(part.std()) == pytest.approx(0.5, rel=0.1)


def test_hardly_any_noise_drawn_anew_is_hardly_a_change():
    assert_close(run(eta=1e-6).latent, run().latent)
    assert_close(in_other_worlds(1e-6), in_other_worlds(0.0), atol=1e-3)


@pytest.mark.parametrize("eta", [0.5, 1.0, 3.0])
def test_noise_drawn_anew_does_not_depend_on_the_sounds_seed_the_batch_or_the_length(eta):
    deaf = make_guidance("none", a_to_v=0.0)
    one, other = (run(deaf, audio_seed=seed, eta=eta).latent for seed in (12, 99))
    assert torch.equal(one.video, other.video) and not torch.equal(one.audio, other.audio)
    assert equal(run(eta=eta).latent, run(eta=eta).latent) and not equal(run(eta=eta).latent, run().latent)
    assert_close(run(start=PAIR, eta=eta, video_seed=[5, 11], audio_seed=[6, 12]).latent[1:], run(eta=eta).latent)
    longer = LatentShape((1, VIDEO_CHANNELS, 5, 4, 4), (1, AUDIO_CHANNELS, 15))
    for short, long in zip(vars(in_other_worlds(eta, steps=4)).values(), vars(in_other_worlds(eta, longer, steps=4)).values()):
        torch.testing.assert_close(long[:, :, : short.shape[2]], short)


class Seeing:
    """An alignment that moves nothing and notes the clean estimates of what it was to move."""

    skipped, through_denoiser, inner_steps, steps_ahead = 0, False, 1, 0

    def __init__(self):
        self.seen = []

    def moves_latents(self, step):
        return True

    def tunes_prompts(self, step):
        return False

    def move_latents(self, latent, clean):
        self.seen.append(clean(latent))
        return latent


@pytest.mark.parametrize("eta", [0.0, 0.7, 3.0])
def test_an_aligner_sees_the_clean_estimate_whatever_noise_is_in_the_state(eta):
    seeing, told = Seeing(), []
    run(alignment=seeing, eta=eta, on_step=lambda step, steps, x0: told.append(x0))
    for seen, x0 in zip(seeing.seen, told, strict=True):
        assert_close(seen, x0, atol=1e-4)


def test_what_is_given_comes_out_as_it_was_with_noise_drawn_anew():
    clip, known = noise(), torch.tensor([True, False, False]).view(1, 1, 3, 1, 1)
    given = KnownParts(clip, AVLatent(known, torch.zeros(1, 1, 1, dtype=torch.bool)), "renoised")
    out = run(known=given, eta=1.0, video_seed=3).latent.video
    assert torch.equal(out[:, :, 0], clip.video[:, :, 0]) and not torch.isclose(out[:, :, 1:], clip.video[:, :, 1:]).all()


@pytest.mark.parametrize("eta", [0.0, 1.0])
def test_a_step_without_branches_stands_still(eta):
    told = []
    run(make_guidance("cfg_zero_star", zero_steps=3), eta=eta, on_step=lambda step, steps, x0: told.append(x0))
    for x0 in told[:3]:
        assert_close(x0, noise())
    assert not torch.isclose(told[3].video, noise().video).all()


def test_callback_gets_every_step_and_the_clean_estimates():
    seen = []
    result = run(on_step=lambda *args: seen.append(args))
    assert [(step, steps) for step, steps, _ in seen] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert_close(seen[-1][2], result.latent)


@pytest.mark.parametrize("batched, calls", [(True, 2), (False, 3)])
def test_interrupt_is_asked_before_every_network_call(batched, calls):
    class Stop(BaseException):
        pass

    model, asked = ToyJoint(), []

    def check() -> None:
        asked.append(len(model.calls))
        if len(asked) > calls:
            raise Stop

    with pytest.raises(Stop):
        run(model=model, batch_branches=batched, check_interrupt=check)
    assert asked == list(range(calls + 1)) and len(model.calls) == calls


@pytest.mark.parametrize(
    "error", [torch.OutOfMemoryError("no room"), RuntimeError("can't allocate memory: 9 bytes"), MemoryError()]
)
def test_out_of_memory_falls_back_to_branches_in_turn(error):
    class Small(ToyJoint):
        def predict(self, latent, t, cond, kinds):
            if latent.rows > 1:
                raise error
            return super().predict(latent, t, cond, kinds)

    result = run(model=Small())
    assert equal(result.latent, run(batch_branches=False).latent)
    assert result.forwards_per_step == 2 and result.branches_per_step == 2
    assert result.warnings == ("out of memory with 2 network rows at once: from step 1 of 4 on, branches ran one by one",)
    with pytest.raises(type(error)):
        run(model=Small(), start=PAIR)


def test_a_second_model_answers_its_branches():
    class Both(AffineGuidance):
        name = "both"

        def weights(self):
            return [(Branch(model="bad"), Weight(-1.0, -1.0)), (Branch(), Weight(2.0, 2.0))]

    good, bad = GaussianJoint(cross=1.0), GaussianJoint(cross=0.0)
    args = SHAPE, plain_condition(0.0), plain_condition(0.0), Both()
    out = sample_with(good, *args, steps=200, bad_model=PromptedModel(bad, plain_condition(-0.5), plain_condition(0.0)))
    mean = float((out.latent.video - 0.5 * video_noise(SHAPE.video, 0)).mean())
    assert mean == pytest.approx(2 * 1.0 + 0.5, abs=0.02)  # each model is asked in its own words
    assert out.forwards_per_step == 2 and len(good.calls) == len(bad.calls) == 200
    with pytest.raises(ValueError, match="^guidance both needs a second, weaker model; pass one as bad_model$"):
        sample_with(good, *args, steps=2)


def test_values_that_are_not_finite_are_reported():
    guidance = make_guidance("cfg", video_scale=1e38, audio_scale=1.0)
    assert run(guidance).warnings == (
        "the video came out with NaN or infinite values; lower the guidance scale",
        "the audio came out with NaN or infinite values; lower the guidance scale",
    )
    assert run().warnings == ()


# Bad input: one line each.


@pytest.mark.parametrize(
    "options, message",
    [
        (dict(steps=10**12), "steps is 1000000000000; give at most 100000"),
        (dict(steps=0), "steps is 0; give a whole number of at least 1"),
        (dict(steps=-3), "steps is -3; give a whole number of at least 1"),
        (dict(steps=float("nan")), "steps is nan; give a whole number of at least 1"),
        (dict(steps=2.5), "steps is 2.5; give a whole number of at least 1"),
        (dict(shift=0), "shift is 0; give a number above 0 (1: no shift)"),
        (dict(shift=float("inf")), "shift is inf; give a number above 0 (1: no shift)"),
        (dict(audio_shift=0), "audio_shift is 0; give a number above 0 (1: no shift)"),
        (dict(parity=True, audio_shift=2.0), "audio_shift is 2.0; in parity mode leave it at 1 and set the scheduler's own shift"),
        (dict(parity=True, shift=2.0), "shift is 2.0; in parity mode leave it at 1 and set the scheduler's own shift"),
        (dict(eta=-0.1), "eta is -0.1; use 0 (no new noise), 1 (ancestral sampling) or more"),
        (dict(eta=float("nan")), "eta is nan; use 0 (no new noise), 1 (ancestral sampling) or more"),
        (dict(eta=1.0, parity=True), "eta is 1.0; leave it at 0 in parity mode and with your own schedulers"),
        (dict(eta=1.0, audio_scheduler=FlowMatchLCMScheduler()),
         "eta is 1.0; leave it at 0 in parity mode and with your own schedulers"),
        (dict(video_seed=[5, 6]), "there are 2 seeds for 1 clips; use one seed per clip, or one for all"),
        (dict(video_seed=-1), "video_seed is -1; use a whole number from 0 to 18446744073709551615"),
        (dict(audio_seed=2**64), f"audio_seed is {2**64}; use a whole number from 0 to 18446744073709551615"),
        (dict(video_scheduler=FlowMatchEulerDiscreteScheduler(shift=3.0)),
         "video scheduler FlowMatchEulerDiscreteScheduler changes the shared time grid; "
         "set the scheduler's shift to 1 and use the sampler's shift"),
        (dict(audio_scheduler=FlowMatchEulerDiscreteScheduler(use_dynamic_shifting=True)),
         "audio scheduler FlowMatchEulerDiscreteScheduler is not configured for flow matching on a shared time grid; "
         "turn use_dynamic_shifting off, and use_flow_sigmas on if it has this setting"),
        (dict(audio_scheduler=FlowMatchHeunDiscreteScheduler()),
         "audio scheduler FlowMatchHeunDiscreteScheduler does not accept a time grid; choose FlowMatchEuler or flow UniPC"),
        (dict(parity=True, audio_scheduler=FlowMatchHeunDiscreteScheduler()),
         "the schedulers take 4 (video) and 7 (audio) network evaluations; choose two that take the same number"),
    ],
)  # fmt: skip
def test_bad_numbers_and_schedulers_get_one_line(options, message):
    with pytest.raises(ValueError) as error:
        run(**options)
    assert str(error.value) == message


@pytest.mark.parametrize("cls", [EulerDiscreteScheduler, EDMEulerScheduler])
def test_a_scheduler_that_is_no_flow_is_refused(cls):
    with pytest.raises(ValueError, match=f"^audio scheduler {cls.__name__} is not configured for flow matching"):
        run(audio_scheduler=cls())


def test_parity_refuses_a_scheduler_that_is_no_flow():
    with pytest.raises(ValueError, match="^video scheduler DDIMScheduler is not a flow-matching scheduler"):
        run(parity=True, video_scheduler=DDIMScheduler())


def test_prompts_that_do_not_fit_the_latents_are_named():
    with pytest.raises(ValueError, match="^the prompts have 3 rows and the latents 2; use one prompt, or one"):
        sample_with(ToyJoint(), PAIR, toy_condition(1, rows=3), NEGATIVE, JOINT, steps=1)


def test_a_model_without_the_coupling_is_refused_before_anything_runs():
    model = ToyJoint()
    model.kinds = frozenset({CouplingKind.FULL})
    with pytest.raises(ValueError, match="^guidance joint_cfg needs coupling cut, which this model does not support"):
        run(model=model)
    assert model.calls == []
    assert run(NONE, model).latent.rows == 1


# The clock and the parameterisations.


def test_time_grid_is_uniform_from_one_and_bent_by_shift():
    assert time_grid(4) == [1.0, 0.75, 0.5, 0.25]
    assert time_grid(2, shift=3.0) == [1.0, 0.75]


@pytest.mark.parametrize("alpha, sigma", [(0.7, 0.3), (0.6, 0.8), (1.0, 4.0)])
def test_every_prediction_converts_into_every_other(alpha, sigma):
    x0, epsilon = torch.randn(2, 50, generator=torch.Generator().manual_seed(0))
    x_t = alpha * x0 + sigma * epsilon
    kinds = {"flow": epsilon - x0, "epsilon": epsilon, "v": alpha * epsilon - sigma * x0, "x0": x0}
    for source, given in kinds.items():
        torch.testing.assert_close(to_x0(given, x_t, alpha, sigma, source), x0, atol=1e-5, rtol=1e-5)
        for target, wanted in kinds.items():
            torch.testing.assert_close(convert(given, x_t, alpha, sigma, source, target), wanted, atol=1e-5, rtol=1e-5)
    assert convert(x_t, x_t, alpha, sigma, "flow", "flow") is x_t


@pytest.mark.parametrize("kind", ["v", "x0"])
def test_a_model_of_another_prediction_samples_the_same(kind):
    class Other(GaussianJoint):
        prediction = kind

        def predict(self, latent, t, cond, kinds):
            flow = super().predict(latent, t, cond, kinds)
            at = [x.flatten()[0].item() for x in (t.video, t.audio)]
            pairs = zip((flow.video, flow.audio), (latent.video, latent.audio), at)
            return AVLatent(*(convert(f, x, 1 - s, s, "flow", kind) for f, x, s in pairs))

    args = SHAPE, plain_condition(2.0), plain_condition(-1.0), JOINT
    assert_close(sample_with(Other(), *args, steps=20).latent, sample_with(GaussianJoint(), *args, steps=20).latent, atol=1e-4)


def test_guidance_is_not_changed_by_parity():
    run(parity=True)
    assert JOINT == replace(JOINT, removed=False)
