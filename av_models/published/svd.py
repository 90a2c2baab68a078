"""Loads Stable Video Diffusion as a video expert, from a diffusers folder or from Stability AI's single file."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import cached_property
from typing import Any

import torch
from diffusers import (
    AutoencoderKLTemporalDecoder,
    EulerDiscreteScheduler,
    StableVideoDiffusionPipeline,
    UNetSpatioTemporalConditionModel,
)
from torch import Tensor, nn
from transformers import CLIPImageProcessor, CLIPVisionModelWithProjection

from ..codecs.svd_vae import SVDCodec
from ..conditioning import NO_TEXT_INPUT
from ..contract import Condition
from ..experts.svd import SVDExpert
from ..experts.svd_image import encode_image, null_condition
from ..media.fit import extend_frames
from ..shapes import AVShape
from .folder import DiffusersFolder
from .loaded_expert import LoadedExpert, on_device_while_used

TRAINED_SIZE = {"height": 576, "width": 1024, "fps": 7}  # arXiv 2311.15127
AUGMENTATION_SEED = 0  # fixed seed of the image's noise augmentation; the sampler's seeds are for the clip


class SVDImageConditioner:
    """Encodes an image for Stable Video Diffusion. Its CLIP image encoder is loaded with the first image.

    load_image_encoder: loads the CLIP image encoder. processor: the CLIP image processor.
    """

    takes_image = True

    def __init__(
        self, unet: UNetSpatioTemporalConditionModel, codec: SVDCodec, load_image_encoder: Callable[[], nn.Module],
        processor: CLIPImageProcessor,
    ) -> None:  # fmt: skip
        self._load_image_encoder, self.stride = load_image_encoder, codec.stride
        self._pipeline = StableVideoDiffusionPipeline(codec.vae, None, unet, EulerDiscreteScheduler(), processor)

    @cached_property
    def image_encoder(self) -> nn.Module:
        """The CLIP image encoder, loaded when first used."""
        self._pipeline.image_encoder = self._load_image_encoder()
        return self._pipeline.image_encoder

    def condition(self, prompt: str, image: Tensor | None, shape: AVShape) -> Condition:
        """Return the condition of an image [1, height, width, 3] in 0..1, of the size of the clip, or of no image (∅)."""
        size = self.stride.representable(replace(shape.video, frames=1))
        clip: dict[str, Any] = {"height": size.height, "width": size.width, "fps": float(size.fps)}
        if image is None:
            return null_condition(self._pipeline, **clip)
        generator = torch.Generator().manual_seed(AUGMENTATION_SEED)
        with on_device_while_used([self.image_encoder], self._pipeline.unet.device):
            return encode_image(self._pipeline, extend_frames(image, size)[0], **clip, generator=generator)

    def unknown_words(self, prompt: str) -> list[str]:
        """Return one message if the prompt is not empty: the model takes no text."""
        return [NO_TEXT_INPUT] if prompt.strip() else []


def from_folder(folder: DiffusersFolder) -> LoadedExpert:
    """Load the UNet and the VAE. The image encoder is loaded with the first image."""
    folder.safetensors_files("image_encoder")  # raises an error now instead of with the first image
    processor = folder.load_processor("feature_extractor", CLIPImageProcessor)
    return build_expert(
        folder.load("unet", UNetSpatioTemporalConditionModel), folder.load("vae", AutoencoderKLTemporalDecoder),
        lambda: folder.load("image_encoder", CLIPVisionModelWithProjection), processor,
    )  # fmt: skip


def build_expert(
    unet: UNetSpatioTemporalConditionModel, vae: AutoencoderKLTemporalDecoder, load_image_encoder: Callable[[], nn.Module],
    processor: CLIPImageProcessor,
) -> LoadedExpert:  # fmt: skip
    """Make the expert, codec and conditioner of these networks; `load_image_encoder` is called with the first image."""
    codec = SVDCodec(vae).eval()
    clip: dict[str, Any] = {"frames": unet.config.num_frames} | TRAINED_SIZE
    conditioner = SVDImageConditioner(unet, codec, load_image_encoder, processor)
    return LoadedExpert("video", SVDExpert(unet).eval(), codec, conditioner, clip)
