"""Encodes prompts for TangoFlux with FLAN-T5."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import T5EncoderModel, T5TokenizerFast

from ...build_from_card import one_line
from ...contract import Condition
from ..folder import DiffusersFolder
from ..joint.comfyui_text import TextEmbedding
from ..loaded_expert import on_device_while_used
from ..t5_file import load_t5, t5_width
from ..tensor_files import read_header
from .tangoflux_files import T5, TangoFluxFiles, tokenizer_command

LONGEST = 512  # tokens, of FLAN-T5; for tokenizers that say nothing of it


class TangoFluxText:
    """Encodes prompts as the authors do: in float32, without padding; what stands at padding is encoded beside."""

    def __init__(self, parts: TangoFluxFiles) -> None:
        self.parts, self.width = parts, parts.text_width

    @property
    def encoder_bytes(self) -> int:
        """The size of the text encoder in memory; 0 if there is none."""
        path, prefix = self.parts.text_encoder, self.parts.text_prefix
        return 0 if path is None else 4 * read_header(path).part(prefix + "encoder.", prefix + "shared.").parameters

    @cached_property
    def encoder(self) -> T5EncoderModel:
        """The text encoder. Raises FileNotFoundError or ValueError, in one line, if it is missing or another one."""
        path = self._require("text_encoder")
        with one_line(path, "FLAN-T5"):
            found = t5_width(read_header(path).shapes, self.parts.text_prefix)
            if found not in (None, self.width):
                raise ValueError(
                    f"{path} has text embeddings of width {found}, but {self.parts.model} needs {self.width}; use {T5}"
                )
            return load_t5(path, torch.float32, self.parts.text_prefix)

    @cached_property
    def tokenizer(self) -> Any:
        """The tokenizer. Raises FileNotFoundError or ValueError, in one line, if it is missing or damaged."""
        folder = self._require("tokenizer")
        return DiffusersFolder(folder.parent).load_processor(folder.name, T5TokenizerFast)

    def _require(self, part: str) -> Path:
        path: Path | None = getattr(self.parts, part)
        if path is None:
            how = f"download it: {tokenizer_command(self.parts.model)}" if part == "tokenizer" else "download it"
            need = f"{self.parts.model} needs {self.parts.missing(None)[part]} to encode prompts"
            raise FileNotFoundError(f"{need}; {how}, or connect a CONDITIONING of FLAN-T5-large")
        return path

    def encode(self, prompt: str, device: torch.device) -> Condition:
        """Return the condition of one prompt, with one row, and with what the encoder gives at all further positions.

        The empty prompt is encoded with its padding, as the authors' negative is; else rounding differs.
        """
        longest = min(self.tokenizer.model_max_length, LONGEST)
        with on_device_while_used([self.encoder], device):
            tokens, mask = self._run(prompt, device, padding=True, max_length=longest)
            padded, _ = self._run(prompt, device, padding="max_length", max_length=longest)
        length = tokens.shape[1]
        return Condition(tokens if prompt else padded[:, :length], mask, padding=padded[:, length:])

    @torch.no_grad()
    def _run(self, prompt: str, device: torch.device, **options: Any) -> tuple[Tensor, Tensor]:
        ids = self.tokenizer([prompt], truncation=True, return_tensors="pt", **options).to(device)
        return self.encoder(input_ids=ids.input_ids, attention_mask=ids.attention_mask)[0], ids.attention_mask.bool()

    def from_embedding(self, embedding: TextEmbedding) -> Condition:
        """Return the condition of an embedding of FLAN-T5. Raises ValueError, in one line, for another width."""
        tokens, mask = embedding.tokens.float(), embedding.mask
        if tokens.shape[-1] != self.width:
            raise ValueError(f"the embeddings are {tokens.shape[-1]} wide, and TangoFlux needs {self.width}; use {T5}")
        real = int(torch.arange(1, mask.shape[1] + 1).mul(mask).amax().clamp(1))
        return Condition(tokens[:, :real], mask[:, :real], padding=tokens[:, real:])
