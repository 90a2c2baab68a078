"""What travels on the wires between our nodes, and how a LATENT carries a picture and its sound."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..av_models.contract import AVCondition, AVLatent
from ..av_models.shapes import AudioShape, AVShape
from .host import NestedTensor, io

JointModelSocket = io.Custom("DUET_MODEL")
PromptsSocket = io.Custom("DUET_PROMPTS")
GuidanceSocket = io.Custom("DUET_GUIDANCE")
CATEGORY = "Duet"
SHAPE = "duet_shape"  # beside "samples" in a LATENT: the clip asked for, which the latent may overhang


@dataclass(frozen=True)
class Prompts:
    """What to make, and what to keep away from."""

    positive: AVCondition
    negative: AVCondition


def latent_dict(latent: AVLatent, shape: AVShape) -> dict[str, Any]:
    """A LATENT: both streams nested, video first, and the clip that they are to become."""
    return {"samples": NestedTensor((latent.video, latent.audio)), SHAPE: shape}


def unpack_latent(latent: dict[str, Any], input_name: str = "latent") -> AVLatent:
    """Both streams of a LATENT. Raises ValueError where it does not hold two."""
    samples = latent["samples"]
    if not getattr(samples, "is_nested", False) or len(samples.unbind()) != 2:
        raise ValueError(f"{input_name} holds no picture and sound together; connect Empty Picture + Sound or the sampler")
    return AVLatent(*samples.unbind())


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
            f"{input_name} is {_sizes(*found)}; {model.name} has {_sizes(wanted.video, wanted.audio)} for this clip: "
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


def report(*lines: str, **facts: Any) -> dict[str, list]:
    """What a node shows: `lines` for people, `facts` for programs."""
    return {"text": list(lines), "duet": [facts]}
