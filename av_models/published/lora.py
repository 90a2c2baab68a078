"""LoRA files on published networks: reads them in each naming that trainers use, and applies them through peft.

Diffusers' converters of these files raise KeyError for a LoRA of some of a network's layers alone, and drop what they have no name
for. Here every tensor of a file finds its layer by the names that the network's layers can have, or is named in a message.
"""

from __future__ import annotations

import json
import math
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from diffusers.models.modeling_utils import get_parameter_dtype
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn

from ..card_fields import read_table
from ..checkpoint import format_keys, open_tensors, real_tensor
from ..printable import printable, quoted
from .lora_names import OF_OTHER_PARTS, layer_names

PREFIX = re.compile(
    r"^(?:base_model\.model\.|model\.diffusion_model\.|diffusion_model\.|transformer\.|unet\.|pipe\.dit\.|connectors\."
    r"|lora_unet_+|lora_transformer_+|lycoris_+)+"
)
ENDS = {
    ".lora_A.weight": "A", ".lora_A.default.weight": "A", ".lora_down.weight": "A", ".lora.down.weight": "A",
    ".lora_B.weight": "B", ".lora_B.default.weight": "B", ".lora_up.weight": "B", ".lora.up.weight": "B",
    ".lora_B.bias": "bias", ".lora_B.default.bias": "bias", ".diff_b": "bias", ".diff": "diff", ".alpha": "alpha",
}  # fmt: skip
OTHER_KINDS = {"dora_scale": "DoRA", "lora_magnitude_vector": "DoRA", "lokr_": "LoKr", "hada_": "LoHa", "oft_": "OFT"}
METADATA, PEFT_CONFIG = "lora_adapter_metadata", "adapter_config.json"
FLOATS = (torch.float32, torch.float16, torch.bfloat16)
NAMED = 3  # keys in a message


@dataclass
class Change:
    """What a file changes of one layer: W + scale · B A, bias + `bias`, weight + `diff`."""

    parts: dict[str, Tensor] = field(default_factory=dict)
    keys: list[str] = field(default_factory=list)

    @property
    def rank(self) -> int:
        return self.parts["A"].shape[0]


def apply_loras(network: Any, loras: Sequence[tuple[Path, float]]) -> None:
    """Add LoRA files to a network of diffusers, each with its strength. Those of strength 0 change nothing.

    Low-rank changes are layers of peft beside the network's own, whose weights may be in 8 bits or of a GGUF file. Differences of
    whole tensors are added to the weights.
    Raises ValueError or FileNotFoundError, in one line, for a file that does not fit. Keys that fit no layer are named in a
    warning.
    """
    for path, strength in loras:
        if not math.isfinite(strength):
            raise ValueError(f"the strength of {path} is {strength}; use a finite number")
    read = [(read_lora(path, network), path, strength) for path, strength in loras]
    for tensors, path, strength in read:
        _add(network, tensors, strength, path)


def apply_loras_beside(network: Any, loras: Sequence[tuple[Path, float]]) -> None:
    """Add to a part of a model, such as LTX-2's connectors, what LoRA files have for it; files need not have anything."""
    for path, strength in loras:
        tensors, config = _read_file(Path(path))
        found, _ = _match(tensors, config, network, path)
        _add(network, found, strength, path)


def apply_lora_tensors(network: Any, tensors: Mapping[str, Tensor], strength: float = 1.0, source: str | Path = "the LoRA") -> None:
    """Add a LoRA whose tensors are in memory; their names are those of a file. source: what messages call it. See `apply_loras`."""
    _add(network, _fit(tensors, {}, network, source), strength, source)


def read_lora(path: str | Path, network: Any) -> dict[str, Tensor]:
    """Read a LoRA file for a network: `LAYER.lora_A.weight`, `LAYER.lora_B.weight`, `LAYER.lora_B.bias` and `PARAMETER.diff`.

    The layers are named as in the network, and alphas are part of A, so that the change of a weight is B A.
    Raises ValueError or FileNotFoundError, in one line, for a file that is no LoRA, is of another kind, or fits no layer.
    """
    tensors, config = _read_file(Path(path))
    return _fit(tensors, config, network, path)


def _fit(tensors: Mapping[str, Tensor], config: Mapping[str, Any], network: nn.Module, source: str | Path) -> dict[str, Tensor]:
    """Return the tensors by the names of the network's layers (see `read_lora`)."""
    what = type(network).__name__
    found, unknown = _match(tensors, config, network, source)
    if not found:
        raise ValueError(
            f"{source} fits no layer of {what}: it has {format_keys(unknown or list(tensors), NAMED)}; use a LoRA of this model"
        )
    unknown = [key for key in unknown if not OF_OTHER_PARTS.match(key)]
    if unknown:
        warnings.warn(f"{source}: {len(unknown)} keys fit no layer of {what}: {format_keys(unknown, NAMED)}", stacklevel=2)
    return found


def _match(
    tensors: Mapping[str, Tensor], config: Mapping[str, Any], network: nn.Module, source: str | Path
) -> tuple[dict[str, Tensor], list[str]]:
    """Return the tensors that the network has layers for, and the keys of the others."""
    changes, unknown = _by_layer(tensors, source)
    own = _own_layers(network)
    names = layer_names(type(network).__name__, own)
    found: dict[str, Tensor] = {}
    for name, change in changes.items():
        targets = names.get(name, [])
        if not targets:
            unknown += change.keys
        else:
            found |= _place(change, {target: own[target] for target in targets}, config, source)
    return found, unknown


def _read_file(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors of a file, and peft's settings of it, of which the alphas matter."""
    with open_tensors(path) as file:
        tensors = {key: real_tensor(file, key, path) for key in file.keys()}
        text = (file.metadata() or {}).get(METADATA)
    beside = path.with_name(PEFT_CONFIG)
    try:
        config = json.loads(text) if text else {}
        if not config and any(key.startswith("base_model.") for key in tensors) and beside.is_file():
            config = read_table(beside, "download it again")
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} has settings that are not JSON; download it again") from error
    if not isinstance(config, dict):
        raise ValueError(f"{path} has settings that are no table; download it again")
    return tensors, {PREFIX.sub("", key): value for key, value in config.items()}


def _by_layer(tensors: Mapping[str, Tensor], source: str | Path) -> tuple[dict[str, Change], list[str]]:
    """Return what the file changes of each layer, by the layer's name in the file, and the keys that are no part of a LoRA."""
    changes: dict[str, Change] = {}
    unknown = []
    for key, tensor in tensors.items():
        if other := next((words for mark, words in OTHER_KINDS.items() if mark in key), None):
            raise ValueError(f"{source} is a {other} ({printable(key)}), which is not supported; use a LoRA")
        end = next((end for end in ENDS if key.endswith(end)), None)
        if end is None:
            unknown.append(key)
            continue
        change = changes.setdefault(PREFIX.sub("", key.removesuffix(end)), Change())
        change.parts[ENDS[end]] = tensor
        change.keys.append(key)
    return changes, unknown


def _own_layers(network: nn.Module) -> dict[str, nn.Module | Tensor]:
    """Return the layers that have weights, and the parameters that are no layer's weight or bias, by their names."""
    layers: dict[str, nn.Module | Tensor] = {}
    for full, module in network.named_modules():
        name = full.removesuffix(".base_layer")  # of a layer that has a LoRA already
        for short, parameter in module.named_parameters(recurse=False):
            if ".lora_" in full:
                continue
            if short not in ("weight", "bias"):
                layers[f"{name}.{short}".lstrip(".")] = parameter
            elif name:
                layers[name] = module
    return layers


def _place(
    change: Change, targets: Mapping[str, nn.Module | Tensor], config: Mapping[str, Any], source: str | Path
) -> dict[str, Tensor]:
    """Return the tensors for these layers, which have the rows of B one after another."""
    parts = change.parts
    found: dict[str, Tensor] = {}
    if ("A" in parts) != ("B" in parts):
        raise ValueError(f"{source} has {printable(change.keys[0])} and not the other half of this LoRA layer; download it again")
    if "A" in parts:
        for name, rows in _row_ranges(change, targets, source):
            scale, shape = _scale(change, name, config, source), _weight_shape(targets[name])
            assert shape is not None
            a = (parts["A"] if scale == 1 else parts["A"].float() * scale).reshape(change.rank, *shape[1:])
            b = parts["B"][rows].reshape(shape[0], change.rank, *[1] * (len(shape) - 2))
            found |= {f"{name}.lora_A.weight": a, f"{name}.lora_B.weight": b}
            if "bias" in parts:
                found[f"{name}.lora_B.bias"] = parts["bias"][rows]
        return found | _differences({kind: x for kind, x in parts.items() if kind == "diff"}, targets, source)
    return _differences(parts, targets, source)


def _row_ranges(change: Change, targets: Mapping[str, Any], source: str | Path) -> list[tuple[str, slice]]:
    """Return which rows of B are of which layer. Raises ValueError if A and B do not fit them."""
    a, b = change.parts["A"], change.parts["B"]
    if 0 in (*a.shape, *b.shape):
        raise ValueError(f"{source}: {printable(change.keys[0])} is empty; download it again")
    ranges, start = [], 0
    for name, layer in targets.items():
        shape = _weight_shape(layer)
        if shape is None or a.ndim < 2 or a[0].numel() != math.prod(shape[1:]):
            needed = "no LoRA" if shape is None else f"{math.prod(shape[1:])} columns"
            raise ValueError(f"{source}: {printable(change.keys[0])} has shape {_shape(a)}, and {name} takes {needed}; "
                             "use a LoRA of this model")  # fmt: skip
        ranges.append((name, slice(start, start + shape[0])))
        start += shape[0]
    bias = change.parts.get("bias")
    if b.shape[0] != start or b[0].numel() != change.rank or (bias is not None and bias.shape != (start,)):
        raise ValueError(
            f"{source}: {printable(change.keys[-1])}: B is {_shape(b)}, and {', '.join(targets)} of rank {change.rank} needs "
            f"{start}×{change.rank}; use a LoRA of this model"
        )
    return ranges


def _weight_shape(layer: Any) -> tuple[int, ...] | None:
    """Return the shape of a layer's weight, also if it is stored in another; None for a layer that takes no LoRA."""
    if isinstance(layer, nn.Linear):
        return layer.out_features, layer.in_features
    return tuple(layer.weight.shape) if isinstance(layer, nn.Conv1d | nn.Conv2d | nn.Conv3d) else None


def _scale(change: Change, name: str, config: Mapping[str, Any], source: str | Path) -> float:
    """Return alpha / rank, 1 without an alpha."""
    alpha = change.parts.get("alpha")
    value: Any = (
        alpha.item() if alpha is not None and alpha.numel() == 1 else _of_layer(config, "lora_alpha", "alpha_pattern", name)
    )
    if value is None and alpha is None:
        return 1.0
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{source}: the alpha of {name} is {quoted(value)}; use a file with a finite number")
    return value / (change.rank**0.5 if config.get("use_rslora") is True else change.rank)


def _of_layer(config: Mapping[str, Any], field: str, pattern: str, name: str) -> Any:
    """Return a setting of peft for a layer: the one that names the layer, or the one for all."""
    named = config.get(pattern)
    own = (value for key, value in named.items() if _names(key, name)) if isinstance(named, dict) else iter(())
    return next(own, config.get(field))


def _names(key: str, name: str) -> bool:
    exact = PREFIX.sub("", key.removeprefix("^"))
    return name == exact or (not key.startswith("^") and name.endswith(f".{exact}"))


def _differences(parts: Mapping[str, Tensor], targets: Mapping[str, Any], source: str | Path) -> dict[str, Tensor]:
    """Return the differences of whole tensors, by the names of the parameters."""
    found = {}
    for kind, difference in parts.items():
        if kind == "alpha":
            continue
        for name, layer in targets.items():
            parameter = layer if isinstance(layer, Tensor) else getattr(layer, "bias" if kind == "bias" else "weight", None)
            own = name if isinstance(layer, Tensor) else f"{name}.{'bias' if kind == 'bias' else 'weight'}"
            needed = None if parameter is None else parameter.shape if kind == "bias" else _weight_shape(layer) or parameter.shape
            if len(targets) > 1 or needed is None or difference.shape != needed:
                raise ValueError(f"{source} changes {own} by a tensor of shape {_shape(difference)}, which does not fit; "
                                 "use a LoRA of this model")  # fmt: skip
            found[f"{own}.diff"] = difference
    return found


def _shape(tensor: Tensor) -> str:
    return "×".join(map(str, tensor.shape))


def _add(network: Any, tensors: Mapping[str, Tensor], strength: float, source: str | Path) -> None:
    """Add what `_fit` returned."""
    if strength == 0:
        return
    _add_differences(network, {name: x for name, x in tensors.items() if name.endswith(".diff")}, strength, source)
    layers = {name: x for name, x in tensors.items() if not name.endswith(".diff")}
    if layers:
        _add_layers(network, layers, strength)


def _add_differences(network: nn.Module, differences: Mapping[str, Tensor], strength: float, source: str | Path) -> None:
    for name, difference in differences.items():
        layer, _, kind = name.removesuffix(".diff").rpartition(".")
        parameter = getattr(network.get_submodule(layer), kind)
        if parameter.dtype not in FLOATS or hasattr(parameter, "quant_type"):
            raise ValueError(
                f"{source} changes all of {layer}.{kind}, which is stored in few bits; load the model in another precision"
            )
        parameter.data = (parameter.float() + strength * difference.to(parameter.device).float()).to(parameter.dtype)


def _add_layers(network: Any, layers: Mapping[str, Tensor], strength: float) -> None:
    """Add low-rank layers. Alphas are part of A, so that peft's `scaling` is the strength."""
    strengths = {name: x for module in network.modules() if isinstance(module, LoraLayer) for name, x in module.scaling.items()}
    adapter = f"lora_{len(strengths)}"
    tensors = _in_precision(network, layers)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Already found a `peft_config`")  # several LoRAs are meant
        network.load_lora_adapter(dict(tensors), prefix=None, adapter_name=adapter, low_cpu_mem_usage=True)
    for name, tensor in tensors.items():  # peft rounds them to the precision in which the weights are stored
        layer, _, kind = name.rpartition(".")
        getattr(network.get_submodule(f"{layer}.{adapter}"), kind).data = tensor
    strengths[adapter] = strength
    network.set_adapters(list(strengths), list(strengths.values()))
    network.requires_grad_(False).eval()


def _in_precision(network: Any, layers: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the tensors in the precision in which their layers compute, with a bias everywhere if there is one anywhere."""
    with_bias = any(name.endswith(".bias") for name in layers)
    found = {}
    for name, tensor in layers.items():
        base = network.get_submodule(name.rpartition(".lora_")[0]).weight
        found[name] = tensor.to(base.device, base.dtype if base.dtype in FLOATS else get_parameter_dtype(network)).contiguous()
        bias = name.removesuffix("weight") + "bias"
        if with_bias and name.endswith(".lora_B.weight") and bias not in layers:
            found[bias] = found[name].new_zeros(len(tensor))
    return found
