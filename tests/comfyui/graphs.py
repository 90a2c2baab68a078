"""Graphs in API format."""

from __future__ import annotations

import json
from typing import Any

from duet_av.tests.conftest import WORKFLOW

MODEL, LATENT, SAMPLER, DECODE, MUX = "1", "3", "5", "6", "7"  # keys in the shipped graph


def node(class_type: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": class_type, "inputs": inputs}


def prompt(path=WORKFLOW) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def short(seed: int = 1, steps: int = 2, seconds: float = 0.5) -> dict[str, Any]:
    """The shipped graph, made quick."""
    graph = prompt()
    graph[LATENT]["inputs"]["seconds"] = seconds
    graph[SAMPLER]["inputs"] |= {"video_seed": seed, "steps": steps}
    return graph


def sampling(seed: int, steps: int) -> dict[str, Any]:
    """The shipped graph up to the sampler, whose report is shown in place of a file being saved."""
    graph = prompt()
    del graph[DECODE], graph[MUX]
    graph[SAMPLER]["inputs"] |= {"video_seed": seed, "steps": steps}
    graph["8"] = node("PreviewAny", source=[SAMPLER, 1])
    return graph


def saved(images: list, fps: Any = 16.0, prefix: str = "clip", **others: Any) -> dict[str, Any]:
    """A node that saves `images` as one video."""
    codecs = {"container": "mp4", "container.video_codec": "h264", "container.audio_codec": "aac"}
    quality = {"crf": -1.0, "audio_kbps": 192, "audio_fit": "fade"}
    return node("DuetMux", images=images, fps=fps, filename_prefix=prefix, **codecs, **quality | others)
