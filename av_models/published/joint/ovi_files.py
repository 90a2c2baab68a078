"""Finds the parts of Ovi, which come from several repositories, around the file with its two towers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ...card_fields import read_table
from ...checkpoint import Shape, read_shapes
from .. import umt5_file, wan_vae_file
from ..folder import has_vocabulary
from . import find_ovi_file, mmaudio_files

VAE_CLASS, ENCODER_CLASS = "AutoencoderKLWan", "UMT5EncoderModel"
WAN = "Wan-AI/Wan2.2-TI2V-5B-Diffusers"
MISSING = {
    "video_vae": f"the video VAE (wan2.2_vae.safetensors of Comfy-Org/Wan_2.2_ComfyUI_Repackaged, or the folder vae of {WAN})",
    "audio_vae": "the audio VAE (Ovi/mmaudio_vae_16k_fp32.safetensors of Kijai/WanVideo_comfy)",
    "vocoder": "the vocoder (Ovi/mmaudio_vocoder_bigvgan_best_netG_fp32.safetensors of Kijai/WanVideo_comfy)",
    "text_encoder": f"the text encoder (the folder text_encoder of {WAN}, or umt5_xxl_fp16.safetensors of "
    "Comfy-Org/Wan_2.1_ComfyUI_repackaged)",
    "tokenizer": f"its tokenizer (the folder tokenizer of {WAN})",
}


SHARED = ("vae", "mmaudio", "text_encoders", "clip")


@dataclass(frozen=True)
class OviFiles:
    """The files of Ovi; None for parts that were not found.

    model: both towers. video_vae: a file, or a folder with the subfolder vae. audio_vae, vocoder: files.
    text_encoder: a file, or a folder with the subfolder text_encoder. tokenizer: a folder with the subfolder tokenizer.
    """

    model: Path
    video_vae: Path | None
    audio_vae: Path | None
    vocoder: Path | None
    text_encoder: Path | None
    tokenizer: Path | None

    @property
    def missing(self) -> list[str]:
        """What is missing, in words, with where it is published."""
        return [words for part, words in MISSING.items() if getattr(self, part) is None]

    @property
    def all(self) -> list[Path]:
        """All files that the loaded model depends on."""
        inside = {"vae": self.video_vae, "text_encoder": self.text_encoder, "tokenizer": self.tokenizer}
        found = [
            path for path in (self.model, self.audio_vae, self.vocoder, *inside.values()) if path is not None and path.is_file()
        ]
        folders = [path / name for name, path in inside.items() if path is not None and path.is_dir()]
        return [*found, *(file for folder in folders for file in sorted(folder.iterdir()) if file.is_file())]


def find_parts(path: Path) -> OviFiles:
    """Find Ovi's parts: beside its file, one folder below it, and in ComfyUI's folders (`SHARED`, and `diffusers`).

    path: the file with the towers, or a folder that holds it. Raises FileNotFoundError if there is none.
    """
    model = find_ovi_file(path)
    if model is None:
        raise FileNotFoundError(f"{path} has no file with Ovi's two towers; download one of chetwinlow1/Ovi")
    near = [model.parent, *_folders(model.parent)]
    models = next((parent for parent in model.parents if parent.name == "models"), None)
    shared = [] if models is None else [folder for name in SHARED for folder in _with_subfolders(models / name)]
    pipelines = near if models is None else [*near, *_folders(models / "diffusers")]
    files = [file for folder in (*near, *shared) for file in sorted(folder.glob("*.safetensors"))]
    shapes = {file: found for file in files if file != model and (found := _shapes(file))}

    def first(fits: Callable[[dict[str, Shape]], bool]) -> Path | None:
        return next((file for file, found in shapes.items() if fits(found)), None)

    folders = (folder for folder in pipelines if _class_in(folder / "vae") == VAE_CLASS and _is_second(folder / "vae"))
    return OviFiles(
        model,
        first(wan_vae_file.is_wan_vae) or next(folders, None),
        first(mmaudio_files.is_vae),
        first(mmaudio_files.is_vocoder),
        next((f for f in pipelines if _class_in(f / "text_encoder") == ENCODER_CLASS), None) or first(umt5_file.is_encoder),
        next((folder for folder in pipelines if _is_tokenizer(folder / "tokenizer")), None),
    )


def _folders(folder: Path) -> list[Path]:
    return sorted(each for each in folder.iterdir() if each.is_dir()) if folder.is_dir() else []


def _with_subfolders(folder: Path) -> Iterator[Path]:
    yield folder
    yield from _folders(folder)


def _shapes(file: Path) -> dict[str, Shape]:
    try:
        return read_shapes(file)
    except (ValueError, OSError):  # another file, which need not be whole
        return {}


def _class_in(folder: Path) -> str:
    config = _config(folder)
    names = config.get("architectures") or [config.get("_class_name")]
    return names[0] if isinstance(names, list) and isinstance(names[0], str) else ""


def _is_second(folder: Path) -> bool:
    """Return whether the VAE in this folder is that of Wan 2.2, and not that of 2.1."""
    return _config(folder).get("is_residual") is True


def _is_tokenizer(folder: Path) -> bool:
    """Return whether this folder holds the tokenizer of T5."""
    return has_vocabulary(folder) and str(_config(folder, "tokenizer_config.json").get("tokenizer_class", "")).startswith("T5")


def _config(folder: Path, name: str = "config.json") -> dict:
    try:
        return read_table(folder / name, "")
    except (ValueError, OSError):
        return {}


def total_bytes(files: Iterable[Path]) -> int:
    """Return the size of all files."""
    return sum(file.stat().st_size for file in files)
