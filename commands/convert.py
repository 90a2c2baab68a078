"""`duet convert`: a published checkpoint, or a part of a joint model, into a safetensors file that Duet loads."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..bounce.checkout import find_file


def register(commands) -> None:
    parser = commands.add_parser("convert", help="make a checkpoint another one that Duet loads", description=__doc__)
    parser.add_argument(
        "kind", choices=["imagebind", "video_expert", "audio_expert"],
        help="imagebind: of imagebind_huge.pth, as its authors publish it; the others: of an AVFullDiT, its tower",
    )  # fmt: skip
    parser.add_argument("source", type=Path, metavar="FILE")
    parser.add_argument("target", type=Path, metavar="FILE.safetensors")
    parser.set_defaults(command=convert)


def convert(args: argparse.Namespace) -> int:
    from ..av_models.checkpoint import save_checkpoint
    from ..av_models.extract_tower import extract_tower

    source = find_file(args.source)
    if args.kind == "imagebind":
        tensors, card = _imagebind(source)
    else:
        tensors, card = extract_tower(source, args.kind.removesuffix("_expert"))
    save_checkpoint(args.target, tensors, card)
    print(f"{args.target}\n{card.get('licence', 'no licence is named')}")
    return 0


def _imagebind(source: Path) -> tuple[dict, dict]:
    from ..av_models.binders.imagebind import LICENCE, select_used_tensors

    tensors = select_used_tensors(_published(source))
    if not tensors:
        raise ValueError(f"{source} holds nothing of ImageBind's; give imagebind_huge.pth")
    return tensors, {"kind": "binder", "architecture": "ImageBind", "licence": LICENCE}


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
