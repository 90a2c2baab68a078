"""The measurements of a study: a guidance and its settings on so many clips, each made once and kept in a file."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ...av_models.binders.base import Binder
from ...av_models.joint_model import JointModel
from ..measure.run_eval import run_eval
from .json_lines import Kept


@dataclass(frozen=True)
class Cell:
    """One measurement: a guidance with its settings, on so many clips of a split."""

    guidance: str
    scale: float
    split: str
    n: int
    steps: int
    shift: float
    settings: Mapping[str, float] = field(default_factory=dict)
    eta: float = 0.0

    def key(self, run: Mapping[str, Any]) -> str:
        """What is measured, of the model that this training run gave."""
        extra = "".join(f" {name}={value:g}" for name, value in self.settings.items())
        made = f"model {run['seed']}/{run['steps']}/{run['seconds']}"
        eta = f" eta {self.eta:g}" if self.eta else ""
        return f"{made} {self.split} {self.n} {self.guidance} {self.scale:g}{extra} steps {self.steps} shift {self.shift:g}{eta}"


class Book:
    """Measurements of one model by their cell. `on_cell(done, key)`: before each that is made, and when it is there.

    `binder`: what also says how alike picture and sound are, and generated and true clips. `arm`: what tells the model from
    others of the same study whose seed, steps and seconds are the same.
    """

    def __init__(
        self, model: JointModel, path: Path, on_cell: Callable[[int, str], None], binder: Binder | None = None, arm: str = ""
    ) -> None:
        self.model, self.on_cell, self.binder, self.arm, self.done = model, on_cell, binder, arm, 0
        self.kept = Kept(path)

    def figures(self, cell: Cell) -> dict[str, Any]:
        key = " ".join(filter(None, [self.arm, cell.key(self.model.card["run"])]))
        figures = self.kept.figures(key, lambda: self._measure(cell, key))
        self.done += 1
        self.on_cell(self.done, key)
        return figures

    def sweep(self, tried: Mapping[str, Sequence[Cell]]) -> dict[str, list[tuple[Cell, dict[str, Any]]]]:
        """Every cell of every strategy, and its figures."""
        return {name: [(cell, self.figures(cell)) for cell in cells] for name, cells in tried.items()}

    def _measure(self, cell: Cell, key: str) -> dict[str, Any]:
        self.on_cell(self.done, key)
        return run_eval(
            self.model, guidance=cell.guidance, scale=cell.scale, settings=cell.settings, balls=None, split=cell.split,
            n=cell.n, seed=0, steps=cell.steps, shift=cell.shift, eta=cell.eta, binder=self.binder,
        )  # fmt: skip


def best(swept: Sequence[tuple[Cell, Mapping[str, Any]]]) -> Cell:
    """The cell of the best sync; the first of equals."""
    return max(swept, key=lambda pair: pair[1]["sync_f1"] or 0.0)[0]
