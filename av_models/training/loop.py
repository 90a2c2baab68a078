"""The training loop: one loop for every stage, on one device or several, resumable at any saved step.

A `Stage` holds a model and computes the loss of each step. The loop holds the optimizers, the learning rate schedule, the
averaged weights, the loss curve and the saved state. Noise depends on (seed, step), batches depend on the step. So a resumed
run gives the same result as an uninterrupted one, and runs with other seeds see the same clips in the same order.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, cast, runtime_checkable

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs, broadcast
from torch import Tensor, nn

from ..card_fields import require
from ..checkpoint import check_fit, load_checkpoint, load_into, read_card, save_checkpoint, sub_tensors
from ..printable import printable
from .batched_muon import BatchedMuon
from .bf16 import has_bf16, muon_in_float32
from .captured_step import CapturedStep
from .curve_file import RESTORE, add_row, keep_rows
from .plain_attention import plain_attention
from .processes import processes
from .sharding import gather, is_sharded, like, local, shard
from .strided import strided_in_float32

STATE = "state.safetensors"
CURVE = "curve.csv"
WINDOW = "logged"  # of a state: the names of the logged values, and the values of each step since the last row of the curve
BLOCK_WEIGHT = re.compile(r"\.\d+\.(?!.*norm)")  # names of weights in a numbered block, without its (adaptive) norms


@dataclass(frozen=True)
class Schedule:
    """Length, learning rate and optimizers of a run.

    steps: length of the whole run.
    lr, warmup, floor: the learning rate rises over `warmup` steps to `lr` and falls to `lr · floor` as a cosine.
    ema: decay of the averaged weights, which are the result of the run.
    muon: use Muon (arXiv 2502.16982) for the matrices inside a network's blocks, and AdamW for all other parameters.
    batched_muon: update Muon's matrices of equal shape together (see `BatchedMuon`); equal up to rounding, and faster on a GPU.
    bf16: compute losses in bfloat16 on devices that are faster with it; weights, averages and optimizers stay in float32.
    cuda_graph: replay a step as one CUDA graph (see `CapturedStep`). Other devices run the same step without a graph. For one
        process and a `CapturableStage`; with `muon` it needs `batched_muon`. Equal up to rounding.
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
    batched_muon: bool = False
    cuda_graph: bool = False

    def rate(self, step: int) -> float:
        """Return the learning rate at `step` as a fraction of `lr`."""
        if step < self.warmup:
            return (step + 1) / self.warmup
        along = (step - self.warmup) / max(1, self.steps - self.warmup)
        return self.floor + (1 - self.floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, along)))


@dataclass(frozen=True)
class Intervals:
    """How often a run adds a row to its curve, in steps, and how often it saves its state, in seconds."""

    log_steps: int = 25
    save_seconds: float = 120


class Stage(Protocol):
    """A model with its loss. rank: index of this process; the loop sets it, and each process draws other batches."""

    model: nn.Module
    rank: int

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        """Compute the loss of this step's batch, and the values to log. Random draws use torch's global generator."""
        ...

    def finish(self, model: nn.Module, run: dict[str, Any]) -> None:
        """Write the checkpoint of the averaged `model`. run: how it was trained, for the model card."""
        ...


@runtime_checkable
class CapturableStage(Stage, Protocol):
    """A stage with separate methods to draw a batch and to compute its loss. The second can be captured as a CUDA graph."""

    def draw_batch(self, step: int) -> Any:
        """Draw all random numbers of a step, and gather its data, on the CPU: tensors in (named) tuples or dicts."""
        ...

    def compute_losses(self, batch: Any) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute the loss and the values to log from a batch on the model's device, by its tensors alone."""
        ...


@runtime_checkable
class PartStage(Protocol):
    """A stage that trains a part of a large model. Averages and saved states hold its trained parameters only.

    shard_units: the modules that FSDP shards one by one (see `sharding.shard`), in the order in which they run.
    """

    model: nn.Module
    rank: int

    @property
    def shard_units(self) -> Sequence[nn.Module]: ...

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        """Compute the loss of this step's batch, and the values to log."""
        ...

    def finish_trained(self, tensors: dict[str, Tensor], run: dict[str, Any]) -> None:
        """Write the checkpoint. tensors: the averages of the trained parameters, on the CPU. run: as for `Stage.finish`."""
        ...


AnyStage = Stage | PartStage


class StageLoss(nn.Module):
    """A stage's loss as a module's forward pass, as DistributedDataParallel requires."""

    def __init__(self, stage: AnyStage) -> None:
        super().__init__()
        self.model, self.stage = stage.model, (stage,)
        self.units = nn.ModuleList(getattr(stage, "shard_units", ()))

    def forward(self, step: int) -> tuple[Tensor, dict[str, float]]:
        return self.stage[0].loss(step)


class TrainingStep:
    """Computes one step's loss and gradients, and updates the weights. Call it with the step's number."""

    def __init__(self, stage: AnyStage, schedule: Schedule, accelerator: Accelerator) -> None:
        self.stage, self.schedule, self.accelerator = stage, schedule, accelerator
        self.captured = CapturedStep(self._run_on_batch, accelerator.device) if schedule.cuda_graph else None
        if self.captured:
            check_capturable(stage, accelerator)
        self.sharded = is_sharded(accelerator)
        if self.sharded:
            self.loss = shard(StageLoss(stage), accelerator.device)
            self.optimizers = make_optimizers(stage.model, schedule, accelerator.device)
            return
        optimizers = make_optimizers(stage.model, schedule, accelerator.device)
        self.loss, *self.optimizers = accelerator.prepare(StageLoss(stage), *optimizers)

    def __call__(self, step: int) -> tuple[float, dict[str, float]]:
        self._set_learning_rate(self.schedule.lr * self.schedule.rate(step))
        if isinstance(self.stage, CapturableStage) and self.captured:
            loss, values = self.captured(self.stage.draw_batch(step))
            return float(loss), {name: float(value) for name, value in values.items()}
        with precision(self.schedule, self.accelerator.device):
            loss, logged = self.loss(step)
        self._update_weights(loss)
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
        return mean_of_processes(float(loss.detach()), logged, self.accelerator)

    def _run_on_batch(self, batch: Any) -> tuple[Tensor, dict[str, Tensor]]:
        """Run a whole step on `batch`; returns the loss and the values to log. Gradients stay in the same memory."""
        assert isinstance(self.stage, CapturableStage)
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=False)
        with precision(self.schedule, self.accelerator.device):
            loss, logged = self.stage.compute_losses(batch)
        self._update_weights(loss)
        return loss.detach(), logged

    def _update_weights(self, loss: Tensor) -> None:
        if self.sharded:
            with patches(self.schedule, self.accelerator.device):
                loss.backward()
            nn.utils.clip_grad_norm_(self.stage.model.parameters(), self.schedule.clip)
        else:
            with patches(self.schedule, self.accelerator.device):  # for checkpointed layers, which run again
                self.accelerator.backward(loss)
            self.accelerator.clip_grad_norm_(self.stage.model.parameters(), self.schedule.clip)
        with nullcontext() if has_bf16(self.accelerator.device) else muon_in_float32():
            for optimizer in self.optimizers:
                optimizer.step()

    def _set_learning_rate(self, lr: float) -> None:
        for group in (group for optimizer in self.optimizers for group in optimizer.param_groups):
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(lr)
            else:
                group["lr"] = lr


def train(
    stage: AnyStage,
    schedule: Schedule,
    seed: int,
    folder: Path,
    *,
    resume: bool = False,
    stop: int | None = None,
    intervals: Intervals = Intervals(),
    on_step: Callable[[int, int, float], None] | None = None,
) -> None:
    """Train `stage` to `schedule.steps`, or until after step `stop`, and keep the curve and the state in `folder`.

    resume: continue from the state in `folder`, if there is one. on_step(done, total, loss) is called after every step.
    Raises ValueError if a loss is NaN, or the schedule has `cuda_graph` and the stage or the number of processes does not allow
    it.
    """
    accelerator = make_accelerator(stage)
    stage.rank = accelerator.process_index
    take_step = TrainingStep(stage, schedule, accelerator)
    state = State(folder, stage, take_step.optimizers)
    first, seconds, logged = state.restore() if resume else (0, 0.0, [])
    if not first and accelerator.is_main_process:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / CURVE).unlink(missing_ok=True)

    last = max(first, min(stop or schedule.steps, schedule.steps))
    start, timer = time.monotonic(), SaveTimer(intervals.save_seconds, accelerator)
    for step in range(first, last):
        torch.manual_seed(seed * 1_000_003 + step * 64 + accelerator.process_index)
        loss, parts = take_step(step)
        if math.isnan(loss):  # the weights are lost; the last saved state is not
            raise ValueError(f"the loss of step {step + 1} is NaN; check the weights and the data, or use a smaller lr")
        state.update_average(min(schedule.ema, (1 + step) / (10 + step)))
        logged.append(parts)
        if on_step:
            on_step(step + 1, last, loss)
        elapsed = seconds + time.monotonic() - start
        if (step + 1) % intervals.log_steps == 0:
            if accelerator.is_main_process:
                add_row(folder / CURVE, step + 1, elapsed, logged)
            logged = []
        if timer.is_due():
            state.save(step + 1, elapsed, logged, accelerator.is_main_process)
            timer.restart()
    accelerator.wait_for_everyone()
    elapsed = seconds + time.monotonic() - start
    state.save(last, elapsed, logged, accelerator.is_main_process)
    if last == schedule.steps:
        state.finish({"steps": last, "seed": seed, "seconds": round(elapsed)}, accelerator.is_main_process)


def make_accelerator(stage: AnyStage) -> Accelerator:
    """Make the accelerator. A part of a model can have weights that a batch does not use, for which processes must not wait."""
    processes()  # before accelerate makes its own, which is without CPUs unless asked
    handlers = [DistributedDataParallelKwargs(find_unused_parameters=True)] if isinstance(stage, PartStage) else []
    return Accelerator(kwargs_handlers=handlers)


def mean_of_processes(loss: float, logged: dict[str, float], accelerator: Accelerator) -> tuple[float, dict[str, float]]:
    """Return the means over all processes of a loss and of the values to log."""
    if accelerator.num_processes == 1:
        return loss, logged
    values = torch.tensor([loss, *logged.values()], device=accelerator.device)
    mean, *means = cast(Tensor, accelerator.reduce(values, "mean")).tolist()
    return mean, dict(zip(logged, means))


class SaveTimer:
    """Says when to save the state, to all processes at once: every `seconds`, and at most a twentieth of the time is for saving."""

    def __init__(self, seconds: float, accelerator: Accelerator) -> None:
        self.seconds, self.accelerator = seconds, accelerator
        self.begun, self.wait = time.monotonic(), seconds

    def is_due(self) -> bool:
        due = time.monotonic() - self.begun > self.wait
        if self.accelerator.num_processes > 1:
            due = bool(broadcast(torch.tensor([due], dtype=torch.int32, device=self.accelerator.device)).item())
        if due:
            self.begun = time.monotonic()
        return due

    def restart(self) -> None:
        """Begin to wait again, after a save."""
        taken = time.monotonic() - self.begun
        self.begun, self.wait = time.monotonic(), self.seconds if self.seconds < 0 else max(self.seconds, 20 * taken)


def check_capturable(stage: AnyStage, accelerator: Accelerator) -> None:
    """Raise ValueError, in one line, if a step of `stage` cannot be captured as a CUDA graph."""
    if not isinstance(stage, CapturableStage):
        raise ValueError(f"schedule.cuda_graph is true, but {type(stage).__name__} cannot be captured; set it to false")
    if accelerator.num_processes > 1:
        raise ValueError(f"schedule.cuda_graph is true with {accelerator.num_processes} processes; set it to false, or use one")


def make_optimizers(model: nn.Module, schedule: Schedule, device: torch.device) -> list[torch.optim.Optimizer]:
    """Make AdamW, without weight decay for vectors, and Muon if the schedule has `muon`."""
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    matrices = [name for name, p in trained.items() if schedule.muon and p.ndim == 2 and BLOCK_WEIGHT.search(name)]
    rest = [p for name, p in trained.items() if name not in matrices]
    groups: list[dict[str, Any]] = [
        {"params": [p for p in rest if p.ndim > 1]},
        {"params": [p for p in rest if p.ndim <= 1], "weight_decay": 0.0},
    ]
    # a CUDA graph needs the learning rate as a tensor
    lr: Any = torch.tensor(schedule.lr, device=device) if schedule.cuda_graph else schedule.lr
    settings: dict[str, Any] = {"lr": lr, "weight_decay": schedule.weight_decay}
    capturable = schedule.cuda_graph and device.type == "cuda"
    optimizers: list[torch.optim.Optimizer] = [torch.optim.AdamW(groups, betas=(0.9, 0.98), capturable=capturable, **settings)]
    if matrices:
        muon_params = [trained[name] for name in matrices]
        if schedule.batched_muon:
            optimizers.append(BatchedMuon(muon_params, **settings))
        else:
            # its updates are as large as AdamW's, so that both can use the same learning rate
            optimizers.append(torch.optim.Muon(muon_params, adjust_lr_fn="match_rms_adamw", **settings))
    return optimizers


@contextmanager
def precision(schedule: Schedule, device: torch.device) -> Iterator[None]:
    """Use the precision of `schedule` inside the context."""
    with ExitStack() as stack:
        if schedule.bf16 and has_bf16(device):
            stack.enter_context(torch.autocast(device.type, torch.bfloat16))
            stack.enter_context(patches(schedule, device))
        yield


@contextmanager
def patches(schedule: Schedule, device: torch.device) -> Iterator[None]:
    """Replace what is wrong or slow in bfloat16 on a CPU, if `schedule` has it there."""
    with ExitStack() as stack:
        if schedule.bf16 and device.type == "cpu" and has_bf16(device):
            stack.enter_context(plain_attention())
            stack.enter_context(strided_in_float32())
        yield


class State:
    """What a run saves: weights, their averages, and the optimizers; of a `PartStage` its trained parameters only."""

    def __init__(self, folder: Path, stage: AnyStage, optimizers: list) -> None:
        self.path, self.curve, self.stage, self.optimizers = folder / STATE, folder / CURVE, stage, optimizers
        self.is_part = isinstance(stage, PartStage)
        trained = {name for name, parameter in stage.model.named_parameters() if parameter.requires_grad}
        self.names = [name for name in stage.model.state_dict() if not self.is_part or name in trained]
        self.average = {name: value.detach().clone() for name, value in self.weights().items()}

    def weights(self) -> dict[str, Tensor]:
        state = self.stage.model.state_dict()
        return {name: state[name] for name in self.names}

    @torch.no_grad()
    def update_average(self, decay: float) -> None:
        for name, value in self.weights().items():
            average, value = local(self.average[name]), local(value)
            if value.is_floating_point():
                average.lerp_(value, 1 - decay)
            else:
                average.copy_(value)

    def save(self, step: int, seconds: float, logged: list[dict[str, float]], is_main: bool) -> None:
        """Save the state. All processes must call this; the main one writes."""
        tensors = {f"model.{k}": v for k, v in self.weights().items()}
        tensors |= {f"average.{k}": v for k, v in self.average.items()}
        for number, optimizer in enumerate(self.optimizers):
            for index, state in optimizer.state_dict()["state"].items():
                tensors |= {f"optimizer{number}.{index}.{k}": torch.as_tensor(v) for k, v in state.items()}
        tensors = gather(tensors, is_main)
        if not is_main:
            return
        names = list(logged[0]) if logged else []
        tensors[WINDOW] = torch.tensor([[parts[name] for name in names] for parts in logged], dtype=torch.float64)
        save_checkpoint(self.path, tensors, {"step": step, "seconds": seconds, WINDOW: names})

    def restore(self) -> tuple[int, float, list[dict[str, float]]]:
        """Load the state, if there is one. Returns the step, the seconds, and the values since the curve's last row.

        Raises ValueError, in one line, if the state is of another run, or the curve does not reach to it.
        """
        if not self.path.exists():
            return 0, 0.0, []
        tensors, card = load_checkpoint(self.path)
        step = read_step(self.path)
        self._restore_weights(sub_tensors(tensors, "model"))
        try:
            _restore_training(tensors, self.average, self.optimizers)
        except (KeyError, IndexError, RuntimeError, ValueError, TypeError) as error:
            raise ValueError(f"{self.path} has another optimizer or average ({printable(error)}); {RESTORE}") from error
        known = WINDOW in card and WINDOW in tensors  # states of older versions lack it
        logged = [dict(zip(card[WINDOW], values)) for values in tensors[WINDOW].tolist()] if known else []
        keep_rows(self.curve, step, step - len(logged) if known else None)
        return step, card["seconds"], logged

    @torch.no_grad()
    def _restore_weights(self, tensors: dict[str, Tensor]) -> None:
        if not self.is_part:
            load_into(self.stage.model, tensors, self.path)
            return
        own = self.weights()
        shapes = [{name: tuple(value.shape) for name, value in each.items()} for each in (own, tensors)]
        check_fit(shapes[0], shapes[1], type(self.stage.model).__name__, self.path)
        for name, value in own.items():
            local(value).copy_(local(like(tensors[name], value)))

    def finish(self, run: dict[str, Any], is_main: bool) -> None:
        """Write the checkpoint of the averages. All processes must call this."""
        if isinstance(self.stage, PartStage):
            averages = gather(self.average, is_main)
            if is_main:
                self.stage.finish_trained(averages, run)
        elif is_main:
            self.stage.model.load_state_dict(self.average)
            self.stage.finish(self.stage.model.cpu(), run)


def read_step(path: Path) -> int:
    """Return the step of a saved state. Raises FileNotFoundError or ValueError, in one line, if the file is not one."""
    card = read_card(path)
    require(card, path, "step", "seconds")
    return card["step"]


@torch.no_grad()
def _restore_training(tensors: dict[str, Tensor], average: dict[str, Tensor], optimizers: list) -> None:
    saved = sub_tensors(tensors, "average")
    for key, value in average.items():
        local(value).copy_(local(like(saved[key], value)))
    for number, optimizer in enumerate(optimizers):
        state: dict[int, dict[str, Tensor]] = {}
        parameters = [each for group in optimizer.param_groups for each in group["params"]]
        for key, value in sub_tensors(tensors, f"optimizer{number}").items():
            index, name = key.split(".", 1)
            parameter = parameters[int(index)]
            state.setdefault(int(index), {})[name] = like(value, parameter) if value.shape == parameter.shape else value
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
