"""The inputs of a node, and checks of their values."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import islice
from typing import Any

from ...av_models.printable import printable, quoted

DYNAMIC = "COMFY_DYNAMICCOMBO_V3"
AUTOGROW = "COMFY_AUTOGROW_V3"
_EXPECTED = {
    "INT": "a whole number", "FLOAT": "a number", "BOOLEAN": "true or false", "STRING": "text in quotes",
    "CURVE": 'a curve such as {"points": [[0, 1], [1, 0]]}',
}  # fmt: skip
_BOOLEANS = {"true": True, "false": False}


@dataclass(frozen=True)
class InputSpec:
    """An input. `name` is the full name: "parent.child" for an input that belongs to a choice of a dropdown."""

    name: str
    io_type: str
    options: Mapping[str, Any]
    required: bool

    @property
    def choices(self) -> list[str] | None:
        options = self.options.get("options")
        if self.io_type == DYNAMIC:
            return [option["key"] for option in options]
        return options if self.io_type == "COMBO" else None

    @property
    def takes_value(self) -> bool:
        return self.io_type in _EXPECTED or self.choices is not None


def is_link(value: Any) -> bool:
    return isinstance(value, list)


def expand(inputs: Mapping[str, Mapping], values: Mapping[str, Any], prefix: str = "") -> dict[str, InputSpec]:
    """Returns the inputs of a node by full name, with dropdowns set as in `values`. inputs: as in `object_info`."""
    specs: dict[str, InputSpec] = {}
    for kind in ("required", "optional"):
        for short, (io_type, options) in inputs.get(kind, {}).items():
            name = prefix + short
            if io_type == AUTOGROW:
                specs |= expand(_autogrow_inputs(options["template"], values, name), values, f"{name}.")
                continue
            specs[name] = InputSpec(name, io_type, options, kind == "required")
            if io_type == DYNAMIC:
                choices = {option["key"]: option["inputs"] for option in options["options"]}
                choice = values.get(name)
                specs |= expand(choices.get(choice, {}) if isinstance(choice, str) else {}, values, f"{name}.")
    return specs


def _autogrow_inputs(template: Mapping[str, Any], values: Mapping[str, Any], name: str) -> dict[str, dict]:
    """Returns the inputs of a growing template: those used in `values`, and one more."""
    (each,) = [spec for group in template["input"].values() for spec in group.values()]
    names = [f"{template['prefix']}{i}" for i in range(template["max"])]
    used = max((i for i, short in enumerate(names, start=1) if f"{name}.{short}" in values), default=0)
    required, spare = names[: template["min"]], names[template["min"] : used + 1]
    return {"required": dict.fromkeys(required, each), "optional": dict.fromkeys(spare, each)}


def nest(values: Mapping[str, Any], specs: Mapping[str, InputSpec]) -> dict[str, Any]:
    """Returns the arguments for `execute`. A dropdown with inputs becomes a dict of its choice and these inputs."""
    nested: dict[str, Any] = {}
    for name, value in values.items():
        *folders, last = name.split(".")
        if specs[name].io_type == DYNAMIC:
            folders.append(last)
        place = nested
        for folder in folders:
            place = place.setdefault(folder, {})
        place[last] = value
    return nested


def default_of(spec: InputSpec) -> Any:
    """Returns the value that a new node starts with."""
    return spec.options.get("default", spec.choices[0] if spec.choices else "")


def parse(spec: InputSpec, text: str) -> Any:
    """Converts `text` from the command line to a value for `spec`. Raises ValueError if that is not possible."""
    try:
        if spec.io_type == "INT":
            return int(text)
        if spec.io_type == "FLOAT":
            return float(text)
        if spec.io_type == "BOOLEAN":
            return _BOOLEANS[text.lower()]
        if spec.io_type == "CURVE":
            return json.loads(text)
    except (ValueError, KeyError, RecursionError):
        raise ValueError(f"is {quoted(text)}; use {_EXPECTED[spec.io_type]}") from None
    return text


def check_value(spec: InputSpec, value: Any, open_choice: bool = False) -> Any:
    """Returns `value` converted for `spec`. Raises ValueError if it is not valid.

    open_choice: the node validates the choice of a dropdown itself.
    """
    if not spec.takes_value:
        raise ValueError(f"is {quoted(value)}; connect an output of type {spec.io_type}")
    if spec.choices is not None:
        return _check_choice(spec, value, open_choice)
    number = _convert(spec.io_type, value)
    if number is None:
        raise ValueError(f"is {quoted(value)}; use {_EXPECTED[spec.io_type]}")
    if isinstance(number, float) and not math.isfinite(number):
        raise ValueError(f"is {number}; use a finite number{_range(spec)}")
    low, high = spec.options.get("min"), spec.options.get("max")
    if (low is not None and number < low) or (high is not None and number > high):
        raise ValueError(f"is {quoted(value)}; use {_EXPECTED[spec.io_type]}{_range(spec)}")
    return number


def nearest(word: str, known: Iterable[str]) -> str:
    """Returns a hint for an error: the known words that are similar to `word`, or else the first of them."""
    known = list(islice(known, 1000))
    close = get_close_matches(word[:100], known, n=3, cutoff=0.5)
    if close:
        return f"did you mean {' or '.join(map(printable, close))}?"
    return f"available: {_listed(known)}" if known else "none is available"


def _listed(words: Sequence[str]) -> str:
    """Returns at most 50 of the words, for an error."""
    return ", ".join([printable(word) for word in words[:50]] + ["…"] * (len(words) > 50))


def _convert(io_type: str, value: Any) -> Any:
    if io_type == "STRING":
        return value if isinstance(value, str) else None
    if io_type == "CURVE":
        return value if _is_curve(value) else None
    if io_type == "BOOLEAN":
        return value if isinstance(value, bool) else None
    if not _is_number(value):
        return None
    if io_type == "FLOAT":
        return _as_float(value)
    return int(value) if isinstance(value, int) or (math.isfinite(value) and value == int(value)) else None


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _as_float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:  # a whole number of more than 308 digits
        return math.inf if value > 0 else -math.inf


def _is_curve(value: Any) -> bool:
    points = value.get("points") if isinstance(value, dict) else None
    return isinstance(points, list) and all(_is_point(point) for point in points)


def _is_point(point: Any) -> bool:
    return isinstance(point, list) and len(point) == 2 and all(_is_number(x) and math.isfinite(_as_float(x)) for x in point)


def _check_choice(spec: InputSpec, value: Any, open_choice: bool) -> str:
    if not isinstance(value, str) or not (open_choice or value in spec.choices):
        raise ValueError(f"is {quoted(value)}; choose one of {_listed(list(map(str, spec.choices)))}")
    return value


def _range(spec: InputSpec) -> str:
    low, high = spec.options.get("min"), spec.options.get("max")
    return f" from {low} to {high}" if low is not None and high is not None else ""
