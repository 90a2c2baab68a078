"""Loads a joint model from its safetensors file: the model card names the architecture, its experts and its codecs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .build_from_card import build, one_line
from .card_fields import require
from .checkpoint import has_card, read_card
from .codec_fit import check_codecs
from .conditioning import ImageEncoder, JointImageConditioner, JointTextConditioner
from .joint.avfulldit import AVFullDiT
from .joint_model import JointModel
from .load_parts import JOINT_LAYERS, build_audio_expert, build_audioldm2, build_svd, build_video_expert, expect, load_codec
from .published.detect import say_what
from .published.joint import LoadOptions, find_family, load_family
from .shapes import VideoShape
from .text import WordEncoder

if TYPE_CHECKING:
    from .joint.jointdit import JointDiT
    from .joint_checkpoint import Find


def load_joint_model(source: str | Path, options: LoadOptions = LoadOptions(), find: Find | None = None) -> JointModel:
    """Load a joint model from a safetensors file, and the codecs that its model card names from the same folder.

    A published joint model (`published.joint.FAMILIES`) is loaded from its folder or file, with `options`. So is a joint
    checkpoint, whose experts are found with `find` (see `joint_checkpoint`), or in its folder.
    All networks are frozen and in evaluation mode, on the CPU.
    Raises FileNotFoundError or ValueError, with one line, for a file that is missing, truncated, of another kind or
    architecture, or that does not fit its codecs.
    """
    path = Path(source)
    if path.is_dir() or find_family(path):
        return load_family(path, options)
    if path.is_file() and not has_card(path):
        raise ValueError(f"{path} holds {say_what(path)}; use a joint model")
    card = read_card(path)
    if (card.get("kind"), card.get("architecture")) == (JOINT_LAYERS, "AVFullDiT"):
        from .joint_checkpoint import load_joint_layers

        return load_joint_layers(path, find, options)
    expect(card, "kind", ("joint",), path)
    architecture = expect(card, "architecture", BUILDERS, path)
    require(card, path, "name", "trained", *(f"clip.{name}" for name in ("frames", "height", "width", "fps")))
    require(card, path, "codecs.video", "codecs.audio", "video.config", "audio.config")
    denoiser, conditioner = build(path, architecture, lambda: BUILDERS[architecture](card), _parts)
    video_codec, audio_codec = (load_codec(path.parent / card["codecs"][stream]) for stream in ("video", "audio"))
    for part in (denoiser, conditioner):
        part.eval().requires_grad_(False)
    with one_line(path, architecture):
        clip = VideoShape(**card["clip"])
    model = JointModel(card, denoiser, video_codec, audio_codec, conditioner, clip=clip)
    check_codecs(model, path, path)
    return model


def _parts(made: tuple[Any, Any]) -> dict[str, Any]:
    return {"denoiser": made[0], "": made[1]}


def _build_avfulldit(card: dict[str, Any]) -> tuple[AVFullDiT, JointTextConditioner]:
    video_card = card["video"]
    video = build_video_expert(video_card["config"], video_card.get("coordinates", False), video_card.get("time_stride", 1))
    audio = build_audio_expert(card["audio"]["config"], card["audio"]["rope_scale"])
    texts = (WordEncoder(**card[modality]["text"]) for modality in ("video", "audio"))
    return AVFullDiT(video, audio, card["joint_blocks"], card.get("attention", "full")), JointTextConditioner(*texts)


def _build_jointdit(card: dict[str, Any]) -> tuple[JointDiT, JointImageConditioner]:
    from .joint.jointdit import JointDiT

    video = build_svd(card["video"]["config"], card["edm"])
    audio = build_audioldm2(card["audio"]["config"], card["audio"]["prediction"], card["picture"]["width"])
    conditioner = JointImageConditioner(
        ImageEncoder(**card["picture"]), card["audio"]["text_width"], card["clip"]["fps"], card["motion_bucket"]
    )
    return JointDiT(video, audio, **card["joint"]), conditioner


BUILDERS: dict[str, Callable[[dict[str, Any]], tuple[Any, Any]]] = {"AVFullDiT": _build_avfulldit, "JointDiT": _build_jointdit}
