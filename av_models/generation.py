"""From prompts to a clip in one call: encode, sample, decode."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

from torch import Tensor

from .branch_runner import PromptedModel
from .contract import AVLatent
from .guidance import Guidance
from .joint_model import JointModel
from .limits import check_memory
from .noise import NoiseSource
from .sampling import RunOptions, sample
from .schedule import SamplingSchedule
from .shapes import AVShape


@dataclass(frozen=True)
class GeneratedClip:
    """A clip as `generate` returns it.

    frames: [F, H, W, 3] in 0..1 at `fps` frames per second.
    waveform: [channels, samples] in −1..1 at `sample_rate` Hz.
    latent: the sampled latents, with a batch size of 1.
    warnings: one message per problem, such as NaN in the result.
    """

    frames: Tensor
    fps: Fraction
    waveform: Tensor
    sample_rate: int
    latent: AVLatent
    warnings: tuple[str, ...] = ()


def generate(  # noqa: PLR0913 (all settings of a clip)
    model: JointModel,
    video_prompt: str = "",
    audio_prompt: str = "",
    *,
    negative_prompts: tuple[str, str] = ("", ""),
    image: Tensor | None = None,
    shape: AVShape | None = None,
    guidance: Guidance | None = None,
    schedule: SamplingSchedule | None = None,
    video_seed: int = 0,
    audio_seed: int = 0,
    on_step: Callable[[int, int, AVLatent], None] | None = None,
) -> GeneratedClip:
    """Generate one clip on the model's device.

    video_prompt, audio_prompt: the prompts; an empty one is the null condition ∅.
    negative_prompts: the negative prompts of video and audio.
    image: [height, width, 3] in 0..1, for a model that takes an image.
    shape: size and length of the clip, from `model.shape`. None: as in the model's training.
    guidance: the guidance strategy, from `make_guidance`. None: as the model recommends (`JointModel.recommended`).
    schedule: the number of steps, their times and the solvers. None: as the model recommends.
    video_seed, audio_seed: random seeds of the initial noise, 0 to 2⁶⁴ − 1.
    on_step(step, steps, x0): called at each step, counted from 1, with the clean estimates.

    If the video and audio experts were not trained together, the joint parameters are removed.

    Raises ValueError, with one line, for settings out of range and for a guidance that the model does not support.
    """
    if isinstance(negative_prompts, str) or len(negative_prompts) != 2:
        raise ValueError(f"negative_prompts is {negative_prompts!r}; give two, for video and for audio")
    guidance = model.recommended.make_guidance() if guidance is None else guidance
    if not isinstance(guidance, Guidance):
        raise ValueError(f"guidance is {guidance!r}; use make_guidance, such as make_guidance('joint_cfg')")
    shape = shape or model.shape()
    check_memory(shape, model.latent_shape(shape))
    positive = model.encode(video_prompt, audio_prompt, image, shape)
    prompted = PromptedModel(
        model.denoiser_for(shape), positive, model.encode(*model.negative_words(*negative_prompts), None, shape)
    )
    latents = model.latent_shape(shape)
    schedule = schedule or model.make_schedule(latents)
    noise = NoiseSource(latents, video_seed, audio_seed)
    result = sample(prompted, noise, model.adapt_guidance(guidance), schedule, options=RunOptions(on_step=on_step))
    frames, waveform = model.decode(result.latent, shape)
    return GeneratedClip(frames[0], shape.video.fps, waveform[0], shape.audio.sample_rate, result.latent, result.warnings)
