"""torch.compile for models whose passes differ in ComfyUI's options alone.

ComfyUI compiles a model without checks on its `transformer_options`, so a pass with other options (cut streams, a skipped block)
would be answered by the graph of the pass that was compiled first. torch does check the classes of a network's modules. Each kind
of pass therefore runs with classes of its own, which are subclasses without any change.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from typing import Any

from comfy.patcher_extension import WrappersMP, add_wrapper_with_key
from torch import nn

COMPILED = "torch.compile"  # ComfyUI's key of the wrapper that compiles
PASS_KEY = "duet_pass"  # in `transformer_options`: what else a pass does
FLAGS = {"a2v_cross_attn": True, "v2a_cross_attn": True, "run_vx": True, "run_ax": True, "stg_self_attn_blocks": frozenset()}


def is_compiled(wrappers: Mapping[str, Mapping]) -> bool:
    """Returns whether ComfyUI compiles the model with these wrappers: those of a MODEL, or of the options of a call."""
    return COMPILED in wrappers.get(WrappersMP.APPLY_MODEL, {})


def separate_graphs(options: dict[str, Any]) -> None:
    """Gives passes with other options graphs of their own, if the model is compiled. options: model options, which are changed."""
    transformer = options["transformer_options"]
    wrappers = transformer.get("wrappers", {})
    if is_compiled(wrappers) and PASS_KEY not in wrappers[WrappersMP.APPLY_MODEL]:
        add_wrapper_with_key(WrappersMP.APPLY_MODEL, PASS_KEY, _run_with_own_classes, transformer)


def _run_with_own_classes(apply: Any, *args: Any, **kwargs: Any) -> Any:
    options = next(each for each in (*args, *kwargs.values()) if isinstance(each, dict) and "cond_or_uncond" in each)
    kind = _kind_of_pass(options)
    if kind is None:
        return apply(*args, **kwargs)
    with _own_classes(apply.class_obj.diffusion_model, kind, options.get("stg_self_attn_blocks", ())):
        return apply(*args, **kwargs)


def _kind_of_pass(options: Mapping[str, Any]) -> Hashable | None:
    """Returns the options that the network reads, or None for ComfyUI's usual ones."""
    flags = tuple(type(usual)(options.get(name, usual)) for name, usual in FLAGS.items())
    own = options.get(PASS_KEY)
    return None if own is None and flags == tuple(FLAGS.values()) else (own, flags)


@contextmanager
def _own_classes(network: nn.Module, kind: Hashable, skipped: Collection[int]) -> Iterator[None]:
    """skipped: LTX-2's blocks whose self-attention is skipped. ComfyUI tells them so by an option of their own, too."""
    blocks = [block for index, block in enumerate(getattr(network, "transformer_blocks", ())) if index in skipped]
    skipping = {module for block in blocks for module in block.modules()}
    changed = [(each, type(each)) for each in network.modules() if any(each.children()) and not _is_of_torch(each)]
    try:
        for module, usual in changed:
            _set_class(module, _own_class(usual, (kind, module in skipping)))
        yield
    finally:
        for module, usual in changed:
            _set_class(module, usual)


def _set_class(module: nn.Module, new: type) -> None:
    module.__class__ = new
    vars(module)[PASS_KEY] = None  # torch checks a module again only if its attributes have changed
    del vars(module)[PASS_KEY]


def _is_of_torch(module: nn.Module) -> bool:
    return type(module).__module__.split(".")[0] == "torch"


@cache
def _own_class(usual: type, kind: Hashable) -> type:
    return type(usual.__name__, (usual,), {"__module__": usual.__module__, "__doc__": f"{usual.__name__} in a pass {kind}"})
