"""The host of the nodes: ComfyUI if it loaded the pack, else the stand-in. Only this file checks which one it is.

Nodes import `io`, `ui`, `InputImpl`, `Types`, `ComfyExtension` and the functions below from here.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from torch import Tensor

from ..av_models.published.folder import files_outside, find_diffusers_folders

MODELS = "duet"  # the folder of Duet's model files in ComfyUI's `models`
DIFFUSERS, CHECKPOINTS = "diffusers", "checkpoints"  # folders shared with other nodes
SUFFIX = ".safetensors"

if "comfy_api" in sys.modules:  # ComfyUI imports it before any custom node
    import folder_paths
    from comfy.cli_args import LatentPreviewMethod, args
    from comfy.model_management import (
        get_torch_device,
        load_models_gpu,
        throw_exception_if_processing_interrupted,
        unet_offload_device,
    )
    from comfy.model_patcher import CoreModelPatcher
    from comfy.nested_tensor import NestedTensor
    from comfy_api.latest import ComfyAPISync, ComfyExtension, InputImpl, Types, io, ui
    from server import PromptServer

    folder_paths.add_model_folder_path(MODELS, str(Path(folder_paths.models_dir) / MODELS))

    def output_folder() -> Path:
        """Returns the folder for saved files."""
        return Path(folder_paths.get_output_directory())

    def temp_folder() -> Path:
        """Returns the folder for files that are deleted when the host ends."""
        return Path(folder_paths.get_temp_directory())

    def preview_images(images: Tensor, cls: type) -> dict:
        """Returns the UI output that shows images [B, H, W, 3] on the node `cls`, as temporary files."""
        return ui.PreviewImage(images, cls=cls).as_dict()

    def _files(kind: str) -> list[str]:
        try:
            names = folder_paths.get_filename_list(kind)
        except FileNotFoundError:  # the folder was deleted after ComfyUI cached it
            return []
        return [name for name in names if name.endswith(SUFFIX)]

    def model_files() -> list[str]:
        """Returns the names of the model files in models/duet."""
        return files_outside(_files(MODELS), diffusers_folders())

    def find_model(name: str) -> Path:
        """Returns the model file called `name`. Raises FileNotFoundError if it does not exist."""
        found = folder_paths.get_full_path(MODELS, name)
        if found is None:
            folders = " or ".join(folder_paths.get_folder_paths(MODELS))
            raise FileNotFoundError(f"model file {name!r} was not found in {folders}; put it there, or choose another")
        return Path(found)

    def diffusers_folders() -> dict[str, Path]:
        """Returns the folders of diffusers pipelines by name."""
        return find_diffusers_folders(Path(root) for kind in (MODELS, DIFFUSERS) for root in folder_paths.get_folder_paths(kind))

    def checkpoints() -> dict[str, Path]:
        """Returns the single-file checkpoints by name."""
        return {name: Path(folder_paths.get_full_path_or_raise(CHECKPOINTS, name)) for name in _files(CHECKPOINTS)}

    def on_gpu() -> bool:
        """Whether joint models run on a GPU."""
        return get_torch_device().type != "cpu"

    def clip_tokenizer() -> Path | None:
        """Returns the folder of CLIP's tokenizer, or None."""
        from comfy import sd1_clip

        return Path(sd1_clip.__file__).with_name("sd1_tokenizer")

    def keeps_workflow() -> bool:
        """Whether saved files contain their workflow."""
        return not args.disable_metadata

    def has_page() -> bool:
        """Whether ComfyUI's page shows the results of nodes."""
        return True

    def wants_previews() -> bool:
        """Whether previews are shown while sampling."""
        return args.preview_method != LatentPreviewMethod.NoPreviews

    def report_progress(value: float, total: float, preview=None) -> None:
        """Reports the progress of the running node, with an optional PIL image as preview."""
        ComfyAPISync().execution.set_progress(value, total, preview_image=preview)

    def report_text(text: str, node_id: str) -> None:
        """Shows `text` on a node while it runs."""
        PromptServer.instance.send_progress_text(text, node_id)

    def check_interrupt() -> None:
        """Raises ComfyUI's interrupt exception if the user has cancelled the run."""
        throw_exception_if_processing_interrupted()

    @torch.inference_mode(False)
    def on_device(*models) -> None:
        """Loads joint models or single networks with ComfyUI's memory management. Outside inference mode, to allow gradients."""
        networks = [getattr(model, "networks", model) for model in models]
        for each in networks:
            if not hasattr(each, "patcher"):
                each.patcher = CoreModelPatcher(each, get_torch_device(), unet_offload_device())
        load_models_gpu([each.patcher for each in networks])

else:
    from .stand_in import ComfyExtension, InputImpl, Types, io, session, ui
    from .stand_in.nested import NestedTensor

    DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")

    def output_folder() -> Path:
        return session.get().folders.output

    def temp_folder() -> Path:
        return session.get().temp_folder

    def preview_images(images: Tensor, cls: type) -> dict:
        return {}

    def model_files() -> list[str]:
        folders = session.get().folders
        return files_outside(folders.list(folders.models / MODELS, (SUFFIX,)), diffusers_folders())

    def find_model(name: str) -> Path:
        return session.get().folders.find_model(MODELS, name)

    def diffusers_folders() -> dict[str, Path]:
        return find_diffusers_folders(session.get().folders.models / kind for kind in (MODELS, DIFFUSERS))

    def checkpoints() -> dict[str, Path]:
        folders = session.get().folders
        root = folders.models / CHECKPOINTS
        return {name: root / name for name in folders.list(root, (SUFFIX,))}

    def on_gpu() -> bool:
        return DEVICE.type != "cpu"

    def clip_tokenizer() -> Path | None:
        return None

    def keeps_workflow() -> bool:
        return True

    def has_page() -> bool:
        return False

    def wants_previews() -> bool:
        return session.get().on_preview is not None

    def report_progress(value: float, total: float, preview=None) -> None:
        session.get().on_progress(value, total)
        if preview is not None:
            session.get().on_preview(preview)

    def report_text(text: str, node_id: str) -> None:
        pass

    def check_interrupt() -> None:
        session.get().check_interrupt()

    @torch.inference_mode(False)
    def on_device(*models) -> None:
        for each in models:
            getattr(each, "networks", each).to(DEVICE)


__all__ = [
    "ComfyExtension",
    "InputImpl",
    "MODELS",
    "NestedTensor",
    "Types",
    "check_interrupt",
    "clip_tokenizer",
    "checkpoints",
    "diffusers_folders",
    "find_model",
    "has_page",
    "io",
    "keeps_workflow",
    "model_files",
    "on_device",
    "on_gpu",
    "output_folder",
    "preview_images",
    "report_progress",
    "report_text",
    "temp_folder",
    "ui",
    "wants_previews",
]
