"""Files of an unmodified ComfyUI-LTXVideo, without its other nodes, which need more packages."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

FILES = ("nodes_registry.py", "stg.py", "guiders/__init__.py", "guiders/parameters.py", "guiders/multimodal_guider.py")
LOOPING = (
    "nodes_registry.py", "looping_sampler.py", "easy_samplers.py", "latents.py", "latent_norm.py", "guide.py",
    "iclora_attention.py",
)  # fmt: skip


def ltxvideo_path() -> Path:
    """Returns the checkout that LTXVIDEO_PATH names."""
    path = os.environ.get("LTXVIDEO_PATH")
    if not path:
        raise ValueError("LTXVIDEO_PATH is not set; give the folder of a ComfyUI-LTXVideo checkout")
    if not (Path(path) / FILES[-1]).is_file():
        raise ValueError(f"LTXVIDEO_PATH is {path}, which has no {FILES[-1]}; give the folder of a ComfyUI-LTXVideo checkout")
    return Path(path).resolve()


def link_guider(package: Path) -> None:
    """Makes a Python package of links to the files of the guider."""
    link(FILES, package)


def link(files: Sequence[str], package: Path) -> None:
    """Makes a Python package of links to these files."""
    for name in files:
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).symlink_to(ltxvideo_path() / name)
    (package / "__init__.py").touch()
