"""A joint model with all it needs from prompt to picture and sound: denoiser, codecs, text encoders, clip defaults."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .checkpoint import load_checkpoint, load_into, read_card, sub_tensors
from .conditioning import EachItsOwn, OwnWords, PictureConditioner, PictureEncoder, PictureToBoth, WordConditioner
from .contract import AVCondition, AVLatent, LatentShape, StreamName
from .given import Way
from .joint.avfulldit import AVFullDiT
from .loading import (
    AUDIO_EXPERT,
    JOINT_LAYERS,
    SHIPPED_JOINT,
    VIDEO_EXPERT,
    build_audio_expert,
    build_audioldm2,
    build_svd,
    build_video_expert,
    expect,
    load_codec,
    load_expert,
    shipped,
)  # fmt: skip
from .media.fit import fit_frames
from .published.load import KINDS, is_published, load_published
from .published.pair import joint_layers, paired, woven
from .published.parts import Published
from .shapes import AudioStride, AVShape, VideoShape, VideoStride
from .text import WordEncoder

BOUNCE_CLIP = {"frames": 32, "height": 64, "width": 64, "fps": 16}


@dataclass(frozen=True)
class JointModel:
    """What `load_joint_model` gives. `clip` is the size of clip the model was trained on."""

    card: dict[str, Any]
    denoiser: nn.Module
    video_codec: nn.Module
    audio_codec: nn.Module
    conditioner: WordConditioner | PictureConditioner | EachItsOwn
    clip: VideoShape

    @property
    def name(self) -> str:
        return self.card["name"]

    @property
    def trained(self) -> bool:
        """False where the joint parameters never were: coupled, such a model can only make noise."""
        return self.card["trained"]

    @cached_property
    def networks(self) -> nn.ModuleDict:
        """All of its networks as one, for who moves them between devices."""
        return nn.ModuleDict({
            "denoiser": self.denoiser, "video_codec": self.video_codec, "audio_codec": self.audio_codec,
            "conditioner": self.conditioner,
        })  # fmt: skip

    @property
    def device(self) -> torch.device:
        return next(self.networks.parameters()).device

    @property
    def given(self) -> Way:
        """How the network is shown what of a clip is known: clean where it was trained so."""
        return self.card.get("given", "renoised")

    def shape(
        self,
        seconds: float | None = None,
        frames: int | None = None,
        height: int | None = None,
        width: int | None = None,
        fps: float | None = None,
    ) -> AVShape:
        """The shape of a clip of `seconds` or `frames` (not both); what is not given is as the model was trained."""
        if seconds is not None and frames is not None:
            raise ValueError(f"seconds is {seconds} and frames is {frames}; give one of them")
        asked = {"frames": frames, "height": height, "width": width, "fps": fps}
        clip = {name: getattr(self.clip, name) if value is None else value for name, value in asked.items()}
        clip |= {"sample_rate": self.audio_codec.sample_rate, "channels": self.audio_codec.channels}
        if seconds is None:
            return AVShape.of_frames(**clip)
        del clip["frames"]
        return AVShape.of_seconds(seconds, **clip)

    def latent_shape(self, shape: AVShape, batch: int = 1) -> LatentShape:
        video = self.video_codec.stride.latent_shape(shape.video)
        audio = self.audio_codec.stride.latent_shape(shape.audio)
        return LatentShape(video=(batch, *video), audio=(batch, *audio))

    @property
    def takes_picture(self) -> bool:
        """True where what to make is said by a picture, not by words."""
        return self.conditioner.takes_picture

    @torch.no_grad()
    def encode(
        self, video_prompt: str, audio_prompt: str, picture: Tensor | None = None, shape: AVShape | None = None
    ) -> AVCondition:
        """The condition for one row; an empty prompt is the null condition ∅ of its modality, and so is no picture.

        picture: [height, width, channels] in 0..1, for a model that goes by one; scaled to cover the clip of `shape`.
        """
        shape = shape or self.shape()
        if picture is not None and self.takes_picture:
            picture = fit_frames(picture[None], shape.video.fps, replace(shape.video, frames=1))
        return self.conditioner.condition(video_prompt, audio_prompt, picture, shape, self.video_codec)

    def ignored_words(self, video_prompt: str, audio_prompt: str) -> list[str]:
        """One line for each word that the model never learned, or for each prompt that it does not go by."""
        return self.conditioner.ignored(video_prompt, audio_prompt)

    def decode(self, latent: AVLatent, shape: AVShape) -> tuple[Tensor, Tensor]:
        """Frames [B, F, H, W, 3] in 0..1 and waveform [B, C, samples] in −1..1, trimmed to `shape`."""
        waveform = self.audio_codec.decode(latent.audio.to(self.device))
        return self.decode_video(latent.video, shape), waveform[..., : shape.audio.samples]

    def decode_video(self, latent: Tensor, shape: AVShape) -> Tensor:
        """The picture's part of `decode`."""
        return _trimmed(self.video_codec.decode(latent.to(self.device)), shape)

    def render_video(self, latent: Tensor, shape: AVShape) -> Tensor:
        """The picture's part of `decode`, differentiable."""
        return _trimmed(self.video_codec.render(latent), shape)

    def render_audio(self, latent: Tensor, shape: AVShape) -> Tensor:
        """The sound's part of `decode`, differentiable."""
        return self.audio_codec.render(latent)[..., : shape.audio.samples]


def _trimmed(frames: Tensor, shape: AVShape) -> Tensor:
    return frames[:, : shape.video.frames, : shape.video.height, : shape.video.width]


def load_joint_model(source: str | Path) -> JointModel:
    """A shipped model by its name, or one from its safetensors file; its codecs lie beside it.

    Raises FileNotFoundError or ValueError, in one line, for a file that is missing, cut short, of another kind or
    architecture, or that does not fit its codecs.
    """
    path = shipped(SHIPPED_JOINT[source]) if source in SHIPPED_JOINT else Path(source)
    tensors, card = load_checkpoint(path)
    expect(card, "kind", ("joint",), path)
    denoiser, conditioner = _built(card, path)
    load_into(denoiser, sub_tensors(tensors, "denoiser"), path)
    load_into(conditioner, {key: x for key, x in tensors.items() if not key.startswith("denoiser.")}, path)
    codecs = [load_codec(path.parent / card["codecs"][modality]) for modality in ("video", "audio")]
    for part in (denoiser, conditioner):
        part.eval().requires_grad_(False)
    model = JointModel(card, denoiser, *codecs, conditioner, clip=VideoShape(**card["clip"]))
    _check_codecs(model, path, path)
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
    return AVFullDiT(video, audio, card["joint_blocks"], card.get("attention", "full")), WordConditioner(*texts)


def _build_jointdit(card: dict[str, Any]) -> tuple[nn.Module, nn.Module]:
    from .joint.jointdit import JointDiT

    video = build_svd(card["video"]["config"], card["edm"])
    audio = build_audioldm2(card["audio"]["config"], card["audio"]["prediction"], card["picture"]["width"])
    conditioner = PictureConditioner(
        PictureEncoder(**card["picture"]), card["audio"]["text_width"], card["clip"]["fps"], card["motion_bucket"]
    )
    return JointDiT(video, audio, **card["joint"]), conditioner


BUILDERS = {"AVFullDiT": _build_avfulldit, "JointDiT": _build_jointdit}


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
    any other pair with a published one stays `Apart`. What is published brings its own codec; `video_codec`, `audio_codec`
    are those of our files.
    clip: the size of clip they were trained on; where it is None, that of the video expert, else Bounce's.
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
    clip = clip or v_card.get("clip", BOUNCE_CLIP)
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
        WordConditioner(video_text, audio_text), clip=VideoShape(**clip),
    )  # fmt: skip
    _check_codecs(model, video, audio)
    return model


def _join_published(
    video, audio, video_codec, audio_codec, joint_blocks: int, name: str, clip: dict[str, Any] | None, own_precision: bool
) -> JointModel:
    v = _stream(video, "video", video_codec, own_precision)
    a = _stream(audio, "audio", audio_codec, own_precision)
    shape = VideoShape(**(clip or v.clip))
    denoiser = paired(v, a, joint_blocks, shape).eval().requires_grad_(False)
    card = {"kind": "joint", "architecture": type(denoiser).__name__, "name": name, "trained": False}
    return JointModel(card, denoiser, v.codec, a.codec, EachItsOwn(v.conditioner, a.conditioner), clip=shape)


def _join_trained(video, audio, layers, name: str, own_precision: bool) -> JointModel:
    tensors, card = load_checkpoint(layers)
    expect(card, "kind", (JOINT_LAYERS,), layers)
    v, a = load_published(video, "video", own_precision), load_published(audio, "audio", own_precision)
    clip = VideoShape(**card["clip"])
    denoiser = woven(v, a, clip, card["joint"])
    load_into(joint_layers(denoiser), tensors, layers)
    return JointModel(
        card | {"kind": "joint", "name": name}, denoiser.eval().requires_grad_(False), v.codec, a.codec,
        PictureToBoth(v.conditioner, a.conditioner), clip=clip,
    )  # fmt: skip


def _stream(path: str | Path, stream: StreamName, codec: str | Path, own_precision: bool) -> Published:
    """One stream of a published checkpoint, or of an expert's file of ours and the codec it was trained with."""
    if is_published(path):
        return load_published(path, stream, own_precision)
    expert, text, card = load_expert(path, (KINDS[stream],))
    own = load_codec(codec)
    _check_codec(path, card, stream, own, Path(codec).name)
    return Published(stream, expert, own, OwnWords(text), card.get("clip", BOUNCE_CLIP))


def untrained_bounce() -> JointModel:
    """Experts like those that Bounce was woven from, never trained as a pair."""
    blocks = read_card(shipped("bounce"))["joint_blocks"]
    parts = (shipped(part) for part in ("video_expert", "audio_expert", "video_codec", "audio_codec"))
    return join_experts(*parts, joint_blocks=blocks, name="Bounce's experts")


def _check_codecs(model: JointModel, video: str | Path, audio: str | Path) -> None:
    """Raises ValueError where a codec is not for what was read from `video` or `audio`."""
    for modality, path, codec in (("video", video, model.video_codec), ("audio", audio, model.audio_codec)):
        _check_codec(path, model.card[modality], modality, codec, model.card["codecs"][modality])


def _check_codec(path: str | Path, card: dict[str, Any], modality: StreamName, codec: nn.Module, name: str) -> None:
    if not isinstance(codec.stride, {"video": VideoStride, "audio": AudioStride}[modality]):
        raise ValueError(
            f"{path}: {name} is a {type(codec).__name__}, no {modality} codec; give the codec it was trained with"
        )
    wanted = card["config"].get("out_channels") or card["config"]["in_channels"]
    if codec.stride.channels != wanted:
        raise ValueError(
            f"{path} denoises {wanted} {modality} channels, but {name} has {codec.stride.channels}; "
            "give the codec it was trained with"
        )
