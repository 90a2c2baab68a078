"""Joins a video expert and an audio expert that were trained separately into one joint model."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch

from .build_from_card import build, one_line
from .card_fields import require
from .checkpoint import read_card
from .codec_fit import check_codecs
from .conditioning import JointTextConditioner, SharedImageConditioner
from .joint.avfulldit import AVFullDiT
from .joint_checkpoint import join_with_layers
from .joint_model import JointModel
from .load_parts import AUDIO_EXPERT, JOINT_LAYERS, VIDEO_EXPERT, expect, load_codec, load_expert
from .load_streams import FALLBACK_CLIP, Files, join_conditioners, load_streams
from .pair_card import describe_pair
from .published.build_pair import Rope, build_jointdit, build_pair, find_jointdit_experts, joint_layers
from .published.expert_options import ExpertOptions
from .published.load_published import is_published, load_published
from .published.loaded_expert import LoadedExpert
from .recommended import sampling_field
from .shapes import VideoShape

DEFAULT_BLOCKS = 4
"""Joint blocks of two expert files."""
SVD_AUDIOLDM2: dict[str, Any] = {
    "steps": 25, "shift": 1.0, "eta": 0.0, "guidance": "cfg", "scales": {"cfg": [3.0, 3.5]},
}  # fmt: skip
"""Recommended for the untrained pair of Stable Video Diffusion and AudioLDM2: the scales of their own pipelines."""


def join_experts(  # noqa: PLR0913 (four files and their settings)
    video: str | Path,
    audio: str | Path,
    video_codec: str | Path,
    audio_codec: str | Path,
    *,
    joint_blocks: int | None = None,
    name: str,
    clip: dict[str, Any] | None = None,
    keep_dtype: bool = False,
    layers: str | Path | None = None,
    rope: Rope = "vanilla",
    video_options: ExpertOptions | None = None,
    audio_options: ExpertOptions | None = None,
) -> JointModel:
    """Join two experts that were trained separately into one joint model.

    Two transformers that fit each other become an AVFullDiT, and Stable Video Diffusion and AudioLDM2 a JointDiT. Any other pair
    with a published checkpoint becomes `SeparateExperts`, and the model card's `notes` say why. The joint layers are untrained,
    so `trained` of the model is False, and `JointModel.adapt_guidance` removes them. Published experts with a scheduler of their
    own are then sampled with it, each on its own times. Two expert files recommend the sampling settings of the video expert's
    card.

    video, audio: expert files, or published checkpoints.
    video_codec, audio_codec: codec files for experts in Duet's format. Published checkpoints contain their own codecs.
    joint_blocks: number of joint blocks; None: as many as are recommended.
    name: the name of the model.
    clip: {"frames", "height", "width", "fps"} of a clip; None: those of the video expert's training, or FALLBACK_CLIP.
    keep_dtype: keep the stored precision of published networks (for a GPU) instead of float32.
    layers: a file of joint layers, from `duet train`. The model is then trained.
    rope: the positions of an untrained AVFullDiT with a published expert: "vanilla", those of both experts, or "avsync", for
        training (see `build_pair.weave`).
    video_options, audio_options: how published experts are loaded; their `keep_dtype` replaces the one above.

    Raises FileNotFoundError or ValueError, with one line, for files that are missing, damaged, or do not fit each other.
    """
    options = tuple(each or ExpertOptions(keep_dtype=keep_dtype) for each in (video_options, audio_options))
    files = video, audio, video_codec, audio_codec
    if layers is not None:
        return _join_trained(files, layers, name, options)
    if is_published(video) or is_published(audio):
        return join_loaded(*load_streams(files, options), joint_blocks=joint_blocks, name=name, clip=clip, rope=rope)
    return _join_expert_files(files, joint_blocks or DEFAULT_BLOCKS, name, clip)


def _join_expert_files(files: Files, joint_blocks: int, name: str, clip: dict[str, Any] | None) -> JointModel:
    video, audio, video_codec, audio_codec = files
    v, video_text, v_card = load_expert(video, (VIDEO_EXPERT,))
    a, audio_text, a_card = load_expert(audio, (AUDIO_EXPERT,))
    clip = clip or v_card.get("clip", FALLBACK_CLIP)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        denoiser = AVFullDiT(v, a, joint_blocks)
    card = {
        "kind": "joint", "architecture": "AVFullDiT", "name": name, "prediction": "flow", "trained": False,
        "joint_blocks": joint_blocks, "video": v_card, "audio": a_card, "clip": clip,
        "codecs": {"video": Path(video_codec).name, "audio": Path(audio_codec).name}, **sampling_field(v_card),
    }  # fmt: skip
    model = JointModel(
        card, denoiser.eval().requires_grad_(False), load_codec(video_codec), load_codec(audio_codec),
        JointTextConditioner(video_text, audio_text), clip=VideoShape(**clip),
    )  # fmt: skip
    check_codecs(model, video, audio)
    return model


def join_loaded(
    v: LoadedExpert,
    a: LoadedExpert,
    *,
    name: str,
    joint_blocks: int | None = None,
    clip: dict[str, Any] | None = None,
    rope: Rope = "vanilla",
) -> JointModel:
    """Join two loaded experts into an untrained joint model. For the arguments see `join_experts`."""
    shape = VideoShape(**(clip or v.clip or FALLBACK_CLIP))
    denoiser, reason = build_pair(v, a, joint_blocks, shape, rope)
    card: dict[str, Any] = {"kind": "joint", "architecture": type(denoiser).__name__, "name": name, "trained": False}
    card |= describe_pair(v, a, [f"no joint layers: {reason}"] if reason else [])
    if card["architecture"] == "JointDiT":
        card["sampling"] = SVD_AUDIOLDM2
    elif isinstance(denoiser, AVFullDiT):
        card |= {"joint_blocks": denoiser.joint_blocks, "rope": rope}
    own = (v.scheduler, a.scheduler) if v.scheduler is not None or a.scheduler is not None else None
    return JointModel(
        card, denoiser.eval().requires_grad_(False), v.codec, a.codec, join_conditioners(v, a), clip=shape, own_schedulers=own,
    )  # fmt: skip


def _join_trained(files: Files, layers: str | Path, name: str, options: tuple[ExpertOptions, ...]) -> JointModel:
    card = read_card(layers)
    expect(card, "kind", (JOINT_LAYERS,), layers)
    require(card, layers, "architecture", "trained", *(f"clip.{name}" for name in ("frames", "height", "width", "fps")))
    if expect(card, "architecture", ("AVFullDiT", "JointDiT"), layers) == "AVFullDiT":
        return join_with_layers(layers, card, load_streams(files, options), name, files[:2])
    require(card, layers, "joint")
    video, audio = files[:2]
    v, a = load_published(video, "video", options[0]), load_published(audio, "audio", options[1])
    with one_line(layers, "JointDiT"):
        clip = VideoShape(**card["clip"])
    find_jointdit_experts(v, a)
    make = partial(build_jointdit, v, a, clip, card["joint"])
    denoiser = build(layers, "JointDiT", make, lambda denoiser: {"": joint_layers(denoiser)})
    return JointModel(
        card | {"kind": "joint", "name": name}, denoiser.eval().requires_grad_(False), v.codec, a.codec,
        SharedImageConditioner(v.conditioner, a.conditioner), clip=clip,
    )  # fmt: skip
