"""AudioLDM as a joint model's sound, from a folder of diffusers."""

from __future__ import annotations

from functools import partial

from diffusers import AudioLDMPipeline, AutoencoderKL, UNet2DConditionModel
from transformers import ClapTextModelWithProjection, RobertaTokenizerFast, SpeechT5HifiGan

from ..codecs.mel_vae import MelCodec
from ..experts.audioldm import AudioLDMExpert
from ..experts.audioldm_text import text_condition
from .folder import DiffusersFolder
from .loaded_expert import LoadedExpert
from .text_conditioner import PipelineTextConditioner


def from_folder(folder: DiffusersFolder) -> LoadedExpert:
    unet = folder.load("unet", UNet2DConditionModel)
    codec = MelCodec(folder.load("vae", AutoencoderKL), folder.load("vocoder", SpeechT5HifiGan)).eval()
    pipeline = partial(AudioLDMPipeline, unet=unet, vae=None, vocoder=None, scheduler=None)
    encoders, tokenizers = {"text_encoder": ClapTextModelWithProjection}, {"tokenizer": RobertaTokenizerFast}
    words = PipelineTextConditioner(folder, encoders, tokenizers, pipeline, text_condition)
    return LoadedExpert("audio", AudioLDMExpert(unet).eval(), codec, words)
