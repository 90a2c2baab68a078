"""From what a user asks for, words or a picture, to the condition of a joint denoiser."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

import torch
from torch import Tensor, nn

from .codecs.base import VideoCodec
from .contract import AVCondition, Condition
from .media.fit import extend_frames
from .shapes import AVShape
from .text import WordEncoder

NO_IMAGE_INPUT = "this model goes by words alone; give the picture to Encode Picture + Sound"
NO_TEXT_INPUT = "this model goes by the picture; the words are left out"


class JointTextConditioner(nn.Module):
    """A text for each modality, as AVFullDiT takes them; an empty one is ∅."""

    takes_image = False

    def __init__(self, video_text: WordEncoder, audio_text: WordEncoder) -> None:
        super().__init__()
        self.video_text, self.audio_text = video_text, audio_text

    def condition(
        self, video_prompt: str, audio_prompt: str, picture: Tensor | None, shape: AVShape, codec: VideoCodec
    ) -> AVCondition:
        if picture is not None:
            raise ValueError(NO_IMAGE_INPUT)
        return AVCondition(self.video_text([video_prompt]), self.audio_text([audio_prompt]))

    def ignored(self, video_prompt: str, audio_prompt: str) -> list[str]:
        """One line for each word that the model never learned."""
        lines = [f"video_prompt: {line}" for line in self.video_text.unknown(video_prompt)]
        return lines + [f"audio_prompt: {line}" for line in self.audio_text.unknown(audio_prompt)]


class ImageEncoder(nn.Module):
    """One embedding [B, 1, width] of a picture's latent [B, C, 1, h, w]: what CLIP is to Stable Video Diffusion."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.config = {"channels": channels, "width": width}
        self.layers = nn.Sequential(
            nn.Conv2d(channels, width, 3, padding=1), nn.SiLU(),
            nn.Conv2d(width, width, 3, stride=2, padding=1), nn.SiLU(),
            nn.Conv2d(width, width, 3, stride=2, padding=1), nn.SiLU(),
        )  # fmt: skip
        self.out = nn.Linear(width, width)

    def forward(self, latent: Tensor) -> Tensor:
        return self.out(self.layers(latent[:, :, 0]).mean((2, 3)))[:, None]


class JointImageConditioner(nn.Module):
    """One picture for both modalities, as JointDiT takes it; no picture is ∅, and words are left out.

    fps and `motion_bucket` are told as Stable Video Diffusion is told them. The sound's text is always AudioLDM2's null.
    """

    takes_image = True

    def __init__(self, encoder: ImageEncoder, text_width: int, fps: float, motion_bucket: float = 127) -> None:
        super().__init__()
        self.encoder, self.text_width = encoder, text_width
        self.register_buffer("ids", torch.tensor([[fps - 1, motion_bucket, 0.0]]), persistent=False)

    def condition(
        self, video_prompt: str, audio_prompt: str, picture: Tensor | None, shape: AVShape, codec: VideoCodec
    ) -> AVCondition:
        """`picture`: [1, height, width, 3], of the clip's size; None for ∅."""
        device = self.ids.device
        if picture is None:
            channels, _, height, width = codec.stride.latent_shape(shape.video)
            return self.of_latent(torch.zeros(1, channels, 1, height, width, device=device), torch.zeros(1, device=device))
        whole = extend_frames(picture, codec.stride.representable(replace(shape.video, frames=1)))
        return self.of_latent(codec.encode(whole[None].to(device)), torch.ones(1, device=device))

    def of_latent(self, latent: Tensor, given: Tensor) -> AVCondition:
        """The condition of latents [B, C, 1, h, w]; where `given` [B] is 0 instead of 1, that of no picture."""
        rows = len(latent)
        latent = latent * given.view(-1, 1, 1, 1, 1)
        tokens = self.encoder(latent) * given.view(-1, 1, 1)
        one = torch.ones(rows, 1, dtype=torch.bool, device=latent.device)
        null = latent.new_zeros(rows, 1, self.text_width)
        ids = self.ids.to(latent.device).expand(rows, -1)
        return AVCondition(Condition(tokens, one, vector=ids, image=latent), Condition(null, one, vector=tokens[:, 0]))

    def ignored(self, video_prompt: str, audio_prompt: str) -> list[str]:
        prompts = {"video_prompt": video_prompt, "audio_prompt": audio_prompt}
        return [f"{name}: {NO_TEXT_INPUT}" for name, text in prompts.items() if text.strip()]


class StreamConditioner(Protocol):
    """What one stream's expert is told, of words or of a picture."""

    takes_image: bool

    def condition(self, words: str, picture: Tensor | None, shape: AVShape) -> Condition:
        """picture: [1, height, width, 3] in 0..1, of the clip's size. No words, or no picture, are ∅."""
        ...

    def unknown(self, words: str) -> list[str]:
        """One line for each of the words that it does not go by."""
        ...


class TextConditioner(nn.Module):
    """Words, as an expert's own encoder of them has it."""

    takes_image = False

    def __init__(self, encoder: WordEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def condition(self, words: str, picture: Tensor | None, shape: AVShape) -> Condition:
        return self.encoder([words])

    def unknown(self, words: str) -> list[str]:
        return self.encoder.unknown(words)


class SharedImageConditioner(nn.Module):
    """One picture for both streams of a JointDiT of published experts: its embedding joins AudioLDM2's time embedding, whose
    text is the null one (JointDiT, section 3.2). Words are left out."""

    takes_image = True

    def __init__(self, video: StreamConditioner, audio: StreamConditioner) -> None:
        super().__init__()
        self.video, self.audio = video, audio

    def condition(
        self, video_prompt: str, audio_prompt: str, picture: Tensor | None, shape: AVShape, codec: VideoCodec
    ) -> AVCondition:
        seen, silent = self.video.condition("", picture, shape), self.audio.condition("", None, shape)
        return condition_audio_on_image(seen, silent)

    ignored = JointImageConditioner.ignored


def condition_audio_on_image(seen: Condition, silent: Condition) -> AVCondition:
    """The picture's condition, and the null text's with the picture's embedding."""
    return AVCondition(seen, replace(silent, vector=seen.tokens[:, 0]))


class SeparateConditioner(nn.Module):
    """Either stream by its expert's own conditioner: of an image-to-video and a text-to-audio model, say, the picture's by a
    picture and the sound's by words."""

    def __init__(self, video: StreamConditioner, audio: StreamConditioner) -> None:
        super().__init__()
        self.video, self.audio = video, audio
        self.takes_image = video.takes_image or audio.takes_image

    def condition(
        self, video_prompt: str, audio_prompt: str, picture: Tensor | None, shape: AVShape, codec: VideoCodec
    ) -> AVCondition:
        if picture is not None and not self.takes_image:
            raise ValueError(NO_IMAGE_INPUT)
        return AVCondition(self.video.condition(video_prompt, picture, shape), self.audio.condition(audio_prompt, picture, shape))

    def ignored(self, video_prompt: str, audio_prompt: str) -> list[str]:
        lines = [f"video_prompt: {line}" for line in self.video.unknown(video_prompt)]
        return lines + [f"audio_prompt: {line}" for line in self.audio.unknown(audio_prompt)]
