"""The training loop: one plain loop for every stage, resumable to the step, on one device or many.

A `Stage` knows its model, its batch for a step and its loss; the loop knows optimiser, schedule, averaging, curve and
state. Noise is keyed by (seed, step) and batches by the step alone, so a killed run resumes as if it had never stopped, and
runs of other seeds see the same clips in the same order.
"""

from __future__ import annotations

import csv
import math
import re
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from accelerate import Accelerator
from torch import Tensor, nn

from ..checkpoint import load_checkpoint, load_into, save_checkpoint, sub_tensors
from .bf16 import has_bf16, orthogonalised_in_float32
from .plain_attention import plain_attention
from .strided import strided_in_float32

STATE = "state.safetensors"
CURVE = "curve.csv"
IN_A_BLOCK = re.compile(r"\.\d+\.(?!.*norm)")  # a numbered block's own weights, not those of its (adaptive) norms


@dataclass(frozen=True)
class Schedule:
    """`steps` in all; the learning rate rises over `warmup` steps to `lr` and falls to `lr · floor` as a cosine.

    `muon`: matrices inside a network's blocks are updated by Muon (arXiv 2502.16982), the rest by AdamW.
    `bf16`: losses are computed in bfloat16 where autocast has it and the device is the faster for it; weights, averages and
    optimisers stay in float32.
    """

    steps: int
    lr: float
    warmup: int = 100
    floor: float = 0.02
    weight_decay: float = 0.01
    clip: float = 1.0
    ema: float = 0.998
    muon: bool = False
    bf16: bool = False

    def rate(self, step: int) -> float:
        if step < self.warmup:
            return (step + 1) / self.warmup
        along = (step - self.warmup) / max(1, self.steps - self.warmup)
        return self.floor + (1 - self.floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, along)))


class Stage(Protocol):
    """`rank`: which of the processes this is; the loop sets it, and each draws other batches."""

    model: nn.Module
    rank: int

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        """The loss of this step's batch and the parts to log. Random draws come from torch's seeded generator."""
        ...

    def finish(self, model: nn.Module, run: dict[str, Any]) -> None:
        """Write the checkpoint of the averaged `model`; `run` says how it was trained."""
        ...


class Loss(nn.Module):
    """A stage's loss as a forward pass: what a model spread over devices must be called through."""

    def __init__(self, stage: Stage) -> None:
        super().__init__()
        self.model, self.stage = stage.model, (stage,)

    def forward(self, step: int) -> tuple[Tensor, dict[str, float]]:
        return self.stage[0].loss(step)


def train(
    stage: Stage,
    schedule: Schedule,
    seed: int,
    folder: Path,
    *,
    resume: bool = False,
    stop: int | None = None,
    log_every: int = 25,
    save_seconds: float = 120,
    on_step: Callable[[int, int, float], None] | None = None,
) -> None:
    """Train `stage` to `schedule.steps` (or halt after step `stop`), keeping curve and state in `folder`."""
    accelerator = Accelerator()
    model = stage.model
    stage.rank = accelerator.process_index
    loss_of, *optimizers = accelerator.prepare(Loss(stage), *make_optimizers(model, schedule))
    average = {k: v.detach().clone() for k, v in model.state_dict().items()}
    first, seconds = _restore(folder, model, average, optimizers) if resume else (0, 0.0)
    if not first and accelerator.is_main_process:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / CURVE).unlink(missing_ok=True)

    last = max(first, min(stop or schedule.steps, schedule.steps))
    logged: list[dict[str, float]] = []
    start = saved = time.monotonic()
    for step in range(first, last):
        torch.manual_seed(seed * 1_000_003 + step * 64 + accelerator.process_index)
        for group in (group for optimizer in optimizers for group in optimizer.param_groups):
            group["lr"] = schedule.lr * schedule.rate(step)
        with precision(schedule, accelerator.device):
            loss, parts = loss_of(step)
        accelerator.backward(loss)
        accelerator.clip_grad_norm_(model.parameters(), schedule.clip)
        with nullcontext() if has_bf16(accelerator.device) else orthogonalised_in_float32():
            for optimizer in optimizers:
                optimizer.step()
                optimizer.zero_grad(set_to_none=True)
        _update(average, model, min(schedule.ema, (1 + step) / (10 + step)))
        logged.append(parts)
        if on_step:
            on_step(step + 1, last, float(loss.detach()))
        if accelerator.is_main_process:
            elapsed = seconds + time.monotonic() - start
            if (step + 1) % log_every == 0:
                _log(folder / CURVE, step + 1, elapsed, logged)
                logged = []
            if time.monotonic() - saved > save_seconds:
                _save(folder, step + 1, elapsed, model, average, optimizers)
                saved = time.monotonic()
    accelerator.wait_for_everyone()
    if not accelerator.is_main_process:
        return
    elapsed = seconds + time.monotonic() - start
    _save(folder, last, elapsed, model, average, optimizers)
    if last == schedule.steps:
        model.load_state_dict(average)
        stage.finish(model.cpu(), {"steps": last, "seed": seed, "seconds": round(elapsed)})


def make_optimizers(model: nn.Module, schedule: Schedule) -> list[torch.optim.Optimizer]:
    """AdamW, without decay for vectors, and Muon where the schedule asks for it."""
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    matrices = [name for name, p in trained.items() if schedule.muon and p.ndim == 2 and IN_A_BLOCK.search(name)]
    rest = [p for name, p in trained.items() if name not in matrices]
    groups = [
        {"params": [p for p in rest if p.ndim > 1]},
        {"params": [p for p in rest if p.ndim <= 1], "weight_decay": 0.0},
    ]
    settings = {"lr": schedule.lr, "weight_decay": schedule.weight_decay}
    optimizers: list[torch.optim.Optimizer] = [torch.optim.AdamW(groups, betas=(0.9, 0.98), **settings)]
    if matrices:
        # its updates are as large as AdamW's, so that one learning rate serves both
        optimizers.append(torch.optim.Muon([trained[name] for name in matrices], adjust_lr_fn="match_rms_adamw", **settings))
    return optimizers


@contextmanager
def precision(schedule: Schedule, device: torch.device) -> Iterator[None]:
    """What a schedule's losses are computed in, while this lasts."""
    with ExitStack() as stack:
        if schedule.bf16 and has_bf16(device):
            stack.enter_context(torch.autocast(device.type, torch.bfloat16))
            if device.type == "cpu":
                stack.enter_context(plain_attention())
                stack.enter_context(strided_in_float32())
        yield


@torch.no_grad()
def _update(average: dict[str, Tensor], model: nn.Module, decay: float) -> None:
    for key, value in model.state_dict().items():
        if value.is_floating_point():
            average[key].lerp_(value, 1 - decay)
        else:
            average[key].copy_(value)


def _log(path: Path, step: int, seconds: float, logged: list[dict[str, float]]) -> None:
    new = not path.exists()
    means = {key: sum(p[key] for p in logged) / len(logged) for key in logged[0]}
    with path.open("a", newline="") as file:
        writer = csv.writer(file)
        if new:
            writer.writerow(["step", "seconds", *means])
        writer.writerow([step, round(seconds), *(f"{v:.6g}" for v in means.values())])


def _save(folder: Path, step: int, seconds: float, model: nn.Module, average: dict, optimizers: list) -> None:
    tensors = {f"model.{k}": v for k, v in model.state_dict().items()}
    tensors |= {f"average.{k}": v for k, v in average.items()}
    for number, optimizer in enumerate(optimizers):
        for index, state in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer{number}.{index}.{k}": torch.as_tensor(v) for k, v in state.items()}
    tensors = {k: v.detach().cpu().clone() for k, v in tensors.items()}
    save_checkpoint(folder / STATE, tensors, {"step": step, "seconds": seconds})


def _restore(folder: Path, model: nn.Module, average: dict, optimizers: list) -> tuple[int, float]:
    if not (folder / STATE).exists():
        return 0, 0.0
    tensors, card = load_checkpoint(folder / STATE)
    load_into(model, sub_tensors(tensors, "model"), folder / STATE)
    for key, value in sub_tensors(tensors, "average").items():
        average[key].copy_(value)
    for number, optimizer in enumerate(optimizers):
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in sub_tensors(tensors, f"optimizer{number}").items():
            index, name = key.split(".", 1)
            state.setdefault(int(index), {})[name] = value
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
    _drop_later_rows(folder / CURVE, card["step"])
    return card["step"], card["seconds"]


def _drop_later_rows(path: Path, step: int) -> None:
    """A run killed after its last save logged steps that it will now repeat."""
    if path.exists():
        header, *rows = path.read_text().splitlines()
        kept = [row for row in rows if int(row.split(",", 1)[0]) <= step]
        path.write_text("\n".join([header, *kept]) + "\n")
