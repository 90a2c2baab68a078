"""AudioLDM2 as a joint model's sound, from a folder of diffusers."""

from __future__ import annotations

from functools import partial

from diffusers import AudioLDM2Pipeline, AudioLDM2ProjectionModel, AudioLDM2UNet2DConditionModel, AutoencoderKL
from transformers import ClapModel, GPT2LMHeadModel, RobertaTokenizerFast, SpeechT5HifiGan, T5EncoderModel, T5TokenizerFast

from ..codecs.mel_vae import MelCodec
from ..experts.audioldm2 import AudioLDM2Expert
from ..experts.audioldm2_text import text_condition
from .folder import DiffusersFolder
from .loaded_expert import LoadedExpert
from .text_conditioner import PipelineTextConditioner

ENCODERS = {
    "text_encoder": ClapModel, "text_encoder_2": T5EncoderModel, "projection_model": AudioLDM2ProjectionModel,
    "language_model": GPT2LMHeadModel,  # folders name GPT2Model, which can no longer continue a text
}  # fmt: skip
TOKENIZERS = {"tokenizer": RobertaTokenizerFast, "tokenizer_2": T5TokenizerFast}


def from_folder(folder: DiffusersFolder) -> LoadedExpert:
    unet = folder.load("unet", AudioLDM2UNet2DConditionModel)
    codec = MelCodec(folder.load("vae", AutoencoderKL), folder.load("vocoder", SpeechT5HifiGan)).eval()
    pipeline = partial(AudioLDM2Pipeline, unet=unet, vae=None, vocoder=None, feature_extractor=None, scheduler=None)
    words = PipelineTextConditioner(folder, ENCODERS, TOKENIZERS, pipeline, lambda made, prompt: text_condition(made, prompt)[0])
    return LoadedExpert("audio", AudioLDM2Expert(unet).eval(), codec, words)
