"""One tower of an AVFullDiT as an expert of its own: what joint training made of the expert that it was woven from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from .checkpoint import load_checkpoint, sub_tensors
from .contract import StreamName
from .load_parts import AUDIO_EXPERT, VIDEO_EXPERT, expect, prefixed

EXPERTS: dict[StreamName, dict[str, str]] = {
    "video": {"kind": VIDEO_EXPERT, "architecture": "WanTransformer3DModel"},
    "audio": {"kind": AUDIO_EXPERT, "architecture": "FluxTransformer2DModel"},
}


def extract_tower(path: str | Path, modality: StreamName) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors and the card of an expert that is the joint model's tower of `modality`, joint parameters left out.

    Of a model in which nothing but that tower was trained, as AVFullDiT's T2V-only counterpart, this is all there is to keep.
    Raises FileNotFoundError or ValueError, as `load_joint_model` does.
    """
    tensors, joint = load_checkpoint(path)
    expect(joint, "architecture", ("AVFullDiT",), path)
    expert, text = sub_tensors(tensors, f"denoiser.{modality}"), sub_tensors(tensors, f"{modality}_text")
    common = {name: joint[name] for name in ("prediction", "trained", "clip", "data", "run", "licence") if name in joint}
    return prefixed("expert", expert) | prefixed("text", text), EXPERTS[modality] | joint[modality] | common
