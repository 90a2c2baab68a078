"""A linear map from latents to small frames, fitted to a few exact decodes: the fast, approximate decoder of previews."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from .codecs.base import VideoCodec, decode_in_place
from .shapes import VideoStride

WINDOW = 16  # cells; an exact decode covers at most WINDOW × WINDOW of a latent frame
RIDGE = 1.0  # penalty on the squared weights, relative to the power of the inputs of one decode if they have unit variance
FORGET = 0.9  # weight of the earlier decodes at a new one: latents change while they are sampled
GOLDEN = 0.618034  # successive multiples, modulo 1, spread evenly over 0..1


class LatentMap:
    """Maps a latent cell and the sum of its four neighbours to the frames of its patch, `patch` × `patch` pixels each.

    length: latent frames of the clip. scale: size of the frames relative to the codec's. decodes: exact decodes so far.
    """

    def __init__(self, stride: VideoStride, length: int, patch: int) -> None:
        self.patch, self.scale = patch, patch / stride.space
        self.causal = stride.causal and length > 1
        self.frames = 1 if stride.causal and length == 1 else stride.time
        self.decodes = 0
        self._inputs = self._products = torch.zeros(())
        self._weights: Tensor | None = None

    @property
    def fitted(self) -> bool:
        """Whether `paint` can be called."""
        return self._weights is not None

    @torch.no_grad()
    def fit(self, latent: Tensor, codec: VideoCodec) -> None:
        """Decode a part of a clip's latents [C, T, h, w], each time another one, and fit the map to all parts so far."""
        window = self._next_window(latent)
        part = latent[(slice(None), *window)]
        frames = decode_in_place(codec, part[None])[0].to(latent.device).float()
        x = cells(part.float())
        if self.causal:  # the first latent frame of a causal codec stands for one frame only
            x, frames = x[1:], frames[1:]
        y = self._patches(frames, x.shape[1:3])
        x = x.flatten(0, 2)
        inputs, products = (FORGET * old + (x.T @ new).cpu() for old, new in ((self._inputs, x), (self._products, y)))
        penalty = torch.full((len(inputs),), RIDGE * len(x))
        penalty[-1] = 0.0  # the constant
        weights, _ = torch.linalg.solve_ex(inputs + torch.diag(penalty), products)
        self.decodes += 1
        if weights.isfinite().all():  # not where sampling has gone wrong
            self._inputs, self._products, self._weights = inputs, products, weights.to(latent.device)

    @torch.no_grad()
    def paint(self, latent: Tensor) -> Tensor:
        """Map latents [C, T, h, w] to frames [F, patch·h, patch·w, 3], 8 bits per channel."""
        assert self._weights is not None
        x = cells(latent.float())
        y = (x.flatten(0, 2) @ self._weights.to(x.device)).mul_(255).clamp_(0, 255).byte()
        y = y.view(*x.shape[:3], self.frames, self.patch, self.patch, 3)
        frames = y.permute(0, 3, 1, 4, 2, 5, 6).flatten(4, 5).flatten(2, 3).flatten(0, 1)
        return frames[self.frames - 1 :] if self.causal else frames

    def _next_window(self, latent: Tensor) -> tuple[slice, slice, slice]:
        """Return frames, rows and columns of the next part to decode."""
        lengths = (2 if self.causal else 1, *(min(WINDOW, size) for size in latent.shape[2:]))
        places = (((self.decodes + 1) * GOLDEN * (axis + 1)) % 1 for axis in range(3))
        starts = (int(place * (size - n + 1)) for place, size, n in zip(places, latent.shape[1:], lengths))
        frames, rows, columns = (slice(start, start + n) for start, n in zip(starts, lengths))
        return frames, rows, columns

    def _patches(self, frames: Tensor, size: torch.Size) -> Tensor:
        """Return one row of pixels for each latent cell of `size` (rows, columns)."""
        small = F.interpolate(frames.movedim(-1, 1), (size[0] * self.patch, size[1] * self.patch), mode="area")
        y = small.view(-1, self.frames, 3, size[0], self.patch, size[1], self.patch)
        return y.permute(0, 3, 5, 1, 4, 6, 2).flatten(3).flatten(0, 2)


def cells(latent: Tensor) -> Tensor:
    """Return the inputs of the map [T, h, w, 2·C + 1] for latents [C, T, h, w]: each cell, its neighbours, the constant 1.

    The sum of the neighbours is halved, so that it has about the variance of a cell.
    """
    padded = F.pad(latent, (1, 1, 1, 1), mode="replicate")
    row, column = padded[..., 1:-1, :], padded[..., 1:-1]
    near = (row[..., :-2] + row[..., 2:] + column[..., :-2, :] + column[..., 2:, :]) / 2
    return torch.cat([latent, near, torch.ones_like(latent[:1])]).movedim(0, -1).contiguous()
