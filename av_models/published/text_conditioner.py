"""Encodes prompts for an expert with the text encoders in its diffusers folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

from diffusers import DiffusionPipeline
from torch import Tensor

from ..contract import Condition
from ..shapes import AVShape
from .folder import DiffusersFolder
from .loaded_expert import on_device_while_used


class PipelineTextConditioner:
    """Encodes text prompts with a diffusers pipeline, whose text encoders are loaded with the first prompt.

    encoders, tokenizers: classes by component name (the names of the folder's subfolders).
    make_pipeline: makes the pipeline from these components, passed by name.
    encode_prompt: encodes a prompt with the pipeline.

    Raises FileNotFoundError if a text encoder has no safetensors file.
    """

    takes_image = False

    def __init__(
        self, folder: DiffusersFolder, encoders: Mapping[str, type], tokenizers: Mapping[str, type],
        make_pipeline: Callable[..., DiffusionPipeline], encode_prompt: Callable[[Any, str], Condition],
    ) -> None:  # fmt: skip
        self.folder, self.encoders, self.tokenizers = folder, encoders, tokenizers
        self._make_pipeline, self._encode_prompt = make_pipeline, encode_prompt
        for component in encoders:
            folder.safetensors_files(component)  # raises an error now instead of with the first prompt

    @cached_property
    def pipeline(self) -> DiffusionPipeline:
        """The pipeline with its text encoders, loaded when first used."""
        encoders = {component: self.folder.load(component, cls) for component, cls in self.encoders.items()}
        tokenizers = {component: self.folder.load_processor(component, cls) for component, cls in self.tokenizers.items()}
        return self._make_pipeline(**encoders, **tokenizers)

    def condition(self, prompt: str, image: Tensor | None, shape: AVShape) -> Condition:
        """Return the encoded prompt; the image is not used. The text encoders are on the UNet's device only meanwhile."""
        encoders = [getattr(self.pipeline, component) for component in self.encoders]
        with on_device_while_used(encoders, self.pipeline.unet.device):
            return self._encode_prompt(self.pipeline, prompt)

    def unknown_words(self, prompt: str) -> list[str]:
        """Return no messages: the tokenizers accept every word."""
        return []
