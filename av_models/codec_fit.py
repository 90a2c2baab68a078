"""Checks that a codec fits the network that was trained with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .codecs.base import AudioCodec, VideoCodec
from .contract import StreamName
from .joint_model import JointModel
from .shapes import AudioStride, VideoStride


def check_codecs(model: JointModel, video: str | Path, audio: str | Path) -> None:
    """Raise ValueError if a codec does not fit the network that was read from the file `video` or `audio`."""
    names = model.card["codecs"]
    check_codec(video, model.card["video"], "video", model.video_codec, names["video"])
    check_codec(audio, model.card["audio"], "audio", model.audio_codec, names["audio"])


def check_codec(path: str | Path, card: dict[str, Any], modality: StreamName, codec: VideoCodec | AudioCodec, name: str) -> None:
    """Raise ValueError unless the codec in the file `name` fits the network of `modality` that `card` describes."""
    if not isinstance(codec.stride, {"video": VideoStride, "audio": AudioStride}[modality]):
        raise ValueError(
            f"{path}: {name} is a {type(codec).__name__}, which is not for {modality}; use the codec that it was trained with"
        )
    needed = card["config"].get("out_channels") or card["config"].get("in_channels")
    if codec.stride.channels != needed:
        raise ValueError(
            f"{path} denoises {needed} {modality} channels, but {name} has {codec.stride.channels}; "
            "use the codec that it was trained with"
        )
