"""The ComfyUI core nodes that Duet's workflows use, with the same IDs and inputs, for running these workflows headless.

SaveVideo uses Duet's own writer; "auto" is mp4 with h264 and aac.
"""

from __future__ import annotations

import json
import sys

import torch

from ...av_models.media import MuxSettings, expand_prefix, target_path, write_video
from . import io, ui
from .read_file import read_audio, read_images
from .session import session
from .video import VideoFromFile

IMAGES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
SOUNDS = (".wav", ".flac", ".mp3", ".ogg", ".m4a", ".opus")
VIDEOS = (".mp4", ".mkv", ".webm", ".mov", ".avi")
MAX_INDEX = 16384  # ComfyUI's limit for the index in a batch
COLOURS = {"white": (1, 1, 1), "black": (0, 0, 0), "red": (1, 0, 0), "green": (0, 1, 0), "blue": (0, 0, 1)}


class _Loader(io.ComfyNode):
    """A node that reads a file of the input folder. A missing file is reported before the workflow runs."""

    file_input = ""
    suffixes: tuple[str, ...] = ()

    @classmethod
    def files(cls) -> list[str]:
        folders = session.get().folders
        return folders.list(folders.input, cls.suffixes)

    @classmethod
    def validate_inputs(cls, **inputs: str) -> bool | str:
        try:
            session.get().folders.find_input(inputs[cls.file_input])
        except FileNotFoundError as error:
            return str(error)
        return True


class LoadImage(_Loader):
    file_input, suffixes = "image", IMAGES

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LoadImage",
            display_name="Load Image",
            category="image",
            inputs=[io.Combo.Input("image", options=cls.files(), upload=io.UploadType.image)],
            outputs=[io.Image.Output(), io.Mask.Output()],
        )

    @classmethod
    def execute(cls, image: str) -> io.NodeOutput:
        return io.NodeOutput(*read_images(session.get().folders.find_input(image)))


class LoadAudio(_Loader):
    file_input, suffixes = "audio", (*SOUNDS, *VIDEOS)

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LoadAudio",
            display_name="Load Audio",
            category="audio",
            inputs=[io.Combo.Input("audio", options=cls.files(), upload=io.UploadType.audio)],
            outputs=[io.Audio.Output()],
        )

    @classmethod
    def execute(cls, audio: str) -> io.NodeOutput:
        waveform, rate = read_audio(session.get().folders.find_input(audio))
        return io.NodeOutput({"waveform": waveform[None], "sample_rate": rate})


class LoadVideo(_Loader):
    file_input, suffixes = "file", VIDEOS

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LoadVideo",
            display_name="Load Video",
            category="video",
            inputs=[io.Combo.Input("file", options=cls.files(), upload=io.UploadType.video)],
            outputs=[io.Video.Output()],
        )

    @classmethod
    def execute(cls, file: str) -> io.NodeOutput:
        return io.NodeOutput(VideoFromFile(session.get().folders.find_input(file)))


class GetVideoComponents(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="GetVideoComponents",
            display_name="Get Video Components",
            category="video",
            inputs=[io.Video.Input("video")],
            outputs=[
                io.Image.Output(display_name="images"),
                io.Audio.Output(display_name="audio"),
                io.Float.Output(display_name="fps"),
                io.Int.Output(display_name="bit_depth"),
                io.Combo.Output(display_name="color_space"),
            ],
        )

    @classmethod
    def execute(cls, video) -> io.NodeOutput:
        parts = video.get_components()
        fps, depth, colours = float(parts.frame_rate), video.get_bit_depth(), video.get_color_space()
        return io.NodeOutput(parts.images, parts.audio, fps, depth, colours)


class ImageStitch(io.ComfyNode):
    """Stitches images of the same size."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ImageStitch",
            display_name="Stitch Images",
            category="image/transform",
            inputs=[
                io.Image.Input("image1"),
                io.Combo.Input("direction", options=["right", "down", "left", "up"], default="right"),
                io.Boolean.Input("match_image_size", default=True),
                io.Int.Input("spacing_width", default=0, min=0, max=1024, step=2, advanced=True),
                io.Combo.Input("spacing_color", options=list(COLOURS), default="white", advanced=True),
                io.Image.Input("image2", optional=True),
            ],
            outputs=[io.Image.Output()],
        )

    @classmethod
    def execute(
        cls, image1, direction: str, match_image_size: bool, spacing_width: int, spacing_color: str, image2=None
    ) -> io.NodeOutput:
        if image2 is None:
            return io.NodeOutput(image1)
        if image1.shape != image2.shape:
            raise ValueError(
                f"image1 is {list(image1.shape)} and image2 is {list(image2.shape)}; without ComfyUI, use images of the same size"
            )
        along = 2 if direction in ("right", "left") else 1
        sizes = list(image1.shape)
        sizes[along] = spacing_width
        space = image1.new_tensor(COLOURS[spacing_color]).expand(sizes)
        parts = [image1, space, image2]
        return io.NodeOutput(torch.cat(parts if direction in ("right", "down") else parts[::-1], along))


class ImageFromBatch(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="ImageFromBatch",
            display_name="Get Image from Batch",
            category="image/batch",
            inputs=[
                io.Image.Input("image"),
                io.Int.Input("batch_index", default=0, min=-MAX_INDEX, max=MAX_INDEX),
                io.Int.Input("length", default=1, min=1, max=4096),
            ],
            outputs=[io.Image.Output()],
        )

    @classmethod
    def execute(cls, image, batch_index: int, length: int) -> io.NodeOutput:
        first = batch_index + len(image) if batch_index < 0 else batch_index
        first = max(0, min(len(image) - 1, first))
        return io.NodeOutput(image[first : first + length])


class _Primitive(io.ComfyNode):
    """Outputs its value."""

    @classmethod
    def execute(cls, value) -> io.NodeOutput:
        return io.NodeOutput(value)


class PrimitiveInt(_Primitive):
    @classmethod
    def define_schema(cls) -> io.Schema:
        whole = io.Int.Input("value", min=-sys.maxsize, max=sys.maxsize, control_after_generate="fixed")
        return io.Schema(
            node_id="PrimitiveInt", display_name="Int", category="utilities/primitive", inputs=[whole], outputs=[io.Int.Output()]
        )


class PrimitiveString(_Primitive):
    @classmethod
    def define_schema(cls) -> io.Schema:
        text = io.String.Input("value")
        return io.Schema(
            node_id="PrimitiveString", display_name="Text", category="utilities/primitive", inputs=[text],
            outputs=[io.String.Output()],
        )  # fmt: skip


class SaveVideo(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="SaveVideo",
            display_name="Save Video",
            category="video",
            inputs=[
                io.Video.Input("video"),
                io.String.Input("filename_prefix", default="video/ComfyUI"),
                io.DynamicCombo.Input(
                    "format",
                    options=[io.DynamicCombo.Option(name, [_codec_input(codecs)]) for name, codecs in FORMATS.items()],
                ),
                _codec_input(FORMATS["auto"], optional=True, extra_dict={"hidden": True}),
            ],
            hidden=[io.Hidden.prompt, io.Hidden.extra_pnginfo],
            is_output_node=True,
            outputs=[io.Video.Output("video")],
        )

    @classmethod
    def execute(cls, video, filename_prefix: str, format: dict, codec: dict | None = None) -> io.NodeOutput:
        container = "mp4" if format["format"] == "auto" else format["format"]
        chosen = format.get("codec") or codec or {"codec": "auto"}
        video_codec = {"auto": "av1" if container == "webm" else "h264"}.get(chosen["codec"], chosen["codec"])
        crf = (chosen.get("encoding") or {}).get("crf")
        settings = MuxSettings(container, video_codec, crf, "opus" if container == "webm" else "aac")
        root, parts = session.get().folders.output, video.get_components()
        path = target_path(root, expand_prefix(filename_prefix, video.get_dimensions), container)
        sound = parts.audio or {"waveform": [None], "sample_rate": None}
        written = write_video(
            parts.images, path, fps=parts.frame_rate, audio=sound["waveform"][0], sample_rate=sound["sample_rate"],
            settings=settings, metadata=_workflow(cls.hidden), progress=session.get().on_progress,
        )  # fmt: skip
        folder = path.parent.relative_to(root.resolve()).as_posix()
        shown = ui.PreviewVideo([ui.SavedResult(written.path.name, "" if folder == "." else folder, io.FolderType.output)])
        return io.NodeOutput(video, ui=shown.as_dict() | {"text": [written.summary()]})


FORMATS = {
    "auto": ("auto", "h264", "av1"),
    "mp4": ("auto", "h264", "av1"),
    "mkv": ("auto", "h264", "av1"),
    "webm": ("auto", "av1"),
}
CRF = {"h264": (23.0, 51.0), "av1": (30.0, 63.0)}
CORE_NODES = (
    LoadImage, LoadAudio, LoadVideo, GetVideoComponents, ImageStitch, ImageFromBatch, PrimitiveInt, PrimitiveString, SaveVideo,
)  # fmt: skip


def _codec_input(names: tuple[str, ...], **options):
    choices = [io.DynamicCombo.Option(name, [_encoding_input(*CRF[name])] if name in CRF else []) for name in names]
    return io.DynamicCombo.Input("codec", options=choices, **options)


def _encoding_input(crf: float, worst: float):
    quality = io.Float.Input("crf", default=crf, min=0.0, max=worst, step=1.0)
    colours = io.Combo.Input("color_space", options=["auto", "sRGB"], default="auto")
    choices = [io.DynamicCombo.Option("auto", []), io.DynamicCombo.Option("re-encode", [quality, colours])]
    return io.DynamicCombo.Input("encoding", options=choices, optional=True)


def _workflow(hidden) -> dict[str, str]:
    kept = dict(hidden.extra_pnginfo or {})
    return {name: json.dumps(value) for name, value in ({"prompt": hidden.prompt} | kept).items() if value is not None}
