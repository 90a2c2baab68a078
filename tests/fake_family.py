"""A published joint model of no size, as a family of its own: for nodes that load, describe and prompt such models."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

from duet_av.av_models.contract import AVCondition, Condition
from duet_av.av_models.loading import report_loaded
from duet_av.av_models.published import joint
from duet_av.av_models.published.joint import LoadOptions
from duet_av.av_models.published.joint.prompts import JointPromptConditioner
from duet_av.tests.tiny import tiny_model
from duet_av.tests.toy import TEXT_WIDTH

PIPELINE = "FakeJointPipeline"
SAMPLING = {"steps": 3, "guidance": "cfg", "scales": {"cfg": 4.0}}
CARD = {
    "name": "Fake 1 Lite", "architecture": PIPELINE, "licence": "MIT", "trained": True, "parameters": 3_100_000_000,
    "bytes": 26_100_000_000, "capabilities": ["text to video with audio", "a first frame"], "needs": [],
    "notes": ["Not tried with published weights yet."], "given": "renoised", "sampling": SAMPLING,
}  # fmt: skip
NEGATIVES = ("low quality video", "low quality audio")


def save_folder(folder: Path, pipeline: str = PIPELINE, **changes: Any) -> Path:
    folder.mkdir(parents=True)
    (folder / "model_index.json").write_text(json.dumps({"_class_name": pipeline, "changes": changes}))
    return folder


def describe(path: Path) -> dict[str, Any]:
    return CARD | json.loads((path / "model_index.json").read_text())["changes"]


def files(path: Path) -> list[Path]:
    return [path / "model_index.json"]


def load(path: Path, options: LoadOptions) -> Any:
    model = tiny_model()
    report_loaded(files(path))
    card = describe(path) | {"options": options}
    conditioner = JointPromptConditioner(encode_words, from_embeddings, NEGATIVES, "Fake 1 has the tags <S> and <E> for speech")
    return replace(model, card=card, conditioner=conditioner, own_times=own_times)


def own_times(steps: int, latents: object) -> list[float]:
    return [1 - 0.9 * i / steps for i in range(steps)]


def encode_words(prompt: str, device: torch.device) -> AVCondition:
    seed = sum(map(ord, prompt))
    return both(torch.randn(1, 2, TEXT_WIDTH, generator=torch.Generator().manual_seed(seed)))


def from_embeddings(tokens: torch.Tensor, mask: torch.Tensor, pooled: torch.Tensor | None) -> AVCondition:
    if tokens.shape[-1] != TEXT_WIDTH:
        raise ValueError(f"the embeddings are {tokens.shape[-1]} wide, and Fake 1 needs {TEXT_WIDTH}; use Load CLIP with type fake")
    return both(tokens, mask)


def both(tokens: torch.Tensor, mask: torch.Tensor | None = None) -> AVCondition:
    one = Condition(tokens, torch.ones(tokens.shape[:2], dtype=torch.bool) if mask is None else mask)
    return AVCondition(one, one)


def register(monkeypatch: Any) -> None:
    """Makes this module a family, for one test."""
    module = ModuleType(f"{joint.__name__}.fake")
    module.describe, module.files, module.load = describe, files, load  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setitem(joint.FAMILIES, PIPELINE, "fake")
