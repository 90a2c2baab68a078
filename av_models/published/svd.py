"""Stable Video Diffusion as a joint model's picture: from a folder of diffusers, or from Stability AI's single file."""

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
from ..experts.svd_image import null_condition, picture_condition
from ..media.fit import extend_frames
from ..shapes import AVShape
from .folder import DiffusersFolder
from .loaded_expert import LoadedExpert, on_device_while_used

TRAINED_SIZE = {"height": 576, "width": 1024, "fps": 7}  # arXiv 2311.15127
AUGMENTATION_SEED = 0  # the noise over a picture is the same every time; the sampler's seeds are for the clip


class SVDImageConditioner:
    """What the expert is told of a picture; CLIP is loaded with the first."""

    takes_image = True

    def __init__(
        self, unet: UNetSpatioTemporalConditionModel, codec: SVDCodec, load_vision: Callable[[], nn.Module],
        processor: CLIPImageProcessor,
    ) -> None:  # fmt: skip
        self._load_vision, self.stride = load_vision, codec.stride
        self._pipeline = StableVideoDiffusionPipeline(codec.vae, None, unet, EulerDiscreteScheduler(), processor)

    @cached_property
    def vision(self) -> nn.Module:
        self._pipeline.image_encoder = self._load_vision()
        return self._pipeline.image_encoder

    def condition(self, words: str, picture: Tensor | None, shape: AVShape) -> Condition:
        whole = self.stride.representable(replace(shape.video, frames=1))
        clip = {"height": whole.height, "width": whole.width, "fps": float(whole.fps)}
        if picture is None:
            return null_condition(self._pipeline, **clip)
        generator = torch.Generator().manual_seed(AUGMENTATION_SEED)
        with on_device_while_used([self.vision], self._pipeline.unet.device):
            return picture_condition(self._pipeline, extend_frames(picture, whole)[0], **clip, generator=generator)

    def unknown(self, words: str) -> list[str]:
        return [NO_TEXT_INPUT] if words.strip() else []


def from_folder(folder: DiffusersFolder) -> LoadedExpert:
    folder.safetensors("image_encoder")  # missing ones are named now, not with the first picture
    processor = folder.read("feature_extractor", CLIPImageProcessor)
    return assembled(
        folder.load("unet", UNetSpatioTemporalConditionModel), folder.load("vae", AutoencoderKLTemporalDecoder),
        lambda: folder.load("image_encoder", CLIPVisionModelWithProjection), processor,
    )  # fmt: skip


def assembled(
    unet: UNetSpatioTemporalConditionModel, vae: AutoencoderKLTemporalDecoder, load_vision: Callable[[], nn.Module],
    processor: CLIPImageProcessor,
) -> LoadedExpert:  # fmt: skip
    codec = SVDCodec(vae).eval()
    clip: dict[str, Any] = {"frames": unet.config.num_frames} | TRAINED_SIZE
    return LoadedExpert("video", SVDExpert(unet).eval(), codec, SVDImageConditioner(unet, codec, load_vision, processor), clip)
