"""The small Kandinsky 6 in diffusers' own pipeline, and how it is called with Duet's noise and prompts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import Kandinsky6TI2VAPipeline
from PIL import Image
from transformers import Qwen2Tokenizer

from duet_av.av_models.branch_runner import PromptedModel
from duet_av.av_models.clip_latent import first_frame, make_known_masks, nothing
from duet_av.av_models.contract import AVCondition, AVLatent, Condition
from duet_av.av_models.guidance import Guidance, make_guidance
from duet_av.av_models.joint_model import JointModel
from duet_av.av_models.known_parts import KnownParts
from duet_av.av_models.noise import NoiseSource
from duet_av.av_models.sampling import RunOptions, SampleResult, sample

FRAMES, HEIGHT, WIDTH, STEPS = 9, 32, 48, 3
WORDS, BAD_WORDS = "A red ball bounces.", "static, blurred"
SCALE = 5.0


def load_pipeline(folder: Path) -> Kandinsky6TI2VAPipeline:
    """Load the pipeline from `folder`. Its processor needs torchvision, so it gets the processor's tokenizer."""
    tokenizer = Qwen2Tokenizer.from_pretrained(folder / "tokenizer")
    pipeline = Kandinsky6TI2VAPipeline.from_pretrained(folder, tokenizer=None)
    pipeline.tokenizer = lambda text, images, videos, **settings: tokenizer(text, **settings)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def clip(model: JointModel, frames: int = FRAMES):
    return model.shape(frames=frames, height=HEIGHT, width=WIDTH)


def draw_noise(model: JointModel, frames: int = FRAMES, seed: int = 3, rows: int = 1) -> AVLatent:
    shape = model.latent_shape(clip(model, frames), rows)
    generator = torch.Generator().manual_seed(seed)
    return AVLatent(torch.randn(shape.video, generator=generator), torch.randn(shape.audio, generator=generator))


def draw_image() -> Image.Image:
    pixels = torch.rand(HEIGHT, WIDTH, 3, generator=torch.Generator().manual_seed(8))
    return Image.fromarray((pixels * 255).byte().numpy())


def drawn_by(pipeline: Kandinsky6TI2VAPipeline, image: Image.Image, seed: int) -> torch.Tensor:
    """The first frame's latent [1, C, 1, h, w] that the pipeline draws from the VAE's distribution."""
    generator = torch.Generator().manual_seed(seed)
    drawn = pipeline.encode_image(image, HEIGHT, WIDTH, torch.device("cpu"), torch.float32, 1, generator)
    return drawn.movedim(-1, 1)[:, :, None]


def first_frame_of(model, latent: torch.Tensor) -> KnownParts:
    """The first frame's latent [B, C, 1, h, w] as a known part."""
    sizes = model.latent_shape(clip(model), len(latent))
    video = torch.cat([latent, torch.zeros(sizes.video)[:, :, 1:]], 2)
    masks = make_known_masks(model, clip(model), first_frame, nothing)
    return KnownParts(AVLatent(video, torch.zeros(sizes.audio)), masks, *model.known_modes)


def by_pipeline(pipeline: Kandinsky6TI2VAPipeline, noise: AVLatent, scale: float = SCALE, **options: Any) -> AVLatent:
    """The latents of the pipeline itself."""
    settings = {"prompt": WORDS, "negative_prompt": BAD_WORDS, "num_inference_steps": STEPS} | options
    video, audio = pipeline(
        height=HEIGHT, width=WIDTH, num_frames=FRAMES, guidance_scale=scale, latents=noise.video, audio_latents=noise.audio,
        output_type="latent", return_dict=False, **settings,
    )  # fmt: skip
    return AVLatent(video, audio)


def prompted(model: JointModel, words: str = WORDS, bad_words: str = BAD_WORDS) -> PromptedModel:
    return PromptedModel(model.denoiser, model.encode(words, ""), model.encode(bad_words, ""))


def by_sampler(
    model: JointModel, noise: Any, guidance: Guidance | None = None, *, one_by_one: bool = False, prompts: Any = None,
    steps: int = STEPS, eta: float = 0.0, seeds: tuple[int, int] = (0, 0), **parts: Any,
) -> SampleResult:  # fmt: skip
    """Duet's sampler with the model's own times."""
    shape = noise if not isinstance(noise, AVLatent) else None
    latents = shape or model.latent_shape(clip(model), noise.rows)
    schedule = model.make_schedule(latents, steps, eta)
    guidance = guidance or make_guidance("cfg", video_scale=SCALE, audio_scale=SCALE)
    source = NoiseSource(noise, *seeds)
    return sample(prompts or prompted(model), source, guidance, schedule, options=RunOptions(not one_by_one), **parts)


def random_condition(model: JointModel, rows: int, seed: int, length: int = 40, real: int = 25) -> AVCondition:
    """Prompts of `rows` rows, other ones for video and audio."""
    config, generator = model.denoiser.transformer.config, torch.Generator().manual_seed(seed)

    def one(real: int) -> Condition:
        tokens = torch.randn(rows, length, config.in_text_dim, generator=generator)
        mask = (torch.arange(length) < real).expand(rows, -1)
        return Condition(tokens, mask, torch.randn(rows, config.in_text_dim2, generator=generator))

    return AVCondition(one(real), one(real + 5))


def times(model: JointModel, steps: int) -> list[float]:
    return list(model.own_times(steps, model.latent_shape(clip(model))))
