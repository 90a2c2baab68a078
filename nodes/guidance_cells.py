"""Samples the clips of a comparison of guidances on a Duet model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..av_models.contract import AVLatent
from .compare_cells import WarmedUpError
from .host import report_text
from .latents import clip_shape
from .live_preview import step_reporter
from .placement import decode_clips
from .run_sampler import Settings, sample_latent
from .sockets import GuidanceInput, Prompts

if TYPE_CHECKING:
    from ..av_models.compare_guidances import Clip


@dataclass(frozen=True)
class GuidanceCells:
    """Samples clips with each guidance and each of `settings`, which differ in their seeds only."""

    model: Any
    prompts: Prompts
    latent: dict[str, Any]
    guidances: Sequence[GuidanceInput]
    settings: Sequence[Settings]
    node_id: str

    def warm_up(self, cell: int, is_first: bool) -> None:
        """Before the first clip: begins one, and stops after the first step that calls the network."""
        if not is_first:
            return
        guidance, settings = self.guidances[cell], self.settings[0]
        latents = self.model.latent_shape(clip_shape(self.latent, self.model))
        plan = settings.make_schedule(self.model, latents).plan()
        called = (step.index + 1 for step in plan if guidance.strategy.branches(step))
        last = next(called, 1)

        def stop(step: int, steps: int, x0: AVLatent) -> None:
            if step == last:
                raise WarmedUpError

        with suppress(WarmedUpError):
            self._run(guidance, settings, stop)

    def sample(self, cell: int, seeds: int, run: int, runs: int) -> Clip:
        from ..av_models.compare_guidances import sample_clip

        shape = clip_shape(self.latent, self.model)
        on_step = step_reporter(self.model, shape, self.node_id, run, runs)
        return sample_clip(
            lambda: self._run(self.guidances[cell], self.settings[seeds], on_step),
            lambda made: decode_clips(self.model, made, shape, lambda text: report_text(text, self.node_id)),
            shape,
        )

    def _run(self, guidance: GuidanceInput, settings: Settings, on_step: Callable[[int, int, AVLatent], None]):
        return sample_latent(self.model, self.prompts, self.latent, guidance, settings, self.node_id, on_step)
