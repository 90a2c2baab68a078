"""Runs a network whose weights do not fit on the device: diffusers' group offloading brings each layer there when it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from logging import LogRecord, getLogger
from typing import Any

import torch
from torch import nn

ENTRIES = ("predict", "predict_coupled", "predict_stream")  # of a joint denoiser
GROUP, TRACKER = "group_offloading", "layer_execution_tracker"  # names of diffusers' hooks


class _Entry(nn.Module):
    """Makes calls of a network's methods its own forward pass, from which diffusers learns in which order the layers run."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network, self.running = network, False

    def forward(self, call: Callable[[], Any]) -> Any:
        self.running = True
        try:
            return call()
        finally:
            self.running = False


def offload(network: nn.Module, device: torch.device, **options: Any) -> None:
    """Keep the weights of linear and convolution layers in main memory, and bring those of one layer at a time to `device`.

    On CUDA, the next layer's weights are copied while a layer runs. Other weights are small and stay on `device`. Results do not
    change. options: of diffusers' `apply_group_offloading`.
    """
    from diffusers.hooks import apply_group_offloading

    if is_offloaded(network):
        return
    entries = [name for name in ENTRIES if hasattr(network, name)]
    root = _Entry(network) if entries else network
    streams = device.type == "cuda"
    apply_group_offloading(root, onload_device=device, offload_type="leaf_level", use_stream=streams, **options)
    for module, hook in list(_hooks(network)):
        if not hook.group.modules and module is not root:  # weights beside layers: their module may never be called itself
            hook.group.onload_()
            for name in (GROUP, TRACKER):
                module._diffusers_hook.remove_hook(name, recurse=False)  # type: ignore[union-attr, operator]
    if isinstance(root, _Entry):
        _route(network, entries, root)


def _route(network: nn.Module, names: Sequence[str], root: _Entry) -> None:
    """Make these methods of a network, and of its copies, run inside the forward pass of `root`."""
    cls = type(network)

    def routed(name: str) -> Callable[..., Any]:
        method = getattr(cls, name)

        def run(self: nn.Module, *args: Any, **options: Any) -> Any:
            call = partial(method, self, *args, **options)
            if root.running:
                return call()
            with _quiet():
                return root(call)

        return run

    network.__class__ = type(cls.__name__, (cls,), {name: routed(name) for name in names})


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep diffusers from listing every layer that the first call did not run: those of another coupling come to the device too."""
    logger = getLogger("diffusers.hooks.group_offloading")
    logger.addFilter(_is_no_list)
    try:
        yield
    finally:
        logger.removeFilter(_is_no_list)


def _is_no_list(record: LogRecord) -> bool:
    return "layers were not executed" not in record.getMessage()


def is_offloaded(network: nn.Module) -> bool:
    """Return whether weights of the network come to the device only when they are used."""
    return next(_hooks(network), None) is not None


def device_of(network: nn.Module) -> torch.device:
    """Return the device that a network runs on."""
    for _, hook in _hooks(network):
        return torch.device(hook.group.onload_device)
    tensors = [*network.parameters(), *network.buffers()]
    return tensors[0].device if tensors else torch.device("cpu")


def _hooks(network: nn.Module) -> Iterator[tuple[nn.Module, Any]]:
    """Iterate over the modules that have diffusers' hook for offloading, with these hooks."""
    for module in network.modules():
        registry: Any = getattr(module, "_diffusers_hook", None)
        hook = registry and registry.get_hook(GROUP)
        if hook:
            yield module, hook
