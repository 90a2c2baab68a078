"""Which Wan a checkpoint holds, and the configuration of its transformer, read off the tensors' names and shapes."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...checkpoint import Shape

HEAD_SIZE = 128
TEXT_LENGTH = 512
BLOCK = re.compile(r"blocks\.(\d+)\.")
OTHERS = {
    "vace_": ("VACE", "control videos"),
    "motion_encoder.": ("Animate", "a video of the motion and of the face"),
    "face_adapter.": ("Animate", "a video of the motion and of the face"),
    "casual_audio_encoder.": ("S2V", "the sound of a voice"),
    "audio_proj.": ("HuMo or MultiTalk", "the sound of a voice"),
    "control_adapter.": ("Fun Camera", "the path of a camera"),
    "ref_conv.": ("Fun Control", "control videos"),
    "patch_embedding_": ("SCAIL or a similar one", "control videos"),
    "img_emb.": ("I2V", "an image encoder and the image beside the noise"),
    "condition_embedder.image_embedder.": ("I2V", "an image encoder and the image beside the noise"),
}
"""Other models with Wan's blocks, by the beginning of tensors' names: what they are, and what they need."""
INSTEAD = "use T2V, or Wan 2.2 TI2V-5B, which also takes a first frame"


@dataclass(frozen=True)
class WanModel:
    """One of the models that people download.

    name: as users say it. clip: of its training. shift: of the times of its own pipeline. channels: of its latents.
    steps, scale: of its own pipeline.
    """

    name: str
    channels: int
    clip: Mapping[str, Any]
    shift: float
    steps: int = 50
    scale: float = 5.0
    notes: tuple[str, ...] = field(default=())

    @property
    def takes_first_frame(self) -> bool:
        """Whether it takes a given first frame by a time for each latent frame."""
        return self.channels == TI2V_CHANNELS

    @property
    def vae(self) -> str:
        """The version of its VAE."""
        return "2.2" if self.takes_first_frame else "2.1"


TI2V_CHANNELS, T2V_CHANNELS = 48, 16
CLIP_480 = {"frames": 81, "height": 480, "width": 832, "fps": 16}
CLIP_720 = {"frames": 81, "height": 720, "width": 1280, "fps": 16}
CLIP_TI2V = {"frames": 121, "height": 704, "width": 1280, "fps": 24}
A14B = WanModel("Wan 2.2 T2V-A14B", T2V_CHANNELS, CLIP_720, 12.0, 40, 4.0, (
    "Its own pipeline has the guidance scale 4 for high noise (t of at least 0.875) and 3 for low noise.",
))  # fmt: skip
MODELS = {
    (30, 1536, T2V_CHANNELS): WanModel("Wan 2.1 T2V-1.3B", T2V_CHANNELS, CLIP_480, 3.0),
    (40, 5120, T2V_CHANNELS): WanModel("Wan 2.1 T2V-14B", T2V_CHANNELS, CLIP_720, 5.0),
    (30, 3072, TI2V_CHANNELS): WanModel("Wan 2.2 TI2V-5B", TI2V_CHANNELS, CLIP_TI2V, 5.0),
}
"""By number of blocks, width and channels. The networks of A14B have the same shapes as 14B."""


def config_of(shapes: Mapping[str, Shape], path: Path) -> dict[str, Any]:
    """Return the arguments of WanTransformer3DModel. shapes: by diffusers' names. Raises ValueError if tensors are missing."""
    try:
        patch = shapes["patch_embedding.weight"]
        width = patch[0]
        head_size = math.gcd(width, HEAD_SIZE)
        return {
            "patch_size": patch[2:], "num_attention_heads": width // head_size, "attention_head_dim": head_size,
            "in_channels": patch[1], "out_channels": shapes["proj_out.weight"][0] // math.prod(patch[2:]),
            "text_dim": shapes["condition_embedder.text_embedder.linear_1.weight"][1],
            "freq_dim": shapes["condition_embedder.time_embedder.linear_1.weight"][1],
            "ffn_dim": shapes["blocks.0.ffn.net.0.proj.weight"][0], "num_layers": count_blocks(shapes),
            "cross_attn_norm": "blocks.0.norm2.weight" in shapes,
        }  # fmt: skip
    except (KeyError, IndexError, ZeroDivisionError) as error:
        raise ValueError(f"{path} lacks tensors of Wan, such as {error}; download it again") from error


def count_blocks(shapes: Mapping[str, Shape]) -> int:
    """Return the number of blocks. Raises KeyError with the name of the first that is missing."""
    numbers = {int(found[1]) for name in shapes if (found := BLOCK.match(name))}
    missing = next(number for number in range(len(numbers) + 1) if number not in numbers)
    if missing < len(numbers):
        raise KeyError(f"blocks.{missing}")
    return len(numbers)


def model_of(config: Mapping[str, Any]) -> WanModel:
    """Return which model a transformer with this configuration is; for other sizes, the one that it is most like."""
    width = config["num_attention_heads"] * config["attention_head_dim"]
    channels, layers = config["in_channels"], config["num_layers"]
    if (layers, width, channels) in MODELS:
        return MODELS[layers, width, channels]
    kind = "Wan TI2V" if channels == TI2V_CHANNELS else "Wan T2V"
    like = MODELS[(30, 3072, TI2V_CHANNELS) if channels == TI2V_CHANNELS else (30, 1536, T2V_CHANNELS)]
    return WanModel(f"{kind} ({layers} blocks of width {width})", channels, like.clip, like.shift)


def other_model(shapes: Mapping[str, Shape]) -> tuple[str, str] | None:
    """Return what a checkpoint with Wan's blocks is and needs, if it is none of ours. shapes: by diffusers' names."""
    patch, out = shapes.get("patch_embedding.weight", ()), shapes.get("proj_out.weight", (0,))
    for start, found in OTHERS.items():
        if any(name.startswith(start) for name in shapes):
            return _sized(found[0], shapes), found[1]
    if len(patch) == 5 and patch[1] != out[0] // max(1, math.prod(patch[2:])):
        return _sized("I2V or Fun", shapes), f"{patch[1]} channels: an image or control videos beside the noise"
    return None


def _sized(what: str, shapes: Mapping[str, Shape]) -> str:
    width = shapes.get("patch_embedding.weight", (0,))[0]
    sizes = {1536: " 1.3B", 3072: " 5B", 5120: " 14B"}
    return f"Wan {what}{sizes.get(width, f' of width {width}')}"
