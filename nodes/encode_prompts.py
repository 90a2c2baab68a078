"""Prompts for video and audio, or an image for models that take one."""

from __future__ import annotations

from weakref import ref

from .host import io, on_device
from .reports import report
from .sockets import JointModelSocket, Prompts, PromptsSocket

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
            ],
            outputs=[PromptsSocket.Output(display_name="prompts", tooltip="Connect to the sampler.")],
        )

    @classmethod
    def execute(
        cls, model, video_prompt: str, audio_prompt: str, video_negative: str, audio_negative: str, picture=None
    ) -> io.NodeOutput:
        on_device(model)
        ignored = model.ignored_prompts(video_prompt, audio_prompt)
        ignored += [line.replace("_prompt", "_negative", 1) for line in model.ignored_prompts(video_negative, audio_negative)]
        words = (video_prompt, audio_prompt), (video_negative, audio_negative)
        if model.takes_image:
            return _image_prompts(Prompts(words, _checked_picture(picture, model)), model, ignored)
        if picture is not None:
            raise ValueError(
                f"picture is connected, but {model.name} takes text prompts; to start from an image, use Encode Video + Audio"
            )
        empty = [
            f"{name} is empty: the {part} can be anything"
            for name, part, text in (("video_prompt", "video", video_prompt), ("audio_prompt", "audio", audio_prompt))
            if not text.strip()
        ]
        prompts = Prompts(words, encoded=_encode_pairs(model, *words), encoder=ref(model))
        return io.NodeOutput(prompts, ui=report(*empty, warnings=ignored, unknown_words=ignored, empty=empty))


def empty_prompts(model) -> Prompts:
    """Returns empty prompts. Raises ValueError for a model that takes an image."""
    if model.takes_image:
        raise ValueError(f"prompts is not connected, but {model.name} takes an image; connect Prompts for Video and Audio")
    on_device(model)
    words = ("", ""), ("", "")
    return Prompts(words, encoded=_encode_pairs(model, *words), encoder=ref(model))


def _encode_pairs(model, positive: tuple[str, str], negative: tuple[str, str]) -> tuple:
    return model.encode(*positive), model.encode(*model.negative_words(*negative))


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
