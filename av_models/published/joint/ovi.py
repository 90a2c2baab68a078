"""Ovi 1.0 and 1.1 (character.ai): two Wan towers for video and audio, from the authors' files and those of its codecs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKLWan, UniPCMultistepScheduler
from diffusers.hooks import apply_layerwise_casting
from torch import Tensor

from ...checkpoint import Shape, open_tensors, read_shapes
from ...codecs.mmaudio import MMAudioCodec
from ...codecs.wan_vae import WanCodec
from ...contract import AVCondition, Condition, LatentShape
from ...joint.ovi import Ovi, OviSizes, recommended_skip
from ...joint_model import JointModel
from ...recommended import scales_of_cfg
from ...shapes import VideoShape, exact_fps
from ..folder import DiffusersFolder
from ..load_network import check_options
from ..named_tensors import ScaledTensors, load_named
from ..umt5_text import UMT5Text, clip_text
from ..wan_vae_file import load_wan_vae
from . import LoadOptions, mmaudio_files
from .comfyui_text import TextEmbedding
from .ovi_files import MISSING, OviFiles, find_parts, total_bytes
from .ovi_names import TOWERS, published_name
from .prompts import JointPromptConditioner

FPS, SHIFT = 24, 5.0
FIRST_SIGMA = float(np.float32(1 - 1 / 1000))  # of the scheduler of Ovi's authors
HEAD_SIZE = 128
EIGHT_BITS = torch.float8_e4m3fn
NOT_IN_8_BITS = ("patch_embedding", "condition_embedder", "norm", "proj_out")  # parts of names; as in diffusers' Wan
NEGATIVES = ("jitter, bad hands, blur, distortion", "robotic, muffled, echo, distorted")
SAMPLING = {"steps": 50, "shift": SHIFT, "guidance": "cfg", "scales": scales_of_cfg([4.0, 3.0])}
CAPABILITIES = [
    "text to video with audio", "a first frame", "audio for a video", "video for audio", "speech",
    "separate prompts for video and audio", "one-way coupling", "every guidance",
]  # fmt: skip
TEXT_PARTS = (MISSING["text_encoder"], MISSING["tokenizer"])  # needed only to encode prompts
SPEECH, OLD_SOUND, NEW_SOUND = "<S>words<E>", "<AUDCAP>rain, a deep voice<ENDAUDCAP>", "Audio: rain, a deep voice"


@dataclass(frozen=True)
class Version:
    """What differs between the published files.

    frames: of a clip whose latents have the lengths of the training: 31 and 157, or 61 and 314.
    sound: how a prompt describes the sound. other: the beginning of how prompts of other files describe it.
    """

    name: str
    frames: int
    height: int
    width: int
    sound: str
    other: str

    @property
    def prompt_help(self) -> str:
        """A line about the tags of prompts."""
        return f"Speech: {SPEECH}. At the end of the prompt, describe the sound: {self.sound}"


OVI_720 = Version("Ovi (720×720, 5 s)", 120, 512, 992, OLD_SOUND, "Audio:")
OVI_960 = Version("Ovi 1.1 (960×960, 5 s)", 120, 704, 1280, NEW_SOUND, "<AUDCAP>")
OVI_960_LONG = Version("Ovi 1.1 (960×960, 10 s)", 241, 704, 1280, NEW_SOUND, "<AUDCAP>")


def version_of(file: Path) -> Version:
    """Return which of Ovi's models a file is, by its name: the published ones have the same tensors."""
    if "960" not in file.stem:
        return OVI_720
    return OVI_960_LONG if "10s" in file.stem else OVI_960


def describe(path: Path) -> dict[str, Any]:
    """Return the model card (see `JointFamily.describe`)."""
    parts = find_parts(path)
    shapes, version = read_shapes(parts.model), version_of(parts.model)
    return {
        "name": version.name, "architecture": "Ovi", "licence": "Apache-2.0", "trained": True,
        "parameters": sum(torch.Size(shape).numel() for name, shape in shapes.items() if name.startswith(tuple(TOWERS.values()))),
        "bytes": total_bytes(parts.all), "capabilities": CAPABILITIES, "needs": parts.missing,
        "notes": [version.prompt_help, "Not tried with published weights yet."], "given": "frames", "given_audio": "renoised",
        "sampling": SAMPLING | {"negative_skip_block": recommended_skip(sizes_of(shapes, parts.model).layers)},
    }  # fmt: skip


def files(path: Path) -> list[Path]:
    """Return all files that the loaded model depends on."""
    return find_parts(path).all


def load(path: Path, options: LoadOptions) -> JointModel:
    """Load Ovi. The text encoder is loaded with the first prompt; only then an error is raised if it is missing.

    Raises FileNotFoundError, in one line, for other parts that are missing.
    """
    parts = find_parts(path)
    version = version_of(parts.model)
    missing = [words for words in parts.missing if words not in TEXT_PARTS]
    if missing:
        raise FileNotFoundError(f"{parts.model} needs {' and '.join(missing)}; download it to the folder of this file")
    denoiser = load_denoiser(parts.model, options)
    text = OviText(parts, options.keep_dtype, denoiser.sizes.text_width)
    return JointModel(
        describe(path), denoiser, WanCodec.of(_load_video_vae(parts, options)).eval(), _load_audio_codec(parts).eval(),
        OviConditioner(text, version).eval(), VideoShape(version.frames, version.height, version.width, exact_fps(FPS)),
        own_times=own_times, own_scheduler=own_scheduler(),
    )  # fmt: skip


def own_times(steps: int, latents: LatentShape) -> Sequence[float]:
    """Return the times of the authors' UniPC scheduler with shift 5, in float32."""
    sigmas = np.linspace(FIRST_SIGMA, 0, steps + 1)[:-1]
    return (SHIFT * sigmas / (1 + (SHIFT - 1) * sigmas)).astype(np.float32).tolist()


def own_scheduler() -> UniPCMultistepScheduler:
    """Return diffusers' UniPC, which with these times equals that of the authors bit for bit."""
    return UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True)


def sizes_of(shapes: Mapping[str, Shape], path: Path) -> OviSizes:
    """Return the sizes of the networks in a file with tensors of these shapes. Raises ValueError if it is not complete."""
    blocks = {name.split(".")[2] for name in shapes if name.startswith("video_model.blocks.")}
    try:
        width = shapes["video_model.patch_embedding.weight"][0]
        return OviSizes(
            len(blocks), width, max(1, width // HEAD_SIZE), shapes["video_model.blocks.0.ffn.0.weight"][0],
            shapes["video_model.patch_embedding.weight"][1], shapes["audio_model.patch_embedding.0.weight"][1],
            shapes["audio_model.patch_embedding.2.w1.weight"][0], shapes["video_model.text_embedding.0.weight"][1],
            shapes["video_model.time_embedding.0.weight"][1],
        )  # fmt: skip
    except (KeyError, IndexError) as error:
        raise ValueError(f"{path} lacks tensors of Ovi, such as {error}; download it again") from error


def load_denoiser(path: Path, options: LoadOptions) -> Ovi:
    """Load both towers. Weights that are stored in 8 bits stay so where the precision is that of the file.

    Raises ValueError, in one line, for an unknown option, missing tensors and other shapes.
    """
    dtype = check_options(options)
    if options.gguf is not None:
        raise ValueError(f"gguf is {options.gguf}, but Ovi is not loaded from GGUF files; use fp8 to need less memory")
    with torch.device("meta"):
        ovi = Ovi(sizes_of(read_shapes(path), path))
    with open_tensors(path) as file:
        tensors = ScaledTensors(file, path)
        compute = dtype or (tensors.half() if options.keep_dtype else torch.float32)
        in_8_bits = bool(options.quantize) or (options.keep_dtype and dtype is None and tensors.plain_8_bits())

        def convert(name: str, tensor: Tensor) -> Tensor:
            keep = in_8_bits and tensor.dtype == EIGHT_BITS and not any(part in name for part in NOT_IN_8_BITS)
            return tensor if keep else tensor.to(compute)

        load_named(ovi, tensors, {own: published_name(own) for own in ovi.state_dict()}, convert)
    if in_8_bits:
        apply_layerwise_casting(ovi, EIGHT_BITS, compute, skip_modules_pattern=NOT_IN_8_BITS)
    if options.loras:
        from ..lora import apply_loras

        apply_loras(ovi, options.loras)
    return ovi


def _load_video_vae(parts: OviFiles, options: LoadOptions) -> AutoencoderKLWan:
    assert parts.video_vae is not None
    if parts.video_vae.is_file():
        return load_wan_vae(parts.video_vae, check_options(options) or (None if options.keep_dtype else torch.float32))
    return DiffusersFolder(parts.video_vae, options.keep_dtype).load("vae", AutoencoderKLWan, check_options(options))


def _load_audio_codec(parts: OviFiles) -> MMAudioCodec:
    assert parts.audio_vae is not None and parts.vocoder is not None
    return MMAudioCodec(mmaudio_files.load_vae(parts.audio_vae), mmaudio_files.load_vocoder(parts.vocoder))


class OviText:
    """Encodes prompts with UMT5, the same for both modalities.

    keep_dtype: compute in bfloat16, as the authors do; else in float32. width: of the embeddings.
    """

    def __init__(self, parts: OviFiles, keep_dtype: bool, width: int) -> None:
        encoder, tokenizer = parts.text_encoder, parts.tokenizer
        self.text = UMT5Text(
            "Ovi", parts.model, width, encoder / "text_encoder" if encoder is not None and encoder.is_dir() else encoder,
            tokenizer and tokenizer / "tokenizer", torch.bfloat16 if keep_dtype else torch.float32,
            " and ".join(words for words in parts.missing if words in TEXT_PARTS),
        )  # fmt: skip

    def encode(self, prompt: str, device: torch.device) -> AVCondition:
        """Return the condition of one prompt for both modalities, with one row."""
        return _both(self.text.encode(prompt, device))

    def from_embeddings(self, tokens: Tensor, mask: Tensor | None, pooled: Tensor | None) -> AVCondition:
        """Return the condition of UMT5's embeddings [1, L, width]. Raises ValueError for another width."""
        real = torch.ones(tokens.shape[:2], dtype=torch.bool) if mask is None else mask
        return _both(self.text.from_embedding(TextEmbedding(tokens, real, pooled)))


def _both(text: Condition) -> AVCondition:
    return AVCondition(text, text)


class OviConditioner(JointPromptConditioner):
    """Encodes prompts for Ovi, and says where a prompt has the tags of another of its models."""

    def __init__(self, text: OviText, version: Version) -> None:
        super().__init__(text.encode, text.from_embeddings, NEGATIVES, version.prompt_help, clip_text("Ovi"))
        self.text, self.version, self.encoder_bytes = text.text, version, text.text.encoder_bytes

    def ignored_prompts(self, video_prompt: str, audio_prompt: str) -> list[str]:
        """Return a message for each prompt that describes the sound as other models of Ovi need it."""
        prompts = {"video_prompt": video_prompt, "audio_prompt": audio_prompt}
        other, sound = self.version.other, self.version.sound
        return [
            f"{name}: {self.version.name} was not trained with {other}; write {sound}"
            for name, text in prompts.items()
            if other in text
        ]
