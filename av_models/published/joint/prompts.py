"""Encodes prompts with the text encoders of a published joint model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ...codecs.base import VideoCodec
from ...conditioning import NO_IMAGE_INPUT
from ...contract import AVCondition
from ...shapes import AVShape
from ..cached_prompts import CachedPrompts
from .comfyui_text import ComfyUIText, TextEmbedding


class JointPromptConditioner(CachedPrompts[AVCondition]):
    """Encodes one prompt for each modality, for a model that was trained with the same prompt for both.

    encode: encodes one prompt for both modalities, to a condition with one row. It loads its text encoders when it is first
        called, and has them on the device only while it runs. Encoded prompts are kept.
    from_embeddings(tokens, mask, pooled): makes a condition from embeddings of the same text encoder, tokens [B, L, D], mask bool
        [B, L] or None, pooled [B, P] or None. Raises ValueError for other widths.
    default_negatives: the negative prompts of video and audio that replace empty ones.
    prompt_help: a line about special words of the prompts, "" if there are none.
    comfyui_text: how a text encoder of ComfyUI encodes prompts for this model; None: it cannot.
    conditioning_note: a line about CONDITIONING of ComfyUI's own nodes that is not as in the model's training, "" if it is.
    """

    shares_words = True  # an empty prompt takes the other's words

    def __init__(
        self,
        encode: Callable[[str, torch.device], AVCondition],
        from_embeddings: Callable[[Tensor, Tensor | None, Tensor | None], AVCondition],
        default_negatives: tuple[str, str] = ("", ""),
        prompt_help: str = "",
        comfyui_text: ComfyUIText | None = None,
    ) -> None:
        super().__init__(encode, comfyui_text, prompt_help)
        self.from_embeddings, self.default_negatives, self.conditioning_note = from_embeddings, default_negatives, ""

    def condition(
        self, video_prompt: str, audio_prompt: str, image: Tensor | None, shape: AVShape, codec: VideoCodec
    ) -> AVCondition:
        """Return the condition of both prompts, with one row. An empty one of the two takes the words of the other.

        Raises ValueError if an image is given.
        """
        if image is not None:
            raise ValueError(NO_IMAGE_INPUT)
        video, audio = (self.encode_prompt(each) for each in _shared(video_prompt, audio_prompt))
        return AVCondition(video.video, audio.audio).to(self.device_marker.device)

    def embed(self, clip: Any, video_prompt: str, audio_prompt: str) -> tuple[TextEmbedding, TextEmbedding]:
        """Return the embeddings of both prompts by `clip`, a text encoder that ComfyUI has loaded, for `from_embeddings`.

        They are kept as long as `clip` exists. An empty prompt takes the words of the other.
        Raises ValueError, in one line, for a text encoder of another model.
        """
        video, audio = (self.embed_prompt(clip, each) for each in _shared(video_prompt, audio_prompt))
        return video, audio

    def ignored_prompts(self, video_prompt: str, audio_prompt: str) -> list[str]:
        """Return no messages: the text encoders take every word."""
        return []


def _shared(video_prompt: str, audio_prompt: str) -> tuple[str, str]:
    """Return both prompts, with the words of the other for an empty one."""
    return video_prompt.strip() or audio_prompt.strip(), audio_prompt.strip() or video_prompt.strip()
