"""Reads files with ComfyUI's own loaders and writes what they give. Runs in ComfyUI's Python.

load_files.py COMFYUI_FOLDER JSON_LIST_OF_KINDS_AND_FILES RESULT
"""

import json
import os
import sys

folder, names, result = sys.argv[1:]
sys.path.insert(0, folder)
os.chdir(folder)
sys.argv[1:] = ["--cpu"]

import comfy.options  # noqa: E402

comfy.options.enable_args_parsing()

import folder_paths  # noqa: E402
import torch  # noqa: E402
from comfy_api.latest import InputImpl  # noqa: E402
from comfy_extras.nodes_audio import load  # noqa: E402

import nodes  # noqa: E402


def components(name: str, **window: float) -> dict:
    video = InputImpl.VideoFromFile(name, **window)
    parts = video.get_components()
    facts = {
        "frame_rate": str(parts.frame_rate), "metadata": dict(parts.metadata), "size": video.get_dimensions(),
        "bits": video.get_bit_depth(), "colours": video.get_color_space(), "rate": parts.audio and parts.audio["sample_rate"],
    }  # fmt: skip
    return facts | {"images": parts.images.contiguous(), "waveform": parts.audio and parts.audio["waveform"].contiguous()}


folder_paths.get_annotated_filepath = lambda name: name
read = {
    "video": components,
    "part": lambda name: components(name, start_time=0.4, duration=0.8),
    "audio": load,
    "image": lambda name: nodes.LoadImage().load_image(name),
}
torch.save([read[kind](name) for kind, name in json.loads(names)], result)
