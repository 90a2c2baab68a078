"""A joint model: the denoiser with its codecs, its conditioner and the clip size of its training."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from .codecs.base import AudioCodec, VideoCodec, decode_in_place
from .contract import AVCondition, AVLatent, JointDenoiser, LatentShape
from .decoding import decode_chunks, decode_frames, ignore
from .guidance import Guidance
from .guidance.autoguidance import Autoguidance
from .known_parts import KnownMode
from .limits import LatentLimits
from .media.fit import FramesFit, fit_frames, plan_frames
from .memory import estimate_decoding, free_memory
from .offload import device_of, is_offloaded
from .recommended import Recommended, parse_sampling
from .shapes import AVShape, VideoShape, VideoStride

if TYPE_CHECKING:
    from .schedule import SamplingSchedule


class Conditioner(Protocol):
    """Encodes prompts and an image for both modalities. takes_image: whether an image is one of its inputs."""

    takes_image: bool

    def condition(
        self, video_prompt: str, audio_prompt: str, image: Tensor | None, shape: AVShape, codec: VideoCodec
    ) -> AVCondition:
        """Return the condition of one clip of `shape`. image: [1, height, width, 3] in 0..1, of the clip's size, or None."""
        ...

    def ignored_prompts(self, video_prompt: str, audio_prompt: str) -> list[str]:
        """Return one message for each word or prompt that has no effect."""
        ...


@dataclass(frozen=True)
class JointModel:
    """A loaded joint model.

    card: the model card.
    denoiser, video_codec, audio_codec, conditioner: the networks, in evaluation mode.
    clip: size, length and frame rate of the clips that the model was trained on.
    own_times(steps, latents): the times of the model's own pipeline for latents of this shape; None: from the shift.
    own_scheduler: the diffusers scheduler of its own pipeline, for these times; None: Euler.
    own_schedulers: of an untrained pair, the scheduler of each expert's own pipeline, which also has its times; None: one grid.
    """

    card: dict[str, Any]
    denoiser: JointDenoiser
    video_codec: VideoCodec
    audio_codec: AudioCodec
    conditioner: Conditioner
    clip: VideoShape
    own_times: Callable[[int, LatentShape], Sequence[float]] | None = field(default=None, compare=False)
    own_scheduler: Any = field(default=None, compare=False)
    own_schedulers: tuple[Any, Any] | None = field(default=None, compare=False)

    @property
    def name(self) -> str:
        """The name in the model card."""
        return self.card["name"]

    @property
    def trained(self) -> bool:
        """Whether video and audio were trained together. If not, the joint parameters are random and generate only noise."""
        return self.card["trained"]

    @cached_property
    def recommended(self) -> Recommended:
        """The sampling settings that the model card recommends."""
        return parse_sampling(self.card.get("sampling"), self.name, self.trained)

    @cached_property
    def networks(self) -> nn.ModuleDict:
        """All networks in one module, for moving them between devices."""
        return nn.ModuleDict(self.parts)

    @property
    def parts(self) -> dict[str, Any]:
        """The networks by name."""
        return {name: getattr(self, name) for name in ("denoiser", "video_codec", "audio_codec", "conditioner")}

    @cached_property
    def movable_parts(self) -> dict[str, nn.Module]:
        """The networks by name, each in a module of its own, which has its name, for moving them between devices one by one."""
        return {name: type(type(part).__name__, (nn.ModuleDict,), {})({name: part}) for name, part in self.parts.items()}

    def movable(self, names: Iterable[str] = ()) -> list[nn.Module]:
        """Return these parts, or all, for moving them to a device; without what is offloaded, which stays where it is."""
        return [self.movable_parts[name] for name in names or self.parts if not is_offloaded(self.parts[name])]

    @property
    def encoding_parts(self) -> tuple[str, ...]:
        """The names of the parts that encode prompts and images."""
        return getattr(self.conditioner, "uses", ("conditioner",))

    @property
    def device(self) -> torch.device:
        """The device that the denoiser runs on. The other parts may be on another one."""
        return device_of(self.parts["denoiser"])

    @property
    def known_mode(self) -> KnownMode:
        """How known parts of the video are given to the network: as in its training, else "renoised" (see `KnownParts`)."""
        return self.card.get("given", "renoised")

    @property
    def known_modes(self) -> tuple[KnownMode, KnownMode]:
        """How known parts of the video and of the audio are given to the network."""
        return self.known_mode, self.card.get("given_audio", self.known_mode)

    @cached_property
    def limits(self) -> LatentLimits:
        """The latents that the video network takes."""
        holder = self.denoiser if hasattr(self.denoiser, "limits") else getattr(self.denoiser, "video", None)
        return getattr(holder, "limits", LatentLimits())

    @property
    def video_stride(self) -> VideoStride:
        """The compression of the video codec, with latents of a size that the video network takes."""
        return replace(self.video_codec.stride, multiple=self.limits.multiple)

    def shape(
        self,
        seconds: float | None = None,
        frames: int | None = None,
        height: int | None = None,
        width: int | None = None,
        fps: float | None = None,
    ) -> AVShape:
        """Return the shape of a clip of `seconds` or `frames`. A value that is None is that of the model's training.

        height, width: pixels. fps: frames per second. Every height and width works up to the model's limit: latents are as
        large as its codec and network need, and decoding crops the frames.
        Raises ValueError if both lengths are given, a value is out of range, or the clip is too long or large for the model.
        """
        if seconds is not None and frames is not None:
            raise ValueError(f"seconds is {seconds} and frames is {frames}; use only one")
        requested = {"frames": frames, "height": height, "width": width, "fps": fps}
        clip: dict[str, Any] = {name: getattr(self.clip, name) if value is None else value for name, value in requested.items()}
        clip |= {"sample_rate": self.audio_codec.sample_rate, "channels": self.audio_codec.channels}
        if seconds is not None:
            del clip["frames"]
        shape = AVShape.of_frames(**clip) if seconds is None else AVShape.of_seconds(seconds, **clip)
        self.limits.check(shape.video, self.video_stride, self.name)
        return shape

    def latent_shape(self, shape: AVShape, batch: int = 1) -> LatentShape:
        """Return the shapes of the latents of `batch` clips of `shape`."""
        video = self.video_stride.latent_shape(shape.video)
        audio = self.audio_codec.stride.latent_shape(shape.audio)
        return LatentShape(video=(batch, *video), audio=(batch, *audio))

    def denoiser_for(self, shape: AVShape) -> JointDenoiser:
        """Return the denoiser for clips of `shape`.

        Some have positions that depend on the frame rate (`at_frame_rate`), or take the clip's length as an input (`for_clip`).
        """
        for_clip, at_frame_rate = (getattr(self.denoiser, name, None) for name in ("for_clip", "at_frame_rate"))
        if for_clip is not None:
            return for_clip(shape)
        return self.denoiser if at_frame_rate is None else at_frame_rate(float(shape.video.fps))

    def has_own_times(self, eta: float = 0.0) -> bool:
        """Whether the model is sampled at the times of its own pipeline unless a shift is chosen."""
        return self.own_times is not None or (self.own_schedulers is not None and not eta)

    def make_schedule(
        self, latents: LatentShape, steps: int | None = None, eta: float | None = None, shift: float | None = None
    ) -> SamplingSchedule:
        """Return the schedule for `latents`. None: as the model recommends, which for `shift` are its own times if it has some.

        A pair with a scheduler for each expert has one grid for both, without these schedulers, if new noise is added (eta).
        """
        from .clock import check_steps
        from .schedule import SamplingSchedule  # imports diffusers

        advice = self.recommended
        steps, eta = advice.steps if steps is None else steps, advice.eta if eta is None else eta
        if shift is None and self.own_schedulers is not None and not eta:
            video, audio = self.own_schedulers
            return SamplingSchedule(steps, parity=True, video_scheduler=video, audio_scheduler=audio)
        if shift is not None or self.own_times is None:
            return SamplingSchedule(steps, advice.shift if shift is None else shift, eta=eta)
        check_steps(steps)
        scheduler = None if eta else self.own_scheduler
        times = tuple(self.own_times(steps, latents))
        return SamplingSchedule(steps, eta=eta, video_scheduler=scheduler, audio_scheduler=scheduler, times=times)

    def negative_words(self, video_prompt: str, audio_prompt: str) -> tuple[str, str]:
        """Return the negative prompts, with the model's own for each that is empty."""
        own = getattr(self.conditioner, "default_negatives", ("", ""))
        return video_prompt if video_prompt.strip() else own[0], audio_prompt if audio_prompt.strip() else own[1]

    def adapt_guidance(self, guidance: Guidance, bad_model: JointModel | None = None) -> Guidance:
        """Return `guidance`, changed so that untrained joint parameters are removed: they would generate only noise.

        bad_model: the weaker model of autoguidance, if there is one.
        """
        if bad_model is not None and isinstance(guidance, Autoguidance):
            guidance = replace(guidance, bad_removed=guidance.bad_removed or not bad_model.trained)
        return guidance if self.trained else replace(guidance, removed=True)

    @property
    def takes_image(self) -> bool:
        """Whether the model is conditioned on an image."""
        return self.conditioner.takes_image

    @torch.no_grad()
    def encode(
        self, video_prompt: str, audio_prompt: str, image: Tensor | None = None, shape: AVShape | None = None
    ) -> AVCondition:
        """Encode the prompts, and the image for a model that takes one. An empty prompt or no image is the null condition ∅.

        image: [height, width, channels] in 0..1; it is scaled and cropped to the size of the clip.
        shape: the shape of the clip; None: as in the model's training.
        Raises ValueError if an image is given to a model that takes text only.
        """
        shape = shape or self.shape()
        if image is not None and self.takes_image:
            image = fit_frames(image[None], *self._one_frame(shape))
        return self.conditioner.condition(video_prompt, audio_prompt, image, shape, self.video_codec)

    def fit_image(self, image: Tensor, shape: AVShape | None = None) -> FramesFit:
        """Return how `encode` scales and crops an image [height, width, channels] for a clip of `shape`."""
        height, width = image.shape[:2]
        return plan_frames(1, height, width, *self._one_frame(shape or self.shape()))

    @staticmethod
    def _one_frame(shape: AVShape) -> tuple[Fraction, VideoShape]:
        return shape.video.fps, replace(shape.video, frames=1)

    def ignored_prompts(self, video_prompt: str, audio_prompt: str) -> list[str]:
        """Return one message for each word outside the text encoder's vocabulary, or for each prompt that the model ignores."""
        return self.conditioner.ignored_prompts(video_prompt, audio_prompt)

    def decode(self, latent: AVLatent, shape: AVShape, say: Callable[[str], None] = ignore) -> tuple[Tensor, Tensor]:
        """Decode to frames [B, F, H, W, 3] in 0..1 and a waveform [B, C, samples] in −1..1, trimmed to `shape`.

        say: called with a message if memory runs out and the video is decoded in smaller parts.
        """
        return self.decode_video(latent.video, shape, say), self.decode_audio(latent.audio, shape)

    def decode_audio(self, latent: Tensor, shape: AVShape) -> Tensor:
        """Decode audio latents to a waveform [B, C, samples] in −1..1, trimmed to `shape`."""
        return _of_length(decode_in_place(self.audio_codec, latent), shape)

    def decode_video(self, latent: Tensor, shape: AVShape, say: Callable[[str], None] = ignore) -> Tensor:
        """Decode video latents to frames [B, F, H, W, 3] in 0..1, trimmed to `shape`. Where memory is short, in chunks."""
        needed = estimate_decoding(self.video_codec, latent.shape)
        fits = needed < free_memory(device_of(self.parts["video_codec"]))
        return _trimmed(decode_frames(self.video_codec, latent, say, whole=fits), shape)

    def stream_video(self, latent: Tensor, shape: AVShape, say: Callable[[str], None] = ignore) -> Iterator[Tensor]:
        """Decode video latents of one clip in parts, and yield the frames [f, H, W, 3] of each on the CPU, trimmed to `shape`."""
        left = shape.video.frames
        for chunk in decode_chunks(self.video_codec, latent, say):
            frames = chunk[0, :left, : shape.video.height, : shape.video.width].to("cpu")
            left -= len(frames)
            yield frames
            if not left:
                return

    def decode_video_with_grad(self, latent: Tensor, shape: AVShape) -> Tensor:
        """Decode video latents as `decode_video` does, with a gradient."""
        return _trimmed(self.video_codec.decode_with_grad(latent), shape)

    def decode_audio_with_grad(self, latent: Tensor, shape: AVShape) -> Tensor:
        """Decode audio latents to a waveform [B, C, samples] in −1..1, trimmed to `shape`, with a gradient."""
        return _of_length(self.audio_codec.decode_with_grad(latent), shape)


def _of_length(waveform: Tensor, shape: AVShape) -> Tensor:
    """Trim a waveform, or add silence: codecs with the nearest number of latent steps may end a little before the clip."""
    missing = max(0, shape.audio.samples - waveform.shape[-1])
    return pad(waveform[..., : shape.audio.samples], (0, missing)) if missing else waveform[..., : shape.audio.samples]


def _trimmed(frames: Tensor, shape: AVShape) -> Tensor:
    return frames[:, : shape.video.frames, : shape.video.height, : shape.video.width]
