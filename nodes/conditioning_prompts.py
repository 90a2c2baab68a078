"""Prompts that text encoders of ComfyUI have encoded, for models that take such embeddings."""

from __future__ import annotations

from typing import Any
from weakref import ref

import torch
from torch import Tensor

from ..av_models.contract import AVCondition
from ..av_models.published.joint.comfyui_text import TextEmbedding, read_embedding
from .host import io
from .placement import load_encoders
from .reports import report
from .sockets import JointModelSocket, Prompts, PromptsSocket, encode_embedding

NO_WORDS = (("", ""), ("", ""))


class DuetPromptsFromConditioning(io.ComfyNode):
    """Takes CONDITIONING in place of the model's own text encoders, which need not be there."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DuetPromptsFromConditioning",
            display_name="Prompts from Conditioning",
            category="Duet/make",
            description="Uses prompts that a text encoder of ComfyUI has encoded, for Kandinsky 6, LTX-2 and Ovi. "
            "The model's own text encoders are then not needed.",
            search_aliases=["duet", "clip text encode", "conditioning", "text encoder", "gguf text encoder"],
            inputs=[
                JointModelSocket.Input("model", tooltip="The model that will generate the clip."),
                io.Conditioning.Input("positive", tooltip="The prompt, for the video and for the audio."),
                io.Conditioning.Input("negative", tooltip="The negative prompt, for the video and for the audio."),
                io.Conditioning.Input(
                    "audio_positive", optional=True, tooltip="A separate prompt for the audio. Not connected: the same as positive."
                ),
                io.Conditioning.Input(
                    "audio_negative", optional=True,
                    tooltip="A separate negative prompt for the audio. Not connected: the same as negative.",
                ),
            ],
            outputs=[PromptsSocket.Output(display_name="prompts", tooltip="Connect to the sampler.")],
        )  # fmt: skip

    @classmethod
    def execute(cls, model, positive, negative, audio_positive=None, audio_negative=None) -> io.NodeOutput:
        given = {"positive": positive, "negative": negative, "audio_positive": audio_positive, "audio_negative": audio_negative}
        embeddings = {name: _read(name, each) for name, each in given.items() if each is not None}
        load_encoders(model, text_encoders=False)
        encoded = {name: _encode(model, name, each) for name, each in embeddings.items()}
        pairs = [(name, f"audio_{name}" if f"audio_{name}" in embeddings else name) for name in ("positive", "negative")]
        lines = [f"{name}: {each.tokens.shape[1]} tokens of width {each.tokens.shape[2]}" for name, each in embeddings.items()]
        prompts = Prompts(
            NO_WORDS,
            encoded=tuple(AVCondition(encoded[video].video, encoded[audio].audio) for video, audio in pairs),
            encoder=ref(model),
            embedded=tuple((embeddings[video], embeddings[audio]) for video, audio in pairs),
        )
        return io.NodeOutput(prompts, ui=report(*lines, warnings=_notes(model)))


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
def _encode(model, name: str, embedding: TextEmbedding) -> AVCondition:
    try:
        return encode_embedding(model, embedding)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
