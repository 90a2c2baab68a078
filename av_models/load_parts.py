"""Loads codecs and experts from safetensors files: the model card in the file names the architecture to build."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from .arguments import make_network
from .build_from_card import build
from .card_fields import require
from .checkpoint import read_card
from .codecs.base import check_sizes
from .contract import Prediction
from .paused_gc import paused_gc
from .printable import quoted
from .text import WordEncoder

if TYPE_CHECKING:
    from .experts.audioldm2 import AudioLDM2Expert
    from .experts.flux import FluxExpert
    from .experts.svd import SVDExpert
    from .experts.wan import WanExpert

CODECS = {
    "PatchVideoCodec": "patch_video", "SpectrogramCodec": "spectrogram", "WanCodec": "wan_vae", "OobleckCodec": "oobleck",
}  # fmt: skip
VIDEO_EXPERT, AUDIO_EXPERT, JOINT_LAYERS = "video_expert", "audio_expert", "joint_layers"


def codec_files(path: Path) -> list[Path]:
    """Return the codec files of a joint model that exist in its folder; none for a file of another kind."""
    try:
        names = read_card(path).get("codecs", {}).values()
    except (ValueError, OSError):
        return []
    return [file for name in names if (file := path.parent / name).is_file()]


def load_codec(path: str | Path) -> Any:
    """Load a codec (`VideoCodec` or `AudioCodec`) from a safetensors file, frozen and in evaluation mode.

    Raises FileNotFoundError or ValueError, with one line, for a file that is missing, truncated or of another kind.
    """
    card = read_card(path)
    architecture = expect(card, "architecture", CODECS, path)
    require(card, path, "config")
    cls = getattr(import_module(f".codecs.{CODECS[architecture]}", __package__), architecture)
    codec = build(path, architecture, lambda: make_network(cls, card["config"]), lambda codec: {"": codec})
    check_sizes(codec, path)
    return codec.eval().requires_grad_(False)


def build_video_expert(config: Mapping[str, Any], coordinates: bool = False, time_stride: int = 1) -> WanExpert:
    """Build a Wan expert with random weights. config: of the diffusers transformer. coordinates, time_stride: see `WanExpert`."""
    with paused_gc():
        from diffusers import WanTransformer3DModel

        from .experts.wan import WanExpert

    return WanExpert(make_network(WanTransformer3DModel, config), coordinates, time_stride)


def build_audio_expert(config: Mapping[str, Any], rope_scale: float) -> FluxExpert:
    """Build a Flux expert with random weights. config: of the diffusers transformer. rope_scale: see `FluxExpert`."""
    with paused_gc():
        from diffusers import FluxTransformer2DModel

        from .experts.flux import FluxExpert

    return FluxExpert(make_network(FluxTransformer2DModel, config), rope_scale)


def build_svd(config: Mapping[str, Any], edm: Mapping[str, float]) -> SVDExpert:
    """Build a Stable Video Diffusion expert with random weights. config: of the diffusers UNet. edm: fields of `path.EDM`."""
    with paused_gc():
        from diffusers import UNetSpatioTemporalConditionModel

        from .experts.svd import SVDExpert
        from .path import EDM

    return SVDExpert(make_network(UNetSpatioTemporalConditionModel, config), EDM(**edm))


def build_audioldm2(config: Mapping[str, Any], prediction: Prediction, image_width: int = 0) -> AudioLDM2Expert:
    """Build an AudioLDM2 expert with random weights. config: of the diffusers UNet. image_width: see `AudioLDM2Expert`."""
    with paused_gc():
        from diffusers import AudioLDM2UNet2DConditionModel

        from .experts.audioldm2 import AudioLDM2Expert

    return AudioLDM2Expert(make_network(AudioLDM2UNet2DConditionModel, config), image_width, prediction)


def load_expert(path: str | Path, kinds: tuple[str, ...] = (VIDEO_EXPERT, AUDIO_EXPERT)) -> tuple[Any, WordEncoder, dict[str, Any]]:
    """Load an expert, its text encoder and its model card from a safetensors file, in evaluation mode.

    kinds: the accepted values of the model card's `kind`.
    Raises FileNotFoundError or ValueError, with one line, for a file that is missing, truncated or of another kind.
    """
    card = read_card(path)
    expect(card, "kind", kinds, path)
    require(card, path, "config", "text.vocabulary", *(["rope_scale"] if card["kind"] == AUDIO_EXPERT else []))
    expert, text = build(path, card["kind"], lambda: build_expert(card), lambda made: dict(zip(("expert", "text"), made)))
    return expert.eval(), text.eval(), card


def build_expert(card: Mapping[str, Any]) -> tuple[Any, WordEncoder]:
    """Build the expert of a model card, and its text encoder, with random weights."""
    if card["kind"] == VIDEO_EXPERT:
        expert: Any = build_video_expert(card["config"], card.get("coordinates", False), card.get("time_stride", 1))
    else:
        expert = build_audio_expert(card["config"], card["rope_scale"])
    return expert, WordEncoder(**card["text"])


def expect(card: Mapping[str, Any], field: str, known: Iterable[str], path: str | Path) -> str:
    """Return the model card's `field`. Raises ValueError, which names the file `path`, unless it is one of `known`."""
    value: Any = card.get(field)
    if not isinstance(value, str) or value not in known:
        raise ValueError(f"{path} has {field} {quoted(value)}; use a file with {field} {' or '.join(known)}")
    return value


def add_prefix(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return `tensors` with `prefix.` before every key."""
    return {f"{prefix}.{key}": value for key, value in tensors.items()}
