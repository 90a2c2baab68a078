"""ComfyUI's model sampling of a joined MODEL: the video's, with each stream noised as its own model is."""

from __future__ import annotations

import copy
from typing import Any

from torch import Tensor, nn

from .streams import JoinedStreams


class PerStream:
    """The methods that a joined model sampling has in place of the video's."""

    streams: JoinedStreams

    def noise_scaling(self, sigma: Tensor, noise: Tensor, latent_image: Tensor, max_denoise: bool = False) -> Tensor:
        """Noises both streams, each at its own σ, and returns them as they are carried."""
        parts = []
        for stream, own, clean in zip(self.streams, self.streams.split(noise), self.streams.split(latent_image)):
            noisy = stream.sampling.noise_scaling(stream.rows(sigma, own), own, unscale(clean, stream.scale), max_denoise)
            parts.append(carry(noisy, stream.factor(sigma)))
        return self.streams.pack(parts, len(noise))

    def inverse_noise_scaling(self, sigma: Tensor, latent: Tensor) -> Tensor:
        """Returns carried latents as the clean ones that the models' own samplers would return, in the scale of clean ones."""
        parts = []
        for stream, part in zip(self.streams, self.streams.split(latent)):
            own = uncarry(part, stream.factor(sigma))
            parts.append(rescale(stream.sampling.inverse_noise_scaling(stream.rows(sigma, own), own), stream.scale))
        return self.streams.pack(parts, len(latent))


def join_samplings(streams: JoinedStreams) -> nn.Module:
    """Returns the model sampling of a pair. It is of the video's class, which schedulers and samplers look at."""
    joined: Any = copy.deepcopy(streams.video.sampling)
    kind = type(joined)
    joined.__class__ = type("JoinedSampling", (PerStream, kind), {"__module__": __name__})
    joined.streams = streams
    return joined


def carry(part: Tensor, factor: Tensor | None) -> Tensor:
    """Returns a noisy latent of a model as it is carried. factor: of `Stream.factor`, a scalar or one for each row."""
    return part if factor is None else part * _view(factor, part)


def uncarry(part: Tensor, factor: Tensor | None) -> Tensor:
    """The inverse of `carry`."""
    return part if factor is None else part / _view(factor, part)


def rescale(part: Tensor, scale: float) -> Tensor:
    """Returns a clean latent of a model as it is carried."""
    return part if scale == 1 else part * scale


def unscale(part: Tensor, scale: float) -> Tensor:
    """The inverse of `rescale`."""
    return part if scale == 1 else part / scale


def _view(factor: Tensor, part: Tensor) -> Tensor:
    return factor.reshape(-1, *(1,) * (part.ndim - 1)) if factor.ndim else factor
