"""Joins a video expert and an audio expert, trained separately, into one joint model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from .checkpoint import load_checkpoint, load_into
from .conditioning import JointTextConditioner, SeparateConditioner, SharedImageConditioner, TextConditioner
from .contract import StreamName
from .joint.avfulldit import AVFullDiT
from .joint_model import JointModel
from .load_joint import check_codec, check_codecs
from .load_parts import AUDIO_EXPERT, JOINT_LAYERS, VIDEO_EXPERT, expect, load_codec, load_expert
from .published.build_pair import build_jointdit, build_pair, joint_layers
from .published.load_published import KINDS, is_published, load_published
from .published.loaded_expert import LoadedExpert
from .shapes import VideoShape

FALLBACK_CLIP = {"frames": 32, "height": 64, "width": 64, "fps": 16}
"""The clip size for expert files whose card does not name one."""


def join_experts(
    video: str | Path,
    audio: str | Path,
    video_codec: str | Path,
    audio_codec: str | Path,
    *,
    joint_blocks: int,
    name: str,
    clip: dict[str, Any] | None = None,
    own_precision: bool = False,
    layers: str | Path | None = None,
) -> JointModel:
    """Two experts as one model that was never trained as a pair: `trained` is False, so samplers drop its joint parameters.

    Two files of ours are woven into an AVFullDiT; Stable Video Diffusion and AudioLDM2, as published, into a JointDiT;
    any other pair with a published one stays `SeparateExperts`. What is published brings its own codec; `video_codec`, `audio_codec`
    are those of our files.
    clip: the size of clip they were trained on; where it is None, that of the video expert, else FALLBACK_CLIP.
    own_precision: published networks as they are stored, as a GPU takes them; else in float32.
    layers: what `duet train` made to go between Stable Video Diffusion and AudioLDM2; the model is a trained one then, and
    goes by a picture alone.
    """
    parts = video, audio, video_codec, audio_codec
    if layers is not None:
        return _join_trained(video, audio, layers, name, own_precision)
    if is_published(video) or is_published(audio):
        return _join_published(*parts, joint_blocks, name, clip, own_precision)
    return _join_own(*parts, joint_blocks, name, clip)


def _join_own(video, audio, video_codec, audio_codec, joint_blocks: int, name: str, clip: dict[str, Any] | None) -> JointModel:
    v, video_text, v_card = load_expert(video, (VIDEO_EXPERT,))
    a, audio_text, a_card = load_expert(audio, (AUDIO_EXPERT,))
    clip = clip or v_card.get("clip", FALLBACK_CLIP)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        denoiser = AVFullDiT(v, a, joint_blocks)
    card = {
        "kind": "joint", "architecture": "AVFullDiT", "name": name, "prediction": "flow", "trained": False,
        "joint_blocks": joint_blocks, "video": v_card, "audio": a_card, "clip": clip,
        "codecs": {"video": Path(video_codec).name, "audio": Path(audio_codec).name},
    }  # fmt: skip
    model = JointModel(
        card, denoiser.eval().requires_grad_(False), load_codec(video_codec), load_codec(audio_codec),
        JointTextConditioner(video_text, audio_text), clip=VideoShape(**clip),
    )  # fmt: skip
    check_codecs(model, video, audio)
    return model


def _join_published(
    video, audio, video_codec, audio_codec, joint_blocks: int, name: str, clip: dict[str, Any] | None, own_precision: bool
) -> JointModel:
    v = _stream(video, "video", video_codec, own_precision)
    a = _stream(audio, "audio", audio_codec, own_precision)
    shape = VideoShape(**(clip or v.clip))
    denoiser = build_pair(v, a, joint_blocks, shape).eval().requires_grad_(False)
    card = {"kind": "joint", "architecture": type(denoiser).__name__, "name": name, "trained": False}
    return JointModel(card, denoiser, v.codec, a.codec, SeparateConditioner(v.conditioner, a.conditioner), clip=shape)


def _join_trained(video, audio, layers, name: str, own_precision: bool) -> JointModel:
    tensors, card = load_checkpoint(layers)
    expect(card, "kind", (JOINT_LAYERS,), layers)
    v, a = load_published(video, "video", own_precision), load_published(audio, "audio", own_precision)
    clip = VideoShape(**card["clip"])
    denoiser = build_jointdit(v, a, clip, card["joint"])
    load_into(joint_layers(denoiser), tensors, layers)
    return JointModel(
        card | {"kind": "joint", "name": name}, denoiser.eval().requires_grad_(False), v.codec, a.codec,
        SharedImageConditioner(v.conditioner, a.conditioner), clip=clip,
    )  # fmt: skip


def _stream(path: str | Path, stream: StreamName, codec: str | Path, own_precision: bool) -> LoadedExpert:
    """One stream of a published checkpoint, or of an expert's file of ours and the codec it was trained with."""
    if is_published(path):
        return load_published(path, stream, own_precision)
    expert, text, card = load_expert(path, (KINDS[stream],))
    own = load_codec(codec)
    check_codec(path, card, stream, own, Path(codec).name)
    return LoadedExpert(stream, expert, own, TextConditioner(text), card.get("clip", FALLBACK_CLIP))
