"""A joint model with all it needs from prompt to picture and sound: denoiser, codecs, text encoders, clip defaults."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn

from .conditioning import JointImageConditioner, JointTextConditioner, SeparateConditioner
from .contract import AVCondition, AVLatent, LatentShape
from .guidance import Guidance
from .guidance.autoguidance import Autoguidance
from .known_parts import KnownMode
from .media.fit import fit_frames
from .shapes import AVShape, VideoShape


@dataclass(frozen=True)
class JointModel:
    """What `load_joint_model` gives. `clip` is the size of clip the model was trained on."""

    card: dict[str, Any]
    denoiser: nn.Module
    video_codec: nn.Module
    audio_codec: nn.Module
    conditioner: JointTextConditioner | JointImageConditioner | SeparateConditioner
    clip: VideoShape

    @property
    def name(self) -> str:
        return self.card["name"]

    @property
    def trained(self) -> bool:
        """False where the joint parameters never were: coupled, such a model can only make noise."""
        return self.card["trained"]

    @cached_property
    def networks(self) -> nn.ModuleDict:
        """All of its networks as one, for who moves them between devices."""
        return nn.ModuleDict({
            "denoiser": self.denoiser, "video_codec": self.video_codec, "audio_codec": self.audio_codec,
            "conditioner": self.conditioner,
        })  # fmt: skip

    @property
    def device(self) -> torch.device:
        return next(self.networks.parameters()).device

    @property
    def known_mode(self) -> KnownMode:
        """How the network sees known parts of a clip: "clean" if it was trained so, else "renoised"."""
        return self.card.get("given", "renoised")

    def shape(
        self,
        seconds: float | None = None,
        frames: int | None = None,
        height: int | None = None,
        width: int | None = None,
        fps: float | None = None,
    ) -> AVShape:
        """The shape of a clip of `seconds` or `frames` (not both); what is not given is as the model was trained."""
        if seconds is not None and frames is not None:
            raise ValueError(f"seconds is {seconds} and frames is {frames}; give one of them")
        asked = {"frames": frames, "height": height, "width": width, "fps": fps}
        clip = {name: getattr(self.clip, name) if value is None else value for name, value in asked.items()}
        clip |= {"sample_rate": self.audio_codec.sample_rate, "channels": self.audio_codec.channels}
        if seconds is None:
            return AVShape.of_frames(**clip)
        del clip["frames"]
        return AVShape.of_seconds(seconds, **clip)

    def latent_shape(self, shape: AVShape, batch: int = 1) -> LatentShape:
        video = self.video_codec.stride.latent_shape(shape.video)
        audio = self.audio_codec.stride.latent_shape(shape.audio)
        return LatentShape(video=(batch, *video), audio=(batch, *audio))

    def supported(self, guidance: Guidance, bad_model: JointModel | None = None) -> Guidance:
        """`guidance` as this model can run it: with joint parameters removed if the model was not trained as a pair.

        The same holds for the bad model of autoguidance. Coupled, untrained joint parameters produce only noise.
        """
        if bad_model is not None and isinstance(guidance, Autoguidance):
            guidance = replace(guidance, bad_removed=guidance.bad_removed or not bad_model.trained)
        return guidance if self.trained else replace(guidance, removed=True)

    @property
    def takes_image(self) -> bool:
        """True where what to make is said by a picture, not by words."""
        return self.conditioner.takes_image

    @torch.no_grad()
    def encode(
        self, video_prompt: str, audio_prompt: str, picture: Tensor | None = None, shape: AVShape | None = None
    ) -> AVCondition:
        """The condition for one row; an empty prompt is the null condition ∅ of its modality, and so is no picture.

        picture: [height, width, channels] in 0..1, for a model that goes by one; scaled to cover the clip of `shape`.
        """
        shape = shape or self.shape()
        if picture is not None and self.takes_image:
            picture = fit_frames(picture[None], shape.video.fps, replace(shape.video, frames=1))
        return self.conditioner.condition(video_prompt, audio_prompt, picture, shape, self.video_codec)

    def ignored_prompts(self, video_prompt: str, audio_prompt: str) -> list[str]:
        """One line for each word that the model never learned, or for each prompt that it does not go by."""
        return self.conditioner.ignored(video_prompt, audio_prompt)

    def decode(self, latent: AVLatent, shape: AVShape) -> tuple[Tensor, Tensor]:
        """Frames [B, F, H, W, 3] in 0..1 and waveform [B, C, samples] in −1..1, trimmed to `shape`."""
        waveform = self.audio_codec.decode(latent.audio.to(self.device))
        return self.decode_video(latent.video, shape), waveform[..., : shape.audio.samples]

    def decode_video(self, latent: Tensor, shape: AVShape) -> Tensor:
        """The picture's part of `decode`."""
        return _trimmed(self.video_codec.decode(latent.to(self.device)), shape)

    def render_video(self, latent: Tensor, shape: AVShape) -> Tensor:
        """The picture's part of `decode`, differentiable."""
        return _trimmed(self.video_codec.render(latent), shape)

    def render_audio(self, latent: Tensor, shape: AVShape) -> Tensor:
        """The sound's part of `decode`, differentiable."""
        return self.audio_codec.render(latent)[..., : shape.audio.samples]


def _trimmed(frames: Tensor, shape: AVShape) -> Tensor:
    return frames[:, : shape.video.frames, : shape.video.height, : shape.video.width]
