"""Wan 2.1 T2V and Wan 2.2 TI2V-5B and T2V-A14B: from the folders and files that people download."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...card_fields import read_table
from ...load_parts import VIDEO_EXPERT
from ...printable import quoted
from ..expert_options import ExpertOptions, Found
from ..loaded_expert import LoadedExpert
from . import wan_gguf
from .wan_config import A14B, INSTEAD, T2V_CHANNELS, WanModel, config_of, model_of, other_model
from .wan_files import VAES, Network, WanFiles, find_networks, with_parts

FAMILY = "wan"
LOW_NOISE = "its network for low noise (the other file or folder of Wan 2.2 A14B)"


def find(path: Path) -> Found | None:
    """Return what a file or folder is, if it is a Wan, also one that Duet does not load; else None."""
    try:
        files = find_networks(path)
        if files is None:
            return None
        if files.high.is_gguf and not wan_gguf.is_readable():
            return Found("a GGUF file", VIDEO_EXPERT, FAMILY, "original", "GGUF", 0)
        headers = [network.header for network in files.networks]
        model, precision = _name(files), headers[0].precision
        return Found(model, VIDEO_EXPERT, FAMILY, files.high.names, precision, sum(each.parameters for each in headers))
    except (ValueError, OSError):
        return None


def describe(path: Path, options: ExpertOptions) -> dict[str, Any]:
    """Return the card of an expert (see `ExpertFamily.describe`). Raises ValueError, in one line, for other models of Wan."""
    files, model, config = _open(path, options)
    woven = model is not A14B
    headers = [network.header for network in files.networks]
    missing = [] if files.vae or options.codec is not None else [VAES[model.vae]]
    half = [LOW_NOISE] if model is A14B and files.low is None else []
    return {
        "kind": VIDEO_EXPERT, "architecture": "Wan", "name": model.name, "licence": "Apache-2.0",
        "parameters": sum(header.parameters for header in headers), "bytes": sum(file.stat().st_size for file in files.all),
        "precision": headers[0].precision, "names": files.high.names, "blocks": config["num_layers"] if woven else 0,
        "heads": config["num_attention_heads"] if woven else 0, "head_size": config["attention_head_dim"] if woven else 0,
        "capabilities": ["text to video", *(["a first frame"] if model.takes_first_frame else [])],
        "needs": [*half, *missing, *files.missing_text()],
        "notes": [*model.notes, *_precision_notes(files), "Not tried with published weights yet."],
        **({"given": "frames"} if model.takes_first_frame else {}),
    }  # fmt: skip


def files(path: Path, options: ExpertOptions) -> list[Path]:
    """Return all files that the loaded expert depends on."""
    return [*_open(path, options)[0].all, *(lora for lora, _ in options.loras)]


def network_files(path: Path) -> list[Path]:
    """Return the files of the network in a folder, or of both of A14B (see `content_hash`)."""
    found = find_networks(path)
    return [] if found is None else [file for network in found.networks for file in network.files]


def load(path: Path, options: ExpertOptions) -> LoadedExpert:
    """Load the expert and its codec. The text encoder is loaded with the first prompt.

    Raises FileNotFoundError or ValueError, in one line, for files that are missing or do not fit.
    """
    from .wan_load import load_expert  # imports diffusers

    parts, model, config = _open(path, options)
    if model is A14B:
        _check_half(parts)
    for network in parts.networks:
        network.check()
    return load_expert(parts, model, config, describe(path, options), options)


def _open(path: Path, options: ExpertOptions) -> tuple[WanFiles, WanModel, dict[str, Any]]:
    """Return the files, which model they are, and the configuration. Raises as `load` does."""
    networks = find_networks(path, options)
    if networks is None:
        raise ValueError(f"{path} holds no transformer of Wan; use another file")
    if options.low_noise is not None and networks.low is None:
        raise ValueError(f"{options.low_noise} holds no transformer of Wan; use Wan 2.2 A14B's network for low noise")
    configs = []
    for network in networks.networks:
        if network.path.is_dir():
            network.check()
        other = other_model(network.shapes)
        if other is not None:
            raise ValueError(f"{network.path} is {other[0]}, which needs {other[1]}; {INSTEAD}")
        configs.append(config_of(network.shapes, network.path) | _own_settings(network))
    if configs[0] != configs[-1]:
        high, low = (f"{network.path} has {_sizes(config)}" for network, config in zip(networks.networks, configs))
        raise ValueError(f"{high}, but {low}; use the two networks of Wan 2.2 A14B")
    model = _model(networks, configs[0])
    if networks.low is not None and model is not A14B:
        raise ValueError(
            f"{networks.low.path} is given for low noise, but {path} is {model.name}, which has one network; leave it out"
        )
    return with_parts(networks, options, model.vae), model, configs[0]


def _own_settings(network: Network) -> dict[str, Any]:
    """Return the settings that diffusers' config has and shapes have not: how the width is split into heads."""
    path = network.path / "config.json"
    config = read_table(path, "download it again") if path.is_file() else {}
    heads, size = config.get("num_attention_heads"), config.get("attention_head_dim")
    width = network.shapes.get("patch_embedding.weight", (0,))[0]
    own = isinstance(heads, int) and isinstance(size, int) and heads * size == width and heads > 0
    return {"num_attention_heads": heads, "attention_head_dim": size} if own else {}


def _model(files: WanFiles, config: Mapping[str, Any]) -> WanModel:
    is_a14b = (files.low is not None or files.lacks_half) and config["in_channels"] == T2V_CHANNELS
    return A14B if is_a14b else model_of(config)


def _name(files: WanFiles) -> str:
    other = other_model(files.high.shapes)
    if other is not None:
        return other[0]
    try:
        model = _model(files, config_of(files.high.shapes, files.high.path))
    except ValueError:  # a file is missing, which `describe` names
        return "Wan"
    return f"{model.name} ({files.high.half} noise)" if files.lacks_half and files.high.half else model.name


def _sizes(config: Mapping[str, Any]) -> str:
    width = config["num_attention_heads"] * config["attention_head_dim"]
    return f"{config['num_layers']} blocks of width {width} and {config['in_channels']} channels"


def _precision_notes(files: WanFiles) -> list[str]:
    header = files.high.header
    notes = ["fp8 without scales"] if "fp8" in header.precision and not header.scaled else []
    others = sorted({network.header.precision for network in files.networks})
    mixed = len(others) > 1 or (" and " in header.precision and "fp8" not in header.precision)
    notes += [f"Mixed precisions: {' and '.join(others)}."] if mixed else []
    return notes + [problem for network in files.networks if (problem := network.scale_problem)]


def _check_half(files: WanFiles) -> None:
    """Raise ValueError if one of A14B's networks is missing, or if they are swapped."""
    halves = [network.half for network in files.networks]
    if halves == ["low"]:
        raise ValueError(f"{files.path} is Wan 2.2 A14B's network for low noise; load the one for high noise, and choose this one "
                         "as low_noise")  # fmt: skip
    if files.low is None:
        raise FileNotFoundError(
            f"{files.path} is Wan 2.2 A14B's network for high noise and needs {LOW_NOISE}; choose it as low_noise"
        )
    if halves in (["low", "high"], ["low", "low"], ["high", "high"]):
        raise ValueError(f"the networks of Wan 2.2 A14B are {quoted(files.high.path.name)} for high noise and "
                         f"{quoted(files.networks[1].path.name)} for low noise; choose the one for high noise as "
                         "the expert, and the one for low noise as low_noise")  # fmt: skip
