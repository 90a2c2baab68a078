"""What joining must know of each of ComfyUI's models of video alone or audio alone. To support another one, add a line here."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar, NamedTuple, TypeVar

import comfy.model_base as base

from ....av_models.shapes import VideoStride

JOINED = "JoinedModel"  # the class of a MODEL that Join Models has made
JOINT: dict[type, str] = {base.LTXAV: "LTX-2", base.MiniMaxH3: "MiniMax-H3"}  # they make both streams
ARTICLES = {"video": "a video", "audio": "an audio"}
SUCH_AS = {"video": "Wan 2.2, HunyuanVideo 1.5 or LTX-Video", "audio": "Stable Audio 3 or ACE-Step 1.5"}
Line = TypeVar("Line")


@dataclass(frozen=True)
class StreamKind:
    """A model of one stream.

    name: for messages. channels: of its latent. sizes: the sizes of its latent in a joint latent, without the batch; None: any.
    text_widths: the widths of the tokens of a prompt that it takes; empty if unknown.
    frames_in_batch: its own latent has the frames in place of the batch, [F, C, h, w]. In a joint latent it is [1, C, F, h, w].
    """

    name: str
    channels: int
    sizes: tuple[int | None, ...]
    text_widths: frozenset[int]
    stream: ClassVar[str]
    frames_in_batch: ClassVar[bool] = False


@dataclass(frozen=True)
class VideoKind(StreamKind):
    """A video model. spatial, temporal: pixels and frames of a latent cell; the first frame has one of its own. fps: the usual.

    multiple: height and width in pixels are multiples of it.
    """

    spatial: int
    temporal: int
    fps: float
    multiple: int
    stream = "video"

    def latent_frames(self, frames: int) -> int:
        """Returns the number of latent frames that hold this many frames."""
        return self._stride.latent_frames(frames)

    def frames(self, latent_frames: int) -> int:
        """Returns the number of frames that a latent is decoded to."""
        return self._stride.frames(latent_frames)

    @property
    def _stride(self) -> VideoStride:
        return VideoStride(self.temporal, self.spatial, self.channels)

    def size(self, frames: int, height: int, width: int, batch: int = 1) -> tuple[int, ...]:
        """Returns the size [B, C, F, h, w] of a latent of at least `frames` frames. Height and width are cut."""
        cells = (length // self.multiple * self.multiple // self.spatial for length in (height, width))
        return batch, self.channels, self.latent_frames(frames), *cells


@dataclass(frozen=True)
class FrameBatchKind(VideoKind):
    """A video model that takes the frames as a batch."""

    frames_in_batch = True


@dataclass(frozen=True)
class AudioKind(StreamKind):
    """An audio model. steps_per_second: of its latent. sample_rate: of the sound that its VAE decodes."""

    steps_per_second: Fraction
    sample_rate: int
    stream = "audio"

    def steps(self, seconds: Fraction) -> int:
        """Returns the smallest number of latent steps that covers this many seconds."""
        return math.ceil(seconds * self.steps_per_second)

    def seconds(self, steps: int) -> Fraction:
        return steps / self.steps_per_second

    def size(self, seconds: Fraction, batch: int = 1) -> tuple[int, ...]:
        """Returns the size [B, C, L] or [B, C, H, L] of a latent that covers this many seconds."""
        return batch, *(self.steps(seconds) if each is None else each for each in self.sizes)


class _Video(NamedTuple):
    """text: the layer of the network that reads the tokens of a prompt, by its path.

    patch: cells of a latent that the network takes as one, if it does not pad.
    """

    name: str
    fps: float
    text: str
    kind: type[VideoKind] = VideoKind
    patch: int = 1


class _Audio(NamedTuple):
    """height: of a latent that has one. samples: of a latent step at 44.1 kHz, if the latent format does not have it."""

    name: str
    text: str
    sample_rate: int = 44_100
    height: int | None = None
    samples: int = 0


WAN_TEXT, HUNYUAN_TEXT, SVD_TEXT = "text_embedding.0", "txt_in.input_embedder", "input_blocks.1.1.transformer_blocks.0.attn2.to_k"
VIDEO: dict[type, _Video] = {  # with their subclasses
    base.WAN21: _Video("Wan 2.1 / 2.2", 16, WAN_TEXT),
    base.WAN21_Vace: _Video("Wan VACE", 16, WAN_TEXT),
    base.WAN21_HuMo: _Video("Wan HuMo", 25, WAN_TEXT),
    base.WAN22_WanDancer: _Video("WanDancer", 30, WAN_TEXT),
    base.WAN22: _Video("Wan 2.2 5B", 24, WAN_TEXT),
    base.HunyuanVideo: _Video("HunyuanVideo", 24, HUNYUAN_TEXT),
    base.HunyuanVideo15: _Video("HunyuanVideo 1.5", 24, HUNYUAN_TEXT),
    base.LTXV: _Video("LTX-Video", 25, "caption_projection.linear_1"),
    base.CosmosVideo: _Video("Cosmos", 24, "blocks.block0.blocks.1.block.attn.to_k.0", patch=2),
    base.CosmosPredict2: _Video("Cosmos Predict2", 16, "blocks.0.cross_attn.k_proj"),
    base.CogVideoX: _Video("CogVideoX", 8, "patch_embed.text_proj"),
    base.GenmoMochi: _Video("Mochi", 30, "t5_yproj"),
    base.Kandinsky5: _Video("Kandinsky 5", 24, "text_embeddings.in_layer"),
    base.SVD_img2vid: _Video("Stable Video Diffusion", 6, SVD_TEXT, FrameBatchKind),
}
AUDIO: dict[type, _Audio] = {
    base.StableAudio1: _Audio("Stable Audio 1", "to_cond_embed.0"),
    base.StableAudio3: _Audio("Stable Audio 3", "to_cond_embed.0"),
    base.ACEStep: _Audio("ACE-Step 1", "genre_embedder", height=16, samples=8 * 512),
    base.ACEStep15: _Audio("ACE-Step 1.5", "encoder.text_projector", sample_rate=48_000),
    base.MiniMaxMusic3: _Audio("MiniMax Music 3", ""),
}
IMAGES = (base.Kandinsky5Image, base.QwenImage, base.JoyImage, base.Krea2, base.Anima, base.HunyuanImage21)
SHAPES = (base.Trellis2, base.TripoSplat)


def kind_of(patcher: Any, name: str) -> StreamKind:
    """Returns what a MODEL is.

    name: of the node's input, "video" or "audio". Raises ValueError if the MODEL does not make this stream, or not it alone.
    """
    model = patcher.model
    _check_alone(model, name)
    kind = _video_kind(model) or _audio_kind(model)
    if kind is None or kind.stream != name:
        shown, what = _other(model) if kind is None else (kind.name, f"{ARTICLES[kind.stream]} model")
        raise ValueError(f"{name} is {shown}, {what}; connect {ARTICLES[name]} model, such as {SUCH_AS[name]}")
    return kind


def _check_alone(model: Any, name: str) -> None:
    if type(model).__name__ == JOINED:
        raise ValueError(f"{name} is a joined model already; connect one of the two that it was made of")
    if joint := _line(JOINT, model):
        raise ValueError(f"{name} is {joint}, which makes video and audio itself; use it as it is, or connect another model")


def _video_kind(model: Any) -> VideoKind | None:
    line, latents = _line(VIDEO, model), model.latent_format
    if line is None or _makes_images(model):
        return None
    channels, strides = latents.latent_channels, (latents.spacial_downscale_ratio, latents.temporal_downscale_ratio)
    widths = _text_widths(model, line.text)
    sizes = (channels, None, None, None)
    return line.kind(line.name, channels, sizes, widths, *strides, line.fps, line.patch * strides[0])


def _audio_kind(model: Any) -> AudioKind | None:
    line, latents = _line(AUDIO, model), model.latent_format
    if line is None:
        return None
    channels, rate = latents.latent_channels, Fraction(44_100, line.samples or latents.temporal_downscale_ratio)
    sizes = (channels, None) if line.height is None else (channels, line.height, None)
    return AudioKind(line.name, channels, sizes, _text_widths(model, line.text), rate, line.sample_rate)


def _line(table: Mapping[type, Line], model: Any) -> Line | None:
    """Returns the line of a model's class, or else of the nearest class that it is derived from."""
    return next((table[each] for each in type(model).__mro__ if each in table), None)


def _makes_images(model: Any) -> bool:
    text_to_image = isinstance(model, base.CosmosPredict2) and not model.image_to_video  # the same class, another file
    return text_to_image or isinstance(model, IMAGES)


def _text_widths(model: Any, path: str) -> frozenset[int]:
    try:
        return frozenset({model.diffusion_model.get_submodule(path).in_features})
    except AttributeError:  # of another make, such as quantised by another pack
        return frozenset()


def _other(model: Any) -> tuple[str, str]:
    """Returns what a model that makes neither video nor audio is called, and what it is."""
    shown = "Stable Diffusion" if type(model) is base.BaseModel else type(model).__name__
    flat = model.latent_format.latent_dimensions == 2 and not isinstance(model, SHAPES)
    return shown, "an image model" if flat or _makes_images(model) else "which Duet cannot join"
