"""`python -m duet_av.tests.two_processes CONFIG FOLDER`: trains on two CPU processes, with DDP, and with FSDP from a state.

Each process trains both, one after the other, because starting Python takes longer than that.
"""

from __future__ import annotations

import os
import socket
import sys
from functools import partial
from pathlib import Path

import torch
from accelerate.state import AcceleratorState, PartialState
from torch import multiprocessing

from duet_av.av_models.training import config as training_config
from duet_av.av_models.training.loop import Intervals
from duet_av.bounce.training.stages import train_config


def train(rank: int, config: str, folder: str, port: int) -> None:
    torch.set_num_threads(1)
    os.environ |= {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
        "ACCELERATE_USE_CPU": "true",
    }  # fmt: skip
    training_config.train = partial(training_config.train, intervals=Intervals(2, -1))
    for name, resume in (("ddp", False), ("fsdp", True)):
        os.environ["ACCELERATE_USE_FSDP"] = str(name == "fsdp").lower()
        train_config(config, folder=Path(folder) / name, out=Path(folder) / f"{name}.safetensors", resume=resume)
        torch.distributed.barrier()
        AcceleratorState._reset_state(True)
    torch.distributed.destroy_process_group()


def main() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    PartialState._reset_state()
    multiprocessing.start_processes(train, (*sys.argv[1:3], port), nprocs=2, start_method="fork")


if __name__ == "__main__":
    main()
