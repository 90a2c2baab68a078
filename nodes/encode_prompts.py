"""Prompts for video and audio, or an image for models that take one."""

from __future__ import annotations

from typing import Any
from weakref import ref

import torch

from ..av_models.printable import printable
from .host import io
from .placement import load_encoders
from .reports import report
from .sockets import JointModelSocket, Prompts, PromptsSocket, encode_embeddings
from .stream_prompts import clip_stream, embed_pair, is_pair

SHOWN = 120  # characters of a negative prompt of the model
MAX_ASPECT_RATIO = 5  # long side divided by short side


class DuetEncodePrompts(io.ComfyNode):
    """Encodes prompts. Unknown words are reported with similar known words, and ignored."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DuetEncodePrompts",
            display_name="Prompts for Video and Audio",
            category="Duet/make",
            description="Encodes the prompts for video and audio. Words outside the model's vocabulary are reported and ignored.",
            search_aliases=["duet", "text encode", "prompt", "picture and sound"],
            inputs=[
                JointModelSocket.Input("model", tooltip="The model that will generate the clip."),
                _prompt_input("video_prompt", "Prompt for the video. Empty: anything."),
                _prompt_input("audio_prompt", "Prompt for the audio. Empty: anything."),
                _prompt_input("video_negative", "Negative prompt for the video. Usually empty."),
                _prompt_input("audio_negative", "Negative prompt for the audio. Usually empty."),
                io.Image.Input(
                    "picture", optional=True, tooltip="First frame of the clip, for image-to-video models such as JointDiT."
                ),
                io.Clip.Input(
                    "clip",
                    optional=True,
                    tooltip="Text encoder of ComfyUI, instead of the model's own: Kandinsky 6, LTX-2, Ovi, and UMT5-XXL for Wan.",
                ),
            ],
            outputs=[PromptsSocket.Output(display_name="prompts", tooltip="Connect to the sampler.")],
        )

    @classmethod
    def execute(
        cls, model, video_prompt: str, audio_prompt: str, video_negative: str, audio_negative: str, picture=None, clip=None
    ) -> io.NodeOutput:
        _check_clip(clip, model)
        load_encoders(model, text_encoders=clip is None or is_pair(model))
        ignored = model.ignored_prompts(video_prompt, audio_prompt)
        ignored += [line.replace("_prompt", "_negative", 1) for line in model.ignored_prompts(video_negative, audio_negative)]
        words = (video_prompt, audio_prompt), (video_negative, audio_negative)
        if model.takes_image:
            return _image_prompts(Prompts(words, _checked_picture(picture, model)), model, ignored)
        if picture is not None:
            raise ValueError(
                f"picture is connected, but {model.name} takes text prompts; to start from an image, use Encode Video + Audio"
            )
        empty = _empty_lines(words[0], shared=_shares_words(model))
        prompts = _text_prompts(model, words, clip)
        lines = *empty, *_negative_lines(model, *words[1]), *_help_lines(model), *_clip_lines(prompts)
        return io.NodeOutput(prompts, ui=report(*lines, warnings=ignored, unknown_words=ignored, empty=empty))


def empty_prompts(model) -> Prompts:
    """Returns empty prompts. Raises ValueError for a model that takes an image."""
    if model.takes_image:
        raise ValueError(f"prompts is not connected, but {model.name} takes an image; connect Prompts for Video and Audio")
    load_encoders(model)
    return _text_prompts(model, (("", ""), ("", "")))


def _text_prompts(model, words: tuple[tuple[str, str], tuple[str, str]], clip: Any = None) -> Prompts:
    """Returns encoded prompts. clip: a text encoder of ComfyUI, in place of the model's own."""
    pairs = words[0], model.negative_words(*words[1])
    if clip is None:
        return Prompts(words, encoded=tuple(model.encode(*pair) for pair in pairs), encoder=ref(model))
    embedded = embed_pair(model, clip, pairs) if is_pair(model) else tuple(model.conditioner.embed(clip, *pair) for pair in pairs)
    try:
        with torch.no_grad():
            encoded = tuple(encode_embeddings(model, *each) for each in zip(embedded, pairs))
    except ValueError as error:
        raise ValueError(f"clip: {error}") from None
    return Prompts(words, encoded=encoded, encoder=ref(model), embedded=embedded)


def _check_clip(clip: Any, model) -> None:
    """Raises ValueError if a text encoder of ComfyUI is connected and the model cannot use it."""
    if is_pair(model) and clip is not None:
        clip_stream(model, clip)
    elif clip is not None and getattr(model.conditioner, "comfyui_text", None) is None:
        raise ValueError(f"clip is connected, but {model.name} has a text encoder of its own kind; disconnect clip")


def _shares_words(model) -> bool:
    """Whether an empty prompt of one modality takes the words of the other: the model was trained with one prompt for both."""
    return getattr(model.conditioner, "shares_words", False)


def _empty_lines(words: tuple[str, str], shared: bool) -> list[str]:
    """Returns what each empty prompt means."""
    empty = {part: not text.strip() for part, text in zip(("video", "audio"), words)}
    lines = []
    for part, other in (("video", "audio"), ("audio", "video")):
        takes = f"it follows {other}_prompt" if shared and not empty[other] else f"the {part} can be anything"
        lines += [f"{part}_prompt is empty: {takes}"] if empty[part] else []
    return lines


def _negative_lines(model, video: str, audio: str) -> list[str]:
    """Returns the model's own negative prompts that replace empty ones."""
    used = model.negative_words(video, audio)
    names: dict[str, list[str]] = {}
    for name, own, text in zip(("video_negative", "audio_negative"), (video, audio), used):
        if text != own:
            names.setdefault(text, []).append(name)
    return [f"{' and '.join(each)}: the model's own, as left empty: {printable(text, SHOWN)}" for text, each in names.items()]


def _help_lines(model) -> list[str]:
    line = getattr(model.conditioner, "prompt_help", "")
    return [line] if line else []


def _clip_lines(prompts: Prompts) -> list[str]:
    """Returns how many tokens the prompts have, if a text encoder of ComfyUI has encoded them."""
    if not prompts.embedded:
        return []
    (video, audio), _ = prompts.embedded
    if audio is None or video is None:
        stream, each = ("video", video) if audio is None else ("audio", audio)
        return [f"encoded by clip as in training, for the {stream}: {int(each.mask.sum())} tokens"]
    counts = [int(each.mask.sum()) for each in ((video,) if audio is video else (video, audio))]
    return [f"encoded by clip as in training: {' and '.join(map(str, counts))} tokens"]


def _image_prompts(prompts: Prompts, model, ignored: list[str]) -> io.NodeOutput:
    """Returns prompts with an image. The report says how it is changed for a clip of the size that the model was trained on."""
    lines = [f"{line}, for a clip of the trained size" for line in prompts.image_change(model)]
    fit = model.fit_image(prompts.picture).facts()
    return io.NodeOutput(prompts, ui=report(*lines, warnings=ignored, unknown_words=ignored, empty=[], image_fit=fit))


def _checked_picture(picture, model):
    """Returns the single image [height, width, channels] of a batch of one. Raises ValueError if it cannot be used."""
    if picture is None:
        raise ValueError(f"picture is not connected, but {model.name} takes an image; connect Load Image")
    if picture.ndim != 4 or picture.shape[-1] not in (1, 3, 4):
        raise ValueError(f"picture has shape {list(picture.shape)}; use [1, height, width, channels] with 1, 3 or 4 channels")
    if len(picture) != 1:
        raise ValueError(f"picture holds {len(picture)} images; choose one with Get Image from Batch")
    if not bool(picture.isfinite().all()):
        raise ValueError("picture contains NaN or infinity; use another image")
    height, width = picture.shape[1:3]
    if max(height, width) > MAX_ASPECT_RATIO * min(height, width):
        raise ValueError(f"picture is {width}×{height} pixels, so most of it would be cropped to fit the clip; crop it first")
    return picture[0]


def _prompt_input(name: str, tooltip: str):
    return io.String.Input(name, default="", multiline=True, tooltip=tooltip)
