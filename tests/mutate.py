"""Seeded changes of JSON-like values and of bytes."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

STRANGE: tuple[Any, ...] = (
    None, True, False, 0, -1, 1, 2, 3, 10**7, 2**63, -(2**63), 10**40, 0.0, 0.5, -1.5, 1e308, float("inf"), float("nan"), "", "x",
    "\x1b[31mred\r\n", "../../etc/passwd", "/dev/zero", "\u202eabc", "a" * 5000, [], [[]], [1, 2], ["x"], [["1", 0], 0], ["1", 99],
    ["1", "0"], {}, {"x": 1}, {"": None}, {"1": {}}, [None], [0] * 50,
)  # fmt: skip


def mutated(value: Any, chance: random.Random) -> Any:
    """Returns a copy of a JSON-like value with one to three changes in random places."""
    root = [copy.deepcopy(value)]
    for _ in range(chance.choice((1, 1, 1, 2, 3))):
        holder, key = chance.choice(_places(root))
        _change(holder, key, chance)
        if not root:
            root = [None]
    return root[0]


def nested(depth: int) -> str:
    """Returns JSON of brackets in brackets."""
    return "[" * depth + "]" * depth


def _places(root: list) -> list[tuple[Any, Any]]:
    """Returns every place as its container and its key there."""
    found, waiting = [], [root]
    while waiting:
        holder = waiting.pop()
        for key in list(holder) if isinstance(holder, dict) else range(len(holder)):
            found.append((holder, key))
            if isinstance(holder[key], (dict, list)):
                waiting.append(holder[key])
    return found


def _change(holder: Any, key: Any, chance: random.Random) -> None:
    how, value = chance.randrange(8), holder[key]
    if how == 0:
        del holder[key]
    elif how == 1 and isinstance(holder, dict):
        holder[chance.choice(("x", "", "config", "\n", str(key).upper()))] = holder.pop(key)
    elif how == 2 and isinstance(value, (int, float)) and not isinstance(value, bool):
        holder[key] = chance.choice((value + 1, value - 1, -value, value * 1000, float(value), str(value)))
    elif how == 3 and isinstance(value, dict):
        value[chance.choice(("x", "type", "__class__", "0"))] = copy.deepcopy(chance.choice(STRANGE))
    elif how == 4 and isinstance(value, list) and value:
        value.append(copy.deepcopy(value[0]))
    elif how == 5:
        holder[key] = [value]
    else:
        holder[key] = copy.deepcopy(chance.choice(STRANGE))


def as_json(value: Any, chance: random.Random) -> str:
    """Writes a value as JSON; now and then without its end, or with something behind it."""
    text = json.dumps(value)
    how = chance.randrange(20)
    if how == 0:
        return text[: chance.randrange(len(text))]
    return text + " []" if how == 1 else text
