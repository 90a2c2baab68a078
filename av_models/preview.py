"""A still preview of a clip that is being sampled: the middle frame, and the spectrogram of the sound under it."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from PIL import Image

from .contract import AVLatent
from .joint_model import JointModel
from .metrics.sheet import draw_spectrogram

WIDTH = 320  # pixels, at least
SHARE = 0.03  # of the time that sampling takes
FIRST_SECONDS = 2.0  # shorter runs have none


@torch.no_grad()
def render_preview(model: JointModel, estimate: AVLatent) -> Image.Image:
    """The first clip of `estimate`, clean latents, as far as the codecs can show it."""
    middle = estimate.video.shape[2] // 2
    frame = model.video_codec.decode(estimate.video[:1, :, middle : middle + 1])[0, -1]
    picture = Image.fromarray((frame.float().cpu().clamp(0, 1) * 255).byte().numpy())
    scale = max(1, -(-WIDTH // picture.width))
    picture = picture.resize((scale * picture.width, scale * picture.height), Image.Resampling.NEAREST)
    sound = draw_spectrogram(model.audio_codec.decode(estimate.audio[:1])[0].float().cpu(), picture.width, picture.width // 4)
    both = Image.new("RGB", (picture.width, picture.height + sound.height))
    both.paste(picture)
    both.paste(sound, (0, picture.height))
    return both


class Previewer:
    """Previewer as often as `SHARE` of the time spent allows; None in between."""

    def __init__(self, model: JointModel, clock: Callable[[], float] = time.monotonic) -> None:
        self.model, self.clock = model, clock
        self.start, self.spent, self.last = clock(), 0.0, SHARE * FIRST_SECONDS

    def render_if_due(self, estimate: AVLatent) -> Image.Image | None:
        begun = self.clock()
        if self.spent + self.last > SHARE * (begun - self.start):
            return None
        picture = render_preview(self.model, estimate)
        self.last = self.clock() - begun
        self.spent += self.last
        return picture
