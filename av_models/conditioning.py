"""Conditioners: from prompts and an image to the condition of a joint denoiser."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn

from .codecs.base import VideoCodec
from .contract import AVCondition, Condition
from .media.fit import extend_frames
from .shapes import AVShape
from .text import WordEncoder

if TYPE_CHECKING:
    from .published.joint.comfyui_text import TextEmbedding

NO_IMAGE_INPUT = "this model takes text prompts, not an image; give the image as a known part (Encode Video + Audio)"
NO_TEXT_INPUT = "this model takes an image and ignores text prompts"
EXPERT_PARTS = ("conditioner", "video_codec", "denoiser")  # diffusers' pipelines encode on the device of their network


class JointTextConditioner(nn.Module):
    """Encodes one text prompt per modality, for AVFullDiT. The encoding of an empty prompt is the null condition ∅.

    video_text, audio_text: the text encoders of video and audio.
    """

    takes_image = False

    def __init__(self, video_text: WordEncoder, audio_text: WordEncoder) -> None:
        super().__init__()
        self.video_text, self.audio_text = video_text, audio_text

    def condition(
        self, video_prompt: str, audio_prompt: str, image: Tensor | None, shape: AVShape, codec: VideoCodec
    ) -> AVCondition:
        """Return the condition of both prompts, with one batch row. Raises ValueError if an image is given."""
        if image is not None:
            raise ValueError(NO_IMAGE_INPUT)
        return AVCondition(self.video_text([video_prompt]), self.audio_text([audio_prompt]))

    def ignored_prompts(self, video_prompt: str, audio_prompt: str) -> list[str]:
        """Return one message per word outside the vocabularies of the text encoders."""
        lines = [f"video_prompt: {line}" for line in self.video_text.unknown_words(video_prompt)]
        return lines + [f"audio_prompt: {line}" for line in self.audio_text.unknown_words(audio_prompt)]


class ImageEncoder(nn.Module):
    """Encodes an image's latent [B, C, 1, h, w] to an embedding [B, 1, width], in the role of Stable Video Diffusion's CLIP.

    channels: latent channels. width: size of the embedding.
    """

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
        """Return the embedding [B, 1, width] of a latent [B, C, 1, h, w]."""
        return self.out(self.layers(latent[:, :, 0]).mean((2, 3)))[:, None]


class JointImageConditioner(nn.Module):
    """Encodes one image for both modalities, for JointDiT. Without an image the condition is ∅. Text prompts are ignored.

    text_width: size of AudioLDM2's text embeddings; the audio's text is always the null text.
    fps, motion_bucket: the added time ids of Stable Video Diffusion; fps in frames per second.
    """

    takes_image = True
    uses = ("conditioner", "video_codec")
    added_time_ids: Tensor

    def __init__(self, encoder: ImageEncoder, text_width: int, fps: float, motion_bucket: float = 127) -> None:
        super().__init__()
        self.encoder, self.text_width = encoder, text_width
        self.register_buffer("added_time_ids", torch.tensor([[fps - 1, motion_bucket, 0.0]]), persistent=False)

    def condition(
        self, video_prompt: str, audio_prompt: str, image: Tensor | None, shape: AVShape, codec: VideoCodec
    ) -> AVCondition:
        """Return the condition of an image [1, height, width, 3] in 0..1, of the size of the clip, or of no image (∅)."""
        device = self.added_time_ids.device
        if image is None:
            channels, _, height, width = codec.stride.latent_shape(shape.video)
            zeros = torch.zeros(1, channels, 1, height, width, device=device)
            return self.condition_from_latent(zeros, torch.zeros(1, device=device))
        padded = extend_frames(image, codec.stride.representable(replace(shape.video, frames=1)))
        return self.condition_from_latent(codec.encode(padded[None].to(device)), torch.ones(1, device=device))

    def condition_from_latent(self, latent: Tensor, given: Tensor) -> AVCondition:
        """Return the condition of image latents [B, C, 1, h, w]; rows whose `given` [B] is 0 instead of 1 get ∅."""
        rows = len(latent)
        latent = latent * given.view(-1, 1, 1, 1, 1)
        tokens = self.encoder(latent) * given.view(-1, 1, 1)
        mask = torch.ones(rows, 1, dtype=torch.bool, device=latent.device)
        null_text = latent.new_zeros(rows, 1, self.text_width)
        ids = self.added_time_ids.to(latent.device).expand(rows, -1)
        return AVCondition(Condition(tokens, mask, vector=ids, image=latent), Condition(null_text, mask, vector=tokens[:, 0]))

    def ignored_prompts(self, video_prompt: str, audio_prompt: str) -> list[str]:
        """Return one message per prompt that is not empty: the model takes no text."""
        return _ignored_texts(video_prompt, audio_prompt)


class StreamConditioner(Protocol):
    """The conditioner of one modality's expert, for a text prompt or an image.

    Some have more: `uses`, the parts of the joint model that must be on the device (as in `SeparateConditioner`); `encoder_bytes`,
    the size of text encoders that are on the device only while they encode; `from_embedding`, which makes a condition of a
    `TextEmbedding`.
    """

    takes_image: bool

    def condition(self, prompt: str, image: Tensor | None, shape: AVShape) -> Condition:
        """Return the condition, with one batch row.

        image: [1, height, width, 3] in 0..1, of the size of the clip. An empty prompt, or no image, gives ∅.
        """
        ...

    def unknown_words(self, prompt: str) -> list[str]:
        """Return one message per part of the prompt that the conditioner ignores."""
        ...


class TextConditioner(nn.Module):
    """Encodes a text prompt with the text encoder of an expert."""

    takes_image = False

    def __init__(self, encoder: WordEncoder) -> None:
        super().__init__()
        self.encoder = encoder

    def condition(self, prompt: str, image: Tensor | None, shape: AVShape) -> Condition:
        """Return the encoded prompt; the image is not used."""
        return self.encoder([prompt])

    def unknown_words(self, prompt: str) -> list[str]:
        """Return one message per word outside the vocabulary of the text encoder."""
        return self.encoder.unknown_words(prompt)


class SharedImageConditioner(nn.Module):
    """Encodes one image for both modalities of a JointDiT of published experts. Text prompts are ignored.

    The image's embedding is added to AudioLDM2's time embedding, and the audio's text is the null text (JointDiT, section 3.2).
    video, audio: the conditioners of the two experts.
    """

    takes_image = True
    uses = EXPERT_PARTS

    def __init__(self, video: StreamConditioner, audio: StreamConditioner) -> None:
        super().__init__()
        self.video, self.audio = video, audio

    def condition(
        self, video_prompt: str, audio_prompt: str, image: Tensor | None, shape: AVShape, codec: VideoCodec
    ) -> AVCondition:
        """Return the condition of an image [1, height, width, 3] in 0..1, of the size of the clip, or of no image (∅)."""
        return condition_audio_on_image(self.video.condition("", image, shape), self.audio.condition("", None, shape))

    def ignored_prompts(self, video_prompt: str, audio_prompt: str) -> list[str]:
        """Return one message per prompt that is not empty: the model takes no text."""
        return _ignored_texts(video_prompt, audio_prompt)


def condition_audio_on_image(image: Condition, null_text: Condition) -> AVCondition:
    """Return the image's condition for video, and the null text's with the image's embedding for audio."""
    return AVCondition(image, replace(null_text, vector=image.tokens[:, 0]))


def _ignored_texts(video_prompt: str, audio_prompt: str) -> list[str]:
    prompts = {"video_prompt": video_prompt, "audio_prompt": audio_prompt}
    return [f"{name}: {NO_TEXT_INPUT}" for name, text in prompts.items() if text.strip()]


class SeparateConditioner(nn.Module):
    """Encodes the inputs of each modality with the conditioner of its expert.

    For example, an image for an image-to-video expert and a text prompt for a text-to-audio expert.
    video, audio: the conditioners of the two experts.
    default_negatives: the negative prompts of video and audio that replace empty ones.
    uses: the parts of the joint model that must be on the device while it encodes.
    encoder_bytes: the size of the larger text encoder, of those that are on the device only while they encode.
    """

    def __init__(self, video: StreamConditioner, audio: StreamConditioner, default_negatives: tuple[str, str] = ("", "")) -> None:
        super().__init__()
        self.video, self.audio, self.default_negatives = video, audio, default_negatives
        self.takes_image = video.takes_image or audio.takes_image
        parts = [_parts_in_use(each) for each in (video, audio)]
        self.uses = tuple(dict.fromkeys(name for names in parts for name in names))
        self.encoder_bytes = max(getattr(each, "encoder_bytes", 0) for each in (video, audio))

    def condition(
        self, video_prompt: str, audio_prompt: str, image: Tensor | None, shape: AVShape, codec: VideoCodec
    ) -> AVCondition:
        """Return the condition of the prompts and the image [1, height, width, 3] in 0..1, with one batch row.

        Raises ValueError if an image is given and neither expert takes one.
        """
        if image is not None and not self.takes_image:
            raise ValueError(NO_IMAGE_INPUT)
        return AVCondition(self.video.condition(video_prompt, image, shape), self.audio.condition(audio_prompt, image, shape))

    def ignored_prompts(self, video_prompt: str, audio_prompt: str) -> list[str]:
        """Return one message per word or prompt that the experts ignore."""
        lines = [f"video_prompt: {line}" for line in self.video.unknown_words(video_prompt)]
        return lines + [f"audio_prompt: {line}" for line in self.audio.unknown_words(audio_prompt)]

    def from_stream_embeddings(self, video: TextEmbedding, audio: TextEmbedding) -> AVCondition:
        """Return the condition of embeddings by the experts' own text encoders, such as ComfyUI's CONDITIONING.

        Raises ValueError, in one line, for an expert that takes none, and for embeddings of another width.
        """
        return AVCondition(*(_from_embedding(*each) for each in (("video", self.video, video), ("audio", self.audio, audio))))


def _parts_in_use(conditioner: StreamConditioner) -> tuple[str, ...]:
    """Return the parts that a conditioner needs on the device. Networks of its own are among them, pipelines use the denoiser."""
    own = ("conditioner",) if isinstance(conditioner, nn.Module) else EXPERT_PARTS
    return getattr(conditioner, "uses", own)


def _from_embedding(stream: str, conditioner: Any, embedding: TextEmbedding) -> Condition:
    if not hasattr(conditioner, "from_embedding"):
        raise ValueError(f"the {stream} expert takes no CONDITIONING; connect Prompts for Video and Audio instead")
    try:
        return conditioner.from_embedding(embedding)
    except ValueError as error:
        raise ValueError(f"{stream}: {error}") from None
