"""What a video file shows, read with PyAV alone and without Duet's reader: the reference that Duet is compared with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.audio.resampler import AudioResampler
from av.stream import Disposition

from .make_clip import CORNER, number_level
from .odd_files import Right

LEVEL, RATE = 12, 0.06  # how much a lossy codec may change a brightness, and the last duration a mean frame rate
TINY = 32  # pixels: too small to recognise after lossy coding


@dataclass(frozen=True)
class Shown:
    """frames: how many pictures are decoded and not hidden. size: width and height, upright. first: the first picture, upright.

    seconds: time of the last picture after the first. click: of the loudest moment of the audio after the first picture, and
    end: of the last sample; both None without audio. tag: the name of the codec in the file. digest: of all pictures as decoded.
    """

    frames: int
    size: tuple[int, int]
    first: np.ndarray
    seconds: float
    click: float | None
    end: float | None
    channels: int
    tag: str = ""
    digest: str = ""


def look(path: Path) -> Shown:
    """Decodes a file with a video stream. Raises the errors of PyAV, and ValueError when nothing is shown."""
    with av.open(str(path)) as container:
        video = next(each for each in container.streams.video if not each.disposition & Disposition.attached_pic)
        audio = next(iter(container.streams.audio), None)
        times, first, sounds, digest = [], None, [], sha256()
        for frame in _decoded(container, [each for each in (video, audio) if each]):
            if isinstance(frame, av.AudioFrame):
                sounds.append(frame)
                continue
            first = upright(frame) if first is None else first
            digest.update(frame.to_ndarray(format="rgba").tobytes())
            times.append(float(frame.pts * frame.time_base) if frame.pts is not None else len(times) / 25)
        if first is None:
            raise ValueError("no picture is shown")
        click, end = _heard(sounds, times[0])
        size, tag = (first.shape[1], first.shape[0]), video.codec_context.codec_tag
        channels = sounds[0].layout.nb_channels if sounds else 0
        return Shown(len(times), size, first, times[-1] - times[0], click, end, channels, tag, digest.hexdigest())


def differences(shown: Shown, right: Right) -> list[str]:
    """Returns in what a file differs from what is right, as `what is, not what should be`."""
    fps = (shown.frames - 1) / shown.seconds if shown.seconds else right.fps
    heard = (shown.channels if shown.click is not None else 0, right.channels if right.click is not None else 0)
    found = [
        (shown.frames != right.frames, f"{shown.frames} pictures, not {right.frames}"),
        (shown.size != right.size, f"size {shown.size}, not {right.size}"),
        (abs(fps / right.fps - 1) > RATE, f"{fps:.2f} fps, not {right.fps}"),
        (min(right.size) >= TINY and not is_upright(shown.first), "not upright"),
        (
            right.of and not _is_number(shown.first, right),
            f"picture {picture_number(shown.first, right.of)} first, not {right.first}",
        ),
        (heard[0] != heard[1], f"{heard[0]} audio channels, not {heard[1]}"),
    ]
    if shown.click is not None and right.click is not None:
        found.append((abs(shown.click - right.click) > right.slack, f"click at {shown.click:.3f} s, not {right.click:.3f} s"))
    return [text for wrong, text in found if wrong]


def _is_number(picture: np.ndarray, right: Right) -> bool:
    return abs(picture_number(picture, right.of) - right.first) <= right.of // 60  # levels of long clips are close together


def upright(frame: av.VideoFrame) -> np.ndarray:
    """Returns a decoded picture as a player shows it, uint8 [height, width, 3]."""
    return np.rot90(frame.to_ndarray(format="rgb24"), k=round(frame.rotation / 90))


def click_time(wave: np.ndarray, rate: int) -> float:
    """Returns the seconds to the first sample that is half as loud as the loudest. wave: [channels, samples]."""
    level = np.abs(wave).max(axis=0)
    return float(np.argmax(level > level.max() / 2)) / rate


def is_upright(picture: np.ndarray) -> bool:
    """Whether the bright quarter of a picture of `make_clip` is the upper left one."""
    height, width = picture.shape[0] // 2, picture.shape[1] // 2
    patch = picture[height // 4 : height // 2, width // 2 : width]
    return abs(float(patch.mean()) - CORNER) < LEVEL


def picture_number(picture: np.ndarray, of: int) -> int:
    """Returns the number that a picture of `make_clip` shows."""
    height, width = picture.shape[0] // 2, picture.shape[1] // 2
    level = float(picture[-height // 2 :, -width // 2 :].mean())
    return min(range(max(of, 1)), key=lambda number: abs(number_level(number, of) - level))


def _decoded(container: Any, streams: list[Any]) -> Iterator[Any]:
    for packet in container.demux(streams):
        yield from packet.decode()


def _heard(frames: list[av.AudioFrame], begin: float) -> tuple[float | None, float | None]:
    if not frames:
        return None, None
    parts, rate = [], frames[0].sample_rate
    for frame in frames:
        # Interleaved: arrays of planar frames hold at most 8 channels.
        resampler = AudioResampler(format="s16", layout=frame.layout, rate=frame.sample_rate)
        flat = np.concatenate([part.to_ndarray()[0] for part in resampler.resample(frame)])
        mono = np.abs(flat.reshape(-1, frame.layout.nb_channels).astype(float)).max(axis=1)
        parts.append(np.interp(np.arange(0, len(mono), frame.sample_rate / rate), np.arange(len(mono)), mono))
    start = float((frames[0].pts or 0) * frames[0].time_base) - begin
    wave = np.concatenate(parts)[None]
    audible = wave[:, max(0, round(-start * rate)) :]
    return max(start, 0.0) + click_time(audible, rate) if audible.size else None, start + wave.shape[1] / rate
