"""FSDP (torch's fully_shard): every process keeps a part of each weight, and has whole ones only while a layer runs.

`accelerate launch` asks for it with `--use_fsdp`, or a config such as `configs/accelerate_fsdp.yaml`. Accelerate itself shards on
GPUs alone; these functions work on every device of torch.distributed.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TypeVar

import torch
from accelerate import Accelerator
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor

M = TypeVar("M", bound=nn.Module)


def is_sharded(accelerator: Accelerator) -> bool:
    """Return whether the processes were launched for FSDP."""
    return accelerator.num_processes > 1 and os.environ.get("ACCELERATE_USE_FSDP", "").lower() in ("1", "true")


def shard(loss: M, device: torch.device) -> M:
    """Shard the weights of a module over all processes, and return it.

    The modules in its `units` are sharded one by one, so that the weights of one are whole at a time. They may share layers with
    other parts of the module, which do not run these layers themselves.
    """
    mesh = init_device_mesh(device.type, (torch.distributed.get_world_size(),))
    units: list[nn.Module] = [unit for unit in getattr(loss, "units", ()) if any(True for _ in unit.parameters())]
    for unit in units:
        fully_shard(unit, mesh=mesh)
    done = {parameter for unit in units for parameter in unit.parameters()}
    fully_shard(loss, mesh=mesh, ignored_params=done)
    return loss.to(device)


def local(tensor: Tensor) -> Tensor:
    """Return this process's part of a sharded tensor, in the same memory; another tensor itself."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor


def like(whole: Tensor, sharded: Tensor) -> Tensor:
    """Return a whole tensor, sharded as `sharded` is if it is. All processes must call this."""
    if not isinstance(sharded, DTensor):
        return whole
    return distribute_tensor(whole.to(sharded.device_mesh.device_type), sharded.device_mesh, sharded.placements)


@torch.no_grad()
def gather(tensors: Mapping[str, Tensor], keep: bool) -> dict[str, Tensor]:
    """Return whole copies on the CPU; {} where `keep` is False. All processes must call this."""
    found: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        whole = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
        if keep:
            found[name] = whole.detach().cpu().clone()
    return found
