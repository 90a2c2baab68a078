"""Auxiliary losses on features of a block: video tokens predict the paths and attributes of the balls, audio tokens the strikes.

REPA (arXiv 2410.06940) aligns the features of a block with a pretrained encoder to speed up diffusion training. For Bounce,
the targets are the true values of the simulator. The prediction heads are not part of the final checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..world.world import COLOURS, MATERIALS, SECONDS, SIZES, Worlds

ALIGNMENT = "alignment"  # name of the heads in the model of a stage
KINDS = (len(COLOURS), len(SIZES), len(MATERIALS))


class PathAlignment(nn.Module):
    """Predicts the path and the attributes of each ball from the video tokens of a block, and returns the loss.

    width: of the tokens. frames: frames per latent frame; the first latent frame holds one frame.
    place, kind: weights of the mean L1 distance (positions in −1..1) and of the mean cross-entropy of the attributes.
    """

    def __init__(self, width: int, frames: int = 4, place: float = 1.0, kind: float = 0.02) -> None:
        super().__init__()
        self.frames, self.weights = frames, (place, kind)
        self.norm = nn.LayerNorm(width)
        self.path = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 2 * frames * 2))
        self.attributes = nn.Linear(width, 2 * sum(KINDS))

    def forward(self, tokens: Tensor, frames: int, truth: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """Computes the loss of tokens [B, frames · places, width] against `path_targets` of the same clips.

        frames: number of latent frames.
        """
        places, kinds, exists = truth
        of_frame = self.norm(tokens).unflatten(1, (frames, -1)).mean(2)  # [B, T, width]
        path = self.path(of_frame).unflatten(-1, (2, self.frames, 2))  # [B, T, ball, frame, (x, y)]
        logits = self.attributes(of_frame.mean(1)).unflatten(-1, (2, -1)).split(KINDS, -1)
        off = (path - places).abs().mean((1, 3, 4))
        wrong = sum(F.cross_entropy(s.transpose(1, 2), kinds[..., i], reduction="none") for i, s in enumerate(logits))
        place, kind = self.weights
        return ((place * off + kind * wrong) * exists).sum() / exists.sum()


class StrikeAlignment(nn.Module):
    """Predicts from each audio token the material that is struck at that time, and returns the mean cross-entropy."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.read = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 1 + len(MATERIALS)))

    def forward(self, tokens: Tensor, struck: Tensor) -> Tensor:
        """Computes the loss of tokens [B, L, width] against `strike_targets` of the same clips, [B, a multiple of L]."""
        struck = struck.unflatten(1, (tokens.shape[1], -1)).amax(2)
        return F.cross_entropy(self.read(tokens).transpose(1, 2), struck)


def strike_targets(worlds: Worlds, steps: int) -> Tensor:
    """Returns [N, steps]: 1 + the index of the material that is struck in each part of the clip, or 0 for none."""
    clip, contact = np.nonzero(worlds.contact_time < SECONDS)
    struck = torch.zeros(len(worlds), steps, dtype=torch.long)
    ball, time = worlds.contact_ball[clip, contact], worlds.contact_time[clip, contact]
    struck[clip, (time / SECONDS * steps).astype(int)] = torch.from_numpy(1 + worlds.material[clip, ball])
    return struck


def path_targets(worlds: Worlds, frames: int = 4) -> tuple[Tensor, Tensor, Tensor]:
    """Returns the targets of `PathAlignment`.

    Positions [N, latent frames, ball, frame, 2] in −1..1, attributes [N, ball, 3] (colour, size, material), and bool
    [N, ball], whether each ball exists.
    """
    position = torch.from_numpy(worlds.position.astype(np.float32)) * 2 - 1  # [N, 2, F, 2]
    first = position[:, :, :1].expand(-1, -1, frames, -1)
    rest = position[:, :, 1 : 1 + (position.shape[2] - 1) // frames * frames]
    places = torch.cat([first, rest], 2).unflatten(2, (-1, frames)).transpose(1, 2)
    kinds = torch.from_numpy(np.stack([worlds.colour, worlds.size, worlds.material], -1))
    return places.contiguous(), kinds, torch.from_numpy(worlds.exists)


def drop_heads(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns the `tensors` of a stage without those of the prediction heads."""
    return {name: value for name, value in tensors.items() if not name.startswith(f"{ALIGNMENT}.")}
