"""Loads Kandinsky 6 (Lite, Pro and their distilled weights) from a folder that diffusers' Kandinsky6TI2VAPipeline was saved to."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from diffusers import (
    AutoencoderKLHunyuanVideo,
    FlowMatchEulerDiscreteScheduler,
    Kandinsky6TI2VAPipeline,
    Kandinsky6Transformer3DModel,
    MMAudioVAE,
    MMAudioVocoder,
    PiflowScheduler,
)
from diffusers.pipelines.kandinsky6.pipeline_kandinsky6_ti2va import _PROMPT_TEMPLATE, _QWEN_CROP_START
from torch import Tensor, nn
from transformers import CLIPTextModel, CLIPTokenizer, Qwen2_5_VLForConditionalGeneration, Qwen2Tokenizer

from ...clock import check_times
from ...codecs.hunyuan_video_vae import HunyuanVideoCodec
from ...codecs.mmaudio import MMAudioCodec
from ...contract import AVCondition, Condition, LatentShape
from ...joint.kandinsky6 import Kandinsky6
from ...joint_model import JointModel
from ...printable import quoted
from ...recommended import scales_of_cfg
from ...shapes import VideoShape
from ..folder import DiffusersFolder
from ..load_network import check_options, load_network
from ..loaded_expert import on_device_while_used
from . import LoadOptions
from .comfyui_text import ComfyUIText
from .folder_card import component_bytes, config_of, count_parameters, missing_parts, size_on_disk
from .prompts import JointPromptConditioner

PIPELINE = "Kandinsky6TI2VAPipeline"
PARTS = {"transformer": "transformer", "vae": "video VAE", "audio_vae": "audio VAE", "vocoder": "vocoder",
         "scheduler": "scheduler"}  # fmt: skip
ENCODERS = {"text_encoder": "Qwen2.5-VL", "tokenizer": "tokenizer of Qwen2.5-VL", "text_encoder_2": "CLIP",
            "tokenizer_2": "tokenizer of CLIP"}  # fmt: skip
SCHEDULERS, SCHEDULER_CONFIG = (FlowMatchEulerDiscreteScheduler, PiflowScheduler), "scheduler_config.json"
CLIP = VideoShape(121, 512, 768, Fraction(24))  # the defaults of the pipeline
LONGEST_PROMPT = 1024  # tokens, as in the pipeline
SIZES = {"Pro": 10**10, "Lite": 10**9}  # the least parameters of the transformer: 29 and 3 billion are published
SAMPLING = {"steps": 50, "guidance": "cfg", "scales": scales_of_cfg(5.0)}
DISTILLED_SAMPLING = {"steps": 16, "guidance": "none"}
NOTES = (
    "Not tried with published weights yet.",
    "The licence is that of the authors' code. The video VAE is that of HunyuanVideo, which has a licence of its own.",
)
CLIP_LOADER = "DualCLIPLoader, type kandinsky5"
CLIP_TEXT = ComfyUIText(
    "Kandinsky 6", CLIP_LOADER, ("qwen25_7b", "l"), LONGEST_PROMPT + _QWEN_CROP_START, template=_PROMPT_TEMPLATE,
    norm="qwen25_7b.transformer.model.norm.weight",
)  # fmt: skip
CONDITIONING_NOTE = (
    "CLIP Text Encode does not encode as in the training of Kandinsky 6 (another instruction, no final norm); "
    "connect the text encoder to clip of Prompts for Video and Audio instead"
)
PROMPT_HELP = "Kandinsky 6 reads speech between <S> and <E>, and other sounds between <AUDCAP> and <ENDAUDCAP>."


def describe(path: Path) -> dict[str, Any]:
    """Return what can be said without reading weights (see `JointFamily.describe`)."""
    folder = DiffusersFolder(path)
    parameters, distilled = count_parameters(folder, "transformer"), _is_distilled(folder)
    size = next((f" {name}" for name, least in SIZES.items() if parameters >= least), "")
    return {
        "name": f"Kandinsky 6{size}{' distilled' if distilled else ''}", "architecture": PIPELINE, "licence": "MIT",
        "trained": True, "parameters": parameters, "bytes": size_on_disk(folder), "capabilities": _capabilities(folder, distilled),
        "needs": missing_parts(folder, PARTS | ENCODERS), "notes": list(NOTES), "given": "renoised",
        "sampling": DISTILLED_SAMPLING if distilled else SAMPLING,
    }  # fmt: skip


def _capabilities(folder: DiffusersFolder, distilled: bool) -> list[str]:
    config = config_of(folder, "transformer")
    first = config.get("visual_cond", True) and config.get("visual_token_type_num_embeddings", 0) > 1
    return [
        "text to video with audio", *(["a first frame"] if first else []), "audio for a video", "video for audio", "speech",
        "separate prompts for video and audio", "one-way coupling", "no guidance" if distilled else "every guidance",
    ]  # fmt: skip


def _is_distilled(folder: DiffusersFolder) -> bool:
    return config_of(folder, "scheduler", SCHEDULER_CONFIG).get("_class_name") == PiflowScheduler.__name__


def files(path: Path) -> list[Path]:
    """Return all files that the loaded model depends on."""
    return DiffusersFolder(path).files()


def load(path: Path, options: LoadOptions) -> JointModel:
    """Load the model. Its text encoders are loaded with the first prompt."""
    folder, dtype = DiffusersFolder(path, options.keep_dtype), check_options(options)
    scheduler = _load_scheduler(folder)
    policy = scheduler if isinstance(scheduler, PiflowScheduler) else None
    transformer = load_network(folder, "transformer", Kandinsky6Transformer3DModel, options)
    denoiser = Kandinsky6(transformer, policy).eval()
    video_codec = HunyuanVideoCodec(folder.load("vae", AutoencoderKLHunyuanVideo, dtype)).eval()
    audio_vae, vocoder = folder.load("audio_vae", MMAudioVAE, dtype), folder.load("vocoder", MMAudioVocoder, dtype)
    audio_codec = MMAudioCodec(audio_vae, vocoder).eval()
    _check_channels(folder, transformer.config, video_codec, audio_codec)

    def own_times(steps: int, latents: LatentShape) -> Sequence[float]:
        scheduler.set_timesteps(steps)
        return scheduler.sigmas[:steps].tolist()

    check_times(own_times(3, LatentShape((1, 1, 1, 1, 1), (1, 1, 1))))  # raises now for a scheduler with other settings
    conditioner = _make_conditioner(folder, transformer.config, dtype).eval()
    return JointModel(describe(path), denoiser, video_codec, audio_codec, conditioner, CLIP, own_times)


def _load_scheduler(folder: DiffusersFolder) -> FlowMatchEulerDiscreteScheduler | PiflowScheduler:
    found = config_of(folder, "scheduler", SCHEDULER_CONFIG).get("_class_name")
    cls = next((cls for cls in SCHEDULERS if found in (None, cls.__name__)), None)
    if cls is None:
        names = " or ".join(each.__name__ for each in SCHEDULERS)
        raise ValueError(f"{folder.path / 'scheduler'} holds {quoted(found)}; use a folder with {names}")
    return folder.load_processor("scheduler", cls)


def _check_channels(folder: DiffusersFolder, config: Any, video: HunyuanVideoCodec, audio: MMAudioCodec) -> None:
    """Raise ValueError if a codec does not have the channels of the transformer."""
    for name, needed, found in (
        ("vae", config.in_visual_dim, video.stride.channels), ("audio_vae", config.in_audio_dim, audio.stride.channels),
    ):  # fmt: skip
        if needed != found:
            raise ValueError(f"{folder.path / name} has {found} channels, and the transformer {needed}; download both again")


class PromptEncoder:
    """Encodes prompts with Qwen2.5-VL and CLIP, as the pipeline does. They are loaded when first used, and are on the device only
    while they encode.

    widths: of the embeddings that the transformer takes, of tokens and of the pooled one.
    """

    def __init__(self, folder: DiffusersFolder, dtype: torch.dtype | None, widths: tuple[int, int]) -> None:
        self.widths = widths
        self.folder, self.dtype = folder, None if dtype == torch.float16 else dtype  # Qwen's values are too large for float16

    def __call__(self, prompt: str, device: torch.device) -> AVCondition:
        """Return the condition of one prompt for both modalities, with one row."""
        qwen, clip = self.encoders
        with on_device_while_used([qwen, clip], device), torch.no_grad():
            tokens, pooled, mask = Kandinsky6TI2VAPipeline._get_prompt_embeds(
                [prompt], self.tokenizers[0], qwen, self.tokenizers[1], clip, LONGEST_PROMPT, device
            )
        if (found := (tokens.shape[-1], pooled.shape[-1])) != self.widths:
            raise ValueError(
                f"the text encoders in {self.folder.path} make embeddings of widths {found}, and the transformer needs "
                f"{self.widths}; download them again"
            )
        mask = tokens.new_ones(tokens.shape[:2], dtype=torch.bool) if mask is None else mask
        condition = Condition(tokens.float(), mask, pooled.float())
        return AVCondition(condition, condition)

    @cached_property
    def encoders(self) -> tuple[nn.Module, nn.Module]:
        """Qwen2.5-VL and CLIP. Raises FileNotFoundError, in one line, if they are not there."""
        missing = missing_parts(self.folder, ENCODERS)
        if missing:
            raise FileNotFoundError(
                f"{self.folder.path} lacks {', '.join(missing)}; download the whole repository, "
                "or connect clip of Prompts for Video and Audio"
            )
        qwen = self.folder.load("text_encoder", Qwen2_5_VLForConditionalGeneration, self.dtype)
        return qwen, self.folder.load("text_encoder_2", CLIPTextModel, self.dtype)

    @cached_property
    def tokenizers(self) -> tuple[Any, CLIPTokenizer]:
        """The tokenizers of both. Of Qwen's processor only the tokenizer is needed; its other parts need torchvision."""
        tokenizer = self.folder.load_processor("tokenizer", Qwen2Tokenizer)

        def tokenize(text: list[str], images: None, videos: None, **settings: Any) -> Any:
            return tokenizer(text, **settings)

        return tokenize, self.folder.load_processor("tokenizer_2", CLIPTokenizer)


def _make_conditioner(folder: DiffusersFolder, config: Any, dtype: torch.dtype | None) -> JointPromptConditioner:
    def from_embeddings(tokens: Tensor, mask: Tensor | None, pooled: Tensor | None) -> AVCondition:
        found, needed = tokens.shape[-1], config.in_text_dim
        if found != needed:
            raise ValueError(f"the embeddings are {found} wide, and Kandinsky 6 needs {needed}; encode with {CLIP_LOADER}")
        if pooled is None or pooled.shape[-1] != config.in_text_dim2:
            width = "no" if pooled is None else f"a {pooled.shape[-1]} wide"
            raise ValueError(
                f"the prompt has {width} pooled embedding, and Kandinsky 6 needs {config.in_text_dim2}; encode with {CLIP_LOADER}"
            )
        mask = torch.ones(tokens.shape[:2], dtype=torch.bool, device=tokens.device) if mask is None else mask
        condition = Condition(tokens.float(), mask, pooled.float())
        return AVCondition(condition, condition)

    encoder = PromptEncoder(folder, dtype, (config.in_text_dim, config.in_text_dim2))
    negatives = (Kandinsky6TI2VAPipeline._DEFAULT_NEGATIVE_PROMPT,) * 2
    conditioner = JointPromptConditioner(encoder, from_embeddings, negatives, PROMPT_HELP, CLIP_TEXT)
    conditioner.conditioning_note = CONDITIONING_NOTE
    conditioner.encoder_bytes = component_bytes(folder, ENCODERS)
    return conditioner
