"""The prompts of LTX-2: Gemma's hidden states, through a connector for each modality, as in diffusers' pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from math import ceil
from pathlib import Path

import torch
from diffusers import LTX2Pipeline
from diffusers.pipelines.ltx2.connectors import LTX2ConnectorTransformer1d, LTX2TextConnectors
from torch import Tensor
from torch.nn.functional import pad
from transformers import Gemma3ForConditionalGeneration, Gemma4UnifiedForConditionalGeneration, GemmaTokenizer

from ...contract import AVCondition, Condition
from ..folder import DiffusersFolder
from ..loaded_expert import on_device_while_used
from .comfyui_text import ComfyUIText
from .folder_card import component_bytes, config_of, missing_parts
from .prompts import JointPromptConditioner

TEXT_ENCODERS = {
    "gemma3": Gemma3ForConditionalGeneration,
    "gemma4_unified": Gemma4UnifiedForConditionalGeneration,
}
"""By `model_type` in the encoder's config."""
ENCODERS = {"text_encoder": "Gemma", "tokenizer": "tokenizer of Gemma", "connectors": "connectors"}
LENGTH = 1024  # tokens of a prompt


class LTX2Prompts:
    """Encodes prompts with the encoders of a folder, which are loaded when they are first used.

    model_type: of the text encoder. dtype: of the networks; None: as the folder says. loras: files with strengths, of which some
    have layers of the connectors.
    """

    def __init__(
        self, folder: DiffusersFolder, model_type: str, dtype: torch.dtype | None = None, loras: Sequence[tuple[Path, float]] = ()
    ) -> None:
        self.folder, self.model_type, self.dtype, self.loras = folder, model_type, dtype, loras

    @cached_property
    def connectors(self) -> LTX2TextConnectors:
        """The networks between Gemma and the two towers."""
        connectors = self.folder.load("connectors", LTX2TextConnectors, self.dtype)
        if self.loras:
            from ..lora import apply_loras_beside

            apply_loras_beside(connectors, self.loras)
        return connectors

    @cached_property
    def pipeline(self) -> LTX2Pipeline:
        """The pipeline with the text encoder alone."""
        missing = missing_parts(self.folder, ENCODERS)
        if missing:
            raise FileNotFoundError(
                f"{self.folder.path} lacks {', '.join(missing)}; download the whole repository, "
                "or connect clip of Prompts for Video and Audio"
            )
        if self.model_type not in TEXT_ENCODERS:
            raise ValueError(f"{self.folder.path / 'text_encoder'} holds {self.model_type}; Duet takes {', '.join(TEXT_ENCODERS)}")
        return LTX2Pipeline(
            text_encoder=self.folder.load("text_encoder", TEXT_ENCODERS[self.model_type], self.dtype),
            tokenizer=self.folder.load_processor("tokenizer", GemmaTokenizer),
            **dict.fromkeys(("scheduler", "vae", "audio_vae", "connectors", "transformer", "vocoder")),
        )

    @torch.no_grad()
    def encode(self, prompt: str, device: torch.device) -> AVCondition:
        """Return the condition of one prompt for both modalities, with one row."""
        pipeline, connectors = self.pipeline, self.connectors
        with on_device_while_used([pipeline.text_encoder, connectors], device):
            states, mask, *_ = pipeline.encode_prompt(prompt, do_classifier_free_guidance=False, device=device)
            video, audio, mask = connectors(states, mask, padding_side=pipeline.tokenizer.padding_side)
        return AVCondition(Condition(video, mask.bool()), Condition(audio, mask.bool()))

    @torch.no_grad()
    def from_embeddings(self, device: torch.device, tokens: Tensor, mask: Tensor | None, pooled: Tensor | None) -> AVCondition:
        """Return the condition of what ComfyUI's text encoder for LTX-2 gives, tokens [1, L, D].

        These are the inputs of the connectors, of both modalities side by side for LTX-2.3 and later. ComfyUI can also run
        LTX-2.0's connectors with its text encoder: then their outputs are side by side. Raises ValueError for other widths.
        """
        config = config_of(self.folder, "connectors")
        split, width = config.get("per_modality_projections", False), config.get("caption_channels", 3840)
        widths = [config.get("video_hidden_dim", 4096), config.get("audio_hidden_dim", 2048)]
        before = sum(widths) if split else width
        after = None if split else 2 * width
        if tokens.shape[-1] not in (before, after):
            raise ValueError(f"the embeddings are {tokens.shape[-1]} wide, and this LTX-2 needs {before}; use {CLIP_LOADER}")
        if mask is not None:
            tokens = tokens[:, mask[0].bool()]
        if tokens.shape[-1] == after:
            return _both(*tokens.split(width, -1))
        connectors = self.connectors
        parts = tokens.split(widths, -1) if split else (tokens, tokens)
        with on_device_while_used([connectors], device):
            pairs = zip((connectors.video_connector, connectors.audio_connector), parts)
            return _both(*(_connect(connector, part.to(device, connectors.dtype)) for connector, part in pairs))


CLIP_LOADER = "LTXV Audio Text Encoder Loader with files of the same version"
CLIP_TEXT = ComfyUIText("LTX-2", CLIP_LOADER, ("gemma",), LENGTH)


def make_conditioner(
    folder: DiffusersFolder, model_type: str, dtype: torch.dtype | None, loras: Sequence[tuple[Path, float]] = ()
) -> JointPromptConditioner:
    """Return the conditioner of a folder. Nothing is loaded yet."""
    prompts = LTX2Prompts(folder, model_type, dtype, loras)
    conditioner = JointPromptConditioner(
        prompts.encode,
        lambda *parts: prompts.from_embeddings(conditioner.device_marker.device, *parts),
        prompt_help="LTX-2 was trained with one text for both: describe what is seen and heard, spoken words in quotes",
        comfyui_text=CLIP_TEXT,
    )
    conditioner.encoder_bytes = component_bytes(folder, ("text_encoder", "connectors"))
    return conditioner


def _connect(connector: LTX2ConnectorTransformer1d, tokens: Tensor) -> Tensor:
    """Run a connector on the tokens of a prompt, filled up to the pipeline's length, or a multiple of the registers."""
    registers = connector.num_learnable_registers or 1
    added = ceil(max(LENGTH, tokens.shape[1]) / registers) * registers - tokens.shape[1]
    mask = pad(tokens.new_zeros(1, 1, 1, tokens.shape[1]), (0, added), value=torch.finfo(tokens.dtype).min)
    return connector(pad(tokens, (0, 0, 0, added)), mask)[0]


def _both(video: Tensor, audio: Tensor) -> AVCondition:
    mask = torch.ones(video.shape[:2], dtype=torch.bool, device=video.device)
    return AVCondition(Condition(video, mask), Condition(audio, mask))
