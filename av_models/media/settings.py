"""What a file can be (`MuxSettings`) and what was written (`MuxReport`)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

import av

Container = Literal["mp4", "mkv", "webm"]
VideoCodec = Literal["h264", "h265", "vp9", "av1"]
AudioCodec = Literal["aac", "opus"]
Policy = Literal["trim", "pad", "fade"]


@dataclass(frozen=True)
class ContainerSpec:
    """A container's FFmpeg name and the codecs that it can hold."""

    muxer: str
    video: tuple[str, ...]
    audio: tuple[str, ...]


@dataclass(frozen=True)
class VideoEncoder:
    """FFmpeg encoders of a codec, best first; `crf`: the default; `options`: what else they are given."""

    names: tuple[str, ...]
    crf: int
    worst_crf: int
    options: Mapping[str, str]


CONTAINERS = {
    "mp4": ContainerSpec("mp4", ("h264", "h265", "vp9", "av1"), ("aac", "opus")),
    "mkv": ContainerSpec("matroska", ("h264", "h265", "vp9", "av1"), ("aac", "opus")),
    "webm": ContainerSpec("webm", ("vp9", "av1"), ("opus",)),
}
VIDEO_CODECS = {
    # mbtree reads memory that was never written wherever the width is no multiple of 128: no two files alike.
    "h264": VideoEncoder(("libx264",), 19, 51, {"preset": "veryfast", "mbtree": "0"}),
    "h265": VideoEncoder(("libx265",), 23, 51, {"preset": "fast", "x265-params": "log-level=none"}),
    "vp9": VideoEncoder(("libvpx-vp9",), 28, 63, {"b": "0", "deadline": "good", "cpu-used": "4", "row-mt": "1"}),
    "av1": VideoEncoder(("libsvtav1", "libaom-av1"), 28, 63, {}),
}
AUDIO_CODECS = {"aac": "aac", "opus": "libopus"}
POLICIES = ("trim", "pad", "fade")
_TIMESCALE = 96_000
# Metadata that FFmpeg itself writes or reports.
RESERVED_KEYS = {"major_brand", "minor_version", "compatible_brands", "encoder", "duration", "creation_time"}


@dataclass(frozen=True)
class MuxSettings:
    """How a file is encoded.

    `crf`: quality, lower is better and larger; None takes the codec's default (h264 19, h265 23, vp9 and av1 28).
    `audio_bitrate`: bits per second. `policy` says what happens to sound that is not as long as the pictures
    (the pictures are never touched):

    policy | sound too long                  | sound too short
    trim   | cut after the last picture      | left as it is: the sound ends early
    pad    | cut after the last picture      | silence is added up to the last picture
    fade   | cut, the last 20 ms faded out   | silence is added up to the last picture
    """

    container: Container = "mp4"
    video_codec: VideoCodec = "h264"
    crf: float | None = None
    audio_codec: AudioCodec = "aac"
    audio_bitrate: int = 192_000
    policy: Policy = "fade"

    def __post_init__(self) -> None:
        _check_choice("container", self.container, CONTAINERS)
        _check_choice("video codec", self.video_codec, VIDEO_CODECS)
        _check_choice("audio codec", self.audio_codec, AUDIO_CODECS)
        _check_choice("policy", self.policy, POLICIES)
        _check_codec(self.container, "video", self.video_codec)
        _check_codec(self.container, "audio", self.audio_codec)
        worst = VIDEO_CODECS[self.video_codec].worst_crf
        if self.crf is not None and not 0 <= self.crf <= worst:
            raise ValueError(f"crf is {self.crf}; {self.video_codec} takes 0 (best) to {worst} (smallest)")
        if not 8_000 <= self.audio_bitrate <= 512_000:
            raise ValueError(f"audio bitrate is {self.audio_bitrate}; give 8000 to 512000 bits per second")

    @property
    def quality(self) -> float:
        return VIDEO_CODECS[self.video_codec].crf if self.crf is None else self.crf


@dataclass(frozen=True)
class MuxReport:
    """What was written.

    `width`, `height`: as encoded, with `padded_right` and `padded_bottom` pixels that repeat the last column and
    row to make odd sizes even. `audio_samples` are counted at `audio_sample_rate`; the other audio counts are per
    channel at the rate of the sound given, which is `audio_resampled_from` where the codec could not take it.
    `audio_missing_samples`: how much earlier than the pictures the sound ends (policy `trim` only).
    `audio_clipped_samples`: values outside −1..1, over all channels, that were clipped.
    """

    path: Path
    frames: int
    fps: Fraction
    width: int
    height: int
    padded_right: int
    padded_bottom: int
    video_encoder: str
    bytes: int
    audio_encoder: str | None = None
    audio_channels: int = 0
    audio_sample_rate: int | None = None
    audio_bitrate: int | None = None
    audio_samples: int = 0
    audio_resampled_from: int | None = None
    audio_trimmed_samples: int = 0
    audio_faded_samples: int = 0
    audio_padded_samples: int = 0
    audio_missing_samples: int = 0
    audio_clipped_samples: int = 0

    @property
    def seconds(self) -> float:
        return float(self.frames / self.fps)

    def summary(self) -> str:
        """One line for people: the file, the pictures, and everything that was changed."""
        size = f"{self.width}×{self.height}"
        parts = [f"{self.path.name}: {self.frames} frames of {size} at {float(self.fps):g} fps"]
        if self.padded_right or self.padded_bottom:
            parts.append(f"{self.padded_right} column and {self.padded_bottom} row repeated to make the size even")
        parts += self._audio_notes() if self.audio_encoder else ["no sound"]
        return "; ".join(parts)

    def _audio_notes(self) -> list[str]:
        notes = [f"{self.audio_samples} samples of sound at {self.audio_sample_rate} Hz"]
        if self.audio_resampled_from:
            notes.append(f"resampled from {self.audio_resampled_from} Hz")
        for what in ("trimmed", "faded", "padded", "missing", "clipped"):
            count = getattr(self, f"audio_{what}_samples")
            if count:
                notes.append(f"{count} samples {what}")
        return notes


def muxer_options(container: Container) -> dict[str, str]:
    """Interleaved however far an encoder looks ahead; no random ids or dates in the file."""
    options = {"max_interleave_delta": "0", "fflags": "+bitexact"}
    if container == "mp4":
        # The edit list that hides the encoder's priming counts in this unit: fine enough for one sample.
        options |= {"movflags": "use_metadata_tags+faststart", "movie_timescale": str(_TIMESCALE)}
    return options


def find_encoder(codec: str) -> str:
    """The name of the first encoder of `codec` in this build of FFmpeg."""
    for name in VIDEO_CODECS[codec].names:
        if name in av.codecs_available:
            return name
    wanted = " or ".join(VIDEO_CODECS[codec].names)
    raise ValueError(f"this build of PyAV has no {wanted}, so it cannot write {codec}; choose another codec")


def validate_fps(fps: float | Fraction) -> Fraction:
    """`fps` as a fraction. Raises ValueError unless it is above 0 and at most 1000."""
    if not (math.isfinite(fps) and 0 < fps <= 1000 and (exact := Fraction(fps).limit_denominator(100_000))):
        raise ValueError(f"fps is {fps}; give a number above 0, at most 1000")
    return exact


def _check_choice(what: str, value: object, known) -> None:
    if value not in known:
        raise ValueError(f"{what} is {value!r}; choose one of {', '.join(known)}")


def _check_codec(container: str, kind: str, codec: str) -> None:
    can = getattr(CONTAINERS[container], kind)
    if codec not in can:
        others = [name for name, holds in CONTAINERS.items() if codec in getattr(holds, kind)]
        remedy = f"give it {' or '.join(can)}, or put {codec} in {' or '.join(others)}"
        raise ValueError(f"{container} cannot hold {codec} {kind}: {remedy}")
