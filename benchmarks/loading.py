"""Measures the memory that published networks need to load: random files are made, loaded in a new process, and deleted.

python -m duet_av.benchmarks.loading [--only NAME] [--stored bfloat16] [--dtype float32] [--quantize fp8]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from importlib import import_module
from pathlib import Path
from typing import Any

import torch
from torch import nn

from ..av_models.published.folder import DiffusersFolder
from ..av_models.published.joint import LoadOptions
from ..av_models.published.load_network import QUANTIZED, load_network
from .peak_memory import forget_peak, peak, resident

SHARD = 700_000_000  # bytes of tensors in a file, about
COMPONENT = "network"
KANDINSKY6 = {
    "model_dim": 1792, "ff_dim": 7168, "num_text_blocks": 2, "num_visual_blocks": 10, "time_dim": 512, "axes_dims": (16, 24, 24),
    "model_dim_a": 1024, "ff_dim_a": 4096, "time_dim_a": 256, "axes_dims_a": (64,),
}  # fmt: skip
AUDIOLDM2 = {
    "in_channels": 8, "out_channels": 8, "block_out_channels": (384, 768, 1536, 1536), "cross_attention_dim": ((None, 1024),) * 4,
}  # fmt: skip
T5 = {"d_model": 2048, "d_ff": 5120, "num_heads": 32, "num_layers": 26, "d_kv": 64}
CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "svd": ("diffusers.UNetSpatioTemporalConditionModel", {}),
    "audioldm2": ("diffusers.AudioLDM2UNet2DConditionModel", AUDIOLDM2),
    "t5": ("transformers.T5EncoderModel", T5),
    "kandinsky6": ("diffusers.Kandinsky6Transformer3DModel", KANDINSKY6),
    "ltx2": ("diffusers.LTX2VideoTransformer3DModel", {"num_layers": 3}),
}
"""Networks of at least 2 GB in bfloat16, by a short name: the module and class, and the arguments."""


def network_class(case: str) -> Any:
    """Returns the class of a case."""
    module, name = CASES[case][0].split(".")
    return getattr(import_module(module), name)


def write_component(folder: Path, case: str, stored: torch.dtype) -> int:
    """Writes random weights in several files, with an index and a config. Returns the bytes of the tensors."""
    from safetensors.torch import save_file

    cls, config = network_class(case), CASES[case][1]
    library = "transformers" if hasattr(cls, "config_class") else "diffusers"
    with torch.device("meta"):
        network = cls(cls.config_class(**config)) if library == "transformers" else cls(**config)
    folder.mkdir()
    (network.save_config if library == "diffusers" else network.config.save_pretrained)(folder)
    stem = "diffusion_pytorch_model" if library == "diffusers" else "model"
    shards = list(_shards(network, stored))
    weight_map = {}
    for number, names in enumerate(shards, start=1):
        file = f"{stem}-{number:05}-of-{len(shards):05}.safetensors"
        tensors = {name: torch.empty(shape, dtype=stored).uniform_(-0.02, 0.02) for name, shape in names.items()}
        save_file(tensors, folder / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(names, file)
    index = {"metadata": {}, "weight_map": weight_map}
    (folder / f"{stem}.safetensors.index.json").write_text(json.dumps(index))
    return sum(file.stat().st_size for file in folder.glob("*.safetensors"))


def _shards(network: nn.Module, stored: torch.dtype) -> Any:
    """Yields the tensors of each file: their shapes by name. Tied tensors are stored once."""
    shard: dict[str, torch.Size] = {}
    tied = set(getattr(network, "_tied_weights_keys", None) or {})
    for name, tensor in network.state_dict().items():
        if name in tied:
            continue
        shard[name] = tensor.shape
        if sum(shape.numel() for shape in shard.values()) * stored.itemsize > SHARD:
            yield shard
            shard = {}
    if shard:
        yield shard


def measure(case: str, stored: torch.dtype, options: list[str]) -> dict[str, Any]:
    """Writes a component, loads it in a new process, and returns what that process measured."""
    with tempfile.TemporaryDirectory() as root:
        size = write_component(Path(root) / COMPONENT, case, stored)
        command = [sys.executable, "-m", "duet_av.benchmarks.loading", "--only", case, "--load", root, *options]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    measured = json.loads(done.stdout)
    return {"case": case, "files_gb": round(size / 1e9, 2), **measured, "peak/files": round(measured["peak_gb"] * 1e9 / size, 2)}


def load(case: str, root: Path, options: LoadOptions) -> dict[str, float]:
    """Loads a component and reads every weight. Returns the memory that this took, beyond that of the process before."""
    cls = network_class(case)
    before, start = resident(), time.perf_counter()
    forget_peak()
    network = load_network(DiffusersFolder(root, options.keep_dtype), COMPONENT, cls, options)
    seconds = time.perf_counter() - start
    for tensor in network.parameters():
        tensor.view(torch.uint8).view(-1)[::512].sum()
    parameters = sum(tensor.nbytes for tensor in network.parameters())
    return {
        "network_gb": round(parameters / 1e9, 2), "peak_gb": round((peak() - before) / 1e9, 2),
        "after_gb": round((resident() - before) / 1e9, 2), "seconds": round(seconds, 1),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", choices=CASES, help="one network instead of all")
    parser.add_argument("--stored", default="bfloat16", choices=("bfloat16", "float32"), help="dtype of the files")
    parser.add_argument("--dtype", default="stored", choices=("stored", "float32"), help="dtype of the loaded network")
    parser.add_argument("--quantize", choices=QUANTIZED)
    parser.add_argument("--load", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.load:
        dtype = None if args.dtype == "stored" else args.dtype
        options = LoadOptions(keep_dtype=dtype is None, dtype=dtype, quantize=args.quantize)
        sys.stdout.write(json.dumps(load(args.only, args.load, options)))
        return
    chosen = ["--dtype", args.dtype, *(["--quantize", args.quantize] if args.quantize else [])]
    for case in [args.only] if args.only else CASES:
        sys.stdout.write(json.dumps(measure(case, getattr(torch, args.stored), chosen)) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
