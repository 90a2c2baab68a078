"""Says what a file or folder is: an expert, a joint model, a text encoder, a VAE, a LoRA, or nothing that Duet uses.

Only headers of tensors and configs are read, and what was found is kept until the file changes.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from ..card_fields import read_table
from ..checkpoint import format_keys, read_card
from ..printable import printable
from .description import count_in_words
from .expert_options import Found
from .experts import find_expert
from .folder import DiffusersFolder, is_diffusers_folder
from .joint import describe as describe_joint
from .joint import find_family
from .known_files import known_file
from .load_published import is_published, published_card
from .pe_av_folder import describe_pe_av, is_pe_av
from .tensor_files import Header, read_header

JOINT_MODEL, TOKENIZER, BINDER = "joint_model", "tokenizer", "binder"
DAMAGED = (ValueError, OSError)
NAMES = {"comfyui": "ComfyUI's names", "original": "the authors' names", "diffusers": "diffusers' names", "kohya": "kohya's names"}


def detect(path: str | Path) -> Found | None:
    """Return what a file or folder is; None for what Duet does not know, and for a damaged file. Raises nothing."""
    path = Path(path)
    try:
        return _detect(path, *_stamp(path))
    except DAMAGED:
        return None


def say_what(path: str | Path) -> str:
    """Return in one line what a file or folder is, or what it is not. Raises nothing."""
    path, found = Path(path), detect(path)
    if found is not None:
        return found_line(found)
    try:
        return _unknown(path)
    except DAMAGED as error:
        return printable(error)


def found_line(found: Found) -> str:
    """Return such as "Wan 2.2 TI2V-5B, 5.0 billion parameters, bf16, ComfyUI's names"."""
    size = f"{count_in_words(found.parameters)} parameters" if found.parameters else ""
    return printable(", ".join(filter(None, (found.model, size, found.precision, NAMES.get(found.names, "")))))


def _unknown(path: Path) -> str:
    if not path.exists():
        return "no file or folder"
    if is_diffusers_folder(path):
        return f"a diffusers folder of {DiffusersFolder(path).pipeline_class}, which Duet does not use"
    if path.is_file() and path.suffix.lower() not in (".safetensors", ".gguf"):
        return f"a {path.suffix or 'nameless'} file, which Duet does not load; use .safetensors or .gguf"
    if path.suffix.lower() == ".gguf":
        return "a GGUF file of no model that Duet knows"
    names = sorted(read_header(path).shapes)
    if not names:
        return "no model that Duet knows: no tensors"
    return f"no model that Duet knows: {len(names)} tensors, such as {format_keys(names, 2)}"


def _stamp(path: Path) -> tuple[tuple[str, int, int], ...]:
    """Return what changes when the files of a folder, or the file, change."""
    files = sorted(file for file in path.rglob("*") if file.exists()) if path.is_dir() else [path]  # some links lead nowhere
    return tuple((str(file), (stat := file.stat()).st_mtime_ns, stat.st_size) for file in files)


@lru_cache(maxsize=4096)
def _detect(path: Path, *stamp: tuple[str, int, int]) -> Found | None:
    """stamp: of the files, for the cache."""
    return _binder(path) or find_expert(path) or _joint(path) or _older(path) or _own(path) or _part(path)


def _binder(path: Path) -> Found | None:
    if not is_pe_av(path):
        return None
    header = read_header(path)
    return Found(describe_pe_av(path), BINDER, "", "", header.precision, header.parameters)


def _joint(path: Path) -> Found | None:
    if find_family(path) is None:
        return None
    card = describe_joint(path)
    return Found(card["name"], JOINT_MODEL, "", "diffusers" if is_diffusers_folder(path) else "original", "", card["parameters"])


def _older(path: Path) -> Found | None:
    """Return what a folder of the families without options holds, or the single file of Stable Video Diffusion."""
    if path.suffix == ".gguf" or not is_published(path):
        return None
    try:
        card = published_card(path)
    except ValueError:  # another pipeline
        return None
    return Found(card["architecture"], card["kind"], "", "diffusers" if path.is_dir() else "original", "", 0)


def _own(path: Path) -> Found | None:
    """Return what a file of Duet is, by its model card."""
    if not path.is_file():
        return None
    try:
        card, header = read_card(path), read_header(path)
    except DAMAGED:
        return None
    name = card.get("name") or card.get("architecture") or path.stem
    kind = str(card.get("kind", ""))
    return Found(f"{printable(name)}, {kind.replace('_', ' ')} of Duet", kind, "", "", header.precision, header.parameters)


def _part(path: Path) -> Found | None:
    if path.is_dir() and not (path / "config.json").is_file():
        return _tokenizer(path)
    header = read_header(path)
    known = known_file(header.shapes)
    if known is None:
        return _tokenizer(path) if path.is_dir() and not header.shapes else None
    model, kind, names = known
    return Found(model, kind, "", names, header.precision, header.parameters)


def _tokenizer(path: Path) -> Found | None:
    kind = tokenizer_class(path)
    return Found(f"a tokenizer ({kind})", TOKENIZER, "", "", "", 0) if kind else None


def tokenizer_class(folder: Path) -> str:
    """Return the class of the tokenizer in a folder, "" if there is none."""
    try:
        config: dict[str, Any] = read_table(folder / "tokenizer_config.json", "")
    except DAMAGED:
        return ""
    return printable(config.get("tokenizer_class", ""))


def header_of(path: Path) -> Header | None:
    """Return the header of a file or folder; None if it cannot be read."""
    try:
        return read_header(path)
    except DAMAGED:
        return None
