"""AnimateDiff as a joint model's picture, from a folder that diffusers' pipeline saved with its motion in the UNet."""

from __future__ import annotations

from functools import partial

from diffusers import AnimateDiffPipeline, AutoencoderKL, UNetMotionModel
from transformers import CLIPTextModel, CLIPTokenizer

from ..codecs.image_vae import ImageCodec
from ..experts.animatediff import AnimateDiffExpert
from ..experts.animatediff_text import text_condition
from .folder import DiffusersFolder
from .loaded_expert import LoadedExpert
from .text_conditioner import PipelineTextConditioner

TRAINED_CLIP = {"frames": 16, "height": 512, "width": 512, "fps": 8}  # arXiv 2307.04725


def from_folder(folder: DiffusersFolder) -> LoadedExpert:
    unet = folder.load("unet", UNetMotionModel)
    codec = ImageCodec(folder.load("vae", AutoencoderKL)).eval()
    pipeline = partial(AnimateDiffPipeline, unet=unet, vae=None, motion_adapter=None, scheduler=None)
    words = PipelineTextConditioner(folder, {"text_encoder": CLIPTextModel}, {"tokenizer": CLIPTokenizer}, pipeline, text_condition)
    return LoadedExpert("video", AnimateDiffExpert(unet).eval(), codec, words, TRAINED_CLIP)
