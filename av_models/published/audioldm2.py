"""Loads AudioLDM2 as an audio expert, from a diffusers folder."""

from __future__ import annotations

from functools import partial

from diffusers import AudioLDM2Pipeline, AudioLDM2ProjectionModel, AudioLDM2UNet2DConditionModel, AutoencoderKL
from transformers import (
    ClapModel,
    GPT2LMHeadModel,
    RobertaTokenizerFast,
    SpeechT5HifiGan,
    T5EncoderModel,
    T5TokenizerFast,
)

from ..codecs.mel_vae import MelCodec
from ..contract import Condition
from ..experts.audioldm2 import AudioLDM2Expert
from ..experts.audioldm2_text import encode_prompt
from .folder import DiffusersFolder
from .loaded_expert import LoadedExpert
from .text_conditioner import PipelineTextConditioner

ENCODERS = {
    "text_encoder": ClapModel, "text_encoder_2": T5EncoderModel, "projection_model": AudioLDM2ProjectionModel,
    "language_model": GPT2LMHeadModel,  # published folders name GPT2Model, which can no longer generate
}  # fmt: skip
TOKENIZERS = {"tokenizer": RobertaTokenizerFast, "tokenizer_2": T5TokenizerFast}


def from_folder(folder: DiffusersFolder) -> LoadedExpert:
    """Load the UNet, the VAE and the vocoder. The text encoders are loaded with the first prompt."""
    unet = folder.load("unet", AudioLDM2UNet2DConditionModel)
    codec = MelCodec(folder.load("vae", AutoencoderKL), folder.load("vocoder", SpeechT5HifiGan)).eval()
    make_pipeline = partial(AudioLDM2Pipeline, unet=unet, vae=None, vocoder=None, feature_extractor=None, scheduler=None)
    conditioner = PipelineTextConditioner(folder, ENCODERS, TOKENIZERS, make_pipeline, _encode_one_prompt)
    return LoadedExpert("audio", AudioLDM2Expert(unet).eval(), codec, conditioner)


def _encode_one_prompt(pipeline: AudioLDM2Pipeline, prompt: str) -> Condition:
    return encode_prompt(pipeline, prompt)[0]
