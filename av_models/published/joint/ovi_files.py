"""Finds the parts of Ovi, which come from several repositories, around the file with its two towers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ...card_fields import read_table
from ...checkpoint import Shape, read_shapes
from . import find_ovi_file, mmaudio_files, wan_vae_file

VAE_CLASS, ENCODER_CLASS = "AutoencoderKLWan", "UMT5EncoderModel"
WAN = "Wan-AI/Wan2.2-TI2V-5B-Diffusers"
MISSING = {
    "video_vae": f"the video VAE (wan2.2_vae.safetensors of Comfy-Org/Wan_2.2_ComfyUI_Repackaged, or the folder vae of {WAN})",
    "audio_vae": "the audio VAE (Ovi/mmaudio_vae_16k_fp32.safetensors of Kijai/WanVideo_comfy)",
    "vocoder": "the vocoder (Ovi/mmaudio_vocoder_bigvgan_best_netG_fp32.safetensors of Kijai/WanVideo_comfy)",
    "text": f"the text encoder (the folders text_encoder and tokenizer of {WAN})",
}


@dataclass(frozen=True)
class OviFiles:
    """The files of Ovi; None for parts that were not found.

    model: both towers. video_vae: a file, or a folder with the subfolder vae. audio_vae, vocoder: files.
    text: a folder with the subfolders text_encoder and tokenizer.
    """

    model: Path
    video_vae: Path | None
    audio_vae: Path | None
    vocoder: Path | None
    text: Path | None

    @property
    def missing(self) -> list[str]:
        """What is missing, in words, with where it is published."""
        return [words for part, words in MISSING.items() if getattr(self, part) is None]

    @property
    def all(self) -> list[Path]:
        """All files that the loaded model depends on."""
        found = [path for path in (self.model, self.video_vae, self.audio_vae, self.vocoder) if path is not None and path.is_file()]
        folders = [self.video_vae / "vae"] if self.video_vae is not None and self.video_vae.is_dir() else []
        folders += [] if self.text is None else [self.text / "text_encoder", self.text / "tokenizer"]
        return [*found, *(file for folder in folders for file in sorted(folder.iterdir()) if file.is_file())]


def find_parts(path: Path) -> OviFiles:
    """Find Ovi's parts: beside its file, one folder below it, and in ComfyUI's folders `vae`, `mmaudio` and `diffusers`.

    path: the file with the towers, or a folder that holds it. Raises FileNotFoundError if there is none.
    """
    model = find_ovi_file(path)
    if model is None:
        raise FileNotFoundError(f"{path} has no file with Ovi's two towers; download one of chetwinlow1/Ovi")
    near = [model.parent, *_folders(model.parent)]
    models = next((parent for parent in model.parents if parent.name == "models"), None)
    shared = [] if models is None else [folder for name in ("vae", "mmaudio") for folder in _with_subfolders(models / name)]
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
        next((folder for folder in pipelines if _class_in(folder / "text_encoder") == ENCODER_CLASS), None),
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


def _config(folder: Path) -> dict:
    try:
        return read_table(folder / "config.json", "")
    except (ValueError, OSError):
        return {}


def total_bytes(files: Iterable[Path]) -> int:
    """Return the size of all files."""
    return sum(file.stat().st_size for file in files)
