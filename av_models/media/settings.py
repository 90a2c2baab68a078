"""Encoding settings of a file (`MuxSettings`), and what each container supports."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

from .encoders import VIDEO_CODECS, WORST_CRF

Container = Literal["mp4", "mkv", "webm", "mov", "gif", "webp", "wav", "flac", "mp3", "opus"]
VideoCodec = Literal["h264", "h265", "vp9", "av1", "h265 10-bit", "av1 10-bit", "prores", "ffv1"]
AudioCodec = Literal["aac", "opus", "flac", "pcm", "mp3"]
Policy = Literal["trim", "pad", "fade"]


@dataclass(frozen=True)
class ContainerSpec:
    """A container: the name of its FFmpeg muxer and the codecs that it supports.

    Without video codecs it holds only audio. Without any, it is an animated image. crf: its default quality, where it has one.
    """

    muxer: str
    video: tuple[str, ...] = ()
    audio: tuple[str, ...] = ()
    crf: int | None = None

    @property
    def is_audio(self) -> bool:
        """Whether it holds audio alone."""
        return bool(self.audio) and not self.video

    @property
    def is_animation(self) -> bool:
        """Whether it is an animated image, without audio."""
        return not self.audio and not self.video


_WITH_10_BITS = ("h264", "h265", "vp9", "av1", "h265 10-bit", "av1 10-bit")
CONTAINERS = {
    "mp4": ContainerSpec("mp4", _WITH_10_BITS, ("aac", "opus")),
    "mkv": ContainerSpec("matroska", (*_WITH_10_BITS, "ffv1"), ("aac", "opus", "flac")),
    "webm": ContainerSpec("webm", ("vp9", "av1", "av1 10-bit"), ("opus",)),
    "mov": ContainerSpec("mov", ("prores", "h264", "h265", "h265 10-bit"), ("pcm", "aac")),
    "gif": ContainerSpec("gif"),
    "webp": ContainerSpec("webp", crf=16),
    "wav": ContainerSpec("wav", audio=("pcm",)),
    "flac": ContainerSpec("flac", audio=("flac",)),
    "mp3": ContainerSpec("mp3", audio=("mp3",)),
    "opus": ContainerSpec("opus", audio=("opus",)),
}
VIDEO_CONTAINERS = tuple(name for name, spec in CONTAINERS.items() if spec.video)
AUDIO_CODECS = {"aac": "aac", "opus": "libopus", "flac": "flac", "pcm": "pcm_s16le", "mp3": "libmp3lame"}
POLICIES = ("trim", "pad", "fade")
AUDIBLE_SECONDS = 0.1  # a longer change of the audio is a warning; rounding to whole frames changes less
_TIMESCALE = 96_000
# Tags that FFmpeg writes or reports itself.
RESERVED_KEYS = {"major_brand", "minor_version", "compatible_brands", "encoder", "duration", "creation_time"}


@dataclass(frozen=True)
class MuxSettings:
    """How a file is encoded.

    container: gif and webp take no codecs, and wav, flac, mp3 and opus (audio files) have their own; the codecs given here are
        then ignored.
    crf: constant rate factor; a lower value gives better quality and a larger file, and 0 is lossless for the encoder's pixel
        format. None uses the default (h264 19, h265 23, vp9 and av1 28, webp 16). prores, ffv1 and gif have one quality.
    audio_bitrate: bits per second, 8000 to 512000, limited to what aac, opus and mp3 take; flac and pcm are lossless, 16 bits.
    policy: how audio is fitted when it is longer or shorter than the video. Frames are never dropped or added.

    policy | audio is longer                 | audio is shorter
    trim   | cut at the end of the video     | unchanged: the audio ends early
    pad    | cut at the end of the video     | padded with silence to the end of the video
    fade   | cut, the last 20 ms faded out   | padded with silence to the end of the video

    `fade` does not fade audio that is longer only by what codecs such as AAC append (at most 2048 samples).

    Raises ValueError for an unknown name, a codec that the container does not support, or a value out of range.
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
        if self.spec.video:
            _check_codec(self.container, "video", self.video_codec)
            _check_codec(self.container, "audio", self.audio_codec)
        worst, of = (VIDEO_CODECS[self.video_codec].worst_crf, self.video_codec) if self.spec.video else (WORST_CRF, self.container)
        if self.crf is not None and not 0 <= self.crf <= worst:
            raise ValueError(f"crf is {self.crf}; use 0 (best quality) to {worst} (smallest file) for {of}")
        if not 8_000 <= self.audio_bitrate <= 512_000:
            raise ValueError(f"audio bitrate is {self.audio_bitrate}; use 8000 to 512000 bits per second")

    @property
    def spec(self) -> ContainerSpec:
        """What the container supports."""
        return CONTAINERS[self.container]

    @property
    def quality(self) -> float | None:
        """`crf`, or the default; None for a codec or an image format without a choice of quality."""
        default = VIDEO_CODECS[self.video_codec].crf if self.spec.video else self.spec.crf
        return default if default is None or self.crf is None else self.crf

    @property
    def sound_codec(self) -> str:
        """The audio codec that is written: that of an audio file, else `audio_codec`."""
        return self.spec.audio[0] if self.spec.is_audio else self.audio_codec


def mix_note(channels: int) -> str:
    """Return that audio of this many channels was mixed to stereo, without a full stop."""
    return f"{channels} audio channels were mixed to stereo"


def length_warning(path: Path, seconds: float, change: str) -> str:
    """Return a warning that the audio is `seconds` longer or shorter than the video, or "" if that cannot be heard."""
    return f"{path.name}: the audio is {seconds:.2f} s {change}" if seconds > AUDIBLE_SECONDS else ""


def muxer_options(container: Container) -> dict[str, str]:
    """FFmpeg muxer options: strict interleaving of the streams, and no random ids or dates in the file."""
    options = {"max_interleave_delta": "0", "fflags": "+bitexact"}
    if container == "wav":
        options["rf64"] = "auto"  # for files over 4 GB
    if container in ("mp4", "mov"):
        # Unit of the edit list that skips the audio encoder's priming samples: 1/96000 s resolves single samples.
        options |= {"movflags": "use_metadata_tags+faststart", "movie_timescale": str(_TIMESCALE)}
    return options


def validate_fps(fps: float | Fraction) -> Fraction:
    """Return `fps` (frames per second) as a fraction. Raises ValueError unless it is above 0 and at most 1000."""
    if not (math.isfinite(fps) and 0 < fps <= 1000 and (exact := Fraction(fps).limit_denominator(100_000))):
        raise ValueError(f"fps is {fps}; use a number above 0 and at most 1000")
    return exact


def _check_choice(name: str, value: object, known: Collection[str]) -> None:
    if value not in known:
        raise ValueError(f"{name} is {value!r}; choose one of {', '.join(known)}")


def _check_codec(container: str, kind: str, codec: str) -> None:
    supported = getattr(CONTAINERS[container], kind)
    if codec not in supported:
        others = [name for name, spec in CONTAINERS.items() if spec.video and codec in getattr(spec, kind)] or [codec]
        remedy = f"use {' or '.join(supported[:2])}, or the container {' or '.join(others[:2])}"
        raise ValueError(f"{container} does not support {codec} {kind}; {remedy}")
