"""Encodes frames and audio to latents of a joint model, and makes masks of their known parts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from .contract import AVLatent
from .joint_model import JointModel
from .media.fit import extend_frames
from .offload import device_of
from .shapes import AudioStride, AVShape, VideoStride

TimeSelector = Callable[[np.ndarray], np.ndarray]
"""A part of a clip: maps times in seconds to True or False."""


def encode_clip(model: JointModel, shape: AVShape, frames: Tensor | None, sound: Tensor | None) -> AVLatent:
    """Encode a clip to latents with a batch size of 1, on the devices of the codecs. Returns them on the model's device.

    frames: [F, H, W, 3] in 0..1, of the clip's size; None gives zeros. One image [1, H, W, 3] gives the first latent
        frame and zeros after it, where the codec encodes images alone.
    sound: [channels, samples] in −1..1, of the clip's sample rate and length; None gives zeros.
    """
    sizes = model.latent_shape(shape)
    video, audio = torch.zeros(sizes.video), torch.zeros(sizes.audio)
    if frames is not None:
        full = model.video_stride.representable(shape.video)
        alone = len(frames) == 1 and encodes_images(model)
        given = extend_frames(frames, replace(full, frames=1) if alone else full)
        encoded = model.video_codec.encode(given[None].to(device_of(model.parts["video_codec"])))
        video = torch.cat([encoded, encoded.new_zeros(*sizes.video)[:, :, encoded.shape[2] :]], 2)
    if sound is not None:
        audio = model.audio_codec.encode(sound[None].to(device_of(model.parts["audio_codec"])))
    return AVLatent(video, audio).to(model.device)


def known_frames(known: Sequence[bool] | np.ndarray, stride: VideoStride) -> Tensor:
    """Return the mask [1, 1, T, 1, 1] of the latent frames whose frames are all known. known: bool [F], for each frame."""
    known = np.asarray(known, bool)
    padded = np.pad(known, (0, stride.frames(stride.latent_frames(len(known))) - len(known)), mode="edge")
    first = padded[:1] if stride.causal else padded[:0]
    rest = padded[len(first) :].reshape(-1, stride.time).all(1)
    return torch.from_numpy(np.concatenate([first, rest]))[None, None, :, None, None]


def known_samples(known: Sequence[bool] | np.ndarray, stride: AudioStride) -> Tensor:
    """Return the mask [1, 1, T], or [1, 1, T, 1] with bands, of the latent steps whose samples are all known. known: bool [N]."""
    known = np.asarray(known, bool)
    samples = stride.latent_length(len(known)) * stride.samples
    padded = np.pad(known, (0, max(0, samples - len(known))), mode="edge")[:samples]
    steps = torch.from_numpy(padded.reshape(-1, stride.samples).all(1))[None, None]
    return steps[..., None] if stride.bands else steps


def make_known_masks(model: JointModel, shape: AVShape, video: TimeSelector, audio: TimeSelector) -> AVLatent:
    """Return the masks of the known parts of video and audio, from functions of the time in seconds."""
    frames = np.arange(shape.video.frames) / float(shape.video.fps)
    samples = np.arange(shape.audio.samples) / shape.audio.sample_rate
    return AVLatent(known_frames(video(frames), model.video_codec.stride), known_samples(audio(samples), model.audio_codec.stride))


def needs_image_only(model: JointModel, known: AVLatent) -> bool:
    """Return whether only the first frame of the video is known, and the codec encodes it as an image."""
    video = known.video
    alone = bool(video[:, :, 0].all()) and not bool(video[:, :, 1:].any())
    return alone and encodes_images(model)


def encodes_images(model: JointModel) -> bool:
    """Return whether the video codec encodes one frame alone, to the first latent frame of a clip that starts with it."""
    return getattr(model.video_codec, "encodes_images", False)


def nothing(times: np.ndarray) -> np.ndarray:
    """Select no part of a clip."""
    return np.zeros(len(times), bool)


def everything(times: np.ndarray) -> np.ndarray:
    """Select the whole clip."""
    return np.ones(len(times), bool)


def before(end: float) -> TimeSelector:
    """Select the part before `end` seconds."""
    return lambda times: times < end


def outside(start: float, end: float) -> TimeSelector:
    """Select all but the part from `start` to `end` seconds."""
    return lambda times: (times < start) | (times >= end)


def both(one: TimeSelector, other: TimeSelector) -> TimeSelector:
    """Select the parts that both `one` and `other` select."""
    return lambda times: one(times) & other(times)


def first_frame(times: np.ndarray) -> np.ndarray:
    """Select the first frame."""
    return times == 0
