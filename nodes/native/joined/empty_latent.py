"""The latent of a joined model: a video and an audio of the same length, each empty or given."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from comfy.model_management import intermediate_device
from comfy.nested_tensor import NestedTensor
from comfy.utils import repeat_to_batch_size
from torch import Tensor

from ....av_models.contract import LatentShape
from ....av_models.limits import check_memory
from ....av_models.shapes import AVShape, exact_fps
from .clip_request import ClipRequest, count_audio_steps, count_clips, count_latent_frames
from .given_latents import Given, read_given
from .streams import JoinedStreams


class Wanted(NamedTuple):
    """What the user asks for. seconds 0: as long as what is given. fps 0: the video model's own. keep: the stream that is kept."""

    width: int
    height: int
    seconds: float
    fps: float
    batch_size: int
    keep: str


class Clip(NamedTuple):
    """A LATENT of both streams, what it will be decoded to, and the latent steps of its audio."""

    latent: dict[str, Any]
    shape: AVShape
    audio_steps: int


def make_clip(streams: JoinedStreams, wanted: Wanted, video_latent: dict | None = None, audio_latent: dict | None = None) -> Clip:
    """Returns a clip of both models.

    An empty audio has the smallest number of latent steps that covers the video. video_latent, audio_latent: LATENTs of the models
    alone, which are used as they are, with their masks. Raises ValueError if they are not of these models, or lengths disagree.
    """
    video, audio = streams.video.kind, streams.audio.kind
    given = read_given(video_latent, "video_latent", video), read_given(audio_latent, "audio_latent", audio)
    for name, each in zip(("video", "audio"), given):
        if wanted.keep == name and each is None:
            raise ValueError(f"keep is {name} and {name}_latent is not connected; connect it, or set keep to nothing")
    request = ClipRequest(video, audio, wanted.seconds, exact_fps(wanted.fps or video.fps), wanted.batch_size, *given)
    sizes, shape = _sizes(request, wanted)
    check_memory(shape, LatentShape(*sizes))
    made = [_stream(size, each, wanted.keep == name) for size, each, name in zip(sizes, given, ("video", "audio"))]
    return Clip(_latent(made, video_latent or {}, audio_latent or {}), shape, sizes[1][-1])


def _sizes(request: ClipRequest, wanted: Wanted) -> tuple[tuple[tuple[int, ...], tuple[int, ...]], AVShape]:
    """Returns the sizes of both latents, and what they will be decoded to."""
    video, audio, clips = request.video, request.audio, count_clips(request)
    frames = video.frames(count_latent_frames(request))
    steps = count_audio_steps(request, frames / request.fps)
    if request.given_video:
        size = (clips, *request.given_video.samples.shape[1:])
    else:
        size = video.size(frames, wanted.height, wanted.width, clips)
    for name, cells in zip(("height", "width"), size[-2:]):
        if cells < 1:
            raise ValueError(f"{name} is {getattr(wanted, name)}; {video.name} makes at least {video.multiple} pixels")
    height, width = (cells * video.spatial for cells in size[-2:])
    return (size, audio.size(audio.seconds(steps), clips)), AVShape.of_frames(frames, height, width, request.fps, audio.sample_rate)


def _stream(size: tuple[int, ...], given: Given | None, kept: bool) -> tuple[Tensor, Tensor | None]:
    """Returns a stream of this size and its mask. kept: it is not changed by the sampler."""
    if given is None:
        return torch.zeros(size, device=intermediate_device()), None
    samples = repeat_to_batch_size(given.samples, size[0])
    if kept:
        return samples, torch.zeros_like(samples[:, :1])
    return samples, None if given.mask is None else repeat_to_batch_size(given.mask, size[0])


def _latent(made: list[tuple[Tensor, Tensor | None]], *given: dict[str, Any]) -> dict[str, Any]:
    """Returns a LATENT of both streams, with what else the given ones hold."""
    latent = {key: value for each in given for key, value in each.items() if key != "noise_mask"}
    latent["samples"] = NestedTensor([samples for samples, _ in made])
    if any(mask is not None for _, mask in made):
        masks = (torch.ones_like(samples[:, :1]) if mask is None else mask for samples, mask in made)
        latent["noise_mask"] = NestedTensor(list(masks))
    return latent
