"""What a comparison of GUIDERs is given: checks before anything runs, and what each clip depends on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any
from uuid import uuid4
from weakref import ref

from torch import Tensor

from ...av_models.fingerprint import fingerprint
from ..kept_clips import Key, streams_of
from ..latents import split_streams
from .input_checks import REMEDY, check_latent
from .models import guider_model
from .noise import TwoSeedNoise


@dataclass(frozen=True)
class GuiderInputs:
    """noises: one for each clip of a cell. sampler, sigmas, latent, vae, audio_vae: as ComfyUI's nodes give them."""

    guiders: Sequence[Any]
    noises: Sequence[Any]
    sampler: Any
    sigmas: Tensor
    latent: dict[str, Any]
    vae: Any
    audio_vae: Any
    fps: Fraction

    @property
    def steps(self) -> int:
        """The number of sampling steps."""
        return len(self.sigmas) - 1

    def check(self) -> None:
        """Raises ValueError for what would fail after the clips were sampled, or in the network."""
        streams = split_streams(self.latent.get("samples"), "latent", REMEDY)
        if streams.rows != 1:
            raise ValueError(f"latent holds {streams.rows} clips; use a batch of 1")
        if self.steps < 1:
            raise ValueError("sigmas has no steps; connect a scheduler")
        shapes = streams.video.shape, streams.audio.shape
        for number in range(len(self.guiders)):
            check_latent(shapes, guider_model(self.guiders, number), ())
        _check_vae("vae", self.vae, "video", streams.video)
        _check_vae("audio_vae", self.audio_vae, "audio", streams.audio)

    def keys(self) -> list[list[Key]]:
        """Returns what each clip depends on, per guider and noise.

        ComfyUI hands out the same object as long as nothing above it in the graph has changed. So guiders, samplers and VAEs count
        by identity, and seeds, numbers and tensors by their content.
        """
        latent = {name: streams_of(each) for name, each in self.latent.items()}
        shared = fingerprint(latent, self.sigmas, self.fps), *map(_identity, (self.sampler, self.vae, self.audio_vae))
        noises = [(_noise_key(self.noises[0]), number) for number in range(len(self.noises))]
        return [[(shared, guider, noise) for noise in noises] for guider in map(_identity, self.guiders)]


def _noise_key(noise: Any) -> Any:
    """Returns the seeds of our NOISE. Another one counts by identity too."""
    if isinstance(noise, TwoSeedNoise):
        return noise.video_seed, noise.audio_seed
    return _identity(noise), noise.seed


def _identity(value: Any) -> Any:
    """Returns a key that another object never equals, without keeping `value`. What cannot have one equals nothing."""
    try:
        hash(value)
        return ref(value)
    except TypeError:
        return uuid4().hex


def _check_vae(name: str, vae: Any, stream: str, latent: Tensor) -> None:
    """Checks that a VAE reads the latent of its stream. A VAE of another pack may not say what it reads."""
    channels = getattr(vae, "latent_channels", latent.shape[1])
    if channels != latent.shape[1]:
        raise ValueError(
            f"{name} reads latents of {channels} channels, and the latent's {stream} has {latent.shape[1]}; "
            f"connect the {stream} VAE of this model"
        )
