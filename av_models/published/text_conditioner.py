"""Words for an expert from a diffusers folder, by the text encoders that lie in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property

from diffusers import DiffusionPipeline
from torch import Tensor

from ..contract import Condition
from ..shapes import AVShape
from .folder import DiffusersFolder
from .loaded_expert import on_device_while_used


class PipelineTextConditioner:
    """`encoders`, `tokenizers`: their classes by the names of their folders, loaded with the first prompt; `pipeline` makes
    the family's pipeline of them, and `encode` a prompt's condition with it.

    Raises FileNotFoundError where an encoder has no safetensors.
    """

    takes_image = False

    def __init__(
        self, folder: DiffusersFolder, encoders: Mapping[str, type], tokenizers: Mapping[str, type],
        pipeline: Callable[..., DiffusionPipeline], encode: Callable[[DiffusionPipeline, str], Condition],
    ) -> None:  # fmt: skip
        self.folder, self.encoders, self.tokenizers = folder, encoders, tokenizers
        self._make, self._encode = pipeline, encode
        for part in encoders:
            folder.safetensors(part)

    @cached_property
    def pipeline(self) -> DiffusionPipeline:
        loaded = {part: self.folder.load(part, kind) for part, kind in self.encoders.items()}
        return self._make(**loaded, **{part: self.folder.read(part, kind) for part, kind in self.tokenizers.items()})

    def condition(self, words: str, picture: Tensor | None, shape: AVShape) -> Condition:
        with on_device_while_used([getattr(self.pipeline, part) for part in self.encoders], self.pipeline.unet.device):
            return self._encode(self.pipeline, words)

    def unknown(self, words: str) -> list[str]:
        return []
