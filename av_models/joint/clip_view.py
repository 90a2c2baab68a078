"""Light views of a denoiser for one clip: other experts or settings, the same weights."""

from __future__ import annotations

from copy import copy
from typing import Any, TypeVar

from torch import nn

from ..shapes import AVShape

N = TypeVar("N", bound=nn.Module)


def experts_for_clip(denoiser: nn.Module, shape: AVShape) -> dict[str, Any]:
    """Return the experts `video` and `audio` of a denoiser that are other ones for clips of `shape`, by name."""
    found = {}
    for name in ("video", "audio"):
        expert = getattr(denoiser, name)
        for_clip = getattr(expert, "for_clip", None)
        other = expert if for_clip is None else for_clip(shape)
        if other is not expert:
            found[name] = other
    return found


def with_attributes(denoiser: N, changes: dict[str, Any]) -> N:
    """Return a view of a denoiser with these attributes changed; itself if there are none."""
    if not changes:
        return denoiser
    view = copy(denoiser)
    view._modules = dict(denoiser._modules)
    for name, value in changes.items():
        setattr(view, name, value)
    return view
