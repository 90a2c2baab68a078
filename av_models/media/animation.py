"""Write animated images: GIF through FFmpeg, which chooses one palette for all frames, and WebP through Pillow."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.filter import Graph
from av.video.stream import VideoStream
from PIL import Image

from ..atomic import explain_write_errors

GIF_SECOND = 100  # a GIF counts time in hundredths of a second
GIF_SHORTEST = 2  # players show frames that are shorter than this for longer
WEBP_SECOND = 1000
LARGEST = {"gif": 65535, "webp": 16383}  # pixels in either direction
_SAMPLED = 128  # width and height in pixels: from all of them, choosing a palette takes a second a frame
_EXIF_MAKE, _EXIF_MODEL = 0x010F, 0x0110

Written = tuple[tuple[int, int], int, list[str]]
"""Width and height, number of frames, and notes for the report."""


def write_gif(part: Path, path: Path, frames: Iterator[np.ndarray], fps: Fraction, has_tags: bool) -> Written:
    """Write frames [H, W, 3] to `part` as a GIF that loops for ever. path: its final name, for messages."""
    first = next(frames)
    height, width, _ = first.shape
    _check_size("gif", width, height)
    delay = max(GIF_SECOND / fps, Fraction(GIF_SHORTEST))
    graph = _palette_graph(width, height)
    count = 0
    graph.push(_gif_frame(first, 0))
    for count, each in enumerate(frames, start=1):
        graph.push(_gif_frame(each, count))
    graph.push(None)
    times = [round(index * delay) for index in range(count + 2)]
    options = {"loop": "0", "final_delay": f"{times[-1] - times[-2]}"}
    with explain_write_errors(path), av.open(str(part), "w", format="gif", options=options) as container:
        stream = container.add_stream("gif", rate=GIF_SECOND)
        assert isinstance(stream, VideoStream)
        stream.width, stream.height, stream.pix_fmt = width, height, "pal8"
        for index in range(count + 1):
            frame = graph.pull()
            assert isinstance(frame, av.VideoFrame)
            frame.time_base = Fraction(1, GIF_SECOND)
            frame.pts, frame.duration = times[index], times[index + 1] - times[index]
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    notes = ["gif keeps no workflow"] if has_tags else []
    if delay > GIF_SECOND / fps:
        notes.append(f"gif shows at most {GIF_SECOND // GIF_SHORTEST} frames per second, so it plays slower")
    return (width, height), count + 1, notes


def write_webp(
    part: Path, path: Path, frames: Iterator[np.ndarray], fps: Fraction, crf: float, metadata: Mapping[str, str]
) -> Written:
    """Write frames [H, W, 3 or 4] to `part` as an animated WebP that loops for ever. crf: 0 is lossless, 63 the smallest file."""
    images = [Image.fromarray(each) for each in frames]
    width, height = images[0].size
    _check_size("webp", width, height)
    times = [round(index * WEBP_SECOND / fps) for index in range(len(images) + 1)]
    with explain_write_errors(path):
        images[0].save(
            part,
            format="WEBP",
            save_all=True,
            append_images=images[1:],
            duration=[max(1, end - start) for start, end in zip(times, times[1:])],
            loop=0,
            lossless=crf == 0,
            quality=round(100 * (1 - crf / 63)) if crf else 100,
            exif=_exif(metadata),
        )
    return (width, height), len(images), []


def _check_size(container: str, width: int, height: int) -> None:
    if max(width, height) > LARGEST[container]:
        raise ValueError(
            f"frames are {width}×{height}, and {container} takes at most {LARGEST[container]} pixels in a direction; choose mp4"
        )


def _palette_graph(width: int, height: int) -> Graph:
    """Return a filter that keeps all frames, chooses the palette of 256 colours that fits them, and dithers each frame to it."""
    graph = Graph()
    source = graph.add("buffer", f"video_size={width}x{height}:pix_fmt=rgb24:time_base=1/{GIF_SECOND}:pixel_aspect=1/1")
    split, palette = graph.add("split"), graph.add("palettegen", "reserve_transparent=0")
    sample = graph.add("scale", f"{min(width, _SAMPLED)}:{min(height, _SAMPLED)}:flags=neighbor")
    use, sink = graph.add("paletteuse", "dither=sierra2_4a"), graph.add("buffersink")
    source.link_to(split)
    split.link_to(use, 0, 0)
    split.link_to(sample, 1, 0)
    sample.link_to(palette)
    palette.link_to(use, 0, 1)
    use.link_to(sink)
    graph.configure()
    return graph


def _gif_frame(pixels: np.ndarray, index: int) -> av.VideoFrame:
    frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
    frame.pts = index
    return frame


def _exif(metadata: Mapping[str, str]) -> bytes:
    """Return tags as ComfyUI keeps them in WebP: `prompt` as the camera's model, others from its make downwards."""
    exif, tag = Image.Exif(), _EXIF_MAKE
    for key, value in metadata.items():
        if key == "prompt":
            exif[_EXIF_MODEL] = f"prompt:{value}".encode()
        else:
            exif[tag] = f"{key}:{value}".encode()
            tag -= 1
    return exif.tobytes() if metadata else b""
