"""The model card of a pair of experts: what it is, and how its experts' own pipelines sample."""

from __future__ import annotations

from typing import Any

from .guidance import make_guidance
from .published.loaded_expert import LoadedExpert
from .recommended import scales_of_cfg

DESCRIBED = ("licence", "parameters", "bytes", "capabilities", "needs", "notes")


def describe_pair(video: LoadedExpert, audio: LoadedExpert, notes: list[str]) -> dict[str, Any]:
    """Return the fields of the card that two experts give. notes: further lines for the node's report."""
    card: dict[str, Any] = {"given": video.card.get("given", "renoised"), "given_audio": "renoised", "notes": notes}
    cards = video.card, audio.card
    if all(name in each for each in cards for name in DESCRIBED):
        card |= {name: _both(cards, name) for name in ("capabilities", "needs", "notes")}
        card |= {name: sum(each[name] for each in cards) for name in ("parameters", "bytes")}
        card["licence"] = " and ".join(dict.fromkeys(each["licence"] for each in cards))
        card["notes"] += notes
    sampling = pair_sampling(video, audio)
    return card | ({"sampling": sampling} if sampling else {})


def pair_sampling(video: LoadedExpert, audio: LoadedExpert, trained: bool = False) -> dict[str, Any]:
    """Return the field `sampling` of the card, {} if the experts recommend nothing.

    The larger number of steps, and each expert's own scale, or the usual one. A trained pair has one time for both, with the
    shift of the video's scheduler. Guidance is CFG, as in the paper.
    """
    each = video.sampling, audio.sampling
    if not any(each):
        return {}
    usual = make_guidance("cfg").scales
    scales = [float(own.get("scale", usual[f"{name}_scale"])) for name, own in zip(("video", "audio"), each)]
    steps = max(own.get("steps", 1) for own in each)
    sampling = {"steps": steps, "guidance": "cfg", "scales": scales_of_cfg(scales)}
    return sampling | ({"shift": _shift(video.scheduler)} if trained else {})


def _shift(scheduler: Any) -> float:
    """Return the shift of a flow-matching scheduler's times."""
    config = getattr(scheduler, "config", {})
    return float(config.get("flow_shift") or config.get("shift") or 1.0)


def _both(cards: tuple[dict[str, Any], dict[str, Any]], name: str) -> list[str]:
    return list(dict.fromkeys(line for card in cards for line in card[name]))
