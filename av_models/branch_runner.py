"""Runs the branches that a guidance strategy asks for: in one network call, or in turn."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch

from .contract import AVCondition, AVLatent, AVTime, Condition, JointDenoiser, denoise
from .guidance import Branch, Step, Text, rows_of


class BranchRunner:
    """Runs branches, together or in turn, and counts what ran."""

    def __init__(
        self,
        models: Mapping[str, JointDenoiser],
        texts: Mapping[str, Mapping[Text, AVCondition]],
        rows: int,
        batched: bool,
        check_interrupt: Callable[[], None] | None = None,
    ) -> None:
        self.models, self.texts, self.rows, self.batched = models, texts, rows, batched
        self.check_interrupt = check_interrupt or (lambda: None)
        self.conditions: dict[tuple, AVCondition] = {}
        self.branches = self.forwards = 0
        self.warnings: list[str] = []

    def predict(self, branches: Sequence[Branch], latent: AVLatent, step: Step, t: AVTime) -> dict[Branch, AVLatent]:
        """The model's prediction for every branch; `t` is what each row of `latent` is told the time is."""
        if self.batched and len(branches) > 1:
            try:
                return self._together(branches, latent, t)
            except torch.OutOfMemoryError:
                self.batched = False
            self.warnings.append(f"out of memory with {rows_of(branches) * self.rows} network rows at once: from step "
                                 f"{step.index + 1} of {step.count} on, branches ran in turn")  # fmt: skip
        predictions: dict[Branch, AVLatent] = {}
        for branch in branches:
            predictions |= self._call((branch,), latent, t)
        return predictions

    def ask(self, positive: AVCondition) -> None:
        """From now on, the main model is asked for this."""
        self.texts = {**self.texts, "main": {**self.texts["main"], "positive": positive}}
        self.conditions.clear()

    def _together(self, branches: Sequence[Branch], latent: AVLatent, t: AVTime) -> dict[Branch, AVLatent]:
        predictions: dict[Branch, AVLatent] = {}
        for name in self.models:
            group = tuple(branch for branch in branches if branch.model == name)
            if group:
                predictions |= self._call(group, latent, t)
        return predictions

    def _call(self, branches: tuple[Branch, ...], latent: AVLatent, t: AVTime) -> dict[Branch, AVLatent]:
        """One network call: the latents' rows once for every branch, in order."""
        self.check_interrupt()
        x, times = AVLatent.cat([latent] * len(branches)), AVTime.cat([t] * len(branches))
        coupling = [branch.coupling for branch in branches for _ in range(self.rows)]
        skip = [branch.skip_block for branch in branches for _ in range(self.rows)]
        model = self.models[branches[0].model]
        out = denoise(model, x, times, self._condition(branches), coupling, skip if any(s is not None for s in skip) else None)
        self.branches += rows_of(branches)
        self.forwards += 1
        out = AVLatent(out.video.to(latent.video.dtype), out.audio.to(latent.audio.dtype))
        return {branch: out[i * self.rows : (i + 1) * self.rows] for i, branch in enumerate(branches)}

    def _condition(self, branches: tuple[Branch, ...]) -> AVCondition:
        key = tuple((branch.model, branch.video, branch.audio) for branch in branches)
        if key not in self.conditions:
            texts = [self.texts[branch.model] for branch in branches]
            video = [_spread(own[branch.video].video, self.rows) for own, branch in zip(texts, branches)]
            audio = [_spread(own[branch.audio].audio, self.rows) for own, branch in zip(texts, branches)]
            self.conditions[key] = AVCondition(Condition.cat(video), Condition.cat(audio))
        return self.conditions[key]


def _spread(text: Condition, rows: int) -> Condition:
    found = text.tokens.shape[0]
    if found not in (1, rows):
        raise ValueError(f"the prompts have {found} rows and the latents {rows}; give one prompt, or one for each row")
    return text if found == rows else text.spread(rows)
