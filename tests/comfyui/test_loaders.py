"""Without ComfyUI, files are loaded with the very values of ComfyUI's own loaders."""

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from duet_av.benchmarks.make_clip import Pictures, Sound, write_clip
from duet_av.benchmarks.odd_files import make_odd_file
from duet_av.nodes.stand_in.read_file import read_audio, read_images
from duet_av.nodes.stand_in.video import VideoFromFile

VIDEOS = [
    "base.mp4", "base.mkv", "base.webm", "base.ts", "base.ogv", "plain.avi", "latevideo.mp4", "lateaudio.mkv", "trimmed.mp4",
    "trimend.mp4", "vfr.mkv", "rot90.mp4", "rot180.mp4", "rot270.mov", "full.mp4", "hevc10.mp4", "prores4444.mov", "base.gif",
    "surround.mp4", "float64.mkv", "opus.mp4", "twoaudios.mkv", "twovideos.mkv", "noaudio.mkv", "cover.mp4", "single.mp4",
]  # fmt: skip
SOUNDS = ["base.mp4", "surround.mp4", "mono24.mov", "alac.mov", "twoaudios.mkv", "audioonly.m4a"]


def test_files_are_loaded_as_in_comfyui(tmp_path):
    write_clip(tmp_path / "narrow.mp4", Pictures(size=(72, 50), frames=10), Sound(seconds=0.4))
    made = {name: make_odd_file(name, tmp_path) for name in {*VIDEOS, *SOUNDS}} | {"narrow.mp4": tmp_path / "narrow.mp4"}
    wanted = [("video", name) for name in [*VIDEOS, "narrow.mp4"]] + [("part", "base.mp4"), ("part", "vfr.mkv")]
    wanted += [("audio", name) for name in SOUNDS] + [("image", name) for name in _images(tmp_path)]
    for (kind, name), theirs in zip(wanted, _load_in_comfyui(tmp_path, [(kind, str(tmp_path / name)) for kind, name in wanted])):
        _compare(f"{kind} {name}", kind, made.get(name, tmp_path / name), theirs)


def _compare(what: str, kind: str, path: Path, theirs) -> None:
    if kind in ("audio", "image"):
        ours = read_audio(path) if kind == "audio" else read_images(path)
        for one, other in zip(ours, theirs, strict=True):
            assert torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other, what
        return
    video = VideoFromFile(path, **({"start_time": 0.4, "duration": 0.8} if kind == "part" else {}))
    parts = video.get_components()
    assert torch.equal(parts.images, theirs["images"]), what
    facts = (str(parts.frame_rate), parts.metadata, video.get_dimensions(), video.get_bit_depth(), video.get_color_space())
    assert facts == tuple(theirs[name] for name in ("frame_rate", "metadata", "size", "bits", "colours")), what
    assert (parts.audio and parts.audio["sample_rate"]) == theirs["rate"], what
    assert parts.audio is None or torch.equal(parts.audio["waveform"], theirs["waveform"]), what


def _images(folder: Path) -> list[str]:
    pixels = (np.random.default_rng(0).random((50, 70, 4)) * 255).astype(np.uint8)
    names = ["rgb.png", "rgba.png", "a.jpg", "a.webp", "animation.webp", "animation.gif"]
    for name in names:
        image = Image.fromarray(pixels if name == "rgba.png" else pixels[..., :3])
        moved = [Image.fromarray(np.roll(pixels[..., :3], shift, 0)) for shift in (1, 2)]
        image.save(folder / name, **({"save_all": True, "append_images": moved} if "animation" in name else {}))
    return names


def _load_in_comfyui(folder: Path, wanted: list[tuple[str, str]]) -> list:
    python, script = os.environ.get("COMFYUI_PYTHON", "python"), Path(__file__).with_name("load_files.py")
    result = folder / "loaded.pt"
    command = [python, str(script), os.environ["COMFYUI_PATH"], json.dumps(wanted), str(result)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    if done.returncode:
        pytest.fail(done.stderr[-2000:])
    return torch.load(result)
