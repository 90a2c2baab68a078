"""Prompts of pairs, whose video and audio have text encoders of their own: each may be encoded by ComfyUI or by the model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import torch

from ..av_models.contract import AVCondition, Condition
from ..av_models.shapes import AVShape

if TYPE_CHECKING:
    from ..av_models.published.joint.comfyui_text import TextEmbedding

STREAMS = ("video", "audio")


def is_pair(model) -> bool:
    """Whether video and audio of a model are encoded separately."""
    return hasattr(model.conditioner, "from_stream_embeddings")


@torch.no_grad()
def encode_streams(
    model, embeddings: Sequence[TextEmbedding | None], words: Sequence[str], shape: AVShape | None = None
) -> AVCondition:
    """Returns the condition of a pair. embeddings: of video and audio; None: the model's own text encoder encodes its words.

    Raises ValueError, with the stream and both widths, for the embedding of another text encoder.
    """
    if None not in embeddings:
        return model.conditioner.from_stream_embeddings(*embeddings)
    return AVCondition(*(_encode(model, *each, shape or model.shape()) for each in zip(STREAMS, embeddings, words)))


def _encode(model, stream: str, embedding: TextEmbedding | None, words: str, shape: AVShape) -> Condition:
    conditioner = getattr(model.conditioner, stream)
    if embedding is None:
        return conditioner.condition(words, None, shape)
    if not hasattr(conditioner, "from_embedding"):
        raise ValueError(f"the {stream} expert takes no CONDITIONING; connect Prompts for Video and Audio instead")
    try:
        return conditioner.from_embedding(embedding)
    except ValueError as error:
        raise ValueError(f"{stream}: {error}") from None


def clip_stream(model, clip: Any) -> str:
    """Returns which stream of a pair a text encoder of ComfyUI is for. Raises ValueError if it fits neither."""
    errors = []
    for stream in STREAMS:
        text = getattr(getattr(model.conditioner, stream), "comfyui_text", None)
        if text is not None:
            try:
                text.tokenize(clip, "")
                return stream
            except ValueError as error:
                errors.append(str(error))
    if not errors:
        raise ValueError(f"clip is connected, but {model.name} has text encoders of its own kind; disconnect clip")
    raise ValueError(errors[0])


def embed_pair(model, clip: Any, words: Sequence[Sequence[str]]) -> tuple[tuple[TextEmbedding | None, ...], ...]:
    """Returns both pairs of prompts as a text encoder of ComfyUI encodes them; None for the stream that it is not for."""
    stream = clip_stream(model, clip)
    conditioner, index = getattr(model.conditioner, stream), STREAMS.index(stream)
    return tuple(
        tuple(conditioner.embed_prompt(clip, each[index]) if i == index else None for i in range(len(STREAMS))) for each in words
    )
