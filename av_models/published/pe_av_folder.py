"""Tells a transformers folder of PE-AV from others, and reads what its small files say. No weights are read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..card_fields import AGAIN, read_table
from .downloads import BINDERS

CONFIG, KIND = "config.json", "pe_audio_video"
MARK, FEW = "16-frame", 16  # of the variants that see 16 frames, in their names
LICENCE = "PE-AV's weights: Apache-2.0"


def is_pe_av(path: str | Path) -> bool:
    """Return whether this is a folder of PE-AV. Raises nothing."""
    try:
        return read_table(Path(path) / CONFIG, AGAIN).get("model_type") == KIND
    except (ValueError, OSError):
        return False


def describe_pe_av(path: Path) -> str:
    """Return such as "PE-AV, a binder of width 768 that sees 16 frames". Raises ValueError for a damaged file."""
    width = _table(read_table(path / CONFIG, AGAIN).get("audio_video_config")).get("hidden_size", 1792)
    frames = processor_tables(path)[0].get("num_frames")
    return f"PE-AV, a binder of width {width} that sees {frames or 'all'} frames, Apache-2.0"


def processor_tables(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the fields of a folder's video processor and of its feature extractor, which have files of their own or one together.

    A folder with the name of a variant that sees 16 frames has `num_frames` 16 unless a file says another number.
    """
    together = _optional(path / "processor_config.json")
    video = _table(together.get("video_processor")) | _optional(path / "video_preprocessor_config.json")
    audio = _table(together.get("feature_extractor")) | _optional(path / "preprocessor_config.json")
    given = {name: value for name, value in video.items() if value is not None}
    return ({"num_frames": FEW} if MARK in path.resolve().name else {}) | given, audio


def pe_av_files(path: Path) -> list[Path]:
    """Return the files that the loaded binder depends on."""
    return sorted(file for pattern in ("*.json", "*.safetensors") for file in path.glob(pattern) if file.is_file())


def how_to_get(name: str) -> str:
    """Return the command that downloads a binder, or the smallest if `name` is not one of them."""
    return BINDERS.get(name, BINDERS["pe-av-small"]).command


def _optional(path: Path) -> dict[str, Any]:
    return read_table(path, AGAIN) if path.is_file() else {}


def _table(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}
