"""Read and write safetensors files with a model card in their metadata. A failed write leaves no file.

A file `NAME.card.json` beside `NAME.safetensors` adds fields to the card or replaces them, without rewriting the weights.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from .atomic import explain_write_errors, publish, temporary_file
from .card_fields import CARD as CARD_FIELDS
from .card_fields import check_fields, parse_card, read_table
from .printable import printable, quoted
from .recommended import parse_sampling

CARD = "duet"  # metadata key of the model card
SIDECAR_FIELDS = ("name", "licence", "sampling")
BOX = ".saving"  # suffix of the folder that a file is written in
PRINTED = ("name", "licence")  # fields that reports show
AT_ONCE = 2**24  # elements that are read before the file is opened again
OTHER_FORMATS = (".gguf", ".ckpt", ".pt", ".pth", ".bin")
LONGEST_HEADER = 32 * 2**20  # bytes; the models that Duet can load have less than 1 MB
M = TypeVar("M", bound=nn.Module)
Shape = tuple[int, ...]


def save_checkpoint(path: str | Path, tensors: Mapping[str, Tensor], card: Mapping[str, Any]) -> None:
    """Write `tensors`, with `card` (JSON-compatible values) as metadata; create missing folders.

    The file is written beside `path` and then renamed. What killed processes left in the folder is deleted. Raises OSError when
    it cannot be written.
    """
    path = Path(path)
    try:
        with temporary_file(path) as part, _box(part) as box:
            written = box / "model.safetensors"
            save_file({k: v.contiguous() for k, v in tensors.items()}, written, metadata={CARD: json.dumps(card)})
            written.chmod(part.stat().st_mode)  # safetensors' files are for their owner alone
            publish(written, path)
    except SafetensorError as error:
        raise OSError(f"cannot write {path} ({printable(error)}); free some space, or choose another folder") from error


@contextmanager
def _box(part: Path) -> Iterator[Path]:
    """Make a folder for safetensors, which writes files of its own beside its target; delete it at the end.

    part: the temporary file that shows that the folder is in use.
    """
    for orphan in part.parent.glob(f".duet-*{BOX}"):
        if not orphan.with_suffix(part.suffix).exists():
            rmtree(orphan, ignore_errors=True)
    box = part.with_suffix(BOX)
    with explain_write_errors(box):
        box.mkdir()
    try:
        yield box
    finally:
        rmtree(box, ignore_errors=True)


def load_checkpoint(path: str | Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Load the tensors and the model card of a Duet safetensors file.

    Raises FileNotFoundError when the file does not exist, ValueError when it is damaged or has no model card.
    """
    path = Path(path)
    with open_tensors(path) as file:
        card = _card(path, file)
        return {key: file.get_tensor(key) for key in file.keys()}, card


def read_card(path: str | Path) -> dict[str, Any]:
    """Read the model card only. Raises the same errors as `load_checkpoint`."""
    path = Path(path)
    with open_tensors(path) as file:
        return _card(path, file)


def has_card(path: str | Path) -> bool:
    """Return whether a safetensors file has a model card. False for other formats. Raises as `load_checkpoint`."""
    if Path(path).suffix.lower() in OTHER_FORMATS:
        return False
    with open_tensors(Path(path)) as file:
        return CARD in (file.metadata() or {})


def load_into(module: M, tensors: Mapping[str, Tensor], path: str | Path) -> M:
    """Load `tensors` into `module`, converted to the module's dtypes; return the module.

    Raises ValueError, which names the file `path`, for missing or unexpected keys and for wrong shapes.
    """
    own = module.state_dict()
    needed, found = ({key: tuple(value.shape) for key, value in each.items()} for each in (own, tensors))
    check_fit(needed, found, type(module).__name__, path)
    module.load_state_dict({key: tensors[key].to(value.dtype) for key, value in own.items()})
    return module


def check_fit(own: Mapping[str, Shape], found: Mapping[str, Shape], name: str, path: str | Path) -> None:
    """Raise ValueError unless the tensors `found` in the file `path` have the names and shapes of a network's `own`."""
    missing, unexpected = sorted(own.keys() - found.keys()), sorted(found.keys() - own.keys())
    if missing or unexpected:
        raise ValueError(
            f"{path} does not fit {name}: missing keys {format_keys(missing)}, "
            f"unexpected keys {format_keys(unexpected)}; give a file of this architecture"
        )
    for key, shape in own.items():
        if shape != found[key]:
            raise ValueError(
                f"{path}: {printable(key)} has shape {quoted(found[key])}, but {name} needs {quoted(shape)}; "
                "give a file with this configuration"
            )


def read_shapes(path: str | Path) -> dict[str, Shape]:
    """Return the shape of every tensor in a file, without reading the tensors. Raises the same errors as `load_checkpoint`."""
    with open_tensors(Path(path)) as file:
        return {key: tuple(file.get_slice(key).get_shape()) for key in file.keys()}


@torch.no_grad()
def copy_tensors(module: nn.Module, path: str | Path, names: Mapping[str, str]) -> None:
    """Copy the tensors of a file into `module`, converted to its dtypes. names: the file's name of each of its tensors.

    The file is opened again from time to time, so that what was copied does not stay in memory. Raises ValueError.
    """
    left = [(key, value) for key, value in module.state_dict().items() if key in names]
    while left:
        with open_tensors(Path(path)) as file:
            count = 0
            while left and count < AT_ONCE:
                key, value = left.pop()
                value.copy_(real_tensor(file, names[key], path))
                count += value.numel()


def real_tensor(file: Any, key: str, path: str | Path) -> Tensor:
    """Return a tensor of an open file. Raises ValueError, which names the file `path`, for one that is damaged or complex."""
    try:
        tensor = file.get_tensor(key)
    except (SafetensorError, RuntimeError, TypeError, KeyError) as error:
        raise ValueError(f"{path}: {printable(key)} cannot be read ({printable(error)}); download the file again") from error
    if tensor.is_complex():
        raise ValueError(f"{path}: {printable(key)} has complex numbers; give a file with real ones")
    return tensor


def sub_tensors(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Select the tensors whose keys start with `prefix.`; remove that prefix."""
    return {key.removeprefix(f"{prefix}."): value for key, value in tensors.items() if key.startswith(f"{prefix}.")}


def half(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convert floating-point tensors to fp16, the format of the shipped checkpoints; keep others unchanged."""
    return {k: v.to(torch.float16) if v.is_floating_point() else v for k, v in tensors.items()}


def open_tensors(path: Path) -> Any:
    """Open a safetensors file to read single tensors (`safe_open`).

    Raises FileNotFoundError when the file does not exist, ValueError when it is damaged.
    """
    if not path.is_file():
        raise FileNotFoundError(f"there is no model file {path}; check the name, or put the file there")
    with path.open("rb") as file:
        header = int.from_bytes(file.read(8), "little")
    if LONGEST_HEADER < header < path.stat().st_size:
        raise ValueError(f"{path} begins with a list of {header / 1e6:.0f} MB; download or copy it again")
    try:
        return safe_open(path, framework="pt")
    except SafetensorError as error:
        reason = printable(error)
        raise ValueError(f"{path} is not a complete safetensors file ({reason}); download or copy it again") from error


def _card(path: Path, file: Any) -> dict[str, Any]:
    metadata = file.metadata() or {}
    if CARD not in metadata:
        raise ValueError(f"{path} has no Duet model card; give a file that Duet has saved or converted")
    card = parse_card(metadata[CARD], path, "has a model card that", "download or copy it again")
    sidecar = _read_sidecar(sidecar_file(path))
    parse_sampling((card | sidecar).get("sampling"), sidecar_file(path) if "sampling" in sidecar else path)
    return {key: printable(value) if key in PRINTED else value for key, value in (card | sidecar).items()}


def sidecar_file(path: Path) -> Path:
    """Return the path of the file that extends the model card of `path`. It need not exist."""
    return path.with_suffix(".card.json")


def _read_sidecar(path: Path) -> dict[str, Any]:
    """Return the fields of a file that extends a model card, {} if there is none. Raises ValueError if it is wrong."""
    if not path.is_file():
        return {}
    card = read_table(path, "correct it, or delete the file")
    check_fields(card, CARD_FIELDS, path)
    if not card.keys() <= set(SIDECAR_FIELDS):
        raise ValueError(
            f"{path} has {printable(', '.join(card))}; give a table with {', '.join(SIDECAR_FIELDS)} only, or delete the file"
        )
    return card


def format_keys(keys: list[str], most: int = 4) -> str:
    """Format a list of keys for a message: the first `most` of them and the number of the others."""
    if not keys:
        return "none"
    return printable(", ".join(keys[:most])) + (f" and {len(keys) - most} more" if len(keys) > most else "")
