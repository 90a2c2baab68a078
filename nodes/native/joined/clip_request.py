"""How long a clip of a joined model is, and how many clips there are, from what the user asks for and what is given."""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

from .given_latents import Given
from .kinds import AudioKind, VideoKind


@dataclass(frozen=True)
class ClipRequest:
    """The clip that is asked for. seconds 0: as long as what is given.

    video, audio: the models. given_video, given_audio: the latents that are used in place of empty ones.
    """

    video: VideoKind
    audio: AudioKind
    seconds: float
    fps: Fraction
    batch_size: int
    given_video: Given | None = None
    given_audio: Given | None = None


def count_latent_frames(request: ClipRequest) -> int:
    """Returns the number of latent frames of the clip. Raises ValueError if the lengths disagree, or if there is none."""
    if not (0 <= request.seconds < math.inf):
        raise ValueError(f"seconds is {request.seconds}; give a number above 0, or 0 for the length of a connected latent")
    if request.given_video:
        found = request.given_video.length
        if request.seconds and _asked_frames(request) != found:
            lasts, fps = float(request.video.frames(found) / request.fps), float(request.fps)
            raise ValueError(
                f"video_latent lasts {lasts:.4g} s at {fps:g} fps, and seconds is {request.seconds:g}; set seconds to 0"
            )
        return found
    if request.seconds:
        return _asked_frames(request)
    if request.given_audio:
        return _frames_within(request, request.audio.seconds(request.given_audio.length))
    raise ValueError("seconds is 0 and no latent is connected; set seconds, or connect video_latent or audio_latent")


def count_audio_steps(request: ClipRequest, seconds: Fraction) -> int:
    """Returns the number of latent steps of the audio for a video of this length.

    A given audio can be longer or shorter by a latent frame and a latent step, as latents of a wave are. Raises ValueError.
    """
    if request.given_audio is None:
        return request.audio.steps(seconds)
    lasts = request.audio.seconds(request.given_audio.length)
    if abs(lasts - seconds) > request.video.temporal / request.fps + 1 / request.audio.steps_per_second:
        raise ValueError(
            f"audio_latent lasts {float(lasts):.4g} s and the video {float(seconds):.4g} s; give both the same length"
        )  # fmt: skip
    return request.given_audio.length


def count_clips(request: ClipRequest) -> int:
    """Returns the number of clips. A given latent of one clip is used for all of them. Raises ValueError if numbers disagree."""
    given = {"video_latent": request.given_video, "audio_latent": request.given_audio}
    counts = {"batch_size": request.batch_size} | {name: len(each.samples) for name, each in given.items() if each}
    most = max(counts.values())
    if request.batch_size < 1:
        raise ValueError(f"batch_size is {request.batch_size}; use at least 1")
    if set(counts.values()) - {1, most}:
        shown = ", ".join(f"{name}: {count}" for name, count in counts.items())
        raise ValueError(f"the numbers of clips disagree ({shown}); use the same, or 1")
    if most > 1 and request.video.frames_in_batch:
        raise ValueError(f"the latent would have {most} clips, and {request.video.name} makes one at a time; set batch_size to 1")
    return most


def _asked_frames(request: ClipRequest) -> int:
    return request.video.latent_frames(max(1, round(request.seconds * request.fps)))


def _frames_within(request: ClipRequest, seconds: Fraction) -> int:
    """Returns the largest number of latent frames whose video is not longer than this."""
    frames = math.floor(seconds * request.fps)
    if frames < 1:
        raise ValueError(f"audio_latent lasts {float(seconds):.3g} s, less than one frame; use a longer one")
    return 1 + (frames - 1) // request.video.temporal
