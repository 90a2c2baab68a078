"""A joint model with everything from prompt to clip: denoiser, codecs, conditioner, clip size."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from .codecs.base import AudioCodec, VideoCodec
from .contract import AVCondition, AVLatent, JointDenoiser, LatentShape
from .guidance import Guidance
from .guidance.autoguidance import Autoguidance
from .known_parts import KnownMode
from .media.fit import fit_frames
from .shapes import AVShape, VideoShape


class Conditioner(Protocol):
    """What encodes prompts and an image for both modalities."""

    takes_image: bool

    def condition(
        self, video_prompt: str, audio_prompt: str, image: Tensor | None, shape: AVShape, codec: VideoCodec
    ) -> AVCondition:
        """The condition of one clip of `shape`. image: [1, height, width, 3] in 0..1, of the clip's size."""
        ...

    def ignored_prompts(self, video_prompt: str, audio_prompt: str) -> list[str]:
        """One line for each part of the prompts that has no effect."""
        ...


@dataclass(frozen=True)
class JointModel:
    """A loaded joint model.

    card: the model card. denoiser, video_codec, audio_codec, conditioner: networks, in evaluation mode. clip: the video size
    and length that the model was trained on.
    """

    card: dict[str, Any]
    denoiser: JointDenoiser
    video_codec: VideoCodec
    audio_codec: AudioCodec
    conditioner: Conditioner
    clip: VideoShape

    @property
    def name(self) -> str:
        """The name in the model card."""
        return self.card["name"]

    @property
    def trained(self) -> bool:
        """Whether the model was trained as a pair. If not, its joint parameters are random: coupled, it produces noise."""
        return self.card["trained"]

    @cached_property
    def networks(self) -> nn.ModuleDict:
        """All networks in one module, for moving them between devices."""
        parts = {name: getattr(self, name) for name in ("denoiser", "video_codec", "audio_codec", "conditioner")}
        return nn.ModuleDict(parts)

    @property
    def device(self) -> torch.device:
        """The device of the networks."""
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
        """The shape of a clip of `seconds` or `frames`; everything not given is as the model was trained.

        Raises ValueError if both lengths are given, or a value is out of range.
        """
        if seconds is not None and frames is not None:
            raise ValueError(f"seconds is {seconds} and frames is {frames}; use only one")
        asked = {"frames": frames, "height": height, "width": width, "fps": fps}
        clip: dict[str, Any] = {name: getattr(self.clip, name) if value is None else value for name, value in asked.items()}
        clip |= {"sample_rate": self.audio_codec.sample_rate, "channels": self.audio_codec.channels}
        if seconds is None:
            return AVShape.of_frames(**clip)
        del clip["frames"]
        return AVShape.of_seconds(seconds, **clip)

    def latent_shape(self, shape: AVShape, batch: int = 1) -> LatentShape:
        """The latents' shapes for a clip of `shape`."""
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
        """Whether the model is conditioned on an image."""
        return self.conditioner.takes_image

    @torch.no_grad()
    def encode(
        self, video_prompt: str, audio_prompt: str, image: Tensor | None = None, shape: AVShape | None = None
    ) -> AVCondition:
        """The condition of one clip. An empty prompt, or no image, is that modality's null condition ∅.

        image: [height, width, channels] in 0..1, for a model that takes an image; scaled and cropped to the clip's `shape`.
        """
        shape = shape or self.shape()
        if image is not None and self.takes_image:
            image = fit_frames(image[None], shape.video.fps, replace(shape.video, frames=1))
        return self.conditioner.condition(video_prompt, audio_prompt, image, shape, self.video_codec)

    def ignored_prompts(self, video_prompt: str, audio_prompt: str) -> list[str]:
        """One line for each word that the text encoder does not know, or for each prompt that the model ignores."""
        return self.conditioner.ignored_prompts(video_prompt, audio_prompt)

    def decode(self, latent: AVLatent, shape: AVShape) -> tuple[Tensor, Tensor]:
        """Frames [B, F, H, W, 3] in 0..1 and waveform [B, C, samples] in −1..1, trimmed to `shape`."""
        waveform = self.audio_codec.decode(latent.audio.to(self.device))
        return self.decode_video(latent.video, shape), waveform[..., : shape.audio.samples]

    def decode_video(self, latent: Tensor, shape: AVShape) -> Tensor:
        """Frames [B, F, H, W, 3] in 0..1, trimmed to `shape`."""
        return _trimmed(self.video_codec.decode(latent.to(self.device)), shape)

    def render_video(self, latent: Tensor, shape: AVShape) -> Tensor:
        """Frames [B, F, H, W, 3], as `decode_video` but differentiable."""
        return _trimmed(self.video_codec.decode_with_grad(latent), shape)

    def render_audio(self, latent: Tensor, shape: AVShape) -> Tensor:
        """Waveform [B, C, samples], trimmed to `shape`, differentiable."""
        return self.audio_codec.decode_with_grad(latent)[..., : shape.audio.samples]


def _trimmed(frames: Tensor, shape: AVShape) -> Tensor:
    return frames[:, : shape.video.frames, : shape.video.height, : shape.video.width]
