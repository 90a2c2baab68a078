"""Preview a clip during sampling: its middle frame, with the spectrogram of its audio below."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch
from PIL import Image

from .contract import AVLatent
from .joint_model import JointModel
from .metrics.sheet import draw_spectrogram

MIN_WIDTH = 320  # pixels
TIME_SHARE = 0.03  # largest fraction of the sampling time spent on previews
FIRST_SECONDS = 2.0  # seconds of sampling before the first preview


@torch.no_grad()
def render_preview(model: JointModel, estimate: AVLatent) -> Image.Image:
    """Decode the middle frame and the audio of the first clip of `estimate` (predicted clean latents) to an image.

    The frame is enlarged by an integer factor to at least MIN_WIDTH pixels.
    """
    middle = estimate.video.shape[2] // 2
    frame = model.video_codec.decode(estimate.video[:1, :, middle : middle + 1])[0, -1]
    picture = Image.fromarray((frame.float().cpu().clamp(0, 1) * 255).byte().numpy())
    scale = max(1, -(-MIN_WIDTH // picture.width))
    picture = picture.resize((scale * picture.width, scale * picture.height), Image.Resampling.NEAREST)
    sound = draw_spectrogram(model.audio_codec.decode(estimate.audio[:1])[0].float().cpu(), picture.width, picture.width // 4)
    combined = Image.new("RGB", (picture.width, picture.height + sound.height))
    combined.paste(picture)
    combined.paste(sound, (0, picture.height))
    return combined


class Previewer:
    """Renders previews within a time budget, `TIME_SHARE` of the sampling time. `clock`: returns seconds."""

    def __init__(self, model: JointModel, clock: Callable[[], float] = time.monotonic) -> None:
        self.model, self.clock = model, clock
        self.start, self.spent, self.last = clock(), 0.0, TIME_SHARE * FIRST_SECONDS

    def render_if_due(self, estimate: AVLatent) -> Image.Image | None:
        """Return a preview if the time budget allows one as expensive as the last, else None."""
        now = self.clock()
        if self.spent + self.last > TIME_SHARE * (now - self.start):
            return None
        picture = render_preview(self.model, estimate)
        self.last = self.clock() - now
        self.spent += self.last
        return picture
