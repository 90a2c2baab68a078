"""Converts between Duet's latents and ComfyUI's LATENT: both streams nested, video first, with a noise mask for each."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import interpolate, pad

from ..av_models.contract import AVLatent
from ..av_models.shapes import AudioShape, AVShape, VideoShape
from .host import NestedTensor

STORAGE_DEVICE = torch.device("cpu")  # for latents between nodes: ComfyUI's cache may hold many
SHAPE_KEY = "duet_shape"  # the key of the requested AVShape in a LATENT; the latent itself may be longer


def latent_dict(latent: AVLatent, shape: AVShape, known: AVLatent | None = None) -> dict[str, Any]:
    """Returns a LATENT for a clip of `shape`.

    known: boolean masks of the parts to keep. They are 0 in `noise_mask`: ComfyUI samples where the mask is 1.
    """
    made = {"samples": NestedTensor((latent.video, latent.audio)), SHAPE_KEY: shape}
    if known is not None:
        masks = ((~k).expand(x.shape[0], 1, *x.shape[2:]) for k, x in ((known.video, latent.video), (known.audio, latent.audio)))
        made["noise_mask"] = NestedTensor(tuple(mask.float() for mask in masks))
    return made


def known_parts(latent: dict[str, Any], input_name: str = "latent", model=None) -> AVLatent | None:
    """Returns boolean masks of the parts to keep, from the LATENT's `noise_mask`; None if it has no mask.

    A plain mask, as from Set Latent Noise Mask, applies to the video only. model: the model that made the latent, whose frames
    a drawn mask covers; they can be smaller than the latent. Raises ValueError if a mask has neither the size of
    its stream nor a height and width that can be used for all frames.
    """
    mask = latent.get("noise_mask")
    if mask is None:
        return None
    streams = unpack_latent(latent, input_name)
    video, audio = mask.unbind() if getattr(mask, "is_nested", False) else (mask, torch.ones_like(streams.audio[:, :1]))
    if model is not None and SHAPE_KEY in latent and 2 <= video.ndim < 5:
        video = _extend_drawn(video, latent[SHAPE_KEY].video, model.video_stride.representable(latent[SHAPE_KEY].video))
    return AVLatent(_known_mask(video, streams.video, f"{input_name}'s mask of the video"),
                    _known_mask(audio, streams.audio, f"{input_name}'s mask of the audio"))  # fmt: skip


def _extend_drawn(mask: Tensor, shape: VideoShape, full: VideoShape) -> Tensor:
    """Returns a drawn mask [height, width], [B, height, width] or [B, 1, height, width] of a clip, for the whole latent."""
    height, width = mask.shape[-2:]
    bottom, right = round(height * (full.height / shape.height - 1)), round(width * (full.width / shape.width - 1))
    return pad(mask.reshape(-1, 1, height, width).float(), (0, right, 0, bottom), mode="replicate")


def _known_mask(mask: Tensor, x: Tensor, name: str) -> Tensor:
    """Returns a mask [B, 1, …] of the size of `x`, True where `mask` is below 0.5."""
    if x.ndim == 5 and mask.ndim < 5:  # a drawn mask [height, width], [B, height, width] or [B, 1, height, width]
        drawn = mask.reshape(-1, 1, *mask.shape[-2:]).float()
        mask = interpolate(drawn, x.shape[-2:], mode="area")[:, :, None]
    fits = mask.ndim == x.ndim and all(m in (1, n) for m, n in zip((mask.shape[0], *mask.shape[2:]), (x.shape[0], *x.shape[2:])))
    if not fits:
        raise ValueError(f"{name} is {_dims(mask.shape)} and the latent is {_dims(x.shape)}; use a mask of the latent's size")
    return (mask[:, :1] < 0.5).expand(x.shape[0], 1, *x.shape[2:])


def unpack_latent(latent: dict[str, Any], input_name: str = "latent") -> AVLatent:
    """Returns both streams of a LATENT. Raises ValueError if it does not hold two."""
    return split_streams(latent.get("samples"), input_name, "connect Empty Video + Audio or the sampler")


def split_streams(samples: Any, name: str, remedy: str) -> AVLatent:
    """Returns video and audio of nested `samples`. Raises ValueError if there are not exactly two streams."""
    streams = samples.unbind() if getattr(samples, "is_nested", False) else ()
    if len(streams) != 2:
        raise ValueError(f"{name} does not hold both video and audio; {remedy}")
    return AVLatent(*streams)


def clip_shape(latent: dict[str, Any], model, input_name: str = "latent") -> AVShape:
    """Returns the shape of the clip in a LATENT: the one that was requested, or else the longest that the latent holds.

    Raises ValueError if the streams do not have the size that `model` uses for this clip.
    """
    streams = unpack_latent(latent, input_name)
    shape = latent.get(SHAPE_KEY) or _longest_shape(streams, model)
    needed = model.latent_shape(shape, streams.rows)
    found = tuple(streams.video.shape), tuple(streams.audio.shape)
    if found != (tuple(needed.video), tuple(needed.audio)):
        raise ValueError(
            f"{input_name} is {_sizes(*found)}, but {model.name} needs {_sizes(needed.video, needed.audio)} for this clip; "
            "make the latent with the same model"
        )
    return shape


def _longest_shape(streams: AVLatent, model) -> AVShape:
    """Returns the longest clip that fits in both streams."""
    latent_frames, height, width = streams.video.shape[-3:]
    video_stride, audio_codec = model.video_stride, model.audio_codec
    audio = AudioShape(streams.audio.shape[2] * audio_codec.stride.samples, audio_codec.sample_rate)
    frames = min(video_stride.frames(latent_frames), model.shape(seconds=audio.seconds).video.frames)
    return model.shape(frames=frames, height=height * video_stride.space, width=width * video_stride.space)


def _sizes(video, audio) -> str:
    return f"{_dims(video)} (video) and {_dims(audio)} (audio)"


def _dims(shape) -> str:
    return "×".join(map(str, shape))
