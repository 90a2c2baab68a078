"""Loads AnimateDiff as a video expert, from a folder that diffusers' AnimateDiffPipeline saved with its motion adapter."""

from __future__ import annotations

from functools import partial

from diffusers import AnimateDiffPipeline, AutoencoderKL, UNetMotionModel
from transformers import CLIPTextModel, CLIPTokenizer

from ..codecs.image_vae import ImageCodec
from ..experts.animatediff import AnimateDiffExpert
from ..experts.animatediff_text import encode_prompt
from .folder import DiffusersFolder
from .loaded_expert import LoadedExpert
from .text_conditioner import PipelineTextConditioner

TRAINED_CLIP = {"frames": 16, "height": 512, "width": 512, "fps": 8}  # arXiv 2307.04725


def from_folder(folder: DiffusersFolder) -> LoadedExpert:
    """Load the UNet and the VAE. The text encoder is loaded with the first prompt."""
    unet = folder.load("unet", UNetMotionModel)
    codec = ImageCodec(folder.load("vae", AutoencoderKL)).eval()
    make_pipeline = partial(AnimateDiffPipeline, unet=unet, vae=None, motion_adapter=None, scheduler=None)
    encoders, tokenizers = {"text_encoder": CLIPTextModel}, {"tokenizer": CLIPTokenizer}
    conditioner = PipelineTextConditioner(folder, encoders, tokenizers, make_pipeline, encode_prompt)
    clip = TRAINED_CLIP | {"frames": min(TRAINED_CLIP["frames"], unet.config.motion_max_seq_length)}
    return LoadedExpert("video", AnimateDiffExpert(unet).eval(), codec, conditioner, clip)
