"""Finds the experts of a joint checkpoint among the user's files, by the hash of their contents."""

from __future__ import annotations

from pathlib import Path

from ..av_models.joint_checkpoint import STREAMS, ExpertSource, match_hash, read_joint_card
from ..av_models.published.expert_options import ExpertOptions
from ..av_models.published.experts import find_expert as find_family_expert
from ..av_models.published.joint import LoadOptions
from ..bounce.shipped import EXPERTS, shipped
from .expert_files import expert_names, find_expert
from .expert_parts import complete


def find_sources(path: Path, options: LoadOptions) -> dict[str, ExpertSource | None]:
    """Returns the experts of a joint checkpoint by stream. Raises ValueError if its card is damaged."""
    experts = read_joint_card(path)["experts"]
    return {stream: _find({"stream": stream} | experts[stream], options) for stream in STREAMS}


def _find(entry: dict[str, str], options: LoadOptions) -> ExpertSource | None:
    """Returns the expert of an entry of the card, with the other parts that it needs; None if the user does not have it."""
    kind = f"{entry['stream']}_expert"
    paths = [*map(shipped, EXPERTS[kind].values()), *_paths()]
    path = match_hash(entry, paths)
    if path is None:
        return None
    found, own = find_family_expert(path), ExpertOptions(**vars(options))
    return ExpertSource(path, own if found is None else complete(path, found, own).options)


def _paths() -> list[Path]:
    return [find_expert(name) for name in expert_names()]
