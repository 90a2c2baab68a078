"""A folder of videos as latents: what AVSync15, Landscape or Greatest Hits are on a disk (clips, no text)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from ..checkpoint import load_checkpoint, save_checkpoint, sub_tensors
from ..conditioning import StreamConditioner
from ..contract import Condition
from ..load_parts import load_codec
from ..media.fit import extend_frames, fit_frames, fit_sound
from ..media.read import read_video
from ..published.load_published import published_files
from ..published.loaded_expert import LoadedExpert
from ..shapes import AVShape
from .config import StageSetup
from .latents import LatentSet, encoder_key

VIDEOS = {".mp4", ".mkv", ".webm", ".mov", ".avi"}


@dataclass(frozen=True)
class Encoders:
    """What makes latents of a video: a codec for either modality, and `picture`, what a published expert is told of the first
    frame. `key` changes with whatever the latents depend on."""

    video: nn.Module
    audio: nn.Module
    key: str
    picture: StreamConditioner | None = None

    @classmethod
    def of_files(cls, video_codec: Path, audio_codec: Path) -> Encoders:
        key = " ".join(encoder_key(codec) for codec in (video_codec, audio_codec))
        return cls(load_codec(video_codec), load_codec(audio_codec), key)

    @classmethod
    def of_published(cls, video: LoadedExpert, audio: LoadedExpert, *paths: Path) -> Encoders:
        key = " ".join(_stamp(file) for path in paths for file in published_files(path))
        return cls(video.codec, audio.codec, key, video.conditioner)


def read_folder(setup: StageSetup, encoders: Encoders) -> LatentSet:
    """The latents that a config's [data] describes: `folder`, optionally `list`, and `cache`."""
    of, base = setup.config["data"], setup.base
    names = base / of["list"] if "list" in of else None
    return folder_latents(base / of["folder"], names, encoders, setup.settings["clip"], base / of["cache"], setup.on_clip)


def folder_latents(
    folder: Path,
    names: Path | None,
    encoders: Encoders,
    clip: dict[str, float],
    cache: Path,
    on_clip: Callable[[int, int], None] | None = None,
) -> LatentSet:
    """The videos under `folder`, cut into clips of `clip` {frames, height, width, fps}, one after another.

    names: a text file with one path a line, relative to `folder` (AVSync15's train.txt); all videos where None. A video
    without sound, or shorter than a clip, is left out. Encoded once and kept in `cache`. Raises FileNotFoundError or
    ValueError, in one line, where there is no folder, a named file is missing, or nothing is left.
    """
    files = list_videos(folder, names)
    shape = AVShape.of_frames(**clip, sample_rate=encoders.audio.sample_rate, channels=encoders.audio.channels)
    kept = cache / f"folder_{_key(files, clip, encoders.key)}.safetensors"
    if not kept.exists():
        save_checkpoint(kept, _encode(files, encoders, shape, on_clip), {"kind": "latents"})
    tensors, _ = load_checkpoint(kept)
    return LatentSet(tensors["video"], tensors["audio"], [], [], pictures=_condition(sub_tensors(tensors, "picture")))


def list_videos(folder: Path, names: Path | None = None) -> list[Path]:
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}; give one that holds videos")
    if names is None:
        files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in VIDEOS)
    else:
        files = [folder / line.strip() for line in names.read_text().splitlines() if line.strip()]
    for path in files:
        if not path.is_file():
            raise FileNotFoundError(f"{names} names {path}, which is not there; mend the list")
    if not files:
        raise ValueError(f"{folder} holds no videos ({', '.join(sorted(VIDEOS))})")
    return files


def cut(path: Path, shape: AVShape) -> Iterator[tuple[Tensor, Tensor]]:
    """Frames [F, height, width, 3] and sound [channels, samples] of each whole clip of a video, in order."""
    video = read_video(path)
    if video.audio is None:
        return
    seconds = shape.video.seconds
    for number in range(int(len(video.frames) / video.fps / seconds + 1e-6)):
        first, last = (round(edge * seconds * video.fps) for edge in (number, number + 1))
        begin, end = (round(edge * seconds * video.sample_rate) for edge in (number, number + 1))
        sound = video.audio[:2, begin:end]
        if sound.shape[1]:
            yield fit_frames(video.frames[first:last], video.fps, shape.video), fit_sound(sound, video.sample_rate, shape.audio)


@torch.no_grad()
def _encode(files: list[Path], encoders: Encoders, shape: AVShape, on_clip) -> dict[str, Tensor]:
    full = encoders.video.stride.representable(shape.video)
    clips: list[dict[str, Tensor]] = []
    for number, path in enumerate(files):
        for frames, sound in cut(path, shape):
            made = {"video": encoders.video.encode(extend_frames(frames, full)[None]), "audio": encoders.audio.encode(sound[None])}
            clips.append({name: latent.half() for name, latent in (made | _told(encoders, frames[:1], shape)).items()})
        if on_clip:
            on_clip(number + 1, len(files))
    if not clips:
        raise ValueError(f"none of the {len(files)} videos has sound and is {shape.video.seconds:g} s long; give others")
    return {name: torch.cat([clip[name] for clip in clips]) for name in clips[0]}


def _told(encoders: Encoders, first: Tensor, shape: AVShape) -> dict[str, Tensor]:
    """What a published expert is told of a clip's first frame, by the names of `Condition`."""
    if encoders.picture is None:
        return {}
    cond = encoders.picture.condition("", first, shape)
    return {f"picture.{name}": getattr(cond, name) for name in ("tokens", "vector", "image")}


def _condition(told: dict[str, Tensor]) -> Condition | None:
    return Condition(mask=torch.ones(told["tokens"].shape[:2], dtype=torch.bool), **told) if told else None


def _key(files: list[Path], clip: dict[str, float], encoders: str) -> str:
    """Changes with the files, the clip's size and the codecs' encoders."""
    said = [*map(_stamp, files), str(sorted(clip.items())), encoders]
    return hashlib.sha256("\n".join(said).encode()).hexdigest()[:16]


def _stamp(path: Path) -> str:
    return f"{path.resolve()} {path.stat().st_size} {path.stat().st_mtime_ns}"
