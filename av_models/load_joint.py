"""Loads a joint model from its safetensors file: the model card names the architecture, its experts and its codecs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from .checkpoint import load_checkpoint, load_into, sub_tensors
from .conditioning import ImageEncoder, JointImageConditioner, JointTextConditioner
from .contract import StreamName
from .joint.avfulldit import AVFullDiT
from .joint_model import JointModel
from .load_parts import build_audio_expert, build_audioldm2, build_svd, build_video_expert, expect, load_codec
from .shapes import AudioStride, VideoShape, VideoStride
from .text import WordEncoder


def load_joint_model(source: str | Path) -> JointModel:
    """A joint model from its safetensors file; its codecs lie beside it.

    Raises FileNotFoundError or ValueError, in one line, for a file that is missing, cut short, of another kind or
    architecture, or that does not fit its codecs.
    """
    path = Path(source)
    tensors, card = load_checkpoint(path)
    expect(card, "kind", ("joint",), path)
    denoiser, conditioner = _built(card, path)
    load_into(denoiser, sub_tensors(tensors, "denoiser"), path)
    load_into(conditioner, {key: x for key, x in tensors.items() if not key.startswith("denoiser.")}, path)
    codecs = [load_codec(path.parent / card["codecs"][modality]) for modality in ("video", "audio")]
    for part in (denoiser, conditioner):
        part.eval().requires_grad_(False)
    model = JointModel(card, denoiser, *codecs, conditioner, clip=VideoShape(**card["clip"]))
    check_codecs(model, path, path)
    return model


def _built(card: dict[str, Any], path: Path) -> tuple[nn.Module, nn.Module]:
    """The denoiser and the conditioner that a card describes, with random weights."""
    architecture = expect(card, "architecture", BUILDERS, path)
    try:
        return BUILDERS[architecture](card)
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path}: its card describes no {architecture}: {error}; get the file again") from error


def _build_avfulldit(card: dict[str, Any]) -> tuple[nn.Module, nn.Module]:
    of = card["video"]
    video = build_video_expert(of["config"], of.get("coordinates", False), of.get("time_stride", 1))
    audio = build_audio_expert(card["audio"]["config"], card["audio"]["rope_scale"])
    texts = (WordEncoder(**card[modality]["text"]) for modality in ("video", "audio"))
    return AVFullDiT(video, audio, card["joint_blocks"], card.get("attention", "full")), JointTextConditioner(*texts)


def _build_jointdit(card: dict[str, Any]) -> tuple[nn.Module, nn.Module]:
    from .joint.jointdit import JointDiT

    video = build_svd(card["video"]["config"], card["edm"])
    audio = build_audioldm2(card["audio"]["config"], card["audio"]["prediction"], card["picture"]["width"])
    conditioner = JointImageConditioner(
        ImageEncoder(**card["picture"]), card["audio"]["text_width"], card["clip"]["fps"], card["motion_bucket"]
    )
    return JointDiT(video, audio, **card["joint"]), conditioner


BUILDERS = {"AVFullDiT": _build_avfulldit, "JointDiT": _build_jointdit}


def check_codecs(model: JointModel, video: str | Path, audio: str | Path) -> None:
    """Raises ValueError where a codec is not for what was read from `video` or `audio`."""
    for modality, path, codec in (("video", video, model.video_codec), ("audio", audio, model.audio_codec)):
        check_codec(path, model.card[modality], modality, codec, model.card["codecs"][modality])


def check_codec(path: str | Path, card: dict[str, Any], modality: StreamName, codec: nn.Module, name: str) -> None:
    if not isinstance(codec.stride, {"video": VideoStride, "audio": AudioStride}[modality]):
        raise ValueError(f"{path}: {name} is a {type(codec).__name__}, no {modality} codec; give the codec it was trained with")
    wanted = card["config"].get("out_channels") or card["config"]["in_channels"]
    if codec.stride.channels != wanted:
        raise ValueError(
            f"{path} denoises {wanted} {modality} channels, but {name} has {codec.stride.channels}; "
            "give the codec it was trained with"
        )
