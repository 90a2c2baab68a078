"""Loads AudioLDM as an audio expert, from a diffusers folder."""

from __future__ import annotations

from functools import partial

from diffusers import AudioLDMPipeline, AutoencoderKL, UNet2DConditionModel
from transformers import ClapTextModelWithProjection, RobertaTokenizerFast, SpeechT5HifiGan

from ..codecs.mel_vae import MelCodec
from ..experts.audioldm import AudioLDMExpert
from ..experts.audioldm_text import encode_prompt
from .folder import DiffusersFolder
from .loaded_expert import LoadedExpert
from .text_conditioner import PipelineTextConditioner


def from_folder(folder: DiffusersFolder) -> LoadedExpert:
    """Load the UNet, the VAE and the vocoder. The text encoder is loaded with the first prompt."""
    unet = folder.load("unet", UNet2DConditionModel)
    codec = MelCodec(folder.load("vae", AutoencoderKL), folder.load("vocoder", SpeechT5HifiGan)).eval()
    make_pipeline = partial(AudioLDMPipeline, unet=unet, vae=None, vocoder=None, scheduler=None)
    encoders, tokenizers = {"text_encoder": ClapTextModelWithProjection}, {"tokenizer": RobertaTokenizerFast}
    conditioner = PipelineTextConditioner(folder, encoders, tokenizers, make_pipeline, encode_prompt)
    return LoadedExpert("audio", AudioLDMExpert(unet).eval(), codec, conditioner)
