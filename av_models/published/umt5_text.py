"""Encodes prompts with UMT5, as diffusers' pipeline of Wan does."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from diffusers import WanPipeline
from diffusers.pipelines.wan.pipeline_wan import prompt_clean
from torch import Tensor
from transformers import T5TokenizerFast

from ..build_from_card import one_line
from ..checkpoint import open_tensors
from ..contract import Condition
from . import umt5_file
from .folder import DiffusersFolder, has_vocabulary
from .joint.comfyui_text import ComfyUIText, TextEmbedding
from .loaded_expert import on_device_while_used
from .sentencepiece_file import SPIECE, read_tokenizer
from .tensor_files import check_scales, read_header, tensor_paths

LENGTH = 512  # tokens of a prompt
CLIP_LOADER = "Load CLIP with type wan and UMT5-XXL"


def clip_text(model: str) -> ComfyUIText:
    """Return how a text encoder of ComfyUI encodes prompts for `model`."""
    return ComfyUIText(model, CLIP_LOADER, ("umt5",), LENGTH, keeps_end=True, clean=prompt_clean)


@dataclass(frozen=True)
class UMT5Text:
    """Encodes prompts with UMT5: at most 512 tokens, without those that only pad.

    model, owner: its name and its file, for errors. width: of the embeddings.
    encoder: a safetensors file or a folder of them. tokenizer: a folder, or a file of ComfyUI that holds it. None: missing.
    dtype: of the encoder. missing: what is missing, in words. place: where it goes.
    """

    model: str
    owner: Path
    width: int
    encoder: Path | None
    tokenizer: Path | None
    dtype: torch.dtype
    missing: str = ""
    place: str = "the folder of this file"

    @property
    def encoder_bytes(self) -> int:
        """The size of the text encoder's files; 0 without them."""
        return 0 if self.encoder is None else sum(file.stat().st_size for file in tensor_paths(self.encoder))

    @cached_property
    def pipeline(self) -> WanPipeline:
        """The pipeline with its text encoder, loaded when first used. Raises FileNotFoundError, in one line, if it is missing."""
        if self.encoder is None or self.tokenizer is None:
            raise FileNotFoundError(
                f"{self.owner} needs {self.missing} to encode prompts; download it to {self.place}, "
                "or connect clip of Prompts for Video and Audio"
            )
        shapes = read_header(self.encoder).shapes
        if not umt5_file.is_encoder(shapes):
            raise ValueError(f"{self.encoder} is not the encoder of UMT5, which {self.owner} needs; use umt5_xxl_fp16.safetensors")
        check_scales(read_header(self.encoder), self.encoder)
        with one_line(self.encoder, "UMT5"):
            encoder = umt5_file.load_encoder(self.encoder, self.dtype)
        if encoder.config.d_model != self.width:
            raise ValueError(f"{self.encoder} has text embeddings of width {encoder.config.d_model}, but {self.owner} needs "
                             f"{self.width}; use the text encoder of Wan")  # fmt: skip
        return WanPipeline(tokenizer=self._load_tokenizer(self.tokenizer), text_encoder=encoder, vae=None, scheduler=None)

    @staticmethod
    def _load_tokenizer(path: Path) -> Any:
        if path.is_file():
            return read_tokenizer(path)
        return DiffusersFolder(path.parent).load_processor(path.name, T5TokenizerFast)

    def encode(self, prompt: str, device: torch.device) -> Condition:
        """Return the condition of one prompt, with one row."""
        with on_device_while_used([self.pipeline.text_encoder], device):
            tokens = self.pipeline._get_t5_prompt_embeds(prompt, max_sequence_length=LENGTH, device=device)
        return trimmed(tokens, tokens.ne(0).any(-1))

    def from_embedding(self, embedding: TextEmbedding) -> Condition:
        """Return the condition of UMT5's embedding [1, L, width]. Raises ValueError, in one line, for another width."""
        found = embedding.tokens.shape[-1]
        if found != self.width:
            raise ValueError(f"the embeddings are {found} wide, and {self.model} needs {self.width}; use {CLIP_LOADER}")
        return trimmed(embedding.tokens, embedding.mask & embedding.tokens.ne(0).any(-1))


def trimmed(tokens: Tensor, mask: Tensor) -> Condition:
    """Return the condition of embeddings [1, L, width] without what only pads at the end. What is masked is zeros."""
    length = int(mask.sum(1).amax().clamp(1, LENGTH))
    return Condition((tokens * mask[..., None])[:, :length].float(), mask[:, :length])


def find_tokenizer(encoder: Path | None, *folders: Path) -> Path | None:
    """Return the tokenizer of an encoder: in its folder or its file, else the first of `folders` that is one."""
    if encoder is not None and encoder.is_file() and _holds_words(encoder):
        return encoder
    near = [] if encoder is None else [encoder / "tokenizer", encoder.parent / "tokenizer", encoder]
    return next((folder for folder in (*near, *folders) if folder.is_dir() and has_vocabulary(folder)), None)


def _holds_words(encoder: Path) -> bool:
    with open_tensors(encoder) as file:
        return SPIECE in file.keys()
