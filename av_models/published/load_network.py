"""Loads the network of a published joint model in a chosen precision: a dtype, 8 bits per weight, or a GGUF file."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from ..printable import printable, quoted
from .folder import DiffusersFolder

if TYPE_CHECKING:
    from .joint import LoadOptions

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
QUANTIZED = ("fp8",)


def load_network(folder: DiffusersFolder, component: str, cls: type[Any], options: LoadOptions) -> Any:
    """Load a denoiser's network of class `cls`, frozen and in evaluation mode, from the subfolder `component`.

    fp8 stores the weights of linear and convolution layers as float8_e4m3fn and converts those of one layer at a time to `dtype`
    when it runs; layers that the class names as sensitive keep their dtype. A GGUF file replaces the safetensors files; its
    weights are converted when they are used, too. LoRAs are applied last.
    Raises ValueError or FileNotFoundError, with one line, for an unknown option and for files that do not fit.
    """
    dtype = check_options(options)
    network = folder.load(component, cls, dtype) if options.gguf is None else _load_gguf(folder, component, cls, options)
    if options.quantize:
        store_as_fp8(network)
    if options.loras:
        from .lora import apply_loras

        apply_loras(network, options.loras)
    return network


def check_options(options: LoadOptions) -> torch.dtype | None:
    """Return the dtype that was chosen, or None. Raises ValueError for an option that there is not."""
    if options.dtype is not None and options.dtype not in DTYPES:
        raise ValueError(f"dtype is {quoted(options.dtype)}; use {', '.join(DTYPES)}")
    if options.quantize is not None and options.quantize not in QUANTIZED:
        raise ValueError(f"quantize is {quoted(options.quantize)}; use {', '.join(QUANTIZED)}")
    if options.quantize and options.gguf:
        raise ValueError(f"{options.gguf} is quantized already, and quantize is {options.quantize}; use one of the two")
    return None if options.dtype is None else DTYPES[options.dtype]


def store_as_fp8(network: Any) -> None:
    """Store weights of a diffusers network in 8 bits, and compute in the dtype that it has now."""
    network.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=network.dtype)
    _release_files(network)


def _release_files(network: nn.Module) -> None:
    """Copy the tensors that were not converted, which keep their whole files in memory."""
    for tensor in (*network.parameters(), *network.buffers()):
        if tensor.dtype != torch.float8_e4m3fn:
            tensor.data = tensor.data.clone()


def _load_gguf(folder: DiffusersFolder, component: str, cls: type[Any], options: LoadOptions) -> Any:
    path = options.gguf
    assert path is not None
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}; check the name, or leave gguf out")
    if not hasattr(cls, "from_single_file"):
        raise ValueError(f"diffusers reads no GGUF file for {cls.__name__}; leave gguf out, or use quantize fp8")
    if find_spec("gguf") is None:
        raise ValueError("the package gguf is not installed, which reads GGUF files; install it with pip install gguf")
    from diffusers import GGUFQuantizationConfig

    dtype = check_options(options) or (torch.bfloat16 if options.keep_dtype else torch.float32)
    folder.read_config(component, cls)
    try:
        network = cls.from_single_file(
            str(path), config=str(folder.path / component), quantization_config=GGUFQuantizationConfig(compute_dtype=dtype),
            torch_dtype=dtype, local_files_only=True,
        )  # fmt: skip
    except Exception as error:  # of these libraries' own classes too
        reason = printable(str(error).strip().partition("\n")[0]) or type(error).__name__
        raise ValueError(f"{path} cannot be loaded as {cls.__name__} ({reason}); use a GGUF file of this model") from error
    missing = sorted(name for name, tensor in network.named_parameters() if tensor.is_meta)
    if missing:
        raise ValueError(f"{path} lacks {len(missing)} tensors of {cls.__name__}, such as {missing[0]}; use a complete file")
    return network.eval().requires_grad_(False)
