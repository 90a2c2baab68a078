"""Encodes prompts with the text encoders of a published joint model."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from ...codecs.base import VideoCodec
from ...conditioning import NO_IMAGE_INPUT
from ...contract import AVCondition
from ...shapes import AVShape
from .comfyui_text import ComfyUIText, TextEmbedding

T = TypeVar("T")
MOST_KEPT = 32  # encoded prompts; the largest of today's models needs about 8 MB for one


class JointPromptConditioner(nn.Module):
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
        comfyui_text: ComfyUIText | None = None,
    ) -> None:
        super().__init__()
        self.comfyui_text, self.conditioning_note = comfyui_text, ""
        self._encode, self.from_embeddings = encode, from_embeddings
        self.default_negatives, self.prompt_help = default_negatives, prompt_help
        self.register_buffer("device_marker", torch.empty(0), persistent=False)
        self._kept: OrderedDict[str, AVCondition] = OrderedDict()
        self._kept_by_clip: WeakKeyDictionary[Any, OrderedDict[str, TextEmbedding]] = WeakKeyDictionary()

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

    def encode_prompt(self, prompt: str) -> AVCondition:
        """Return the condition of one prompt for both modalities, on the CPU."""
        return _kept(self._kept, prompt.strip(), self._encode_words)

    def embed(self, clip: Any, video_prompt: str, audio_prompt: str) -> tuple[TextEmbedding, TextEmbedding]:
        """Return the embeddings of both prompts by `clip`, a text encoder that ComfyUI has loaded, for `from_embeddings`.

        They are kept as long as `clip` exists. An empty prompt takes the words of the other.
        Raises ValueError, in one line, for a text encoder of another model.
        """
        text = self.comfyui_text
        if text is None:
            raise ValueError("this model takes no text encoder of ComfyUI")
        kept = self._kept_by_clip.setdefault(clip, OrderedDict())
        video, audio = (_kept(kept, each, lambda words: text.encode(clip, words)) for each in _shared(video_prompt, audio_prompt))
        return video, audio

    def ignored_prompts(self, video_prompt: str, audio_prompt: str) -> list[str]:
        """Return no messages: the text encoders take every word."""
        return []

    def _encode_words(self, words: str) -> AVCondition:
        try:
            encoded = self._encode(words, self.device_marker.device)
        except IndexError as error:
            raise ValueError("the tokenizer has words that its text encoder lacks; download both again") from error
        return encoded.to(torch.device("cpu"))


def _shared(video_prompt: str, audio_prompt: str) -> tuple[str, str]:
    """Return both prompts, with the words of the other for an empty one."""
    return video_prompt.strip() or audio_prompt.strip(), audio_prompt.strip() or video_prompt.strip()


def _kept(kept: OrderedDict[str, T], prompt: str, encode: Callable[[str], T]) -> T:
    """Return what is kept for a prompt, encoded if it is new. The prompts that were used last are kept."""
    prompt = prompt.encode(errors="replace").decode()  # tokenizers take no half of a surrogate pair
    if prompt not in kept:
        kept[prompt] = encode(prompt)
    kept.move_to_end(prompt)
    while len(kept) > MOST_KEPT:
        kept.popitem(last=False)
    return kept[prompt]
