"""Where the text encoder of an expert and its tokenizer lie. Both are loaded with the first prompt, and only then missed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from .expert_options import ExpertOptions
from .folder import DiffusersFolder, check_complete, has_vocabulary

ENCODER, TOKENIZER = "text_encoder", "tokenizer"


@dataclass(frozen=True)
class TextFiles:
    """The files of a text encoder.

    owner: the file or folder of the expert. name: of the text encoder, such as "T5-base".
    encoder: its file, or its transformers folder. tokenizer: the folder of its tokenizer. None: there is none.
    """

    owner: Path
    name: str
    encoder: Path | None
    tokenizer: Path | None

    @classmethod
    def find(cls, owner: Path, name: str, options: ExpertOptions) -> TextFiles:
        """Return the files that `options` name, else those in the folder of the expert."""
        beside = owner / ENCODER
        encoder = options.text_encoder or (beside if beside.is_dir() else None)
        near = encoder and (encoder if encoder.is_dir() else encoder.parent)
        folders = [options.tokenizer] if options.tokenizer else [near, near and near / TOKENIZER, owner / TOKENIZER]
        return cls(owner, name, encoder, next((folder for folder in folders if folder and has_vocabulary(folder)), None))

    @property
    def missing(self) -> list[str]:
        """What is missing, in words."""
        parts = {f"text encoder {self.name}": self.encoder, f"tokenizer of {self.name}": self.tokenizer}
        return [words for words, path in parts.items() if path is None]

    @property
    def encoder_files(self) -> list[Path]:
        """The safetensors files of the text encoder."""
        if self.encoder is None or self.encoder.is_file():
            return [] if self.encoder is None else [self.encoder]
        return sorted(self.encoder.glob("*.safetensors"))

    @property
    def encoder_bytes(self) -> int:
        """The size of these files."""
        return sum(file.stat().st_size for file in self.encoder_files if file.is_file())

    def check(self) -> None:
        """Raise FileNotFoundError, in one line, if one of both is missing."""
        if self.missing:
            raise FileNotFoundError(
                f"{self.owner} needs the {' and the '.join(self.missing)} to encode prompts; download it, or connect clip of "
                "Prompts for Video and Audio"
            )

    def check_width(self, found: int, needed: int) -> None:
        """Raise ValueError, in one line, if the embeddings are not as wide as the expert needs."""
        if found != needed:
            raise ValueError(
                f"{self.encoder} has text embeddings of width {found}, but {self.owner} needs {needed}; use {self.name}"
            )

    def load_encoder(self, cls: type[Any], dtype: torch.dtype, from_file: Callable[[Path, torch.dtype], nn.Module]) -> Any:
        """Load the text encoder, of class `cls`. from_file: loads it from a single file."""
        self.check()
        assert self.encoder is not None
        if not self.encoder.is_dir():
            return from_file(self.encoder, dtype)
        check_complete(self.encoder)
        return DiffusersFolder(self.encoder).load("", cls, dtype)

    def load_tokenizer(self, cls: type[Any]) -> Any:
        """Load the tokenizer, of class `cls`."""
        self.check()
        assert self.tokenizer is not None
        return DiffusersFolder(self.tokenizer).load_processor("", cls)
