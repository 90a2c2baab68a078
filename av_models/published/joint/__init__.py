"""Joint models that people can download: loads a diffusers folder or the authors' files as a `JointModel`.

Each family is a module of this package with `describe`, `files` and `load` (see `JointFamily`), and a line in `FAMILIES`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

from ...build_from_card import FAILURES
from ...checkpoint import open_tensors
from ...codecs.base import check_sizes
from ...out_of_memory import is_out_of_memory
from ...printable import printable
from ..folder import DiffusersFolder, is_diffusers_folder

if TYPE_CHECKING:
    from ...joint_model import JointModel

OVI = "Ovi"
FAMILIES = {
    "Kandinsky6TI2VAPipeline": "kandinsky6",
    "LTX2Pipeline": "ltx2",
    OVI: "ovi",
}
"""The modules of the families, by the class of the diffusers pipeline. Ovi has none: its files are known by their tensors."""


@dataclass(frozen=True)
class LoadOptions:
    """How the networks of a published model are loaded.

    keep_dtype: keep the precision of the stored weights, for a GPU; else convert them to float32.
    dtype: "float32", "float16" or "bfloat16", instead of either; None: as `keep_dtype` says.
    quantize: "fp8" stores the denoiser's weights in 8 bits and computes in `dtype`; None: no quantisation.
    gguf: a GGUF file with the denoiser's weights, instead of those in the folder.
    loras: LoRA files with their strengths, applied in this order.
    """

    keep_dtype: bool = False
    dtype: str | None = None
    quantize: str | None = None
    gguf: Path | None = None
    loras: tuple[tuple[Path, float], ...] = ()


class JointFamily(Protocol):
    """The functions of a family's module."""

    def describe(self, path: Path) -> dict[str, Any]:
        """Return what can be said without reading weights: the model card.

        It has `name`, `architecture`, `licence`, `trained`, `parameters`, `bytes`, `capabilities` and `needs` (missing parts) and
        `notes` (lists of short texts), `given` (see `KnownParts.mode`) and `sampling` (see `recommended.py`).
        """
        ...

    def files(self, path: Path) -> list[Path]:
        """Return all files that the loaded model depends on."""
        ...

    def load(self, path: Path, options: LoadOptions) -> JointModel:
        """Load the model. Its text encoders are loaded when they are first used."""
        ...


def find_family(path: str | Path) -> str | None:
    """Return which of `FAMILIES` a folder or file is of; None if it is of none."""
    path = Path(path)
    if is_diffusers_folder(path):
        name = DiffusersFolder(path).pipeline_class
        if name in FAMILIES:
            return name
    return OVI if find_ovi_file(path) is not None else None


def find_ovi_file(path: Path) -> Path | None:
    """Return the file with Ovi's two towers: `path` itself, or one in this folder; None if there is none."""
    return next((file for file in _single_files(path) if file.is_file() and _holds_ovi(file)), None)


def check_single_files(path: Path) -> None:
    """Raise ValueError if `path`, or a safetensors file in this folder, is not complete: it may be of a joint model."""
    for file in _single_files(path):
        with open_tensors(file):
            pass


def _single_files(path: Path) -> list[Path]:
    return sorted(path.glob("*.safetensors")) if path.is_dir() else [path] if path.suffix == ".safetensors" else []


def describe(path: str | Path) -> dict[str, Any]:
    """Return the card of a published joint model (see `JointFamily.describe`). Raises ValueError or FileNotFoundError."""
    family = _family(path)
    with in_one_line(path, lambda: find_family(path)):
        return family.describe(Path(path))


def family_files(path: str | Path) -> list[Path]:
    """Return all files that the loaded model depends on."""
    return _family(path).files(Path(path))


def load_family(path: str | Path, options: LoadOptions = LoadOptions()) -> JointModel:
    """Load a published joint model, from local files only.

    Raises FileNotFoundError or ValueError, with one line, for files that are missing, not safetensors, incomplete or of another
    model.
    """
    family = _family(path)
    with in_one_line(path, lambda: find_family(path)):
        model = family.load(Path(path), options)
        for codec in (model.video_codec, model.audio_codec):
            check_sizes(codec, path)
        return model


@contextmanager
def in_one_line(path: str | Path, name: Callable[[], str | None]) -> Iterator[None]:
    """Turn what goes wrong with a damaged model into a ValueError with one line that names it.

    Errors that say what to do stay as they are. name: returns the name of the model.
    """
    try:
        yield
    except FAILURES as error:
        if is_out_of_memory(error) or _has_remedy(error):
            raise
        reason = printable(error) or type(error).__name__
        raise ValueError(f"{path} cannot be loaded as {name()} ({reason}); download it again") from error


def _has_remedy(error: Exception) -> bool:
    """Return whether an error is one of ours: one line that says what to do."""
    return isinstance(error, ValueError) and "; " in str(error) and "\n" not in str(error)


def _family(path: str | Path) -> JointFamily:
    name = find_family(path)
    if name is None:
        check_single_files(Path(path))
        holds = DiffusersFolder(Path(path)).pipeline_class if is_diffusers_folder(path) else "no joint model"
        raise ValueError(f"{path} holds {holds}; use a folder of {', '.join(FAMILIES)}")
    return cast(JointFamily, import_module(f".{FAMILIES[name]}", __package__))


def _holds_ovi(file: Path) -> bool:
    try:
        with open_tensors(file) as tensors:
            names = set(tensors.keys())
    except (ValueError, OSError):
        return False
    if "audio_video_head.proj.weight" in names:  # PE-AV, a binder
        return False
    return any(name.startswith("video_model.") for name in names) and any(name.startswith("audio_model.") for name in names)
