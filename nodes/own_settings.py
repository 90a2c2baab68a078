"""The values of inputs that mean "as the model recommends", and what they stand for with a given model."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from ..av_models.guidance import Guidance, make_guidance
from .run_sampler import AS_RECOMMENDED, Settings
from .sockets import GuidanceInput

if TYPE_CHECKING:
    from ..av_models.joint_model import JointModel

SCALE_AS_RECOMMENDED = -1.0
NEGATIVE_SKIP, RESCALES = "negative_skip_block", ("rescale", "audio_rescale")
MODIFIERS = (*RESCALES, NEGATIVE_SKIP)


def resolve_settings(
    model: JointModel, settings: Settings, guidances: Iterable[GuidanceInput | None]
) -> tuple[Settings, list[GuidanceInput], list[str]]:
    """Returns the settings and guidances with the values that `model` recommends, and lines that say which were taken.

    guidances: None stands for the guidance that the model recommends.
    """
    check_marked("eta", settings.eta, AS_RECOMMENDED["eta"], 10)
    advice = model.recommended
    taken = [name for name, mark in AS_RECOMMENDED.items() if getattr(settings, name) == mark]
    values = {name: getattr(advice, name) for name in taken}
    own_times = "shift" in taken and model.has_own_times(values.get("eta", settings.eta)) and not settings.audio_shift
    words: dict[bool, list[str]] = {
        True: ["the times of its own scheduler"] if own_times else [],
        False: [],
    }  # by whether on the card
    for name, value in values.items():
        if own_times and name == "shift":
            continue
        words[name in advice.given].append(f"{value} steps" if name == "steps" else f"{name} {value:g}")
    complete = []
    for each in guidances:
        filled, on_card, by_default = _resolve_guidance(model, each)
        complete.append(filled)
        words[True] += on_card
        words[False] += by_default
    heads = {True: f"as {model.name} recommends", False: "Duet's defaults"}
    lines = [f"{heads[given]}: {', '.join(dict.fromkeys(found))}" for given, found in words.items() if found]
    return replace(settings, **values, own_times=own_times), complete, lines


def check_marked(name: str, value: float, mark: float, highest: float) -> None:
    """Raises ValueError for a negative value other than `mark`."""
    if value < 0 and value != mark:
        raise ValueError(f"{name} is {value:g}; use {mark:g} (as the model recommends) or a number from 0 to {highest:g}")


def _resolve_guidance(model: JointModel, given: GuidanceInput | None) -> tuple[GuidanceInput, list[str], list[str]]:
    """Returns a guidance without open values, and in words what the card and what the method's defaults gave."""
    advice = model.recommended
    guidance = given or _recommended_guidance(model)
    strategy, own = guidance.strategy, advice.scales.get(guidance.strategy.name, {})
    filled = advice.fill_scales(strategy, guidance.open_scales | _open_modifiers(guidance))
    from_card = [name for name in strategy.scales if name in guidance.open_scales and name in own]
    from_default = [name for name in strategy.scales if name in guidance.open_scales and name not in own]
    on_card, by_default = ([scales_in_words(filled, names)] if names else [] for names in (from_card, from_default))
    if given is None and not guidance.open_scales:
        (on_card if "guidance" in advice.given else by_default).append(f"guidance {strategy.name}")
    on_card += [f"{name} {getattr(filled, name):g}" for name in MODIFIERS if getattr(filled, name) != getattr(strategy, name)]
    return replace(guidance, strategy=filled, open_scales=frozenset()), on_card, by_default


def _open_modifiers(guidance: GuidanceInput) -> frozenset[str]:
    """Returns the modifiers that the model decides. It decides the rescale only where it decides all scales."""
    strategy, names = guidance.strategy, {NEGATIVE_SKIP} if guidance.open_skip else set()
    untouched = (strategy.rescale, strategy.audio_rescale) == (0, -1)
    if strategy.scales and untouched and guidance.open_scales == strategy.scales.keys():
        names |= set(RESCALES)
    return frozenset(names)


def _recommended_guidance(model: JointModel) -> GuidanceInput:
    strategy = make_guidance(model.recommended.guidance)
    return GuidanceInput(strategy, open_scales=frozenset(strategy.scales))


def scales_in_words(strategy: Guidance, names: list[str]) -> str:
    """Returns such as "joint_cfg 2.5" or "cfg video_scale 3, audio_scale 3.5"."""
    kinds: dict[str, dict[str, float]] = {}
    for name in names:
        kinds.setdefault(name.split("_", 1)[1], {})[name] = strategy.scales[name]
    parts = []
    for kind, values in kinds.items():
        if len(values) == 2 and len(set(values.values())) == 1:
            label = "" if kind == "scale" else f"{kind} "
            parts.append(f"{label}{next(iter(values.values())):g}")
        else:
            parts += [f"{name} {value:g}" for name, value in values.items()]
    return f"{strategy.name} {' and '.join(parts)}"
