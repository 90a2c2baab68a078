"""From prompts to a clip in one call: encode, sample, decode."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from torch import Tensor

from .branch_runner import PromptedModel
from .contract import AVLatent
from .guidance import Guidance, make_guidance
from .joint_model import JointModel
from .noise import NoiseSource
from .sampling import DEFAULT_SCHEDULE, RunOptions, sample
from .schedule import SamplingSchedule
from .shapes import AVShape

DEFAULT_GUIDANCE = make_guidance("joint_cfg")


@dataclass(frozen=True)
class GeneratedClip:
    """A clip as `generate` returns it.

    frames: [F, H, W, 3] in 0..1 at `fps`. waveform: [channels, samples] in −1..1 at `sample_rate` Hz. latent: what was
    decoded. warnings: plain sentences for the user.
    """

    frames: Tensor
    fps: Fraction
    waveform: Tensor
    sample_rate: int
    latent: AVLatent
    warnings: tuple[str, ...] = ()


def generate(  # noqa: PLR0913 (the one call has everything that a clip needs)
    model: JointModel,
    video_prompt: str = "",
    audio_prompt: str = "",
    *,
    negative_prompts: tuple[str, str] = ("", ""),
    image: Tensor | None = None,
    shape: AVShape | None = None,
    guidance: Guidance = DEFAULT_GUIDANCE,
    schedule: SamplingSchedule = DEFAULT_SCHEDULE,
    video_seed: int = 0,
    audio_seed: int = 0,
    on_step: Callable[[int, int, AVLatent], None] | None = None,
) -> GeneratedClip:
    """Generates one clip on the model's device.

    negative_prompts: for video and audio. image: [height, width, 3] in 0..1, for a model that takes an image. shape: the
    clip's size and length (`model.shape`); default: as the model was trained. on_step(step, steps, x0): progress, counted
    from 1. A model that was not trained as a pair is sampled without its joint parameters.

    Raises ValueError, in one line, for settings out of range and a guidance that the model cannot do.
    """
    shape = shape or model.shape()
    positive = model.encode(video_prompt, audio_prompt, image, shape)
    prompted = PromptedModel(model.denoiser, positive, model.encode(*negative_prompts, None, shape))
    noise = NoiseSource(model.latent_shape(shape), video_seed, audio_seed)
    result = sample(prompted, noise, model.supported(guidance), schedule, options=RunOptions(on_step=on_step))
    frames, waveform = model.decode(result.latent, shape)
    return GeneratedClip(frames[0], shape.video.fps, waveform[0], shape.audio.sample_rate, result.latent, result.warnings)
