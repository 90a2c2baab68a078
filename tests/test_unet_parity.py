"""In parity mode the sampler is SVD's and AudioLDM2's own pipeline, given the same noise."""

from __future__ import annotations

import pytest
import torch
from diffusers import (
    AutoencoderKLTemporalDecoder,
    DDIMScheduler,
    DPMSolverMultistepScheduler,
    EulerDiscreteScheduler,
    StableVideoDiffusionPipeline,
)
from transformers import CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModelWithProjection

from duet_av.av_models.branch_runner import PromptedModel
from duet_av.av_models.contract import AVCondition, AVLatent, Condition
from duet_av.av_models.experts.svd_image import drop_image, encode_image
from duet_av.av_models.guidance import make_guidance
from duet_av.av_models.known_parts import KnownParts
from duet_av.tests.sample_with import sample_with
from duet_av.tests.toy import ToyJoint
from duet_av.tests.unets import IMAGE_WIDTH, condition, jointdit, trained

STEPS, FRAMES, SIZE = 4, 3, 16
AUDIOLDM2_BETAS = {"beta_start": 0.0015, "beta_end": 0.0195, "beta_schedule": "scaled_linear"}


@pytest.fixture(scope="module")
def model():
    return trained(jointdit())


@pytest.fixture(scope="module")
def svd(model) -> StableVideoDiffusionPipeline:
    torch.manual_seed(7)
    vae = AutoencoderKLTemporalDecoder(block_out_channels=(32, 32), down_block_types=("DownEncoderBlock2D",) * 2, latent_channels=4)
    vision = CLIPVisionConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, image_size=224, patch_size=56,
        projection_dim=IMAGE_WIDTH,
    )  # fmt: skip
    scheduler = EulerDiscreteScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear", prediction_type="v_prediction",
        timestep_type="continuous", timestep_spacing="leading", use_karras_sigmas=True, sigma_min=0.002, sigma_max=700.0,
        steps_offset=1, interpolation_type="linear",
    )  # fmt: skip
    pipeline = StableVideoDiffusionPipeline(
        vae.eval(), CLIPVisionModelWithProjection(vision).eval(), model.video.unet, scheduler, CLIPImageProcessor()
    )
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


@pytest.fixture(scope="module")
def noise() -> AVLatent:
    generator = torch.Generator().manual_seed(5)
    return AVLatent(
        torch.randn(1, 4, FRAMES, SIZE // 2, SIZE // 2, generator=generator), torch.randn(1, 4, 8, 4, generator=generator)
    )


def by_svd(svd, image, noise, low: float, high: float):
    made = svd(
        svd.video_processor.numpy_to_pil(image.numpy()), SIZE, SIZE, FRAMES, STEPS, min_guidance_scale=low,
        max_guidance_scale=high, fps=7, motion_bucket_id=90, noise_aug_strength=0.1, latents=init(svd, noise.video),
        generator=torch.Generator().manual_seed(3), output_type="latent", return_dict=False,
    )  # fmt: skip
    return made.transpose(1, 2)


def init(svd, video):
    """The pipeline scales the noise that it is given."""
    return video.transpose(1, 2).contiguous()


def by_sampler(model, svd, image, noise, guidance, batched: bool, audio_scheduler=None):
    positive = encode_image(
        svd, image, height=SIZE, width=SIZE, fps=7, motion_bucket=90, noise_augmentation=0.1,
        generator=torch.Generator().manual_seed(3),
    )  # fmt: skip
    sound = condition(1).audio
    return sample_with(
        model, noise, AVCondition(positive, sound), AVCondition(drop_image(positive), condition(1, seed=8).audio), guidance,
        steps=STEPS, parity=True, batch_branches=batched, video_scheduler=svd.scheduler,
        audio_scheduler=audio_scheduler or DDIMScheduler(**AUDIOLDM2_BETAS, clip_sample=False, steps_offset=1),
    ).latent  # fmt: skip


@torch.no_grad()
@pytest.mark.parametrize("batched", [True, False])
@pytest.mark.parametrize("low, high", [(1.0, 1.0), (1.0, 3.0), (2.0, 2.0)])
def test_the_picture_is_the_svd_pipelines(svd, model, noise, low, high, batched):
    image = torch.rand(20, 24, 3, generator=torch.Generator().manual_seed(1))
    ramp = 1.0 if high == 1 else (low - 1) / (high - 1)
    guidance = make_guidance("cfg", video_scale=high, audio_scale=high, frame_ramp=ramp)
    ours = by_sampler(without_blocks(model), svd, image, noise, guidance, batched).video
    theirs = by_svd(svd, image, noise, low, high)
    if batched:
        assert torch.equal(ours, theirs)
    assert (ours - theirs).norm() <= 1e-5 * theirs.norm()


def without_blocks(model):
    """Removed, a trained JointDiT keeps its feed-forwards (eq. 11); its experts alone are the untrained one's."""
    plain = jointdit()
    plain.video, plain.audio = model.video, model.audio
    return plain


def by_audioldm2(unet, scheduler, x, texts: tuple[Condition, Condition], scale: float):
    """The loop of AudioLDM2Pipeline.__call__, whose other parts (CLAP, T5, GPT-2) only make what is given here."""
    negative, positive = texts
    text = Condition.cat([negative, positive]) if scale > 1 else positive
    scheduler.set_timesteps(STEPS)
    latents = x * scheduler.init_noise_sigma
    for t in scheduler.timesteps:
        inputs = scheduler.scale_model_input(torch.cat([latents] * len(text.tokens)), t)
        predicted = unet(
            inputs, t, encoder_hidden_states=text.tokens, encoder_hidden_states_1=text.second.tokens,
            encoder_attention_mask_1=text.second.mask, return_dict=False,
        )[0]  # fmt: skip
        if scale > 1:
            unconditional, conditional = predicted.chunk(2)
            predicted = unconditional + scale * (conditional - unconditional)
        latents = scheduler.step(predicted, t, latents).prev_sample
    return latents


@torch.no_grad()
@pytest.mark.parametrize("batched", [True, False])
@pytest.mark.parametrize("scale", [1.0, 3.5])
@pytest.mark.parametrize("kind", [DDIMScheduler, DPMSolverMultistepScheduler, EulerDiscreteScheduler])
def test_the_sound_is_the_audioldm2_pipelines(svd, model, noise, kind, scale, batched):
    options = {"clip_sample": False, "steps_offset": 1} if kind is DDIMScheduler else {"steps_offset": 1}
    scheduler = kind(**AUDIOLDM2_BETAS, **options)
    guidance = make_guidance("cfg", video_scale=scale, audio_scale=scale)
    image = torch.rand(20, 24, 3, generator=torch.Generator().manual_seed(1))
    ours = by_sampler(without_blocks(model), svd, image, noise, guidance, batched, scheduler).audio
    texts = condition(1, seed=8).audio, condition(1).audio
    theirs = by_audioldm2(model.audio.unet, scheduler, noise.audio, texts, scale)
    if batched:
        assert torch.equal(ours, theirs)
    assert (ours - theirs).norm() <= 1e-5 * theirs.norm()


@torch.no_grad()
def test_coupled_both_worlds_run_on_one_clock(model, noise):
    """Each network is told its own world's time of the same t, and the clean estimates stay finite and unit-sized."""
    told, seen = [], []
    predict = type(model).predict
    cond = condition(1)

    class Noting(type(model)):
        def predict(self, latent, t, *args):
            told.append((t.video.item(), t.audio.item()))
            seen.append((latent.video.std().item(), latent.audio.std().item()))
            return predict(self, latent, t, *args)

    model.__class__, before = Noting, type(model)
    try:
        out = sample_with(model, noise, cond, condition(1, seed=8), make_guidance("joint_cfg", scale=1.0), steps=STEPS).latent
    finally:
        model.__class__ = before
    grid = torch.tensor([1.0, 0.75, 0.5, 0.25])
    video, audio = model.paths
    assert told == [
        (pytest.approx(v, abs=1e-4), a) for v, a in zip(video.network_time(grid).tolist(), audio.network_time(grid).tolist())
    ]
    assert seen[0] == (pytest.approx(1.0, abs=0.1), pytest.approx(1.0, abs=0.1))
    assert out.video.isfinite().all() and out.audio.isfinite().all()


def coupled(model, noise, guidance="joint_cfg", **options):
    return sample_with(model, noise, condition(1), condition(1, seed=8), make_guidance(guidance), **{"steps": 2} | options)


def test_more_steps_than_noise_levels_are_refused_in_one_line(model, noise):
    with pytest.raises(ValueError, match="250 steps have only .* different noise levels in the audio; use fewer steps, or a shift"):
        coupled(model, noise, steps=250, shift=5.0)


def test_a_bad_model_of_another_noise_world_is_refused(model, noise):
    bad = PromptedModel(ToyJoint(), condition(1), condition(1))
    with pytest.raises(
        ValueError, match="bad_model was trained with another noise schedule; use a weaker version of the same model"
    ):
        coupled(model, noise, bad_model=bad)


def test_clean_parts_are_refused_where_a_network_has_no_time_for_them(model, noise):
    first = AVLatent(torch.arange(FRAMES).view(1, 1, -1, 1, 1) == 0, torch.zeros(1, 1, 1, 1, dtype=torch.bool))
    with pytest.raises(ValueError, match="this model cannot use clean known parts; use mode 'renoised'"):
        coupled(model, noise, known=KnownParts(noise, first, "clean"))
    out = coupled(model, noise, known=KnownParts(noise, first, "renoised")).latent
    assert torch.equal(out.video[:, :, 0], noise.video[:, :, 0]) and not torch.equal(out.video[:, :, 1], noise.video[:, :, 1])
