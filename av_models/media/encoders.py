"""The video encoders: what they are called, and their options for a quality and a size."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import av

MIN_H265_WIDTH = 64  # pixels: x265 writes out of bounds for narrower frames
SHORT_SIDE, LONG_SIDE = 28, 64  # pixels: SVT-AV1 hangs on frames that are below the first one way and above the second the other
WORST_CRF = 63


@dataclass(frozen=True)
class VideoEncoder:
    """A video codec.

    names: its FFmpeg encoders, in order of preference. options: their options.
    crf: the default quality; None if the codec has no choice of quality. worst_crf: the largest allowed value.
    lossless: options for crf 0, where the crf alone is not lossless.
    pixels, alpha_pixels: the pixel format that is encoded, and that for frames with alpha; "" if alpha is dropped.
    """

    names: tuple[str, ...]
    crf: int | None
    worst_crf: int = WORST_CRF
    options: Mapping[str, str] = field(default_factory=dict)
    lossless: Mapping[str, str] = field(default_factory=dict)
    pixels: str = "yuv420p"
    alpha_pixels: str = ""

    @property
    def bits(self) -> int:
        """Bits per channel."""
        return 10 if "10" in self.pixels else 8

    @property
    def needs_even_size(self) -> bool:
        """Whether odd sizes are padded to even ones."""
        return self.pixels.startswith("yuv")


# threads: the same on every machine, because the files of x264 and libvpx depend on their number.
# mbtree reads uninitialised memory when the width is not a multiple of 128: files would differ between runs.
_X264 = {"preset": "veryfast", "mbtree": "0", "threads": "8"}
_X265 = {"preset": "fast", "x265-params": "log-level=none"}
_X265_LOSSLESS = {"x265-params": "log-level=none:lossless=1"}
_VPX = {"b": "0", "deadline": "good", "cpu-used": "4", "row-mt": "1", "threads": "8"}
_SVT_LOSSLESS = {"svtav1-params": "lossless=1"}  # SVT-AV1 takes crf 0 for the default

VIDEO_CODECS = {
    "h264": VideoEncoder(("libx264",), 19, 51, _X264),
    "h265": VideoEncoder(("libx265",), 23, 51, _X265, _X265_LOSSLESS),
    "vp9": VideoEncoder(("libvpx-vp9",), 28, 63, _VPX),
    "av1": VideoEncoder(("libsvtav1", "libaom-av1"), 28, 63, {}, _SVT_LOSSLESS),
    "h265 10-bit": VideoEncoder(("libx265",), 23, 51, _X265, _X265_LOSSLESS, "yuv420p10le"),
    "av1 10-bit": VideoEncoder(("libsvtav1", "libaom-av1"), 28, 63, {}, _SVT_LOSSLESS, "yuv420p10le"),
    # The profile is that of the pixel format: 422 HQ, or 4444 with alpha. apl0: what Apple's editors look for.
    "prores": VideoEncoder(("prores_ks",), None, options={"vendor": "apl0"}, pixels="yuv422p10le", alpha_pixels="yuva444p10le"),
    "ffv1": VideoEncoder(("ffv1",), None, options={"level": "3", "g": "1"}, pixels="bgr0", alpha_pixels="bgra"),
}


def find_encoder(codec: str) -> str:
    """Return the name of the first encoder of `codec` that this build of FFmpeg has. Raises ValueError when it has none."""
    for name in VIDEO_CODECS[codec].names:
        if name in av.codecs_available:
            return name
    encoders = " or ".join(VIDEO_CODECS[codec].names)
    raise ValueError(f"video codec is {codec}, but this build of PyAV has no {encoders}; choose another codec")


def encoder_options(codec: str, name: str, quality: float | None, size: tuple[int, int]) -> dict[str, str]:
    """Return the options of the encoder `name` for a quality (crf) and a size (width, height) in pixels.

    Raises ValueError for a size that the encoder does not take.
    """
    options = dict(VIDEO_CODECS[codec].options)
    if quality is not None:
        options["crf"] = f"{max(quality, 1) if quality and name == 'libsvtav1' else quality:g}"
    if quality == 0:
        options |= VIDEO_CODECS[codec].lossless
    if name == "libx265":
        if size[0] < MIN_H265_WIDTH:
            raise ValueError(f"frames are {size[0]}×{size[1]}, and h265 needs a width of at least {MIN_H265_WIDTH}; choose h264")
        if max(size) <= 64:
            options["x265-params"] += ":ctu=32"  # a frame within one coding unit encodes differently in every run
    if name == "libsvtav1" and min(size) < SHORT_SIDE and max(size) > LONG_SIDE:
        raise ValueError(
            f"frames are {size[0]}×{size[1]}, and av1 needs at least {SHORT_SIDE} pixels each way; choose another codec"
        )
    if name == "prores_ks":
        options["profile"] = "hq"
    return options


def chroma_location(codec: str, container: str) -> str:
    """Return where decoders take the colour samples to be, as FFmpeg calls it; "" for the centre of the pixels.

    Colours would move by a part of a pixel each time a file is written and read, if they were sampled elsewhere.
    """
    unmarked = codec in ("prores", "ffv1") or (codec, container) == ("vp9", "mp4")
    return "" if unmarked else "left"
