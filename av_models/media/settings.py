"""Encoding settings of a video file (`MuxSettings`) and the report of what was written (`MuxReport`)."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
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
    """A container: the name of its FFmpeg muxer and the codecs that it supports."""

    muxer: str
    video: tuple[str, ...]
    audio: tuple[str, ...]


@dataclass(frozen=True)
class VideoEncoder:
    """A video codec.

    names: its FFmpeg encoders, in order of preference.
    crf: the default quality. worst_crf: the largest allowed value.
    options: further encoder options.
    """

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
    # mbtree reads uninitialised memory when the width is not a multiple of 128: files would differ between runs.
    "h264": VideoEncoder(("libx264",), 19, 51, {"preset": "veryfast", "mbtree": "0"}),
    "h265": VideoEncoder(("libx265",), 23, 51, {"preset": "fast", "x265-params": "log-level=none"}),
    "vp9": VideoEncoder(("libvpx-vp9",), 28, 63, {"b": "0", "deadline": "good", "cpu-used": "4", "row-mt": "1"}),
    "av1": VideoEncoder(("libsvtav1", "libaom-av1"), 28, 63, {}),
}
AUDIO_CODECS = {"aac": "aac", "opus": "libopus"}
POLICIES = ("trim", "pad", "fade")
AUDIBLE_SECONDS = 0.1  # a longer change of the audio is a warning; rounding to whole frames changes less
_TIMESCALE = 96_000
# Tags that FFmpeg writes or reports itself.
RESERVED_KEYS = {"major_brand", "minor_version", "compatible_brands", "encoder", "duration", "creation_time"}


@dataclass(frozen=True)
class MuxSettings:
    """How a file is encoded.

    crf: constant rate factor; a lower value gives better quality and a larger file. None uses the codec's default
        (h264 19, h265 23, vp9 and av1 28).
    audio_bitrate: bits per second, 8000 to 512000.
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
        _check_codec(self.container, "video", self.video_codec)
        _check_codec(self.container, "audio", self.audio_codec)
        worst = VIDEO_CODECS[self.video_codec].worst_crf
        if self.crf is not None and not 0 <= self.crf <= worst:
            raise ValueError(f"crf is {self.crf}; use 0 (best quality) to {worst} (smallest file) for {self.video_codec}")
        if not 8_000 <= self.audio_bitrate <= 512_000:
            raise ValueError(f"audio bitrate is {self.audio_bitrate}; use 8000 to 512000 bits per second")

    @property
    def quality(self) -> float:
        """`crf`, or the codec's default."""
        return VIDEO_CODECS[self.video_codec].crf if self.crf is None else self.crf


@dataclass(frozen=True)
class MuxReport:
    """What was written to a file.

    width, height: encoded size in pixels. It includes `padded_right` and `padded_bottom` pixels that repeat the last
        column and row, because encoders need even sizes.
    bytes: size of the file.
    audio_bitrate: bits per second. audio_sample_rate: Hz.
    audio_samples: samples per channel at `audio_sample_rate`.
    audio_resampled_from: sample rate of the input in Hz when the codec does not support it, else None.
    audio_trimmed_samples, audio_faded_samples, audio_padded_samples: samples per channel at the input's sample rate.
    audio_missing_samples: how many samples earlier than the video the audio ends (policy `trim` only).
    audio_clipped_samples: values outside −1..1 that were clipped, over all channels.
    audio_mixed_channels: number of channels that were mixed to stereo; 0 if the channels are unchanged.
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
    audio_mixed_channels: int = 0

    @property
    def seconds(self) -> float:
        """Duration of the video."""
        return float(self.frames / self.fps)

    def summary(self) -> str:
        """Describe the file and every change to the frames and the audio in one line."""
        size = f"{self.width}×{self.height}"
        parts = [f"{self.path.name}: {self.frames} frames of {size} at {float(self.fps):g} fps"]
        if self.padded_right or self.padded_bottom:
            parts.append(f"padded by {self.padded_right} column and {self.padded_bottom} row to an even size")
        parts += self._audio_notes() if self.audio_encoder else ["no audio"]
        return "; ".join(parts)

    def warnings(self) -> list[str]:
        """Return one line per change of the audio that can be heard: cut, padded or missing for over 100 ms, clipped, or mixed."""
        if not self.audio_sample_rate:
            return []
        rate = self.audio_resampled_from or self.audio_sample_rate
        changes = {
            "longer than the video, so its end was cut": self.audio_trimmed_samples,
            "shorter than the video, so silence was added": self.audio_padded_samples,
            "shorter than the video, so it ends early": self.audio_missing_samples,
        }
        found = [length_warning(self.path, samples / rate, change) for change, samples in changes.items()]
        if self.audio_clipped_samples:
            found.append(f"{self.path.name}: {self.audio_clipped_samples} audio samples were too loud and were clipped")
        if self.audio_mixed_channels:
            found.append(f"{self.path.name}: {mix_note(self.audio_mixed_channels)}")
        return [line for line in found if line]

    def _audio_notes(self) -> list[str]:
        notes = [f"{self.audio_samples} audio samples at {self.audio_sample_rate} Hz"]
        if self.audio_resampled_from:
            notes.append(f"resampled from {self.audio_resampled_from} Hz")
        if self.audio_mixed_channels:
            notes.append(mix_note(self.audio_mixed_channels))
        for change in ("trimmed", "faded", "padded", "missing", "clipped"):
            count = getattr(self, f"audio_{change}_samples")
            if count:
                notes.append(f"{count} samples {change}")
        return notes


def mix_note(channels: int) -> str:
    """Return that audio of this many channels was mixed to stereo, without a full stop."""
    return f"{channels} audio channels were mixed to stereo"


def length_warning(path: Path, seconds: float, change: str) -> str:
    """Return a warning that the audio is `seconds` longer or shorter than the video, or "" if that cannot be heard."""
    return f"{path.name}: the audio is {seconds:.2f} s {change}" if seconds > AUDIBLE_SECONDS else ""


def muxer_options(container: Container) -> dict[str, str]:
    """FFmpeg muxer options: strict interleaving of the streams, and no random ids or dates in the file."""
    options = {"max_interleave_delta": "0", "fflags": "+bitexact"}
    if container == "mp4":
        # Unit of the edit list that skips the audio encoder's priming samples: 1/96000 s resolves single samples.
        options |= {"movflags": "use_metadata_tags+faststart", "movie_timescale": str(_TIMESCALE)}
    return options


def find_encoder(codec: str) -> str:
    """Return the name of the first encoder of `codec` that this build of FFmpeg has. Raises ValueError when it has none."""
    for name in VIDEO_CODECS[codec].names:
        if name in av.codecs_available:
            return name
    encoders = " or ".join(VIDEO_CODECS[codec].names)
    raise ValueError(f"video codec is {codec}, but this build of PyAV has no {encoders}; choose another codec")


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
        others = [name for name, spec in CONTAINERS.items() if codec in getattr(spec, kind)]
        remedy = f"use {' or '.join(supported)}, or the container {' or '.join(others)}"
        raise ValueError(f"{container} does not support {codec} {kind}; {remedy}")
