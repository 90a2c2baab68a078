"""Features drawn towards what they have to know: of a picture each ball's path, colour, size and material, of a sound
when which material is struck.

As REPA (arXiv 2410.06940) aligns a block's features with those of a pretrained encoder, to make diffusion training
faster; the world gives Bounce something better to align with. The heads are dropped when training ends.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..world.world import COLOURS, MATERIALS, SECONDS, SIZES, Worlds

ALIGNMENT = "alignment"  # what a stage's model calls its heads
KINDS = (len(COLOURS), len(SIZES), len(MATERIALS))


class PathAlignment(nn.Module):
    """Reads every ball's path and attributes from a block's video tokens, and says how far off they are.

    width: of the tokens. frames: pictures to a latent frame; the first latent frame holds one. `place` and `kind`
    weigh the mean distance (L1, widths of the picture) and the mean cross-entropy of the attributes.
    """

    def __init__(self, width: int, frames: int = 4, place: float = 1.0, kind: float = 0.02) -> None:
        super().__init__()
        self.frames, self.weights = frames, (place, kind)
        self.norm = nn.LayerNorm(width)
        self.path = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, 2 * frames * 2))
        self.attributes = nn.Linear(width, 2 * sum(KINDS))

    def forward(self, tokens: Tensor, frames: int, truth: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        """The loss of a video's tokens [B, frames · places, width] after some block, against `truth_of` the same clips."""
        places, kinds, exists = truth
        of_frame = self.norm(tokens).unflatten(1, (frames, -1)).mean(2)  # [B, T, width]
        path = self.path(of_frame).unflatten(-1, (2, self.frames, 2))  # [B, T, ball, frame, (x, y)]
        said = self.attributes(of_frame.mean(1)).unflatten(-1, (2, -1)).split(KINDS, -1)
        off = (path - places).abs().mean((1, 3, 4))
        wrong = sum(F.cross_entropy(s.transpose(1, 2), kinds[..., i], reduction="none") for i, s in enumerate(said))
        place, kind = self.weights
        return ((place * off + kind * wrong) * exists).sum() / exists.sum()


class StrikeAlignment(nn.Module):
    """Reads from each of a sound's tokens what is struck in its time, and says how far off that is (mean cross-entropy)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.read = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 1 + len(MATERIALS)))

    def forward(self, tokens: Tensor, struck: Tensor) -> Tensor:
        """tokens: [B, L, width]. struck: [B, a multiple of L], of `strikes_of` the same clips."""
        struck = struck.unflatten(1, (tokens.shape[1], -1)).amax(2)
        return F.cross_entropy(self.read(tokens).transpose(1, 2), struck)


def strikes_of(worlds: Worlds, steps: int) -> Tensor:
    """[N, steps]: 1 + the material that is struck in that part of the clip, 0 where none is."""
    clip, contact = np.nonzero(worlds.contact_time < SECONDS)
    struck = torch.zeros(len(worlds), steps, dtype=torch.long)
    ball, time = worlds.contact_ball[clip, contact], worlds.contact_time[clip, contact]
    struck[clip, (time / SECONDS * steps).astype(int)] = torch.from_numpy(1 + worlds.material[clip, ball])
    return struck


def truth_of(worlds: Worlds, frames: int = 4) -> tuple[Tensor, Tensor, Tensor]:
    """Places [N, latent frames, ball, frame, 2] in −1..1, kinds [N, ball, 3] (colour, size, material), exists [N, ball]."""
    position = torch.from_numpy(worlds.position.astype(np.float32)) * 2 - 1  # [N, 2, F, 2]
    first = position[:, :, :1].expand(-1, -1, frames, -1)
    rest = position[:, :, 1 : 1 + (position.shape[2] - 1) // frames * frames]
    places = torch.cat([first, rest], 2).unflatten(2, (-1, frames)).transpose(1, 2)
    kinds = torch.from_numpy(np.stack([worlds.colour, worlds.size, worlds.material], -1))
    return places.contiguous(), kinds, torch.from_numpy(worlds.exists)


def without_heads(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """What of a stage's `tensors` is kept when training ends."""
    return {name: value for name, value in tensors.items() if not name.startswith(f"{ALIGNMENT}.")}
