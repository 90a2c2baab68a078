"""Samples the clips of a comparison of GUIDERs, with ComfyUI's own sampler node and VAEs."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from comfy_extras.nodes_audio import vae_decode_audio
from comfy_extras.nodes_custom_sampler import SamplerCustomAdvanced
from torch import Tensor

from ...av_models.compare_guidances import Clip, measure_clip
from ...av_models.contract import AVLatent
from ...av_models.sampling import broken_streams
from ..compare_cells import WarmedUpError
from ..host import check_interrupt
from .count_calls import CallCount, counted_calls, uses_compiled
from .guider_inputs import GuiderInputs
from .guider_steps import step_reporter


@dataclass(frozen=True)
class GuiderCells:
    """Samples a clip with each guider and each noise."""

    inputs: GuiderInputs
    node_id: str

    def warm_up(self, cell: int, is_first: bool) -> None:
        """Begins a clip, and stops after the first step that calls the network: the first time, and with a compiled model."""
        guider = self.inputs.guiders[cell]
        if not is_first and not uses_compiled(guider):
            return
        with suppress(WarmedUpError), counted_calls(guider) as count:

            def stop(*_: Any) -> None:
                if count.calls:
                    raise WarmedUpError

            self._run(guider, self.inputs.noises[0], stop)

    def sample(self, cell: int, seeds: int, run: int, runs: int) -> Clip:
        """Samples, decodes and measures a clip. Its seconds begin with the first network call, when the model has been loaded."""
        latent, cost, seconds = self.run(cell, seeds, run, runs)
        check_interrupt()
        return measure_clip(cost, seconds, (self.decode_video(latent), self.inputs.fps), self.decode_audio(latent))

    def run(self, cell: int, seeds: int, run: int, runs: int) -> tuple[dict[str, Any], RunCost, float]:
        """Samples a clip. Returns its LATENT, what it has cost, and the seconds since the first network call."""
        guider, inputs = self.inputs.guiders[cell], self.inputs
        report = step_reporter(guider, inputs, self.node_id, run, runs)
        with counted_calls(guider) as count:
            latent = self._run(guider, inputs.noises[seeds], report)
        seconds = time.perf_counter() - count.began
        return latent, RunCost(count, inputs.steps, tuple(broken_streams(AVLatent(*latent["samples"].unbind())))), seconds

    @property
    def fps(self) -> Fraction:
        """The frame rate of the clips."""
        return self.inputs.fps

    def decode_video(self, latent: dict[str, Any]) -> Tensor:
        """Returns the frames [F, H, W, 3] of a LATENT, as ComfyUI's VAE Decode."""
        images = self.inputs.vae.decode(_as_decoded(self.inputs.vae, latent["samples"].unbind()[0]))
        return images.reshape(-1, *images.shape[-3:])

    def decode_audio(self, latent: dict[str, Any]) -> tuple[Tensor, int]:
        """Returns the waveform [C, samples] of a LATENT and its sample rate."""
        audio = vae_decode_audio(self.inputs.audio_vae, latent)
        return audio["waveform"][0], audio["sample_rate"]

    def _run(self, guider: Any, noise: Any, callback: Callable) -> dict[str, Any]:
        inputs, watched = self.inputs, ReportingGuider(guider, callback)
        return SamplerCustomAdvanced.execute(noise, watched, inputs.sampler, inputs.sigmas, inputs.latent).args[0]


def _as_decoded(vae: Any, video: Tensor) -> Tensor:
    """Returns the video's latent in the form that its VAE decodes: [F, C, h, w] for one of single images, such as SVD's."""
    return video[0].movedim(1, 0) if getattr(vae, "latent_dim", 3) == 2 and video.ndim == 5 else video


class ReportingGuider:
    """A guider for ComfyUI's sampler node whose steps are reported to `callback` alone."""

    def __init__(self, guider: Any, callback: Callable) -> None:
        self.guider, self.callback = guider, callback

    @property
    def model_patcher(self) -> Any:
        return self.guider.model_patcher

    def sample(self, *args: Any, **kwargs: Any) -> Any:
        return self.guider.sample(*args, **kwargs | {"callback": self.callback})


@dataclass(frozen=True)
class RunCost:
    """What a sampling run has cost, as `SampleResult` says it."""

    count: CallCount
    steps: int
    warnings: tuple[str, ...]

    @property
    def branches_per_step(self) -> float:
        return self.count.rows / self.steps

    @property
    def forwards_per_step(self) -> float:
        return self.count.calls / self.steps
