"""Training clips as latents and captions."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..checkpoint import load_checkpoint
from ..contract import Condition


@dataclass(frozen=True)
class LatentSet:
    """N training clips.

    video, audio: latents [N, C, T, H, W] and [N, C, T] (or [N, C, T, F]) in float16; None if the config names no codec for them.
    video_captions, audio_captions: one for each clip, or empty.
    truth: the simulation of simulated clips, for the stages that use it.
    pictures: the condition that each clip's first frame gives for a published expert.
    """

    video: Tensor | None
    audio: Tensor | None
    video_captions: list[str]
    audio_captions: list[str]
    truth: Any = None
    pictures: Condition | None = None

    def __len__(self) -> int:
        latents = self.audio if self.video is None else self.video
        assert latents is not None
        return len(latents)

    def both(self) -> tuple[Tensor, Tensor]:
        """Return the video and audio latents of a set that has both."""
        assert self.video is not None and self.audio is not None
        return self.video, self.audio

    def with_sound(self, coupling: str, seed: int) -> LatentSet:
        """Return the same clips with other audio latents.

        coupling: "tight" keeps each clip's audio; "delayed" shifts it in time, circularly, by a random number of steps;
        "absent" takes audio and audio caption of another clip. Raises ValueError for another value.
        """
        if coupling == "tight":
            return self
        audio = self.audio
        assert audio is not None
        rng = np.random.default_rng(seed)
        if coupling == "delayed":
            steps = audio.shape[-1]
            shift = torch.from_numpy(rng.integers(steps // 8, steps - steps // 8, len(self)))
            index = (torch.arange(steps)[None] - shift[:, None]) % steps
            return replace(self, audio=audio.gather(2, index[:, None].expand_as(audio)))
        if coupling == "absent":
            order = rng.permutation(len(self))
            captions = [self.audio_captions[row] for row in order] if self.audio_captions else []
            return replace(self, audio=audio[torch.from_numpy(order)], audio_captions=captions)
        raise ValueError(f"sound is {coupling!r}; use 'tight', 'delayed' or 'absent'")


def encoder_key(codec: Path) -> str:
    """Return a hash of the weights that latents depend on: without the decoder's, and with −0 equal to 0."""
    tensors, _ = load_checkpoint(codec)
    kept = ((tensors[name] + 0).numpy().tobytes() for name in sorted(tensors) if "decoder" not in name)
    return hashlib.sha256(b"".join(kept)).hexdigest()[:12]
