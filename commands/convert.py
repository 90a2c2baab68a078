"""`duet convert`: a published checkpoint into the safetensors file that Duet loads."""

from __future__ import annotations

import argparse
from pathlib import Path


def register(commands) -> None:
    parser = commands.add_parser("convert", help="make a published checkpoint a safetensors file", description=__doc__)
    parser.add_argument("kind", choices=["imagebind"], help="imagebind: imagebind_huge.pth, as its authors publish it")
    parser.add_argument("source", type=Path, metavar="FILE.pth")
    parser.add_argument("target", type=Path, metavar="FILE.safetensors")
    parser.set_defaults(command=convert)


def convert(args: argparse.Namespace) -> int:
    from ..av_models.binders.imagebind import LICENCE, converted
    from ..av_models.checkpoint import save_checkpoint

    tensors = converted(_published(args.source))
    if not tensors:
        raise ValueError(f"{args.source} holds nothing of ImageBind's; give imagebind_huge.pth")
    save_checkpoint(args.target, tensors, {"kind": "binder", "architecture": "ImageBind", "licence": LICENCE})
    print(f"{args.target}\n{LICENCE}")
    return 0


def _published(path: Path) -> dict:
    """The tensors of a pickled checkpoint, nothing else of it being run."""
    import pickle

    import torch

    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}; check the name")
    try:
        tensors = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise ValueError(f"{path} is no checkpoint of tensors alone; give the published file") from error
    if not isinstance(tensors, dict) or not all(isinstance(value, torch.Tensor) for value in tensors.values()):
        raise ValueError(f"{path} is no checkpoint of tensors alone; give the published file")
    return tensors
