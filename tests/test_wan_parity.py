"""In parity mode, the video of Wan beside any audio expert is that of Wan's own pipelines, given the same noise and words."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, UniPCMultistepScheduler, WanImageToVideoPipeline, WanPipeline

from duet_av.av_models.contract import AVCondition, AVLatent
from duet_av.av_models.guidance import Curve, make_guidance
from duet_av.av_models.joint.separate_experts import SeparateExperts
from duet_av.av_models.known_parts import KnownParts
from duet_av.av_models.loading import without_bars
from duet_av.av_models.published.load_published import load_published
from duet_av.av_models.published.loaded_expert import LoadedExpert
from duet_av.benchmarks.small_models import wan as small_wan_files
from duet_av.tests import small
from duet_av.tests.sample_with import sample_with

STEPS, FRAMES, SIZE, SCALE = 4, 5, 64, 4.0
WORDS, NEGATIVE = "a red ball", "blurry"
SCHEDULERS = {
    "UniPC": lambda: UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=5.0),
    "Euler": lambda: FlowMatchEulerDiscreteScheduler(shift=3.0),
}


@dataclass(frozen=True)
class Pair:
    """A model as Duet loads it, and the pipeline of diffusers."""

    loaded: LoadedExpert
    pipeline: WanPipeline

    @property
    def noise(self) -> AVLatent:
        stride, generator = self.loaded.codec.stride, torch.Generator().manual_seed(3)
        shape = 1, stride.channels, 2, SIZE // stride.space, SIZE // stride.space
        return AVLatent(torch.randn(shape, generator=generator), small.latent(rows=1).audio)

    def ours(self, scheduler, curve: Curve | None = None, known: KnownParts | None = None) -> torch.Tensor:
        model = SeparateExperts(self.loaded.expert, small.audio_expert().eval())
        words, negative = (
            AVCondition(self.loaded.conditioner.condition(each, None, None), small.text(rows=1)) for each in (WORDS, NEGATIVE)
        )
        guidance = make_guidance("cfg", video_scale=SCALE, audio_scale=1.0, scale_curve=curve)
        found = sample_with(
            model, self.noise, words, negative, guidance, steps=STEPS, parity=True, video_scheduler=scheduler,
            batch_branches=False, **({} if known is None else {"known": known}),
        )  # fmt: skip
        return found.latent.video

    def theirs(self, scheduler, **options) -> torch.Tensor:
        return run(self.pipeline, scheduler, self.noise, prompt=WORDS, negative_prompt=NEGATIVE, **options)


def run(pipeline, scheduler, noise: AVLatent, **options) -> torch.Tensor:
    pipeline.scheduler = scheduler
    pipeline.set_progress_bar_config(disable=True)
    return pipeline(
        height=SIZE, width=SIZE, num_frames=FRAMES, num_inference_steps=STEPS, guidance_scale=SCALE, latents=noise.video.clone(),
        output_type="latent", **options,
    ).frames  # fmt: skip


@pytest.fixture(scope="module")
def pairs(small_wan: Path, tmp_path_factory) -> dict[str, Pair]:
    root = tmp_path_factory.mktemp("wan")
    for size in ("t2v", "a14b"):
        small_wan_files.build(root / size, size=size)
    folders = {"ti2v": small_wan, "t2v": root / "t2v", "a14b": root / "a14b"}
    with without_bars():
        return {size: Pair(load_published(each, "video"), WanPipeline.from_pretrained(each)) for size, each in folders.items()}


@torch.no_grad()
@pytest.mark.parametrize("size, name", [("t2v", "UniPC"), ("t2v", "Euler"), ("a14b", "UniPC"), ("ti2v", "UniPC")])
def test_text_to_video_is_the_pipelines(pairs, size, name):
    """Bit for bit, but for TI2V: the pipeline embeds the time of each token, and Duet that of the clip."""
    found, wanted = pairs[size].ours(SCHEDULERS[name]()), pairs[size].theirs(SCHEDULERS[name]())
    print(f"largest difference, {size}, {name}: {(found - wanted).abs().max():.1e} of {wanted.abs().max():.1f}")
    tolerance = 1e-5 if size == "ti2v" else 1e-6
    torch.testing.assert_close(found, wanted, atol=tolerance, rtol=tolerance)


@torch.no_grad()
def test_the_two_scales_of_a14b_are_a_curve(pairs):
    """WanPipeline has a scale for each network. Here a curve over the steps changes s − 1 at the boundary."""
    scheduler = SCHEDULERS["UniPC"]()
    scheduler.set_timesteps(STEPS)
    high = int((scheduler.timesteps >= 875).sum())
    assert 0 < high < STEPS
    curve = Curve(((0.0, 1.0), ((high - 1) / (STEPS - 1), 1.0), (high / (STEPS - 1), 2 / 3), (1.0, 2 / 3)))
    found = pairs["a14b"].ours(SCHEDULERS["UniPC"](), curve)
    wanted = pairs["a14b"].theirs(SCHEDULERS["UniPC"](), guidance_scale_2=1 + (SCALE - 1) * 2 / 3)
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)
    assert not torch.allclose(found, pairs["a14b"].ours(SCHEDULERS["UniPC"]()), atol=1e-3)


@torch.no_grad()
@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_given_first_frame_is_the_pipelines(pairs, name):
    """Wan 2.2 TI2V-5B: the frame's latent at every step, and t = 0 for its tokens."""
    pair = pairs["ti2v"]
    loaded, noise = pair.loaded, pair.noise
    image = torch.rand(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(4))
    latent = torch.zeros_like(noise.video)
    latent[:, :, :1] = loaded.codec.encode(image.movedim(1, -1)[:, None])
    first = torch.tensor([True, False]).view(1, 1, 2, 1, 1)
    nothing = torch.zeros(1, 1, 1, dtype=torch.bool)
    known = KnownParts(AVLatent(latent, noise.audio), AVLatent(first, nothing), loaded.card["given"])
    found = pair.ours(SCHEDULERS[name](), known=known)
    own = pair.pipeline
    pipeline = WanImageToVideoPipeline(
        own.tokenizer, own.text_encoder, own.vae, own.scheduler, transformer=own.transformer, expand_timesteps=True
    )
    prompt, negative = (loaded.conditioner.condition(each, None, None).padded(512).tokens for each in (WORDS, NEGATIVE))
    wanted = run(pipeline, SCHEDULERS[name](), noise, image=image, prompt_embeds=prompt, negative_prompt_embeds=negative)
    print(f"largest difference, first frame, {name}: {(found - wanted).abs().max():.1e} of {wanted.abs().max():.1f}")
    torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-5)
    assert torch.equal(found[:, :, :1], latent[:, :, :1])
    assert not torch.allclose(found[:, :, 1:], pair.ours(SCHEDULERS[name]())[:, :, 1:], atol=1e-3)


@torch.no_grad()
def test_prompts_are_encoded_as_the_pipeline_does(pairs):
    loaded, pipeline = pairs["ti2v"].loaded, pairs["ti2v"].pipeline
    for words in ("a red ball,  bounces &amp; falls", "", "x" * 600):
        wanted = pipeline.encode_prompt(words, do_classifier_free_guidance=False, max_sequence_length=512)[0]
        found = loaded.conditioner.condition(words, None, None)
        assert torch.equal(found.padded(512).tokens, wanted) and bool(found.mask.all())
