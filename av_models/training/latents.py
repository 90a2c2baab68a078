"""A set of training clips as latents and captions."""

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
    """Latents of either modality, [N, …] in fp16, or None where not asked for; of clips with captions also these, and
    of simulated clips the `truth` about each, which only their own stages read; of videos for published experts `pictures`,
    the condition of each first frame."""

    video: Tensor | None
    audio: Tensor | None
    video_captions: list[str]
    audio_captions: list[str]
    truth: Any = None
    pictures: Condition | None = None

    def __len__(self) -> int:
        return len(self.audio if self.video is None else self.video)

    def with_sound(self, coupling: str, seed: int) -> LatentSet:
        """The same clips with their own sound ("tight"), with it turned round in time by chance, so that it tells nothing of
        when ("delayed"), or with another clip's and its caption ("absent": what is seen is not heard)."""
        if coupling == "tight":
            return self
        rng = np.random.default_rng(seed)
        if coupling == "delayed":
            steps = self.audio.shape[-1]
            shift = torch.from_numpy(rng.integers(steps // 8, steps - steps // 8, len(self)))
            index = (torch.arange(steps)[None] - shift[:, None]) % steps
            return replace(self, audio=self.audio.gather(2, index[:, None].expand_as(self.audio)))
        if coupling == "absent":
            order = rng.permutation(len(self))
            heard = [self.audio_captions[row] for row in order] if self.audio_captions else []
            return replace(self, audio=self.audio[torch.from_numpy(order)], audio_captions=heard)
        raise ValueError(f"sound is {coupling!r}; give 'tight', 'delayed' or 'absent'")


def encoder_key(codec: Path) -> str:
    """Changes with whatever latents depend on: a decoder trained on leaves them valid, and so does −0 for 0."""
    tensors, _ = load_checkpoint(codec)
    kept = ((tensors[name] + 0).numpy().tobytes() for name in sorted(tensors) if "decoder" not in name)
    return hashlib.sha256(b"".join(kept)).hexdigest()[:12]
