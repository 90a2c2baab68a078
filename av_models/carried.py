"""Carries a second latent on the noise schedule of a first one, so that one sampler denoises both exactly.

A sampler has one σ for its whole latent. In a pair of models that σ is the video's, and the audio has a noise level of its own.
Latents are x = α(σ) x_0 + σ ε, with α = 1 − σ for a flow and α = 1 for EDM, v and ε models. The audio is carried as

    y = x_audio · σ / σ_audio,   σ / σ_audio = c α_video(σ) + b σ,

with b = 1 if the audio is a flow, and b = 1 / (its highest σ) if not. Then y = α_video(σ) (c x_0) + σ ε' with a constant ε':
ε for a flow, ε + b x_0 otherwise. So y is a latent of the video's own schedule, whose clean value is c x_0 and which ends in noise
where the video does. Every sampler, and every guidance whose coefficients sum to 1, is as valid for y as for the video. For two
flows, c is the ratio of their shifts, and ComfyUI carries the audio of MiniMax-H3 in the same way.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Carrying:
    """How the audio is carried on the video's schedule.

    video_is_flow: the form of the video's latent; see the module.
    scale: c. Above 1 the audio has less noise than the video.
    noise: b.
    """

    video_is_flow: bool
    scale: float = 1.0
    noise: float = 1.0

    @property
    def same(self) -> bool:
        """Whether the audio is carried as it is, with the σ of the video."""
        return self.scale == 1 and self.noise == (1 if self.video_is_flow else 0)

    def factor(self, sigma: Tensor) -> Tensor:
        """Returns σ / σ_audio at the video's σ: the audio is multiplied by it to be carried."""
        clean = 1 - sigma if self.video_is_flow else 1
        return self.scale * clean + self.noise * sigma

    def audio_sigma(self, sigma: Tensor) -> Tensor:
        """Returns the audio's σ at the video's σ, shaped as `sigma`."""
        return sigma if self.same else sigma / self.factor(sigma)


def noise_to_signal(sigma: float, is_flow: bool) -> float:
    """Returns σ / α of a latent. Raises ValueError at a flow's σ = 1."""
    if is_flow and sigma >= 1:
        raise ValueError(f"a flow has no signal at σ = {sigma:g}")
    return sigma / (1 - sigma) if is_flow else sigma
