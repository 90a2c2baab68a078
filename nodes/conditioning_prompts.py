"""Prompts that text encoders of ComfyUI have encoded, for models that take such embeddings."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any
from weakref import ref

import torch
from torch import Tensor

from ..av_models.contract import AVCondition
from ..av_models.printable import printable
from ..av_models.published.joint.comfyui_text import TextEmbedding, read_embedding
from .host import io
from .placement import load_encoders
from .reports import report
from .sockets import JointModelSocket, Prompts, PromptsSocket, encode_embedding, encode_embeddings
from .stream_prompts import is_pair

NO_WORDS = (("", ""), ("", ""))
SHOWN = 120  # characters of a negative prompt of the model


class DuetPromptsFromConditioning(io.ComfyNode):
    """Takes CONDITIONING in place of the model's own text encoders, which need not be there."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DuetPromptsFromConditioning",
            display_name="Prompts from Conditioning",
            category="Duet/make",
            description="Uses prompts that a text encoder of ComfyUI has encoded, for Kandinsky 6, LTX-2, Ovi, and pairs such as "
            "Wan and TangoFlux. The model's own text encoders are then not needed.",
            search_aliases=["duet", "clip text encode", "conditioning", "text encoder", "gguf text encoder"],
            inputs=[
                JointModelSocket.Input("model", tooltip="The model that will generate the clip."),
                io.Conditioning.Input("positive", tooltip="The prompt, for the video and for the audio. Of a pair: for the video."),
                io.Conditioning.Input(
                    "negative", tooltip="The negative prompt, for the video and for the audio. Of a pair: for the video."
                ),
                io.Conditioning.Input(
                    "audio_positive", optional=True,
                    tooltip="A separate prompt for the audio. Not connected: the same as positive; of a pair: empty.",
                ),
                io.Conditioning.Input(
                    "audio_negative", optional=True,
                    tooltip="A separate negative prompt for the audio. Not connected: the same as negative; of a pair: the audio "
                    "model's own.",
                ),
            ],
            outputs=[PromptsSocket.Output(display_name="prompts", tooltip="Connect to the sampler.")],
        )  # fmt: skip

    @classmethod
    def execute(cls, model, positive, negative, audio_positive=None, audio_negative=None) -> io.NodeOutput:
        given = {"positive": positive, "negative": negative, "audio_positive": audio_positive, "audio_negative": audio_negative}
        embeddings = {name: _read(name, each) for name, each in given.items() if each is not None}
        pairs = tuple((embeddings[name], _audio(model, embeddings, name)) for name in ("positive", "negative"))
        load_encoders(model, text_encoders=any(None in pair for pair in pairs))
        words = ("", ""), model.negative_words("", "")
        encoded = tuple(map(partial(_encode, model), ("positive", "negative"), pairs, words))
        lines = [f"{name}: {each.tokens.shape[1]} tokens of width {each.tokens.shape[2]}" for name, each in embeddings.items()]
        lines += _open_lines(pairs, words)
        prompts = Prompts(NO_WORDS, encoded=encoded, encoder=ref(model), embedded=pairs)
        return io.NodeOutput(prompts, ui=report(*lines, warnings=_notes(model)))


def _audio(model, embeddings: dict[str, TextEmbedding], name: str) -> TextEmbedding | None:
    """Returns the embedding for the audio: of a pair, only its own, because its text encoder is another than the video's."""
    return embeddings.get(f"audio_{name}", None if is_pair(model) else embeddings[name])


def _open_lines(pairs: tuple, words: tuple[tuple[str, str], ...]) -> list[str]:
    """Returns what stands for a prompt of a pair's audio that is not connected."""
    lines = []
    for name, pair, (_, own) in zip(("audio_positive", "audio_negative"), pairs, words):
        if None in pair:
            lines.append(f"{name} is not connected: {f'the model uses its own: {printable(own, SHOWN)}' if own else 'empty words'}")
    return lines


def _notes(model) -> list[str]:
    note = getattr(model.conditioner, "conditioning_note", "")
    return [note] if note else []


def _read(name: str, conditioning: Any) -> TextEmbedding:
    """Returns the embedding in a CONDITIONING. Raises ValueError that names the input."""
    if not isinstance(conditioning, list) or len(conditioning) != 1:
        found = len(conditioning) if isinstance(conditioning, list) else 0
        raise ValueError(f"{name} holds {found} prompts; connect one that is not combined with others")
    tokens, extras = conditioning[0][0], conditioning[0][1]
    if not isinstance(tokens, Tensor) or tokens.ndim != 3 or len(tokens) != 1:
        raise ValueError(f"{name} is not one encoded prompt [1, tokens, width]; connect CLIP Text Encode")
    return read_embedding(tokens, extras)


@torch.no_grad()
def _encode(model, name: str, pair: tuple[TextEmbedding, TextEmbedding | None], words: tuple[str, str]) -> AVCondition:
    if is_pair(model):
        return _named(name, lambda: encode_embeddings(model, pair, words))
    video, audio = pair
    encoded = _named(name, lambda: encode_embedding(model, video))
    if audio is None or audio is video:
        return encoded
    return AVCondition(encoded.video, _named(f"audio_{name}", lambda: encode_embedding(model, audio)).audio)


def _named(name: str, encode: Callable[[], AVCondition]) -> AVCondition:
    """Returns what `encode` does. Raises its ValueError with the name of the input."""
    try:
        return encode()
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
