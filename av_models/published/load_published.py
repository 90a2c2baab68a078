"""From a published checkpoint, a folder or a file, to one stream of a joint model: the families that Duet knows."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..checkpoint import open_tensors
from ..contract import StreamName
from ..load_parts import AUDIO_EXPERT, VIDEO_EXPERT
from .folder import DiffusersFolder, is_folder
from .svd_names import UNET, VISION

if TYPE_CHECKING:
    from .loaded_expert import LoadedExpert

# Pipelines by what diffusers calls them: what their experts make, and the module here that reads their folders.
SVD = "StableVideoDiffusionPipeline"
FAMILIES = {
    SVD: (VIDEO_EXPERT, "svd"),
    "AnimateDiffPipeline": (VIDEO_EXPERT, "animatediff"),
    "AudioLDMPipeline": (AUDIO_EXPERT, "audioldm"),
    "AudioLDM2Pipeline": (AUDIO_EXPERT, "audioldm2"),
}
KINDS: dict[StreamName, str] = {"video": VIDEO_EXPERT, "audio": AUDIO_EXPERT}


def is_published(path: str | Path) -> bool:
    """Whether this is a diffusers folder, or Stable Video Diffusion's single file."""
    return is_folder(path) or _is_single_file(Path(path))


def published_card(path: str | Path) -> dict[str, Any]:
    """The kind and the architecture of a published checkpoint. ValueError where Duet does not know its pipeline."""
    architecture = DiffusersFolder(Path(path)).pipeline if is_folder(path) else SVD
    if architecture not in FAMILIES:
        raise ValueError(f"{path} holds {architecture}; Duet takes {', '.join(FAMILIES)}")
    return {"kind": FAMILIES[architecture][0], "architecture": architecture}


def published_files(path: str | Path) -> list[Path]:
    """The files that decide what is loaded."""
    return DiffusersFolder(Path(path)).files() if is_folder(path) else [Path(path)]


def load_published(path: str | Path, stream: StreamName, own_precision: bool = False) -> LoadedExpert:
    """The expert, codec and conditioner of one stream, without the network; encoders of text and pictures are loaded when
    first needed.

    own_precision: networks as they are stored, as a GPU takes them; else in float32.
    Raises FileNotFoundError or ValueError, in one line, for a folder of another pipeline or stream, and for files that
    are missing, no safetensors, cut short, or of other sizes.
    """
    card = published_card(path)
    if card["kind"] != KINDS[stream]:
        raise ValueError(f"{path} is of kind {card['kind']} ({card['architecture']}); this place takes {KINDS[stream]}")
    if not is_folder(path):
        from .svd_file import from_single_file

        return from_single_file(path, own_precision)
    family = import_module(f".{FAMILIES[card['architecture']][1]}", __package__)
    return family.from_folder(DiffusersFolder(Path(path), own_precision))


def _is_single_file(path: Path) -> bool:
    if not path.is_file():
        return False
    with open_tensors(path) as file:
        return {f"{UNET}input_blocks.0.0.weight", f"{VISION}proj"} <= set(file.keys())
