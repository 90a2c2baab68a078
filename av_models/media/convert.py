"""Convert RGB frames to the pixel format of an encoder: rounded, so that reading and writing again does not change colours."""

from __future__ import annotations

from typing import Any

import av
import numpy as np
from av.filter import Graph
from av.video.reformatter import ColorPrimaries, ColorRange, Colorspace, ColorTrc

# Without these flags, swscale truncates, and takes the colour of every second pixel alone.
EXACT = "bicubic+accurate_rnd+full_chroma_int+full_chroma_inp+bitexact"
_RGB = 0  # FFmpeg's number for a frame that is not YUV
WHITE_16 = 255 * 256  # swscale takes 16-bit RGB for 8-bit RGB times 256


class Converter:
    """Converts frames of one size.

    given: the format of the arrays (rgb24, rgba, rgb48le or rgba64le). wanted: the result's.
    chroma: where the colour samples of the result lie, as FFmpeg calls it; "" for the centre of the pixels.
    """

    def __init__(self, width: int, height: int, given: str, wanted: str, chroma: str = "") -> None:
        self.given, self.is_yuv = given, wanted.startswith("yuv")
        colors = ":out_color_matrix=bt709:out_range=tv" if self.is_yuv else ""
        colors += f":out_chroma_loc={chroma}" if chroma else ""
        source = f"video_size={width}x{height}:pix_fmt={given}:time_base=1/1:pixel_aspect=1/1:colorspace=gbr:range=pc"
        self.graph = Graph()
        self.graph.link_nodes(
            self.graph.add("buffer", source),
            self.graph.add("scale", f"flags={EXACT}{colors}"),
            self.graph.add("format", wanted),
            self.graph.add("buffersink"),
        ).configure()

    def __call__(self, pixels: np.ndarray) -> av.VideoFrame:
        """Convert [H, W, C]. The caller sets the frame's timestamp."""
        frame = av.VideoFrame.from_ndarray(pixels, format=self.given)
        frame.pts, frame.colorspace, frame.color_range = 0, _RGB, ColorRange.JPEG
        self.graph.push(frame)
        converted = self.graph.pull()
        assert isinstance(converted, av.VideoFrame)
        if self.is_yuv:
            tag_colors(converted)
        return converted


def tag_colors(target: Any) -> None:
    """Mark sRGB frames as BT.709 with limited range, as players assume for HD video."""
    target.color_primaries = ColorPrimaries.BT709
    target.color_trc = ColorTrc.IEC61966_2_1
    target.colorspace = Colorspace.ITU709
    target.color_range = ColorRange.MPEG
