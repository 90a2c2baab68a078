"""A folder of videos as latents: what AVSync15, Landscape or Greatest Hits are on a disk (clips, no text)."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from ..checkpoint import load_checkpoint, save_checkpoint
from ..loading import load_codec
from ..media.fit import extend_frames, fit_frames, fit_sound
from ..media.read import read_video
from ..shapes import AVShape
from .latents import LatentSet, encoder_key

VIDEOS = {".mp4", ".mkv", ".webm", ".mov", ".avi"}


def folder_latents(
    folder: Path,
    names: Path | None,
    video_codec: Path,
    audio_codec: Path,
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
    codecs = load_codec(video_codec), load_codec(audio_codec)
    shape = AVShape.of_frames(**clip, sample_rate=codecs[1].sample_rate, channels=codecs[1].channels)
    kept = cache / f"folder_{_key(files, clip, video_codec, audio_codec)}.safetensors"
    if not kept.exists():
        save_checkpoint(kept, _encode(files, codecs, shape, on_clip), {"kind": "latents"})
    tensors, _ = load_checkpoint(kept)
    return LatentSet(tensors["video"], tensors["audio"], [], [], None)


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
def _encode(files: list[Path], codecs, shape: AVShape, on_clip) -> dict[str, Tensor]:
    video_codec, audio_codec = codecs
    full = video_codec.stride.representable(shape.video)
    pictures, sounds = [], []
    for number, path in enumerate(files):
        for frames, sound in cut(path, shape):
            pictures.append(video_codec.encode(extend_frames(frames, full)[None]).half())
            sounds.append(audio_codec.encode(sound[None]).half())
        if on_clip:
            on_clip(number + 1, len(files))
    if not pictures:
        raise ValueError(f"none of the {len(files)} videos has sound and is {shape.video.seconds:g} s long; give others")
    return {"video": torch.cat(pictures), "audio": torch.cat(sounds)}


def _key(files: list[Path], clip: dict[str, float], *codecs: Path) -> str:
    """Changes with the files, the clip's size and the codecs' encoders."""
    stamps = [f"{path.resolve()} {path.stat().st_size} {path.stat().st_mtime_ns}" for path in files]
    said = [*stamps, str(sorted(clip.items())), *(encoder_key(codec) for codec in codecs)]
    return hashlib.sha256("\n".join(said).encode()).hexdigest()[:16]
