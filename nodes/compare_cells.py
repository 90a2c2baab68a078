"""Samples the clips of a comparison."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..av_models.contract import AVLatent
from ..av_models.shapes import AVShape
from .kept_clips import Key
from .latents import clip_shape
from .live_preview import step_reporter
from .run_sampler import Settings, sample_latent
from .sockets import GuidanceInput, Prompts

if TYPE_CHECKING:
    from ..av_models.compare_guidances import Clip


@dataclass(frozen=True)
class CellSampler:
    """Samples clips with each guidance and each of `settings`, which differ in their seeds only."""

    model: Any
    prompts: Prompts
    latent: dict[str, Any]
    guidances: Sequence[GuidanceInput]
    settings: Sequence[Settings]
    node_id: str

    def add_missing(self, kept: dict[Key, Clip], keys: Sequence[Sequence[Key]]) -> None:
        """Samples each clip of `keys` that is not kept yet, and adds it as soon as it is done.

        An untimed warm-up comes first, so that the first clip's seconds do not include loading and compilation.
        """
        shape = clip_shape(self.latent, self.model)
        missing: dict[Key, tuple[int, int]] = {}  # cells with equal keys share their clips
        for cell, own in enumerate(keys):
            for seeds, key in enumerate(own):
                if key not in kept:
                    missing.setdefault(key, (cell, seeds))
        for number, (key, (cell, seeds)) in enumerate(missing.items()):
            if number == 0:
                self._warm_up(self.guidances[cell])
            clip = self._sample(cell, seeds, shape, step_reporter(self.model, shape, self.node_id, number, len(missing)))
            kept[key] = clip if seeds == 0 else clip.measurements()

    def _sample(self, cell: int, seeds: int, shape: AVShape, on_step: Callable[[int, int, AVLatent], None]) -> Clip:
        from ..av_models.compare_guidances import sample_clip

        return sample_clip(
            lambda: self._run(self.guidances[cell], self.settings[seeds], on_step),
            lambda made: self.model.decode(made, shape),
            shape,
        )

    def _warm_up(self, guidance: GuidanceInput) -> None:
        """Begins a clip, and stops after the first step that calls the network."""
        settings = self.settings[0]
        called = (step.index + 1 for step in settings.schedule.plan() if guidance.strategy.branches(step))
        last = next(called, 1)

        def stop(step: int, steps: int, x0: AVLatent) -> None:
            if step == last:
                raise _WarmedUpError

        with suppress(_WarmedUpError):
            self._run(guidance, settings, stop)

    def _run(self, guidance: GuidanceInput, settings: Settings, on_step: Callable[[int, int, AVLatent], None]):
        return sample_latent(self.model, self.prompts, self.latent, guidance, settings, self.node_id, on_step)


class _WarmedUpError(Exception):
    pass
