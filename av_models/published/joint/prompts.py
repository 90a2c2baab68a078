"""Encodes prompts with the text encoders of a published joint model."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ...codecs.base import VideoCodec
from ...conditioning import NO_IMAGE_INPUT
from ...contract import AVCondition
from ...shapes import AVShape

MOST_KEPT = 32  # encoded prompts; the largest of today's models needs about 8 MB for one


class JointPromptConditioner(nn.Module):
    """Encodes one prompt for each modality, for a model that was trained with the same prompt for both.

    encode: encodes one prompt for both modalities, to a condition with one row. It loads its text encoders when it is first
        called, and has them on the device only while it runs. Encoded prompts are kept.
    from_embeddings(tokens, mask, pooled): makes a condition from embeddings of the same text encoder, tokens [B, L, D], mask bool
        [B, L] or None, pooled [B, P] or None. Raises ValueError for other widths.
    default_negatives: the negative prompts of video and audio that replace empty ones.
    prompt_help: a line about special words of the prompts, "" if there are none.
    """

    takes_image = False
    shares_words = True  # an empty prompt takes the other's words
    encoder_bytes = 0  # of the text encoders, which are on the device while they encode
    device_marker: Tensor

    def __init__(
        self,
        encode: Callable[[str, torch.device], AVCondition],
        from_embeddings: Callable[[Tensor, Tensor | None, Tensor | None], AVCondition],
        default_negatives: tuple[str, str] = ("", ""),
        prompt_help: str = "",
    ) -> None:
        super().__init__()
        self._encode, self.from_embeddings = encode, from_embeddings
        self.default_negatives, self.prompt_help = default_negatives, prompt_help
        self.register_buffer("device_marker", torch.empty(0), persistent=False)
        self._kept: OrderedDict[str, AVCondition] = OrderedDict()

    def condition(
        self, video_prompt: str, audio_prompt: str, image: Tensor | None, shape: AVShape, codec: VideoCodec
    ) -> AVCondition:
        """Return the condition of both prompts, with one row. An empty one of the two takes the words of the other.

        Raises ValueError if an image is given.
        """
        if image is not None:
            raise ValueError(NO_IMAGE_INPUT)
        video_prompt, audio_prompt = video_prompt.strip() or audio_prompt, audio_prompt.strip() or video_prompt
        video, audio = self.encode_prompt(video_prompt), self.encode_prompt(audio_prompt)
        return AVCondition(video.video, audio.audio).to(self.device_marker.device)

    def encode_prompt(self, prompt: str) -> AVCondition:
        """Return the condition of one prompt for both modalities, on the CPU."""
        prompt = prompt.strip()
        if prompt not in self._kept:
            self._kept[prompt] = self._encode(prompt, self.device_marker.device).to(torch.device("cpu"))
        self._kept.move_to_end(prompt)
        while len(self._kept) > MOST_KEPT:
            self._kept.popitem(last=False)
        return self._kept[prompt]

    def ignored_prompts(self, video_prompt: str, audio_prompt: str) -> list[str]:
        """Return no messages: the text encoders take every word."""
        return []
