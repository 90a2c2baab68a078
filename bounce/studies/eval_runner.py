"""Runs evaluations of one model and stores the results, so that each one runs once only."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...av_models.binders.base import Binder
from ...av_models.joint_model import JointModel
from ..measure.run_eval import EvalSettings, run_eval
from .json_lines import ResultStore

Result = tuple[EvalSettings, dict[str, Any]]


def result_key(settings: EvalSettings, run: Mapping[str, Any]) -> str:
    """Returns the key under which the figures are stored. `run`: the training run in the card of the model."""
    extra = "".join(f" {name}={value:g}" for name, value in settings.extra.items())
    model = f"model {run['seed']}/{run['steps']}/{run['seconds']}"
    guidance = f"{settings.guidance} {settings.scale:g}{extra}"
    eta = f" eta {settings.eta:g}" if settings.eta else ""
    return f"{model} {settings.split} {settings.n} {guidance} steps {settings.steps} shift {settings.shift:g}{eta}"


class EvalRunner:
    """Evaluates one model with different settings and stores the figures in a file.

    on_result: called with (done, key) before each evaluation that runs, and after each result.
    binder: adds the metrics of `likeness`.
    name: distinguishes the model from others in the same file with equal seed, steps and training time.
    """

    def __init__(
        self,
        model: JointModel,
        path: Path,
        on_result: Callable[[int, str], None],
        binder: Binder | None = None,
        name: str = "",
    ) -> None:
        self.model, self.on_result, self.binder, self.name, self.done = model, on_result, binder, name, 0
        self.store = ResultStore(path)

    def run(self, settings: EvalSettings) -> dict[str, Any]:
        """Returns the figures for `settings`; evaluates the model if they are not stored yet."""
        key = " ".join(filter(None, [self.name, result_key(settings, self.model.card["run"])]))
        figures = self.store.get(key, lambda: self._evaluate(settings, key))
        self.done += 1
        self.on_result(self.done, key)
        return figures

    def sweep(self, candidates: Mapping[str, Sequence[EvalSettings]]) -> dict[str, list[Result]]:
        """Evaluates all candidates of all strategies."""
        return {name: [(settings, self.run(settings)) for settings in each] for name, each in candidates.items()}

    def _evaluate(self, settings: EvalSettings, key: str) -> dict[str, Any]:
        self.on_result(self.done, key)
        return run_eval(self.model, settings, binder=self.binder)


def select_best(results: Sequence[Result]) -> EvalSettings:
    """Returns the settings with the highest sync F1; the first ones in a tie."""
    return max(results, key=lambda result: result[1]["sync_f1"] or 0.0)[0]
