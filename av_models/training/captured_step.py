"""A function of a batch as one CUDA graph, over fixed input buffers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map

Outputs = tuple[Tensor, dict[str, Tensor]]

WARM_UP = 3  # first calls, which run without a graph: libraries and optimizers allocate what they keep


class CapturedStep:
    """Calls `run` with batches that are copied into the same buffers: on CUDA as one graph, on other devices directly.

    run: takes a batch on `device` and returns a loss and the values to log. It launches the same kernels at every call. It must
    not copy from the host, synchronize with it, or replace tensors that its next call reads (torch's notes on CUDA graphs,
    "Constraints"). Batches are tensors in (named) tuples or dicts, of the same shapes at every call.

    On CUDA the first `WARM_UP` calls run on a side stream without a graph. The next call captures the graph and replays it, as
    later calls do. Every call runs one step: a capture executes nothing. Outputs are overwritten by the next call.
    """

    def __init__(self, run: Callable[[Any], Outputs], device: torch.device) -> None:
        self.run, self.device = run, device
        self.buffers: Any = None
        self.graph: torch.cuda.CUDAGraph | None = None
        self.outputs: Outputs
        self.calls = 0

    def __call__(self, batch: Any) -> Outputs:
        self._copy_into_buffers(batch)
        if self.device.type != "cuda":
            return self.run(self.buffers)
        self.calls += 1
        if self.calls <= WARM_UP:
            return self._warm_up()
        if self.graph is None:
            self.graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(self.graph):
                self.outputs = self.run(self.buffers)
        self.graph.replay()
        return self.outputs

    def _copy_into_buffers(self, batch: Any) -> None:
        if self.buffers is None:
            self.buffers = tree_map(lambda part: part.to(self.device, copy=True), batch)
            return
        for buffer, part in zip(tree_leaves(self.buffers), tree_leaves(batch), strict=True):
            buffer.copy_(part)

    def _warm_up(self) -> Outputs:
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            outputs = self.run(self.buffers)
        torch.cuda.current_stream().wait_stream(stream)
        return outputs
