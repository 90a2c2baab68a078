"""Latents of a folder of videos without captions, such as AVSync15, Landscape or Greatest Hits."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from ..checkpoint import load_checkpoint, save_checkpoint, sub_tensors
from ..codecs.base import AudioCodec, VideoCodec
from ..conditioning import StreamConditioner
from ..contract import Condition
from ..load_parts import load_codec
from ..media.fit import extend_frames, fit_frames, fit_waveform
from ..media.read import read_video
from ..published.load_published import published_files
from ..published.loaded_expert import LoadedExpert
from ..shapes import AVShape
from .config import StageSetup
from .latents import LatentSet, encoder_key

VIDEOS = {".mp4", ".mkv", ".webm", ".mov", ".avi"}


@dataclass(frozen=True)
class Encoders:
    """The codecs that encode videos.

    key: changes with everything that the latents depend on. picture: the conditioner of a published video expert, which
    encodes a first frame.
    """

    video: VideoCodec
    audio: AudioCodec
    key: str
    picture: StreamConditioner | None = None

    @classmethod
    def from_files(cls, video_codec: Path, audio_codec: Path) -> Encoders:
        key = " ".join(encoder_key(codec) for codec in (video_codec, audio_codec))
        return cls(cast(VideoCodec, load_codec(video_codec)), cast(AudioCodec, load_codec(audio_codec)), key)

    @classmethod
    def from_experts(cls, video: LoadedExpert, audio: LoadedExpert, *paths: Path) -> Encoders:
        key = " ".join(_file_signature(file) for path in paths for file in published_files(path))
        return cls(cast(VideoCodec, video.codec), cast(AudioCodec, audio.codec), key, video.conditioner)


def read_folder(setup: StageSetup, encoders: Encoders) -> LatentSet:
    """Return the latents that a config's [data] describes: `folder`, optionally `list`, and `cache`."""
    of, base = setup.config["data"], setup.base
    names = base / of["list"] if "list" in of else None
    return load_folder_latents(base / of["folder"], names, encoders, setup.settings["clip"], base / of["cache"], setup.on_clip)


def load_folder_latents(
    folder: Path,
    names: Path | None,
    encoders: Encoders,
    clip: dict[str, Any],
    cache: Path,
    on_clip: Callable[[int, int], None] | None = None,
) -> LatentSet:
    """Encode the videos under `folder`, cut into consecutive clips of `clip` {frames, height, width, fps}.

    names: a text file with one path per line, relative to `folder` (AVSync15's train.txt); None for all videos.
    cache: a folder; clips are encoded once and then read from a file in it.
    on_clip(done, total): called after each video.
    A video without audio, or shorter than a clip, is left out. Raises FileNotFoundError or ValueError, in one line, if the
    folder or a listed file is missing, or if no clip is left.
    """
    files = list_videos(folder, names)
    shape = AVShape.of_frames(**clip, sample_rate=encoders.audio.sample_rate, channels=encoders.audio.channels)
    cached = cache / f"folder_{_cache_key(files, clip, encoders.key)}.safetensors"
    if not cached.exists():
        save_checkpoint(cached, _encode(files, encoders, shape, on_clip), {"kind": "latents"})
    tensors, _ = load_checkpoint(cached)
    return LatentSet(tensors["video"], tensors["audio"], [], [], pictures=_picture_condition(sub_tensors(tensors, "picture")))


def list_videos(folder: Path, names: Path | None = None) -> list[Path]:
    """Return the videos under `folder`, or those that the text file `names` lists. Raises as `load_folder_latents`."""
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}; use a folder with videos")
    if names is None:
        files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in VIDEOS and path.is_file())
    else:
        files = [folder / line.strip() for line in _read_lines(names) if line.strip()]
    for path in files:
        if not path.is_file():
            raise FileNotFoundError(f"{names} lists {path}, which does not exist; correct the list")
    if not files:
        raise ValueError(f"{folder} has no videos ({', '.join(sorted(VIDEOS))}); use a folder with videos")
    return files


def _read_lines(names: Path) -> list[str]:
    if not names.is_file():
        raise FileNotFoundError(f"there is no list {names}; give a text file with one path per line, or leave data.list out")
    try:
        return names.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{names} is not text in UTF-8; save it as UTF-8") from error


def cut_clips(path: Path, shape: AVShape) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield frames [F, height, width, 3] and waveform [channels, samples] of each complete clip of a video, in order."""
    video = read_video(path)
    if video.audio is None:
        return
    assert video.sample_rate is not None
    seconds = shape.video.seconds
    for number in range(int(len(video.frames) / video.fps / seconds + 1e-6)):
        first, last = (round(edge * seconds * video.fps) for edge in (number, number + 1))
        begin, end = (round(edge * seconds * video.sample_rate) for edge in (number, number + 1))
        waveform = video.audio[:2, begin:end]
        if waveform.shape[1]:
            frames = fit_frames(video.frames[first:last], video.fps, shape.video)
            yield frames, fit_waveform(waveform, video.sample_rate, shape.audio)


@torch.no_grad()
def _encode(files: list[Path], encoders: Encoders, shape: AVShape, on_clip: Callable[[int, int], None] | None) -> dict[str, Tensor]:
    full = encoders.video.stride.representable(shape.video)
    clips: list[dict[str, Tensor]] = []
    for number, path in enumerate(files):
        for frames, waveform in cut_clips(path, shape):
            clip = {
                "video": encoders.video.encode(extend_frames(frames, full)[None]),
                "audio": encoders.audio.encode(waveform[None]),
            } | _encode_picture(encoders, frames[:1], shape)
            clips.append({name: latent.half() for name, latent in clip.items()})
        if on_clip:
            on_clip(number + 1, len(files))
    if not clips:
        raise ValueError(f"none of the {len(files)} videos has audio and is {shape.video.seconds:g} s long; use other videos")
    return {name: torch.cat([clip[name] for clip in clips]) for name in clips[0]}


def _encode_picture(encoders: Encoders, first: Tensor, shape: AVShape) -> dict[str, Tensor]:
    """Return a published expert's condition for a clip's first frame [1, height, width, 3], by the names of `Condition`."""
    if encoders.picture is None:
        return {}
    cond = encoders.picture.condition("", first, shape)
    return {f"picture.{name}": getattr(cond, name) for name in ("tokens", "vector", "image")}


def _picture_condition(tensors: dict[str, Tensor]) -> Condition | None:
    if not tensors:
        return None
    mask = torch.ones(tensors["tokens"].shape[:2], dtype=torch.bool)
    return Condition(tensors["tokens"], mask, tensors["vector"], tensors["image"])


def _cache_key(files: list[Path], clip: dict[str, Any], encoders: str) -> str:
    """Return a hash of the files, the clips' size and the codecs."""
    parts = [*map(_file_signature, files), str(sorted(clip.items())), encoders]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def _file_signature(path: Path) -> str:
    return f"{path.resolve()} {path.stat().st_size} {path.stat().st_mtime_ns}"
