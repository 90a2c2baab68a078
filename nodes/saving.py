"""Where the save nodes write, under which name, and what the page shows of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from ..av_models.media import CONTAINERS, expand_prefix, split_prefix, target_path
from .host import has_page, io, keeps_workflow, output_folder, temp_folder, ui

PREVIEW_NOTE = "preview only: not saved in the output folder"
PREFIX_TIP = (
    "File name in the output folder. A number is added. %date:yyyy-MM-dd%, %width%, %height% and values such as "
    "%Sampler.steps%, by the node's title, are replaced."
)


@dataclass(frozen=True)
class Destination:
    """A folder for files: ComfyUI's output folder, or its folder for temporary files."""

    root: Path
    kind: io.FolderType

    def path(self, prefix: str, extension: str, dimensions: Callable[[], tuple[int, int]]) -> Path:
        """Returns the next free file name. dimensions: returns width and height of the video in pixels."""
        return target_path(self.root, expand_prefix(prefix, dimensions), extension)

    def shown(self, paths: list[Path]) -> dict:
        """Returns the UI output that shows files of one format on the node."""
        results, format = [self._result(path) for path in paths], CONTAINERS[paths[0].suffix[1:]]
        if format.is_audio:
            return ui.SavedAudios(results).as_dict()
        if not format.is_animation:
            return ui.PreviewVideo(results).as_dict()
        # The page takes anything animated for a video, except webp and png. It plays a gif that is not called so.
        return ui.SavedImages(results, is_animated=paths[0].suffix == ".webp").as_dict()

    def lasting_path(self, path: Path) -> str | None:
        """Returns the path of a file for the report; None if the file is gone after the run: a preview without a page."""
        return str(path) if self.kind == io.FolderType.output or has_page() else None

    def notes(self) -> list[str]:
        """Returns what the report says about the destination."""
        return [] if self.kind == io.FolderType.output else [PREVIEW_NOTE]

    def _result(self, path: Path) -> ui.SavedResult:
        folder = path.parent.relative_to(self.root.resolve()).as_posix()
        return ui.SavedResult(path.name, "" if folder == "." else folder, self.kind)


def destination(save_output: bool) -> Destination:
    """Returns where a save node writes."""
    if save_output:
        return Destination(output_folder(), io.FolderType.output)
    return Destination(temp_folder(), io.FolderType.temp)


def check_prefix(prefix: str | None) -> bool | str:
    """Returns True, or what is wrong with a file name, for `validate_inputs`: before anything is generated. None: from a node."""
    try:
        if prefix is not None:
            split_prefix(output_folder(), prefix)
    except ValueError as error:
        return str(error)
    return True


def prefix_input():
    """Returns the input for the file name."""
    return io.String.Input("filename_prefix", default="video/duet", tooltip=PREFIX_TIP)


def save_output_input():
    """Returns the input that turns saving off."""
    return io.Boolean.Input(
        "save_output", default=True, optional=True, tooltip="Off: shows a preview without saving it to the output folder."
    )


def workflow_metadata(hidden) -> dict[str, str]:
    """Returns the workflow as metadata, under ComfyUI's names. Empty if the user has turned metadata off."""
    if not keeps_workflow():
        return {}
    kept = dict(hidden.extra_pnginfo or {})
    if hidden.prompt is not None:
        kept["prompt"] = hidden.prompt
    return {name: json.dumps(value) for name, value in kept.items()}
