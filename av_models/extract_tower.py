"""Extract one tower of a trained AVFullDiT as a separate expert checkpoint."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from .card_fields import require
from .checkpoint import load_checkpoint, sub_tensors
from .contract import StreamName
from .load_parts import AUDIO_EXPERT, VIDEO_EXPERT, add_prefix, expect

EXPERTS: dict[StreamName, dict[str, str]] = {
    "video": {"kind": VIDEO_EXPERT, "architecture": "WanTransformer3DModel"},
    "audio": {"kind": AUDIO_EXPERT, "architecture": "FluxTransformer2DModel"},
}


def extract_tower(path: str | Path, modality: StreamName) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors and the model card of the `modality` tower, without the joint parameters.

    path: an AVFullDiT checkpoint. When only that tower was trained, as in AVFullDiT's T2V-only baseline, nothing trained is lost.
    Raises FileNotFoundError or ValueError, like `load_joint_model`.
    """
    tensors, joint = load_checkpoint(path)
    expect(joint, "architecture", ("AVFullDiT",), path)
    require(joint, path, f"{modality}.config", f"{modality}.text")
    expert, text = sub_tensors(tensors, f"denoiser.{modality}"), sub_tensors(tensors, f"{modality}_text")
    common = {name: joint[name] for name in ("prediction", "trained", "clip", "data", "run", "licence") if name in joint}
    return add_prefix("expert", expert) | add_prefix("text", text), EXPERTS[modality] | joint[modality] | common
