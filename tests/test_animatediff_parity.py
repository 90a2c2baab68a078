"""In parity mode the sampler is AnimateDiff's and AudioLDM's own pipeline, given the same noise and words."""

from __future__ import annotations

import pytest
import torch
from diffusers import DDIMScheduler, DPMSolverMultistepScheduler, EulerDiscreteScheduler
from torch import Tensor

from duet_av.av_models.contract import AVLatent
from duet_av.av_models.guidance import make_guidance
from duet_av.av_models.latent_aligner import Aligner
from duet_av.tests.pipelines import ANIMATEDIFF_BETAS, AUDIOLDM_BETAS, DDIM, MOST_FRAMES, animatediff, asked, audioldm, pair
from duet_av.tests.sample_with import sample_with
from duet_av.tests.toy_binder import Quarters

STEPS, FRAMES, SIZE = 3, 3, 16
SECONDS = 8 * 2 * 4 / 16000  # 8 latent steps of 2 spectrogram columns, each of 4 samples
WORDS, NEGATIVE = "a red ball", "bad"


@pytest.fixture(scope="module")
def video():
    return animatediff()


@pytest.fixture(scope="module")
def audio():
    return audioldm()


@pytest.fixture(scope="module")
def noise() -> AVLatent:
    generator = torch.Generator().manual_seed(5)
    return AVLatent(
        torch.randn(1, 4, FRAMES, SIZE // 2, SIZE // 2, generator=generator), torch.randn(1, 4, 8, 4, generator=generator)
    )


def by_sampler(video, audio, noise, scale: float, batched: bool, alignment=None) -> AVLatent:
    return sample_with(
        pair(video, audio).denoiser, noise, asked(video, audio, WORDS), asked(video, audio, NEGATIVE),
        make_guidance("cfg", video_scale=scale, audio_scale=scale), steps=STEPS, parity=True, batch_branches=batched,
        video_scheduler=video.scheduler, audio_scheduler=audio.scheduler, alignment=alignment,
    ).latent  # fmt: skip


def by_pipelines(video, audio, noise, scale: float) -> AVLatent:
    picture = video(
        WORDS, FRAMES, SIZE, SIZE, STEPS, guidance_scale=scale, negative_prompt=NEGATIVE, latents=noise.video,
        output_type="latent", return_dict=False,
    )[0]  # fmt: skip
    sounds: list[Tensor] = []  # AudioLDM's pipeline gives waveforms, and its latents to a callback alone
    audio(
        WORDS, SECONDS, STEPS, guidance_scale=scale, negative_prompt=NEGATIVE, latents=noise.audio,
        callback=lambda step, t, latents: sounds.append(latents),
    )  # fmt: skip
    return AVLatent(picture, sounds[-1])


@pytest.fixture
def scheduler(request, video, audio):
    """Both pipelines with a scheduler of one kind."""
    options = DDIM if request.param is DDIMScheduler else {"steps_offset": 1}
    video.scheduler = request.param(**ANIMATEDIFF_BETAS, **options)
    audio.scheduler = request.param(**AUDIOLDM_BETAS, **options)


@pytest.mark.parametrize("scale", [1.0, 2.5], ids=["prompt alone", "guided"])
@pytest.mark.parametrize("scheduler", [DDIMScheduler, DPMSolverMultistepScheduler, EulerDiscreteScheduler], indirect=True)
def test_picture_and_sound_are_the_pipelines_bit_for_bit(scheduler, video, audio, noise, scale):
    """In turn with guidance, within 1e-5: the pipelines' networks always get both prompts at once."""
    theirs = by_pipelines(video, audio, noise, scale)
    for batched in (True, False):
        ours = by_sampler(video, audio, noise, scale, batched)
        for made, wanted in ((ours.video, theirs.video), (ours.audio, theirs.audio)):
            assert torch.equal(made, wanted) if batched or scale == 1 else (made - wanted).norm() <= 1e-5 * wanted.norm()


def test_an_aligner_without_strength_leaves_them_as_they_are(video, audio, noise):
    model, idle = pair(video, audio), Aligner(binder=Quarters(), words=0.0, video_rate=0.0, audio_rate=0.0)
    alignment = idle.begin(model, model.shape(), ("", ""))
    theirs, ours = by_pipelines(video, audio, noise, 1.0), by_sampler(video, audio, noise, 1.0, False, alignment)
    assert torch.equal(ours.video, theirs.video) and torch.equal(ours.audio, theirs.audio)


def test_more_frames_than_the_motion_modules_know_are_refused_in_one_line(video, audio, noise):
    longer = AVLatent(torch.randn(1, 4, MOST_FRAMES + 1, 8, 8), noise.audio)
    with pytest.raises(ValueError, match="^the clip has 7 frames; use at most 6, the limit of the motion modules$"):
        by_sampler(video, audio, longer, 1.0, False)


def test_stable_diffusions_own_betas_are_refused_in_one_line(video, audio, noise):
    video.scheduler = DDIMScheduler(**ANIMATEDIFF_BETAS | {"beta_schedule": "scaled_linear"}, **DDIM)
    with pytest.raises(ValueError, match="^video scheduler DDIMScheduler has different betas from the model's training"):
        by_sampler(video, audio, noise, 1.0, False)
