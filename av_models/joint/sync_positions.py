"""AVSyncRoPE (arXiv 2512.02457): audio positions on the time axis of the video expert's rotary embedding."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction

import torch
from torch import Tensor

from ..shapes import AudioStride, VideoStride, exact_fps, sync_ratio


@dataclass(frozen=True)
class SyncPositions:
    """The audio position p_a is at the video position p_a / τ, τ = Δt_v / Δt_a.

    video, audio: the compression of the codecs. sample_rate: of the audio in Hz. fps: frames per second of the clip.
    """

    video: VideoStride
    audio: AudioStride
    sample_rate: int
    fps: Fraction

    def at(self, fps: float | Fraction) -> SyncPositions:
        """Return the positions in a clip of `fps` frames per second."""
        return replace(self, fps=exact_fps(fps))

    def audio_positions(self, steps: int, device: torch.device, stride: int = 1) -> Tensor:
        """Return the positions [steps, 3] of audio latents on the axes (t, y, x) of the video.

        stride: distance of neighbouring latent frames on the time axis.
        """
        positions = torch.zeros(steps, 3, device=device)
        positions[:, 0] = torch.arange(steps, device=device) * (stride / self.ratio)
        return positions

    @property
    def ratio(self) -> float:
        """τ, the latent steps of audio in a latent frame."""
        return sync_ratio(self.video, self.fps, self.audio, self.sample_rate)
