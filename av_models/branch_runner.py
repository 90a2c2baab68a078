"""Runs the branches of a guidance strategy, in one network call or one after another."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from .contract import AVCondition, AVLatent, AVTime, Condition, JointDenoiser, denoise
from .guidance import Branch, PromptKind, Step, count_rows, resolve_block
from .out_of_memory import is_out_of_memory


@dataclass(frozen=True)
class PromptedModel:
    """A joint denoiser with its encoded prompts. positive, negative: one row each, or one row per row of the latents."""

    denoiser: JointDenoiser
    positive: AVCondition
    negative: AVCondition

    def condition(self, text: PromptKind) -> AVCondition:
        """Return the positive or the negative prompt. Models that attend to padding get both in the length of the longer one."""
        positive = text == "positive"
        prompt, other = (self.positive, self.negative) if positive else (self.negative, self.positive)
        return prompt.matched(other)


class BranchRunner:
    """Runs branches and counts them.

    models: "main", and "bad" for autoguidance's weaker model.
    rows: the latents' batch size.
    batched: run all branches in one call. If memory runs out, they run one by one from then on.
    check_interrupt(): called before every network call. It can raise an exception to stop the run.

    After a run, `branches` is the total number of network rows per sample, `forwards` the number of network calls, and
    `warnings` has messages for the user.
    """

    def __init__(
        self,
        models: Mapping[str, PromptedModel],
        rows: int,
        batched: bool,
        check_interrupt: Callable[[], None] | None = None,
    ) -> None:
        self.models, self.rows, self.batched = dict(models), rows, batched
        self.check_interrupt = check_interrupt or (lambda: None)
        self.conditions: dict[tuple, AVCondition] = {}
        self.branches = self.forwards = 0
        self.warnings: list[str] = []

    def predict(self, branches: Sequence[Branch], latent: AVLatent, step: Step, t: AVTime) -> dict[Branch, AVLatent]:
        """Return the prediction of each branch for `latent` at the network's timesteps `t`."""
        if self.batched and len(branches) > 1:
            try:
                return self._run_batched(branches, latent, t)
            except (RuntimeError, MemoryError) as error:
                if not is_out_of_memory(error):
                    raise
                self.batched = False
            rows = sum(count_rows((branch,), self.models[branch.model].denoiser) for branch in branches) * self.rows
            self.warnings.append(f"out of memory with {rows} network rows at once: from step "
                                 f"{step.index + 1} of {step.count} on, branches ran one by one")  # fmt: skip
        predictions: dict[Branch, AVLatent] = {}
        for branch in branches:
            predictions |= self._call((branch,), latent, t)
        return predictions

    def set_positive(self, positive: AVCondition) -> None:
        """Replace the main model's positive prompt."""
        self.models["main"] = replace(self.models["main"], positive=positive)
        self.conditions.clear()

    def _run_batched(self, branches: Sequence[Branch], latent: AVLatent, t: AVTime) -> dict[Branch, AVLatent]:
        predictions: dict[Branch, AVLatent] = {}
        for name in self.models:
            group = tuple(branch for branch in branches if branch.model == name)
            if group:
                predictions |= self._call(group, latent, t)
        return predictions

    def _call(self, branches: tuple[Branch, ...], latent: AVLatent, t: AVTime) -> dict[Branch, AVLatent]:
        """Run one network call with the latents repeated for every branch."""
        self.check_interrupt()
        x, times = AVLatent.cat([latent] * len(branches)), AVTime.cat([t] * len(branches))
        coupling = [branch.coupling for branch in branches for _ in range(self.rows)]
        model = self.models[branches[0].model].denoiser
        skip = [resolve_block(branch.skip_block, model) for branch in branches for _ in range(self.rows)]
        out = denoise(model, x, times, self._condition(branches), coupling, skip if any(s is not None for s in skip) else None)
        self.branches += count_rows(branches, model)
        self.forwards += 1
        out = AVLatent(out.video.to(latent.video.dtype), out.audio.to(latent.audio.dtype))
        return {branch: out[i * self.rows : (i + 1) * self.rows] for i, branch in enumerate(branches)}

    def _condition(self, branches: tuple[Branch, ...]) -> AVCondition:
        key = tuple((branch.model, branch.video, branch.audio) for branch in branches)
        if key not in self.conditions:
            models = [self.models[branch.model] for branch in branches]
            video = [_expand_rows(model.condition(branch.video).video, self.rows) for model, branch in zip(models, branches)]
            audio = [_expand_rows(model.condition(branch.audio).audio, self.rows) for model, branch in zip(models, branches)]
            self.conditions[key] = AVCondition(Condition.cat(video), Condition.cat(audio))
        return self.conditions[key]


def _expand_rows(text: Condition, rows: int) -> Condition:
    found = text.tokens.shape[0]
    if found not in (1, rows):
        raise ValueError(f"the prompts have {found} rows and the latents {rows}; use one prompt, or one for each row")
    return text if found == rows else text.expand(rows)
