"""Changed training configs, for `duet train`."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from duet_av.bounce.training import stages
from duet_av.commands import main as duet
from duet_av.tests.fuzz import Case, printed_or_line
from duet_av.tests.mutate import mutated

SCHEDULE = {"steps": 2, "lr": 1e-3, "warmup": 1}
CONFIGS: list[dict[str, Any]] = [
    {
        "stage": "audio_codec", "run": "run", "out": "model.safetensors", "seed": 1, "schedule": SCHEDULE,
        "stage_config": {"batch": 2, "clips_per_pool": 2, "steps_per_pool": 100, "model": {"latent_channels": 6, "width": 16}},
    },
    {
        "stage": "joint", "run": "run", "out": "model.safetensors", "seed": 1, "schedule": SCHEDULE | {"ema": 0.9},
        "data": {"cache": "cache", "clips": 4, "size": 32, "seed": 3, "video_codec": "v.safetensors", "audio_codec": "a"},
        "video_expert": "video.safetensors", "audio_expert": "audio.safetensors",
        "stage_config": {
            "batch": 6, "joint_blocks": 2, "text_dropout": 0.1, "lambda_a": 1.0, "cut_rows": 2, "removed_rows": 2, "given_rows": 1,
            "time": {"loc": 0.0, "scale": 1.0}, "codecs": {"video": "v.safetensors", "audio": "a.safetensors"},
            "sample_rate": 16_000, "clip": {"frames": 8, "height": 32, "width": 32, "fps": 16},
        },
    },
]  # fmt: skip


def cases(folder: Path, count: int, seed: int) -> Iterator[Case]:
    """Yields `count` cases; the first is a config as it is."""
    assert "audio_codec" in stages.STAGES
    for index in range(count):
        config, chance = CONFIGS[index % 3 // 2], random.Random(f"{seed} {index}")
        text = toml_file(config if index == 0 else mutated(config, chance))
        if index and chance.randrange(15) == 0:
            text = text[: chance.randrange(len(text))] + chance.choice(("", "\n[", "\x00", "\nseed = 2"))
        yield Case(f"config {index}.", partial(_try, text, index == 0))


def _try(text: str, whole: bool, folder: Path) -> None:
    file = folder / "config.toml"
    file.write_bytes(text.encode(errors="surrogatepass"))
    made = printed_or_line(lambda: duet(["train", str(file), "--steps", "1"]))
    assert made or not whole, "an unchanged config is refused"


def toml_file(config: Any) -> str:
    """Writes a value as a TOML file; what TOML cannot say is left out."""
    if not isinstance(config, dict):
        return toml(config)
    return "\n".join(f"{json.dumps(key)} = {toml(value)}" for key, value in config.items() if value is not None)


def toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(key)} = {toml(each)}" for key, each in value.items() if each is not None) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(toml(each) for each in value if each is not None) + "]"
    if isinstance(value, float):
        return str(value)
    return json.dumps(value)
