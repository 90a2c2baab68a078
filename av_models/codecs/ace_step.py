"""The VAE of ACE-Step 1.5: an Oobleck whose waveforms may be too loud."""

from __future__ import annotations

from torch import Tensor

from .oobleck import OobleckCodec


class AceStepCodec(OobleckCodec):
    """An Oobleck that makes a waveform with peaks above 1 quieter instead of cutting them off, as ACE-Step's pipeline does.

    The pipeline then brings every waveform to a peak of −1 dB, which would change known audio.
    """

    def decode_with_grad(self, latent: Tensor) -> Tensor:
        """Decode latents [B, C, T] to a waveform [B, channels, T · stride.samples] in −1..1."""
        decoded = self.vae.decode(latent.to(self.vae.dtype), return_dict=False)[0].to(latent.dtype)
        return decoded / decoded.detach().abs().amax((1, 2), keepdim=True).clamp_min(1)
