"""A small pair of experts as files, a folder of sounding videos, and a config that trains the pair on them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from duet_av.tests import small
from duet_av.tests.sounding import write_clip

CLIP = {"frames": 8, "height": 32, "width": 32, "fps": 16}
STAGE: dict[str, Any] = {
    "parts": "full", "batch": 4, "joint_blocks": 2, "lambda_a": 1.0, "cut_rows": 1, "removed_rows": 1, "condition_dropout": 0.1,
    "time": {"loc": 0.0, "scale": 1.0}, "clip": CLIP,
}  # fmt: skip
CONFIG: dict[str, Any] = {
    "stage": "avfulldit", "run": "run", "out": "out.safetensors", "seed": 1, "video_expert": "video_expert.safetensors",
    "audio_expert": "audio_expert.safetensors", "schedule": {"steps": 4, "lr": 1e-3, "warmup": 1, "ema": 0.5},
    "data": {"folder": "videos", "cache": "cache", "video_codec": "video.safetensors", "audio_codec": "audio.safetensors"},
    "stage_config": STAGE,
}  # fmt: skip


def write_pair(folder: Path) -> Path:
    """Write the experts, their codecs, and six clips; returns the folder."""
    for kind in ("video_expert", "audio_expert"):
        small.save_expert(folder, kind)
    small.save_codec(folder / "video.safetensors", small.video_codec())
    small.save_codec(folder / "audio.safetensors", small.audio_codec())
    (folder / "videos").mkdir()
    for number in range(6):
        write_clip(folder / "videos" / f"{number}.mp4", seed=number, caption=f"a {'red' if number % 2 else 'blue'} ball\nmetal")
    write_clip(folder / "videos" / "silent.mp4", sound=False, caption="a ball")
    return folder
