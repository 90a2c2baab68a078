"""LTX-2.0, 2.3 and 2.5 from a folder of diffusers' LTX2Pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from diffusers import (
    AutoencoderKLLTX2Audio,
    AutoencoderKLLTX2Video,
    FlowMatchEulerDiscreteScheduler,
    LTX2VideoTransformer3DModel,
)
from diffusers.pipelines.ltx2.pipeline_ltx2 import calculate_shift
from diffusers.pipelines.ltx2.utils import DISTILLED_SIGMA_VALUES
from diffusers.pipelines.ltx2.vocoder import LTX2Vocoder, LTX2VocoderWithBWE

from ...clock import check_times
from ...codecs.ltx2_audio import LTX2AudioCodec
from ...codecs.ltx2_vae import LTX2VideoCodec
from ...contract import LatentShape
from ...joint.ltx2 import LTX2
from ...joint_model import JointModel
from ...recommended import scales_of_cfg
from ...shapes import VideoShape, exact_fps
from ..folder import INDEX, DiffusersFolder
from ..load_network import check_options, load_network
from . import LoadOptions
from .folder_card import config_of, count_parameters, missing_parts
from .ltx2_prompts import make_conditioner

CLIP = VideoShape(121, 512, 768, exact_fps(24))
FULL = "transformer_full"
PARTS = {
    "vae": "video VAE", "audio_vae": "audio VAE", "vocoder": "vocoder", "scheduler": "scheduler",
    "connectors": "networks between text encoder and towers", "text_encoder": "Gemma", "tokenizer": "tokenizer of Gemma",
}  # fmt: skip
SCALES = [3.0, 7.0]  # of the prompt, for video and audio
GUIDED = {
    "steps": 30,
    "guidance": "modality_cfg",
    "scales": {
        **scales_of_cfg(SCALES),
        "modality_cfg": {"scale": SCALES, "cross_scale": 3.0, "skip_scale": 2.0, "rescale": 0.7},
        "dual_cfg": {"scale": SCALES, "cross_scale": 3.0},
    },
}  # fmt: skip
"""The defaults of diffusers' pipeline. Its skip scale is counted from 0."""
UNGUIDED = {"steps": len(DISTILLED_SIGMA_VALUES), "guidance": "none"}
REVENUE = "commercial use with a yearly revenue of 10 million USD or more needs a paid licence"
CAPABILITIES = [
    "text to video with audio", "a first frame", "audio for a video", "video for audio", "speech",
    "separate prompts for video and audio", "one-way coupling", "every guidance",
]  # fmt: skip


def describe(path: Path) -> dict[str, Any]:
    """Return the model card, without reading weights."""
    folder = DiffusersFolder(path)
    component = _transformer(folder)
    version, distilled = _version(config_of(folder, component)), _is_distilled(folder, component)
    return {
        "name": f"LTX-{version}{' distilled' if distilled else ''}",
        "architecture": "LTX2Pipeline",
        "licence": f"LTX-2{'.x' if version == '2.5' else ''} Community License; {REVENUE}",
        "trained": True,
        "parameters": count_parameters(folder, component),
        "bytes": sum(file.stat().st_size for file in files(path)),
        "capabilities": CAPABILITIES,
        "needs": missing_parts(folder, {component: "transformer"} | PARTS),
        "notes": _notes(folder, version, distilled, component),
        "given": "frames",
        "sampling": UNGUIDED if distilled else GUIDED,
    }


def files(path: Path) -> list[Path]:
    """Return all files that the loaded model depends on."""
    names = (_transformer(DiffusersFolder(path)), *PARTS)
    found = (file for name in names for pattern in ("*.safetensors", "*.json") for file in (path / name).glob(pattern))
    return sorted([path / INDEX, *filter(Path.is_file, found)])


def load(path: Path, options: LoadOptions) -> JointModel:
    """Load the model. Its text encoder and connectors are loaded with the first prompt."""
    folder, dtype = DiffusersFolder(path, options.keep_dtype), check_options(options)
    component = _transformer(folder)
    transformer = load_network(folder, component, LTX2VideoTransformer3DModel, options)
    newer = _version(config_of(folder, component)) != "2.0"
    extended = config_of(folder, "vocoder").get("_class_name") == LTX2VocoderWithBWE.__name__
    vocoder = folder.load("vocoder", LTX2VocoderWithBWE if extended else LTX2Vocoder, dtype)
    video_codec = LTX2VideoCodec(folder.load("vae", AutoencoderKLLTX2Video, dtype)).eval()
    audio_codec = LTX2AudioCodec(folder.load("audio_vae", AutoencoderKLLTX2Audio, dtype), vocoder).eval()
    _check_channels(folder, transformer.config, video_codec, audio_codec)
    _check_connectors(folder, transformer.config)
    scheduler = folder.load_processor("scheduler", FlowMatchEulerDiscreteScheduler)
    own_times = distilled_times if _is_distilled(folder, component) else partial(pipeline_times, scheduler)
    check_times(own_times(3, LatentShape((1, 1, 1, 1, 1), (1, 1, 1))))  # raises now for a scheduler of another kind
    return JointModel(
        describe(path),
        # diffusers' pipeline recommends block 29 for LTX-2.0, and says that it was trained with the times of each token alone
        LTX2(transformer, float(CLIP.fps), use_cross_timestep=newer, own_skip_block=28 if newer else 29).eval(),
        video_codec,
        audio_codec,
        make_conditioner(folder, _text_model(folder), dtype, options.loras).eval(),
        CLIP,
        own_times,
    )


def _check_channels(folder: DiffusersFolder, config: Any, video: LTX2VideoCodec, audio: LTX2AudioCodec) -> None:
    """Raise ValueError if a codec does not have the channels of the transformer."""
    for name, needed, found in (
        ("vae", config.in_channels, video.stride.channels),
        ("audio_vae", config.audio_in_channels, audio.stride.channels * audio.stride.bands),
    ):
        if needed != found:
            raise ValueError(f"{folder.path / name} has {found} channels, and the transformer {needed}; download both again")


def _check_connectors(folder: DiffusersFolder, config: Any) -> None:
    """Raise ValueError if there are connectors whose embeddings do not have the widths of the transformer's."""
    own = config_of(folder, "connectors")
    if not own:
        return
    shared = own.get("caption_channels", 3840)
    split = own.get("per_modality_projections", False)
    found = [own.get("video_hidden_dim", 4096), own.get("audio_hidden_dim", 2048)] if split else [shared, shared]
    towers = [config.cross_attention_dim, config.audio_cross_attention_dim]
    needed = [config.caption_channels] * 2 if config.use_prompt_embeddings else towers
    if found != needed:
        raise ValueError(
            f"{folder.path / 'connectors'} makes embeddings of widths {found}, and the transformer needs {needed}; use parts of "
            "the same version"
        )


def pipeline_times(scheduler: FlowMatchEulerDiscreteScheduler, steps: int, latents: LatentShape) -> list[float]:
    """Return the noise levels of the pipeline: shifted by the number of video tokens, down to the scheduler's last level."""
    if steps == 1:
        return [1.0]
    config, (_, _, frames, height, width) = scheduler.config, latents.video
    shift = calculate_shift(
        frames * height * width,
        config.get("base_image_seq_len", 1024),
        config.get("max_image_seq_len", 4096),
        config.get("base_shift", 0.95),
        config.get("max_shift", 2.05),
    )
    scheduler = deepcopy(scheduler)
    scheduler.set_timesteps(sigmas=np.linspace(1.0, 1 / steps, steps), mu=shift)
    return scheduler.sigmas[:-1].tolist()


def distilled_times(steps: int, latents: LatentShape) -> list[float]:
    """Return the noise levels that distilled weights were trained with, interpolated for other numbers of steps than 8."""
    levels = [*DISTILLED_SIGMA_VALUES, 0.0]
    at = np.linspace(0, len(DISTILLED_SIGMA_VALUES), steps, endpoint=False)
    return np.interp(at, range(len(levels)), levels).astype(np.float32).tolist()


def _transformer(folder: DiffusersFolder) -> str:
    """Return the folder of the transformer. LTX-2.5 has distilled weights in `transformer`, and others in `transformer_full`."""
    return FULL if (folder.path / FULL).is_dir() and not (folder.path / "transformer").is_dir() else "transformer"


def _version(config: dict[str, Any]) -> str:
    if config.get("use_keyframes_abs_pos_embedding") or config.get("ff_bias") is False:
        return "2.5"
    return "2.3" if config.get("cross_attn_mod") else "2.0"


def _is_distilled(folder: DiffusersFolder, component: str) -> bool:
    """Return whether the weights are distilled. Nothing in them says so: the folder's name, contents and scheduler do."""
    if component == FULL:
        return False
    shifts = config_of(folder, "scheduler", "scheduler_config.json").get("use_dynamic_shifting", True)
    return "distill" in folder.path.name.lower() or (folder.path / FULL).is_dir() or not shifts


def _text_model(folder: DiffusersFolder) -> str:
    """Return the `model_type` of the text encoder, "" if it is not there."""
    return str(config_of(folder, "text_encoder").get("model_type", ""))


def _notes(folder: DiffusersFolder, version: str, distilled: bool, component: str) -> Sequence[str]:
    lines = ["Not tried with published weights yet."]
    if distilled:
        lines.append("Distilled: use 8 steps and no guidance (none, or scales of 1). Lightricks advises against guidance on it.")
    if component == "transformer" and any((folder.path / FULL).glob("*.safetensors")):
        lines.append(f"For the full weights, use a copy of this folder without transformer; Duet then loads {FULL}.")
    compression = 18 if version == "2.5" else 33
    lines.append(
        f"A first frame was H.264-compressed in its training: LTXV Preprocess with img_compression {compression} does this."
    )
    if _text_model(folder) == "gemma3":
        lines.append("Its text encoder is Gemma 3, which has terms of use of its own.")
    return lines
