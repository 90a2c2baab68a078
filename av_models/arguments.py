"""Checks the arguments of networks of diffusers, which come from a config, by the kinds of their defaults."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from .printable import printable, quoted

N = TypeVar("N")
KINDS: tuple[tuple[tuple[type, ...], str], ...] = (((bool,), "true or false"), ((int, float), "numbers"), ((str,), "text"))


def make_network(cls: Callable[..., N], config: Mapping[str, Any]) -> N:
    """Return `cls(**config)`. Raises ValueError, in one line, if an argument is of another kind than its default.

    A default that is a number also allows a list of numbers, as these networks have for their layers; None stands for no value.
    """
    parameters = inspect.signature(cls).parameters
    for name, value in config.items():
        if name in parameters:
            _check(name, value, parameters[name].default)
    return cls(**config)


def _check(name: str, value: Any, default: Any) -> None:
    of_default = next((leaf for leaf in _leaves(default) if leaf is not None), None)
    for kinds, words in KINDS:
        if isinstance(of_default, kinds):
            if value is not None and not all(_is(leaf, kinds) for leaf in _leaves(value)):
                raise ValueError(f"{printable(name)} is {quoted(value)}; use {words}")
            return


def _is(value: Any, kinds: tuple[type, ...]) -> bool:
    return value is None or (isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool)))


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, (list, tuple)):
        for each in value:
            yield from _leaves(each)
    else:
        yield value
