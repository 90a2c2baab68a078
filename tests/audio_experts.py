"""An audio expert in a pair with the small AnimateDiff: sampled, and moved by an aligner."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from diffusers import AnimateDiffPipeline, EulerDiscreteScheduler
from torch import Tensor

from duet_av.av_models.codecs.image_vae import ImageCodec
from duet_av.av_models.contract import AVCondition, AVLatent
from duet_av.av_models.experts import animatediff_text
from duet_av.av_models.experts.animatediff import AnimateDiffExpert
from duet_av.av_models.guidance import make_guidance
from duet_av.av_models.joint.separate_experts import SeparateExperts
from duet_av.av_models.joint_model import JointModel
from duet_av.av_models.latent_aligner import Aligner
from duet_av.av_models.published.loaded_expert import LoadedExpert
from duet_av.av_models.shapes import AVShape, VideoShape
from duet_av.tests.pipelines import ANIMATEDIFF_BETAS, animatediff
from duet_av.tests.sample_with import sample_with
from duet_av.tests.toy_binder import Quarters

WORDS, SEED, STEPS = "rain on wood", 3, 3


@dataclass(frozen=True)
class Pair:
    """AnimateDiff and an audio expert, with clips of 3 frames at `fps`."""

    video: AnimateDiffPipeline
    audio: LoadedExpert
    fps: int

    @classmethod
    def of(cls, audio: LoadedExpert, fps: int) -> Pair:
        video = animatediff()
        video.scheduler = EulerDiscreteScheduler(**ANIMATEDIFF_BETAS, steps_offset=1)
        return cls(video, audio, fps)

    @property
    def model(self) -> JointModel:
        denoiser = SeparateExperts(AnimateDiffExpert(self.video.unet), self.audio.expert)
        card = {"name": "Pair", "trained": False}
        codecs = ImageCodec(self.video.vae, 2), self.audio.codec
        return JointModel(card, denoiser, *codecs, torch.nn.Module(), VideoShape(3, 16, 16, self.fps))

    @property
    def shape(self) -> AVShape:
        return self.model.shape()

    @property
    def seconds(self) -> float:
        return self.shape.audio.samples / self.shape.audio.sample_rate

    def noise(self, seed: int = 5) -> AVLatent:
        generator, shape = torch.Generator().manual_seed(seed), self.model.latent_shape(self.shape)
        return AVLatent(torch.randn(shape.video, generator=generator), torch.randn(shape.audio, generator=generator))

    def prompts(self, words: str) -> AVCondition:
        return AVCondition(
            animatediff_text.encode_prompt(self.video, words), self.audio.conditioner.condition(words, None, self.shape)
        )

    def sampled(self, negative: str = "", scale: float = 1.0, guidance: str = "cfg", **settings) -> AVLatent:
        """What is sampled from `noise` with CFG's scale for both."""
        strategy = make_guidance(guidance, video_scale=scale, audio_scale=scale, removed=True)
        prompts = self.prompts(WORDS), self.prompts(negative)
        options = {"audio_seed": SEED, "steps": STEPS} | settings
        return sample_with(self.model.denoiser_for(self.shape), self.noise(), *prompts, strategy, **options).latent

    def by_own_schedulers(self, negative: str = "", scale: float = 1.0, **settings) -> Tensor:
        """The audio latents, sampled in parity mode with the schedulers of both pipelines."""
        schedulers = {"video_scheduler": self.video.scheduler, "audio_scheduler": self.audio.scheduler}
        return self.sampled(negative, scale, **{**schedulers, "parity": True, **settings}).audio

    def distances(self, rate: float = 0.1, steps: int = 4) -> tuple[float, float]:
        """Between picture and sound of what is made with an aligner, and without it."""
        model, shape, prompts = self.model, self.shape, self.prompts(WORDS)
        aligner = Aligner(binder=Quarters(), words=0.0, video_rate=rate, audio_rate=rate, update="gradient")
        guidance, start = make_guidance("none", removed=True), model.latent_shape(shape)
        made = [
            sample_with(model.denoiser_for(shape), start, prompts, prompts, guidance, steps=steps, alignment=alignment).latent
            for alignment in (aligner.begin(model, shape, ("", "")), None)
        ]
        aligned, free = (float(aligner.begin(model, shape, ("", "")).loss(each)) for each in made)
        return aligned, free


def distance(made: Tensor, wanted: Tensor) -> float:
    """The difference of two tensors, relative to the second."""
    return float((made - wanted).norm() / wanted.norm())
