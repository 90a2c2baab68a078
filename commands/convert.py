"""`duet convert`: convert a published checkpoint, or one tower of a joint model, to a safetensors file for Duet."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from . import Subparsers

from ..bounce.checkout import find_file


def register(commands: Subparsers) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser("convert", help="convert a checkpoint to a safetensors file for Duet", description=__doc__)
    parser.add_argument(
        "kind", choices=["imagebind", "video_expert", "audio_expert"],
        help="imagebind: convert the published imagebind_huge.pth; video_expert, audio_expert: extract that tower of an AVFullDiT",
    )  # fmt: skip
    parser.add_argument("source", type=Path, metavar="FILE", help="the checkpoint to convert")
    parser.add_argument("target", type=Path, metavar="FILE.safetensors", help="the file to write")
    parser.set_defaults(command=convert)


def convert(args: argparse.Namespace) -> int:
    """Run `duet convert`."""
    from ..av_models.checkpoint import save_checkpoint
    from ..av_models.extract_tower import extract_tower

    source = find_file(args.source)
    if args.kind == "imagebind":
        tensors, card = _imagebind(source)
    else:
        tensors, card = extract_tower(source, args.kind.removesuffix("_expert"))
    save_checkpoint(args.target, tensors, card)
    print(f"{args.target}\n{card.get('licence', 'licence: not stated in the source file')}")
    return 0


def _imagebind(source: Path) -> tuple[dict, dict]:
    from ..av_models.binders.imagebind import LICENCE, select_used_tensors
    from ..av_models.read_pickle import read_pickle

    tensors = select_used_tensors(read_pickle(source))
    if not tensors:
        raise ValueError(f"{source} contains no ImageBind tensors; give imagebind_huge.pth")
    storages = [tensor.untyped_storage().data_ptr() for tensor in tensors.values() if tensor.numel()]
    if len(set(storages)) < len(storages):
        raise ValueError(f"{source} has tensors that share their values; give imagebind_huge.pth")
    return tensors, {"kind": "binder", "architecture": "ImageBind", "licence": LICENCE}
