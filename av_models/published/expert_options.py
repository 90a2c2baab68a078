"""How a published expert is loaded, and what can be said of its files before that."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .joint import LoadOptions


@dataclass(frozen=True)
class ExpertOptions(LoadOptions):
    """How a published expert is loaded, and the files of its other parts.

    low_noise: the file or folder of Wan 2.2 A14B's expert for low noise; the expert itself is then that for high noise.
    text_encoder: a file, or a transformers folder; None: the one beside the expert.
    tokenizer: a folder with the tokenizer of `text_encoder`; None: in that folder, or beside that file.
    vae: a file, or a folder of diffusers; None: the one beside the expert.
    codec: a codec to use in place of any VAE file (see `codecs.base`); None: load one.
    """

    low_noise: Path | None = None
    text_encoder: Path | None = None
    tokenizer: Path | None = None
    vae: Path | None = None
    codec: Any = None

    def __post_init__(self) -> None:
        for name in ("gguf", "low_noise", "text_encoder", "tokenizer", "vae"):
            value = getattr(self, name)
            object.__setattr__(self, name, None if value is None else Path(value))
        object.__setattr__(self, "loras", tuple((Path(path), strength) for path, strength in self.loras))


@dataclass(frozen=True)
class Found:
    """What a file or folder holds, as read off its tensors' names, shapes and types.

    model: the name as users say it, such as "Wan 2.2 TI2V-5B".
    kind: "video_expert", "audio_expert", "text_encoder", "video_vae", "audio_vae" or "lora".
    family: for an expert, its module in `published.experts`; else "".
    names: whose names the tensors have: "diffusers", "original" or "comfyui".
    precision: such as "bf16", "fp16", "fp32", "fp8", "scaled fp8", "GGUF Q4_K" or "bf16 and fp32".
    parameters: number of values.
    """

    model: str
    kind: str
    family: str
    names: str
    precision: str
    parameters: int
