"""The V2A template on a video of one's own, whose pictures stay as they are, at a frame rate that is not Bounce's."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import av
import torch

from duet_av.av_models.media import MuxSettings, read_video, write_video

FRAMES, FPS = 37, 25
TEMPLATE = Path(__file__).parent.parent / "workflows" / "api" / "bounce_align_v2a.json"


def foley(file: str, steps: int) -> dict[str, Any]:
    """LoadVideo of an input → aligned audio → the same frames with the new audio."""
    graph = json.loads(TEMPLATE.read_text(encoding="utf-8"))
    graph["11"] = {"class_type": "LoadVideo", "inputs": {"file": file}, "_meta": {"title": "Load"}}
    for taker in ("5", "10", "12"):
        graph[taker]["inputs"]["video"] = ["11", 0]
    graph["7"]["inputs"]["fps"] = ["12", 2]
    graph["8"]["inputs"]["steps"] = steps
    return graph


def write_noise(path: Path, height: int = 80, width: int = 96) -> None:
    write_video(torch.rand(FRAMES, height, width, 3), path, fps=FPS, settings=MuxSettings())


def assert_only_the_sound_is_new(source: Path, made: Path) -> None:
    before, after = read_video(source), read_video(made)
    assert torch.equal(before.frames, after.frames) and after.fps == FPS
    assert abs(after.audio.shape[1] - round(FRAMES / FPS * after.sample_rate)) <= 1024 and after.audio.abs().max() > 0
    assert _picture_packets(made) == _picture_packets(source)


def _picture_packets(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(container.streams.video[0]) if packet.size]
