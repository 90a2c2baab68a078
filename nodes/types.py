"""What travels on the wires between our nodes, and how a LATENT carries a picture and its sound."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from weakref import ReferenceType

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from ..av_models.contract import AVCondition, AVLatent
from ..av_models.guidance import Guidance, Step, cost_of
from ..av_models.shapes import AudioShape, AVShape
from .host import NestedTensor, io

if TYPE_CHECKING:
    from ..av_models.joint_model import JointModel
    from ..av_models.latent_aligner import Aligner, Reference

JointModelSocket = io.Custom("DUET_MODEL")
VideoExpertSocket = io.Custom("DUET_VIDEO_EXPERT")
AudioExpertSocket = io.Custom("DUET_AUDIO_EXPERT")
PromptsSocket = io.Custom("DUET_PROMPTS")
AnyModelSocket = io.Custom("DUET_MODEL,MODEL")  # as ComfyUI writes several types
GuidanceSocket = io.Custom("DUET_GUIDANCE")
AlignerSocket = io.Custom("DUET_ALIGNER")
CATEGORY = "Duet"
KEPT_ON = torch.device("cpu")  # latents between nodes: ComfyUI's cache may hold many
SHAPE = "duet_shape"  # beside "samples" in a LATENT: the clip asked for, which the latent may overhang


@dataclass(frozen=True)
class Prompts:
    """What to make, and what to keep away from: `words` of picture and sound for either, or a `picture` [H, W, C].

    `encoded`: the words as the model `encoder` encoded them; None where the clip's size must be known first.
    """

    words: tuple[tuple[str, str], tuple[str, str]]
    picture: Tensor | None = None
    encoded: tuple[AVCondition, AVCondition] | None = None
    encoder: ReferenceType[JointModel] | None = None

    def conditions(self, model: JointModel, shape: AVShape) -> list[AVCondition]:
        """Positive and negative, as `model` encodes them; ValueError where they were made for one of another kind."""
        if model.takes_image != (self.encoded is None):
            raise ValueError(f"prompts were encoded for a different model than {model.name}; connect the same model to both nodes")
        if self.encoded and self.encoder and self.encoder() is model:
            return list(self.encoded)
        return [model.encode(*words, given, shape) for words, given in zip(self.words, (self.picture, None))]


@dataclass(frozen=True)
class GuidedBy:
    """A guidance strategy, and the worse model that autoguidance compares with: ours, or a MODEL of ComfyUI's."""

    strategy: Guidance
    bad_model: Any = None

    @property
    def bad_is_ours(self) -> bool:
        return hasattr(self.bad_model, "denoiser")

    def require_ours(self) -> None:
        """Raises ValueError for a MODEL of ComfyUI's."""
        if self.bad_model is not None and not self.bad_is_ours:
            raise ValueError("the guidance's bad_model is a ComfyUI MODEL; connect a Duet model, or use Joint Guider")


@dataclass(frozen=True)
class AlignedBy:
    """What moves latents while they are sampled, and what they are to agree with."""

    aligner: Aligner
    reference: Reference


@dataclass(frozen=True)
class ExpertFile:
    """An expert that can be joined. Its tensors are read only then, so that each joint model has its own."""

    path: Path
    card: dict[str, Any]


def latent_dict(latent: AVLatent, shape: AVShape, known: AVLatent | None = None) -> dict[str, Any]:
    """A LATENT: both streams nested, video first, and the clip that they are to become.

    What is `known` is 0 in its `noise_mask`, as ComfyUI has it: the sampler changes where the mask is 1.
    """
    made = {"samples": NestedTensor((latent.video, latent.audio)), SHAPE: shape}
    if known is not None:
        masks = ((~k).expand(x.shape[0], 1, *x.shape[2:]) for k, x in ((known.video, latent.video), (known.audio, latent.audio)))
        made["noise_mask"] = NestedTensor(tuple(mask.float() for mask in masks))
    return made


def known_parts(latent: dict[str, Any], input_name: str = "latent") -> AVLatent | None:
    """What a LATENT's `noise_mask` says to keep, as booleans that fit its streams; None where it has no mask.

    A plain mask, as core's Set Latent Noise Mask gives, is the picture's alone. Raises ValueError where a mask fits
    neither its stream nor, spread over time, its height and width.
    """
    mask = latent.get("noise_mask")
    if mask is None:
        return None
    streams = unpack_latent(latent, input_name)
    video, audio = mask.unbind() if getattr(mask, "is_nested", False) else (mask, torch.ones_like(streams.audio[:, :1]))
    return AVLatent(_known(video, streams.video, f"{input_name}'s mask of the picture"),
                    _known(audio, streams.audio, f"{input_name}'s mask of the sound"))  # fmt: skip


def _known(mask: Tensor, x: Tensor, name: str) -> Tensor:
    """[B, 1, …] of the size of `x`, True where `mask` keeps it."""
    if x.ndim == 5 and mask.ndim < 5:  # a drawn mask [height, width], [B, height, width] or [B, 1, height, width]
        drawn = mask.reshape(-1, 1, *mask.shape[-2:]).float()
        mask = interpolate(drawn, x.shape[-2:], mode="area")[:, :, None]
    fits = mask.ndim == x.ndim and all(m in (1, n) for m, n in zip((mask.shape[0], *mask.shape[2:]), (x.shape[0], *x.shape[2:])))
    if not fits:
        sizes = ("×".join(map(str, part.shape)) for part in (mask, x))
        raise ValueError("{} is {} and the latent is {}; use a mask of the latent's size".format(name, *sizes))
    return (mask[:, :1] < 0.5).expand(x.shape[0], 1, *x.shape[2:])


def unpack_latent(latent: dict[str, Any], input_name: str = "latent") -> AVLatent:
    """Both streams of a LATENT. Raises ValueError where it does not hold two."""
    return both_streams(latent["samples"], input_name, "connect Empty Picture + Sound or the sampler")


def both_streams(samples: Any, name: str, remedy: str) -> AVLatent:
    """Picture and sound of nested `samples`. Raises ValueError where they are not two."""
    streams = samples.unbind() if getattr(samples, "is_nested", False) else ()
    if len(streams) != 2:
        raise ValueError(f"{name} does not hold both picture and sound; {remedy}")
    return AVLatent(*streams)


def clip_shape(latent: dict[str, Any], model, input_name: str = "latent") -> AVShape:
    """The clip that a LATENT is to become; everything it holds, where it does not say.

    Raises ValueError where the streams are not of the sizes that `model` makes of that clip.
    """
    streams = unpack_latent(latent, input_name)
    shape = latent.get(SHAPE) or _whole(streams, model)
    wanted = model.latent_shape(shape, streams.rows)
    found = tuple(streams.video.shape), tuple(streams.audio.shape)
    if found != (tuple(wanted.video), tuple(wanted.audio)):
        raise ValueError(
            f"{input_name} is {_sizes(*found)}, but {model.name} needs {_sizes(wanted.video, wanted.audio)} for this clip; "
            "make the latent with the same model"
        )
    return shape


def _whole(streams: AVLatent, model) -> AVShape:
    """The longest clip for which both streams have something."""
    cells, height, width = streams.video.shape[-3:]
    picture, sound = model.video_codec.stride, model.audio_codec
    heard = AudioShape(streams.audio.shape[2] * sound.stride.samples, sound.sample_rate)
    frames = min(picture.frames(cells), model.shape(seconds=heard.seconds).video.frames)
    return model.shape(frames=frames, height=height * picture.space, width=width * picture.space)


def _sizes(video, audio) -> str:
    return f"{'×'.join(map(str, video))} (picture) and {'×'.join(map(str, audio))} (sound)"


def guidance_report(strategy: Guidance) -> dict[str, list]:
    """What a step of `strategy` costs, before a sampler says how many there are."""
    fine = [Step(i, 1000, 1 - i / 1000, 1 - i / 1000) for i in range(1000)]
    costs = [cost_of(strategy, [step], batched=True) for step in fine]
    rows, calls = ({getattr(cost, name) for cost in costs} for name in ("branches", "forwards"))
    line = f"{strategy.name}: {_range(rows, 'branch', 'branches')} per step in {_range(calls, 'network call', 'network calls')}"
    return report(line, guidance=strategy.name, branches_per_step=max(rows))


def _range(counts: set[int], one: str, many: str) -> str:
    low, high = min(counts), max(counts)
    return f"{high if low == high else f'{low} to {high}'} {one if low == high == 1 else many}"


def report(*lines: str, **facts: Any) -> dict[str, list]:
    """What a node shows: `lines` for people, `facts` for programs."""
    return {"text": list(lines), "duet": [facts]}
