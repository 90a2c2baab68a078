"""Loads a published checkpoint, a folder or a file, as one modality of a joint model."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from ..build_from_card import one_line
from ..card_fields import CARD, check_fields
from ..checkpoint import OTHER_FORMATS, open_tensors
from ..codecs.base import check_sizes
from ..contract import StreamName
from ..load_parts import AUDIO_EXPERT, VIDEO_EXPERT
from .expert_options import ExpertOptions, Found
from .experts import FAMILIES as EXPERTS
from .experts import family_module, find_expert
from .folder import DiffusersFolder, check_complete, is_diffusers_folder
from .joint import in_one_line
from .svd_names import UNET, VISION
from .tensor_files import check_numbers, tensor_paths

if TYPE_CHECKING:
    from .loaded_expert import LoadedExpert

SVD = "StableVideoDiffusionPipeline"
FAMILIES = {
    SVD: (VIDEO_EXPERT, "svd"),
    "AnimateDiffPipeline": (VIDEO_EXPERT, "animatediff"),
    "AudioLDMPipeline": (AUDIO_EXPERT, "audioldm"),
    "AudioLDM2Pipeline": (AUDIO_EXPERT, "audioldm2"),
}
"""By the class of the diffusers pipeline: the kind of its expert, and the module of this package that loads its folders."""
KINDS: dict[StreamName, str] = {"video": VIDEO_EXPERT, "audio": AUDIO_EXPERT}


def is_published(path: str | Path) -> bool:
    """Return whether this is a diffusers folder, the single file of Stable Video Diffusion, or one of `experts.FAMILIES`."""
    return is_diffusers_folder(path) or find_expert(path) is not None or _is_single_file(Path(path))


def published_card(path: str | Path, options: ExpertOptions = ExpertOptions()) -> dict[str, Any]:
    """Return the kind and the architecture of a published checkpoint: {"kind", "architecture"}, and more for newer families.

    Raises ValueError for a pipeline that Duet does not support.
    """
    found = find_expert(path)
    if found:
        return family_module(found.family).describe(Path(path), options)
    if not is_diffusers_folder(path):
        _check_single_file(Path(path))
    architecture = DiffusersFolder(Path(path)).pipeline_class if is_diffusers_folder(path) else SVD
    if architecture not in FAMILIES:
        check_networks(Path(path))
        raise ValueError(f"{path} holds {architecture}; use one of {', '.join((*FAMILIES, *EXPERTS))}")
    return {"kind": FAMILIES[architecture][0], "architecture": architecture}


def check_networks(path: Path) -> None:
    """Raise FileNotFoundError or ValueError, in one line, if a network's file in a pipeline's folder is damaged or missing."""
    for folder in sorted(path.glob("transformer*")):
        check_complete(folder)


def published_files(path: str | Path, options: ExpertOptions = ExpertOptions()) -> list[Path]:
    """Return the files that the loaded checkpoint depends on."""
    found = find_expert(path)
    if found:
        return family_module(found.family).files(Path(path), options)
    return DiffusersFolder(Path(path)).files() if is_diffusers_folder(path) else [Path(path)]


def load_published(path: str | Path, stream: StreamName, options: ExpertOptions = ExpertOptions()) -> LoadedExpert:
    """Load the expert, codec and conditioner of one modality, from local files only.

    Text and image encoders are loaded when first used.
    stream: the modality that is needed, "video" or "audio".
    Raises FileNotFoundError or ValueError, with one line, for a folder of another pipeline or modality, and for files that
    are missing, not safetensors, incomplete, or of other shapes.
    """
    card = published_card(path, options)
    if card["kind"] != KINDS[stream]:
        raise ValueError(f"{path} is of kind {card['kind']} ({card['architecture']}); use one of kind {KINDS[stream]}")
    found = find_expert(path)
    if options.loras and not found:
        raise ValueError(f"{options.loras[0][0]} is given for {path}, but {card['architecture']} takes no LoRA; leave it out")
    with torch.random.fork_rng(devices=[]):  # networks draw initial weights, which the files replace
        return _load(Path(path), found, card, options)


def _load(path: Path, found: Found | None, card: dict[str, Any], options: ExpertOptions) -> LoadedExpert:
    if not found and not is_diffusers_folder(path):
        from .svd_file import from_single_file

        return from_single_file(path, options.keep_dtype)
    if found:
        with in_one_line(path, lambda: found.model):
            loaded = family_module(found.family).load(path, options)
    with one_line(path, card["architecture"]):
        if not found:
            family = import_module(f".{FAMILIES[card['architecture']][1]}", __package__)
            loaded = family.from_folder(DiffusersFolder(path, options.keep_dtype))
        check_sizes(loaded.codec, path)
        check_fields(loaded.clip or {}, CARD["clip"], path, "clip.")
        return loaded


def _check_single_file(path: Path) -> None:
    """Raise FileNotFoundError or ValueError, with what it is, for a file or folder that is no published checkpoint."""
    from .detect import say_what

    if not path.exists():
        raise FileNotFoundError(f"there is no model file {path}; check the name, or put the file there")
    check_numbers(tensor_paths(path))  # both raise for a missing shard
    if not _is_single_file(path):
        raise ValueError(f"{path} holds {say_what(path)}; use a video or audio model")


def _is_single_file(path: Path) -> bool:
    if not path.is_file() or path.suffix.lower() in OTHER_FORMATS:
        return False
    with open_tensors(path) as file:
        return {f"{UNET}input_blocks.0.0.weight", f"{VISION}proj"} <= set(file.keys())
