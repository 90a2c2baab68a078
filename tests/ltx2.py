"""LTX-2's own pipeline on the inputs of Duet's sampler, and network calls in the pipeline's grouping."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from diffusers import LTX2ImageToVideoPipeline, LTX2Pipeline
from PIL import Image
from torch import Tensor

from duet_av.av_models.branch_runner import PromptedModel
from duet_av.av_models.contract import AVCondition, AVLatent, AVTime, Coupling, Skip, take_rows
from duet_av.av_models.guidance import Guidance
from duet_av.av_models.joint_model import JointModel
from duet_av.av_models.known_parts import KnownParts
from duet_av.av_models.load_joint import load_joint_model
from duet_av.av_models.noise import NoiseSource
from duet_av.av_models.sampling import RunOptions, sample
from duet_av.av_models.shapes import AVShape

PROMPT, FRAMES, HEIGHT, WIDTH, FPS, STEPS = "a red ball bounces.", 17, 64, 96, 25.0, 3
OFF = {
    "guidance_scale": 1.0, "audio_guidance_scale": 1.0, "stg_scale": 0.0, "audio_stg_scale": 0.0, "modality_scale": 1.0,
    "audio_modality_scale": 1.0, "guidance_rescale": 0.0, "audio_guidance_rescale": 0.0,
}  # fmt: skip
"""The pipeline's guidance, turned off."""


class PipelineGroups:
    """Runs the rows of a batch in the network calls of the pipeline: negative and positive prompt together, others apart."""

    def __init__(self, network: Any) -> None:
        self.network = network

    def __getattr__(self, name: str) -> Any:
        return getattr(self.network, name)

    def predict_coupled(
        self, latent: AVLatent, t: AVTime, cond: AVCondition, coupling: Sequence[Coupling], skip: Skip | None = None
    ) -> AVLatent:
        out: dict[int, AVLatent] = {}
        for group in ([1, 0], *([row] for row in range(2, latent.rows))) if latent.rows > 1 else ([0],):
            rows = take_rows(latent, t, cond, torch.tensor(group))
            skipped = None if skip is None else [skip[row] for row in group]
            part = self.network.predict_coupled(*rows, [coupling[row] for row in group], skipped)
            out |= {row: part[i : i + 1] for i, row in enumerate(group)}
        return AVLatent.cat([out[row] for row in range(latent.rows)])


@dataclass(frozen=True)
class Pair:
    """A folder as Duet's model and as diffusers' pipelines, in float32."""

    version: str
    folder: Path

    @cached_property
    def model(self) -> JointModel:
        return load_joint_model(self.folder)

    @cached_property
    def pipeline(self) -> LTX2Pipeline:
        pipeline = LTX2Pipeline.from_pretrained(self.folder)
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    @cached_property
    def shape(self) -> AVShape:
        return self.model.shape(frames=FRAMES, height=HEIGHT, width=WIDTH, fps=FPS)

    @cached_property
    def noise(self) -> NoiseSource:
        return NoiseSource(self.model.latent_shape(self.shape), 3, 4)

    @cached_property
    def prompts(self) -> tuple[AVCondition, AVCondition]:
        return self.model.encode(PROMPT, "", shape=self.shape), self.model.encode("", "", shape=self.shape)

    def ours(
        self, guidance: Guidance, known: KnownParts | None = None, grouped: bool = True, denoiser: Any = None
    ) -> tuple[Tensor, Tensor]:
        """Returns the latents of the pipeline's output type "latent"."""
        denoiser = denoiser or self.model.denoiser_for(self.shape)
        prompted = PromptedModel(PipelineGroups(denoiser) if grouped else denoiser, *self.prompts)
        schedule = self.model.make_schedule(self.noise.shape, STEPS)
        latent = sample(prompted, self.noise, guidance, schedule, known=known, options=RunOptions()).latent
        vae, audio_vae = self.pipeline.vae, self.pipeline.audio_vae
        video = LTX2Pipeline._denormalize_latents(latent.video, vae.latents_mean, vae.latents_std, vae.config.scaling_factor)
        packed = LTX2Pipeline._pack_audio_latents(latent.audio)
        audio = LTX2Pipeline._denormalize_audio_latents(packed, audio_vae.latents_mean, audio_vae.latents_std)
        return video, LTX2Pipeline._unpack_audio_latents(audio, *latent.audio.shape[2:])

    def theirs(self, **settings: Any) -> tuple[Tensor, Tensor]:
        pipeline, initial = self.pipeline, self.noise.initial(torch.device("cpu"))
        pipeline.prepare_latents = lambda *_, **__: _tokens(initial.video)
        pipeline.prepare_audio_latents = lambda *_, **__: LTX2Pipeline._pack_audio_latents(initial.audio)
        return pipeline(PROMPT, "", **self._settings(settings))

    def theirs_from_image(self, first: Tensor, **settings: Any) -> tuple[Tensor, Tensor]:
        """first: the first frame's latent [1, C, 1, h, w]."""
        pipeline, initial = LTX2ImageToVideoPipeline(**self.pipeline.components), self.noise.initial(torch.device("cpu"))
        pipeline.set_progress_bar_config(disable=True)
        given = torch.zeros(1, 1, *initial.video.shape[2:])
        given[:, :, 0] = 1
        latent = torch.cat([first, initial.video[:, :, 1:]], 2)
        pipeline.prepare_latents = lambda *_, **__: (_tokens(latent), given.flatten(1))
        pipeline.prepare_audio_latents = lambda *_, **__: LTX2Pipeline._pack_audio_latents(initial.audio)
        image = Image.new("RGB", (WIDTH, HEIGHT))  # its latent is the one above
        return pipeline(image, PROMPT, "", image_crf=0, **self._settings(settings))

    def _settings(self, settings: dict[str, Any]) -> dict[str, Any]:
        denoiser = self.model.denoiser
        return {
            "height": HEIGHT, "width": WIDTH, "num_frames": FRAMES, "frame_rate": FPS, "num_inference_steps": STEPS,
            "output_type": "latent", "return_dict": False, "use_cross_timestep": self.version != "2.0",
            "spatio_temporal_guidance_blocks": [denoiser.own_skip_block],
        } | settings  # fmt: skip


def _tokens(video: Tensor) -> Tensor:
    return LTX2Pipeline._pack_latents(video, 1, 1)
