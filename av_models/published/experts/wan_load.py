"""Loads Wan's transformer from files of every kind, with its codec and its text encoder."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from accelerate import init_empty_weights
from diffusers import (
    AutoencoderKLWan,
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    UniPCMultistepScheduler,
    WanTransformer3DModel,
)
from torch import Tensor

from ...card_fields import read_table
from ...codecs.wan_vae import WanCodec
from ...experts.wan import WanExpert
from ...experts.wan_stages import BOUNDARY, WanStages
from ...loading import report_loaded
from ..expert_options import ExpertOptions
from ..folder import DiffusersFolder
from ..load_network import check_options
from ..loaded_expert import LoadedExpert
from ..lora import apply_loras
from ..named_tensors import ExactTensors, load_named
from ..tensor_files import Shards
from ..umt5_text import UMT5Text, clip_text
from ..wan_vae_file import load_wan_vae
from . import wan_gguf
from .prompts import PromptConditioner
from .wan_config import TEXT_LENGTH, WanModel
from .wan_files import VAES, Network, WanFiles

NEGATIVE = (
    "色调艳丽，过曝，静态，细节模糊不清，字幕，风格，作品，画作，画面，静止，整体发灰，最差质量，低质量，JPEG压缩残留，丑陋的，残缺的，多余的手指，"
    "画得不好的手部，画得不好的脸部，畸形的，毁容的，形态畸形的肢体，手指融合，静止不动的画面，杂乱的背景，三条腿，背景人很多，倒着走"
)
SCHEDULERS = {
    each.__name__: each for each in (UniPCMultistepScheduler, FlowMatchEulerDiscreteScheduler, DPMSolverMultistepScheduler)
}
EIGHT_BITS = torch.float8_e4m3fn
STORED = {"fp16": torch.float16, "fp32": torch.float32}  # others are computed in bfloat16
NO_HALF = "rank|res|poly|key|angle|quality|detail|def|fidelity|motion|speed|light(?!n)|contrast|vram|fps|step"  # after high or low
HALF = re.compile(rf"(?<![a-z])(high|low)(?:[-_ ]?noise|(?![a-z]|[-_ ]?(?:{NO_HALF})))", re.IGNORECASE)


def load_expert(
    parts: WanFiles, model: WanModel, config: Mapping[str, Any], card: dict[str, Any], options: ExpertOptions
) -> LoadedExpert:
    """Load a checkpoint whose files are complete. card: what is known of it."""
    codec = _load_codec(parts, model, options)
    experts = [WanExpert(load_transformer(network, config, options), text_length=TEXT_LENGTH) for network in parts.networks]
    for number, each in enumerate(experts):
        apply_loras(each.transformer, loras_for(options, "" if len(experts) == 1 else ("high", "low")[number]))
    half = options.keep_dtype or check_options(options) in (torch.bfloat16, torch.float16)
    text = UMT5Text(
        "Wan", parts.path, config["text_dim"], parts.text_encoder, parts.tokenizer, torch.bfloat16 if half else torch.float32,
        " and ".join(parts.missing_text()), "models/text_encoders",
    )  # fmt: skip
    conditioner = PromptConditioner(text.encode, text.from_embedding, text.encoder_bytes, NEGATIVE, clip_text("Wan"))
    boundary = parts.settings.get("boundary_ratio") or BOUNDARY
    expert = experts[0] if len(experts) == 1 else WanStages(experts[0], experts[1], boundary)
    return LoadedExpert(
        "video", expert, codec, conditioner.eval(), dict(model.clip),
        card, _scheduler(parts, model), {"steps": model.steps, "scale": model.scale}, NEGATIVE,
    )  # fmt: skip


def load_transformer(network: Network, config: Mapping[str, Any], options: ExpertOptions) -> WanTransformer3DModel:
    """Load a transformer. Layers that diffusers keeps in float32 stay so.

    Weights in 8 bits without scales stay so where the precision is that of the file.
    """
    chosen, header = check_options(options), network.header
    compute = chosen or (STORED.get(header.precision, torch.bfloat16) if options.keep_dtype else torch.float32)
    if network.is_gguf:
        if options.quantize:
            raise ValueError(f"{network.path} is quantized already, and quantize is {options.quantize}; use one of the two")
        return wan_gguf.load(network.path, dict(config), compute)
    in_8_bits = bool(options.quantize) or (options.keep_dtype and chosen is None and _stored_in_8_bits(network, config))
    wan, in_float32 = _empty(config, compute if in_8_bits else None), set(WanTransformer3DModel._keep_in_fp32_modules)
    layers = {name for name, tensor in wan.state_dict().items() if tensor.dtype == EIGHT_BITS}

    def convert(name: str, tensor: Tensor) -> Tensor:
        if in_float32.intersection(name.split(".")):
            return tensor.float()
        if name in layers:
            return tensor if tensor.dtype == EIGHT_BITS else tensor.to(compute).to(EIGHT_BITS)
        return tensor.to(compute)

    load_named(
        wan, ExactTensors(Shards(list(network.files)), network.path), {x: network.stored_name(x) for x in wan.state_dict()}, convert
    )
    report_loaded(network.files if network.path.is_dir() else [])
    return wan


def _empty(config: Mapping[str, Any], compute: torch.dtype | None = None) -> WanTransformer3DModel:
    """Return a transformer without weights. compute: in which it computes, if its weights will be in 8 bits."""
    with init_empty_weights(include_buffers=False):
        wan = WanTransformer3DModel(**config)
    if compute is not None:
        wan.enable_layerwise_casting(storage_dtype=EIGHT_BITS, compute_dtype=compute)
    return wan


def _stored_in_8_bits(network: Network, config: Mapping[str, Any]) -> bool:
    """Return whether the file has all that diffusers stores in 8 bits in 8 bits, without scales."""
    header = network.header
    if header.scaled or "F8_E4M3" not in header.dtypes.values():
        return False
    layers = [name for name, tensor in _empty(config, torch.bfloat16).state_dict().items() if tensor.dtype == EIGHT_BITS]
    return all(header.dtypes.get(network.stored_name(name)) == "F8_E4M3" for name in layers)


def loras_for(options: ExpertOptions, half: str) -> list[tuple[Path, float]]:
    """Return the LoRAs for one of A14B's networks: those whose names do not say that they are for the other one."""
    named = [(each, HALF.search(each[0].name)) for each in options.loras]  # such as "…_HIGH_fp16" or "…_low_noise"
    return [each for each, found in named if not half or not found or found[1].lower() == half]


def _load_codec(files: WanFiles, model: WanModel, options: ExpertOptions) -> Any:
    if options.codec is not None:
        where, codec = "the connected VAE", options.codec
    elif files.vae is None:
        raise FileNotFoundError(
            f"{files.path} needs {VAES[model.vae]}; download it to models/vae, or connect video_vae of Join Experts"
        )
    else:
        where, codec = str(files.vae), WanCodec.of(_load_vae(files.vae, options)).eval()
    if codec.stride.channels != model.channels:
        raise ValueError(f"{where} has latents of {codec.stride.channels} channels, but {files.path} needs {model.channels}; use "
                         f"{VAES[model.vae]}")  # fmt: skip
    return codec


def _load_vae(path: Path, options: ExpertOptions) -> AutoencoderKLWan:
    dtype = check_options(options)
    if path.is_file():
        return load_wan_vae(path, dtype or (None if options.keep_dtype else torch.float32))
    return DiffusersFolder(path.parent, options.keep_dtype).load(path.name, AutoencoderKLWan, dtype)


def _scheduler(files: WanFiles, model: WanModel) -> Any:
    """Return the scheduler of the pipeline's folder, else that of the published pipeline."""
    folder = files.pipeline and files.pipeline / "scheduler"
    if folder and (folder / "scheduler_config.json").is_file():
        name = read_table(folder / "scheduler_config.json", "download it again").get("_class_name")
        if name in SCHEDULERS:
            return DiffusersFolder(folder.parent).load_processor("scheduler", SCHEDULERS[name])
    return UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=model.shift)
