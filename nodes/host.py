"""The host of the nodes: ComfyUI if it loaded the pack, else the stand-in. Only this file checks which one it is.

Nodes import `io`, `ui`, `InputImpl`, `Types`, `ComfyExtension` and the functions below from here.
"""

from __future__ import annotations

import sys
from argparse import Namespace
from collections.abc import Iterable
from pathlib import Path
from typing import Any
from weakref import WeakSet

import torch
from torch import Tensor

from ..av_models.memory import free_memory, weight_bytes
from ..av_models.offload import offload
from ..av_models.published.folder import files_outside, find_diffusers_folders, find_files, find_network_folders

MODELS = "duet"  # the folder of Duet's model files in ComfyUI's `models`
DIFFUSERS, CHECKPOINTS = "diffusers", "checkpoints"  # folders shared with other nodes
DIFFUSION_MODELS = "diffusion_models"  # where ComfyUI keeps the networks of models, also in the folder `unet`
TEXT_ENCODERS, VAES, LORAS = "text_encoders", "vae", "loras"
FOLDER_NAMES = {DIFFUSION_MODELS: ("unet", DIFFUSION_MODELS), TEXT_ENCODERS: (TEXT_ENCODERS, "clip")}  # where ComfyUI has two
SUFFIX, GGUF = ".safetensors", ".gguf"
MAX_ASKED, MAX_ID = 100, 200  # nodes whose audio is asked for, characters of a node id

if "comfy_api" in sys.modules:  # ComfyUI imports it before any custom node
    import folder_paths
    from aiohttp import web
    from comfy import model_management, model_patcher
    from comfy.cli_args import LatentPreviewMethod, args, parser
    from comfy.model_management import (
        get_free_memory,
        get_torch_device,
        throw_exception_if_processing_interrupted,
        unet_offload_device,
    )
    from comfy.nested_tensor import NestedTensor
    from comfy.options import args_parsing
    from comfy_api.latest import ComfyAPISync, ComfyExtension, InputImpl, Types, io, ui
    from comfy_execution.progress import get_progress_state
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
        """Returns the names of the model files in models/duet, without those in the folders of other models."""
        return files_outside(_files(MODELS), diffusers_folders() | network_folders(MODELS))

    def find_model(name: str) -> Path:
        """Returns the model file called `name`. Raises FileNotFoundError if it does not exist."""
        found = folder_paths.get_full_path(MODELS, name)
        if found is None:
            folders = " or ".join(folder_paths.get_folder_paths(MODELS))
            raise FileNotFoundError(f"model file {name!r} was not found in {folders}; put it there, or choose another")
        return Path(found)

    def _roots(*kinds: str) -> list[Path]:
        """Returns the folders for files of these kinds, with those of extra_model_paths.yaml."""
        return [Path(root) for kind in kinds for root in folder_paths.get_folder_paths(kind)]

    def files_of(kind: str) -> dict[str, Path]:
        """Returns the safetensors files of a kind by name, such as those in `CHECKPOINTS`."""
        found = ((name, folder_paths.get_full_path(kind, name)) for name in _files(kind))
        return {name: Path(path) for name, path in found if path}

    def require_comfyui(node: str) -> None:
        """Raises ValueError if ComfyUI does not run the node: its models and samplers are needed."""

    def on_gpu() -> bool:
        """Whether joint models run on a GPU."""
        return get_torch_device().type != "cpu"

    def clip_tokenizer() -> Path | None:
        """Returns the folder of CLIP's tokenizer, or None."""
        from comfy import sd1_clip

        return Path(sd1_clip.__file__).with_name("sd1_tokenizer")

    def t5_tokenizer() -> Path | None:
        """Returns the folder of the tokenizer of T5 v1.1 and FLAN-T5, or None."""
        from comfy import text_encoders

        return Path(next(iter(text_encoders.__path__))) / "t5_tokenizer"

    def keeps_workflow() -> bool:
        """Whether saved files contain their workflow."""
        return not args.disable_metadata

    def has_page() -> bool:
        """Whether ComfyUI's page shows the results of nodes."""
        return True

    def wants_previews() -> bool:
        """Whether previews are shown: a page queued the run, and neither its setting nor `--preview-method none` turns them off."""
        server = PromptServer.instance
        method = _page_setting() or "default"
        return server.client_id in server.sockets and method != "none" and not (method == "default" and _started_without_previews())

    def _page_setting() -> str | None:
        """Returns the setting "Live preview method" of the page that queued the run; None if it is the default."""
        prompt_id = get_progress_state().prompt_id
        running, _ = PromptServer.instance.prompt_queue.get_current_queue_volatile()
        return next((item[3].get("preview_method") for item in running if item[1] == prompt_id), None)

    def _started_without_previews() -> bool:
        """Whether ComfyUI was started with `--preview-method none`. Without the option, `args` has the same value."""
        given, _ = parser.parse_known_args(namespace=Namespace(preview_method=None))
        return args_parsing and given.preview_method == LatentPreviewMethod.NoPreviews

    def send_preview(preview: dict[str, Any], node_id: str) -> None:
        """Sends a preview of a node to the page that queued the run."""
        _send("duet.preview", node_id, preview)

    def _send(event: str, node_id: str, details: dict[str, Any]) -> None:
        """Sends an event about a node to the page that queued the run; to none if none did. Without a page, all would get it."""
        client = PromptServer.instance.client_id
        if client is not None:
            shown = {"prompt_id": get_progress_state().prompt_id, "node": _display_id(node_id), **details}
            PromptServer.instance.send_sync(event, shown, client)

    def preview_audio_asked(node_id: str) -> bool:
        """Whether the page has asked for the audio of a node's next preview; the request is then done."""
        shown = _display_id(node_id)
        asked = shown in _audio_asked
        _audio_asked.discard(shown)
        return asked

    def _display_id(node_id: str) -> str:
        """Returns the id of the node in the page: that of the node that made it, if another node did so while running."""
        return str(get_progress_state().dynprompt.get_display_node_id(node_id))

    _audio_asked: set[str] = set()

    async def _ask_for_audio(request: web.Request) -> web.Response:
        try:
            body = await request.json()
        except (ValueError, RecursionError):
            body = None
        node = body.get("node") if isinstance(body, dict) else None
        if not isinstance(node, str) or len(node) > MAX_ID:
            return web.Response(status=400, text=f"node is {node!r}; give the id of a node as a string")
        if len(_audio_asked) >= MAX_ASKED:  # of nodes that never ran
            _audio_asked.clear()
        _audio_asked.add(node)
        return web.Response(status=204)

    if hasattr(PromptServer, "instance"):
        PromptServer.instance.routes.post("/duet/preview_audio")(_ask_for_audio)

    def report_progress(value: float, total: float) -> None:
        """Reports the progress of the running node."""
        ComfyAPISync().execution.set_progress(value, total)

    def report_text(text: str, node_id: str) -> None:
        """Shows `text` on a node while it runs, where its report follows. (ComfyUI's own text would stay beside the report.)"""
        _send("duet.text", node_id, {"text": text})

    def check_interrupt() -> None:
        """Raises ComfyUI's interrupt exception if the user has cancelled the run."""
        throw_exception_if_processing_interrupted()

    def free_device_memory() -> int:
        """Returns the bytes that models may take on the device: what is free, and what ComfyUI can unload."""
        device = get_torch_device()
        if model_management.vram_state == model_management.VRAMState.NO_VRAM:  # --novram
            return 0
        loaded = sum(each.model_loaded_memory() for each in model_management.current_loaded_models if each.device == device)
        return int(get_free_memory(device)) + (0 if device.type == "cpu" else loaded)

    @torch.inference_mode(False)
    def on_device(*models, parts: Iterable[str] = (), memory: int = 0) -> None:
        """Loads joint models or single networks with ComfyUI's memory management. Outside inference mode, to allow gradients.

        parts: of joint models; all if empty. memory: bytes that will be needed beside the weights.
        """
        networks = _networks(models, parts)
        patchers = [patcher_of(each) for each in networks]
        model_management.load_models_gpu(patchers, memory_required=memory, force_full_load=True)
        if not networks:  # the weights are offloaded, and what runs them needs room
            model_management.free_memory(memory, get_torch_device())

    def patcher_of(network: torch.nn.Module) -> Any:
        """Returns what moves a network under ComfyUI's memory management."""
        if not hasattr(network, "patcher"):
            network.patcher = _patcher_class(network)(network, get_torch_device(), unet_offload_device())
        return network.patcher

    def _patcher_class(network: torch.nn.Module) -> type:
        """Returns the class that moves a network. Dynamic loading would make plain weights of those of a GGUF file."""
        plain = all(type(weight) is torch.nn.Parameter for weight in network.parameters())
        return model_patcher.CoreModelPatcher if plain else model_patcher.ModelPatcher

    @torch.inference_mode(False)
    def offload_part(model, part: str) -> None:
        """Keeps the weights of a part of a joint model in main memory; each layer's come to the device when it runs."""
        patcher = getattr(model.movable_parts[part], "patcher", None)
        for loaded in [each for each in model_management.current_loaded_models if patcher and each.model is patcher]:
            loaded.model_unload()
            model_management.current_loaded_models.remove(loaded)
        offload(model.parts[part], get_torch_device())

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
        return files_outside(folders.list(folders.models / MODELS, (SUFFIX,)), diffusers_folders() | network_folders(MODELS))

    def find_model(name: str) -> Path:
        return session.get().folders.find_model(MODELS, name)

    def _roots(*kinds: str) -> list[Path]:
        names = (name for kind in kinds for name in FOLDER_NAMES.get(kind, (kind,)))
        return [session.get().folders.models / name for name in names]

    def files_of(kind: str) -> dict[str, Path]:
        list_files = session.get().folders.list
        return {name: root / name for root in reversed(_roots(kind)) for name in list_files(root, (SUFFIX,))}

    def require_comfyui(node: str) -> None:
        raise ValueError(f"{node} needs ComfyUI's models and samplers; run this workflow in ComfyUI")

    def on_gpu() -> bool:
        return DEVICE.type != "cpu"

    def clip_tokenizer() -> Path | None:
        return None

    def t5_tokenizer() -> Path | None:
        return None

    def keeps_workflow() -> bool:
        return True

    def has_page() -> bool:
        return False

    def wants_previews() -> bool:
        return session.get().on_preview is not None

    def send_preview(preview: dict[str, Any], node_id: str) -> None:
        session.get().on_preview({"node": node_id, **preview})

    def preview_audio_asked(node_id: str) -> bool:
        return False

    def report_progress(value: float, total: float) -> None:
        session.get().on_progress(value, total)

    def report_text(text: str, node_id: str) -> None:
        pass

    def check_interrupt() -> None:
        session.get().check_interrupt()

    _placed: WeakSet[torch.nn.Module] = WeakSet()  # networks on the device

    def free_device_memory() -> int:
        return free_memory(DEVICE) + (weight_bytes(*_placed) if on_gpu() else 0)

    @torch.inference_mode(False)
    def on_device(*models, parts: Iterable[str] = (), memory: int = 0) -> None:
        networks = _networks(models, parts)
        others = [each for each in _placed if each not in networks]
        if on_gpu() and weight_bytes(*(each for each in networks if each not in _placed)) + memory > free_memory(DEVICE):
            for each in others:
                _take_off(each)
        for each in networks:
            each.to(DEVICE)
            _placed.add(each)

    def _take_off(network: torch.nn.Module) -> None:
        network.to("cpu")
        _placed.discard(network)

    @torch.inference_mode(False)
    def offload_part(model, part: str) -> None:
        _take_off(model.movable_parts[part])
        offload(model.parts[part], DEVICE)


def diffusers_folders() -> dict[str, Path]:
    """Returns the folders of diffusers pipelines by name."""
    return find_diffusers_folders(_roots(MODELS, DIFFUSERS))


def network_folders(*kinds: str) -> dict[str, Path]:
    """Returns the folders that hold one network, such as shards, by name."""
    return find_network_folders(_roots(*kinds))


def gguf_files() -> dict[str, Path]:
    """Returns the GGUF files of networks by name. ComfyUI's own lists have none."""
    return find_files(_roots(MODELS, DIFFUSION_MODELS), GGUF)


def _networks(models: Iterable[Any], parts: Iterable[str]) -> list[torch.nn.Module]:
    """Returns the parts of joint models to load, and other networks as they are."""
    return [each for model in models for each in (model.movable(parts) if hasattr(model, "movable") else [model])]


__all__ = [
    "ComfyExtension",
    "InputImpl",
    "MODELS",
    "NestedTensor",
    "Types",
    "check_interrupt",
    "clip_tokenizer",
    "diffusers_folders",
    "files_of",
    "find_model",
    "free_device_memory",
    "gguf_files",
    "has_page",
    "io",
    "keeps_workflow",
    "model_files",
    "network_folders",
    "offload_part",
    "on_device",
    "on_gpu",
    "output_folder",
    "preview_audio_asked",
    "preview_images",
    "report_progress",
    "report_text",
    "require_comfyui",
    "send_preview",
    "t5_tokenizer",
    "temp_folder",
    "ui",
    "wants_previews",
]
