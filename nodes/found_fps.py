"""The frame rate of frames whose audio is known: that at which both have the same length."""

from __future__ import annotations

from collections.abc import Sized
from fractions import Fraction
from typing import Any

WHOLE = tuple(map(Fraction, (8, 10, 12, 15, 16, 20, 24, 25, 30, 48, 50, 60)))
BROADCAST = tuple(Fraction(1000 * rate, 1001) for rate in (24, 30, 60))
TOLERANCE = 0.06  # seconds: ComfyUI's decoders of LTX-2 and MiniMax-H3 leave 0.05 at most between the ends of video and audio


def find_fps(fps: float, images: Sized, audio: dict[str, Any] | None) -> tuple[float | Fraction, list[str]]:
    """Returns `fps`, or if it is 0 the usual frame rate at which a clip is as long as its audio, with a line that says so.

    images: the frames of one clip. Raises ValueError if there is no audio or no such rate.
    """
    if fps != 0:
        return fps, []
    if audio is None:
        raise ValueError("fps is 0, and there is no audio to find it from; set fps")
    seconds = audio["waveform"].shape[-1] / max(1, audio["sample_rate"])
    for rates in (WHOLE, BROADCAST):
        apart = {rate: abs(len(images) / rate - seconds) for rate in rates}
        fitting = sorted((rate for rate in rates if apart[rate] <= TOLERANCE), key=lambda rate: apart[rate])
        if fitting:
            others = f" ({' and '.join(f'{float(each):g}' for each in fitting[1:])} would fit too)" if fitting[1:] else ""
            return fitting[0], [f"fps: {float(fitting[0]):g}, found from the lengths of frames and audio{others}"]
    raise ValueError(f"fps is 0, and {len(images)} frames and {seconds:.2f} s of audio fit no usual frame rate; set fps")
