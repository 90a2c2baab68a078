"""Loads both experts of a pair."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from .checkpoint import has_card
from .codec_fit import check_codec
from .conditioning import SeparateConditioner, TextConditioner
from .contract import StreamName
from .load_parts import load_codec, load_expert
from .published.expert_options import ExpertOptions
from .published.load_published import KINDS, is_published, load_published
from .published.loaded_expert import LoadedExpert

Files = tuple[str | Path, str | Path, str | Path, str | Path]
"""The video expert, the audio expert, and the codecs that experts in Duet's format need."""
FALLBACK_CLIP: dict[str, Any] = {"frames": 32, "height": 64, "width": 64, "fps": 16}
"""The clip size for expert files whose model card has none."""


def load_streams(files: Files, options: tuple[ExpertOptions, ...]) -> tuple[LoadedExpert, LoadedExpert]:
    """Load both modalities of a pair."""
    video, audio, video_codec, audio_codec = files
    return _load_stream(video, "video", video_codec, options[0]), _load_stream(audio, "audio", audio_codec, options[1])


def _load_stream(path: str | Path, stream: StreamName, codec: str | Path, options: ExpertOptions) -> LoadedExpert:
    """Load one modality from a published checkpoint, or from an expert file and the codec that it was trained with."""
    if is_published(path) or not (Path(path).is_file() and has_card(path)):
        return load_published(path, stream, options)  # which names what is none
    expert, text, card = load_expert(path, (KINDS[stream],))
    loaded_codec = load_codec(codec)
    check_codec(path, card, stream, loaded_codec, Path(codec).name)
    return LoadedExpert(stream, expert, loaded_codec, TextConditioner(text), card.get("clip", FALLBACK_CLIP))


def join_conditioners(video: LoadedExpert, audio: LoadedExpert) -> SeparateConditioner:
    """Return the conditioner of two experts, with the negative prompts of their own pipelines."""
    return SeparateConditioner(video.conditioner, audio.conditioner, (video.default_negative, audio.default_negative))
