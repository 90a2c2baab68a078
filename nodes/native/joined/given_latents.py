"""Latents that are given to a clip of a joined model: those of one of its two models alone."""

from __future__ import annotations

from typing import Any, NamedTuple

from comfy.utils import reshape_mask
from torch import Tensor

from ..input_checks import check_sizes
from .kinds import StreamKind


class Given(NamedTuple):
    """A stream as it is in a joint latent, and its noise mask or None."""

    samples: Tensor
    mask: Tensor | None

    @property
    def length(self) -> int:
        """Latent frames of a video [B, C, F, h, w], or latent steps of an audio [B, C, …, L]."""
        return self.samples.shape[2 if self.samples.ndim == 5 else -1]


def read_given(latent: dict[str, Any] | None, shown: str, kind: StreamKind) -> Given | None:
    """Returns the stream of a LATENT as a joint latent holds it. Raises ValueError if it is not one of this model.

    shown: the input of the node.
    """
    if latent is None:
        return None
    samples, mask = latent["samples"], latent.get("noise_mask")
    if samples.is_nested:
        raise ValueError(f"{shown} holds video and audio; connect one of them, from Separate AV Latent")
    joint = _joint_form(samples, kind)
    check_sizes(joint.shape, shown, kind.sizes, kind.name)
    if mask is None:
        return Given(joint, None)
    if mask.ndim != samples.ndim and samples.ndim == 3:
        raise ValueError(f"the mask of {shown} is drawn on a picture, and {kind.name} makes audio; use a mask of the latent's size")
    return Given(joint, _joint_form(reshape_mask(mask, (len(samples), 1, *samples.shape[2:])), kind))


def _joint_form(samples: Tensor, kind: StreamKind) -> Tensor:
    """Returns [F, C, h, w] of a model that takes frames as a batch as [1, C, F, h, w]."""
    return samples.movedim(0, 1)[None] if kind.frames_in_batch and samples.ndim == 4 else samples
