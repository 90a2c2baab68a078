"""An empty latent for a clip of a given size and length."""

from __future__ import annotations

import torch

from ..av_models.contract import AVLatent
from ..av_models.limits import check_memory
from .clip_size import length_lines, size_lines
from .dropdowns import require_choice
from .host import io
from .latents import latent_dict
from .reports import report
from .sockets import JointModelSocket

SIZES = ("as trained", "custom")


class DuetEmptyLatent(io.ComfyNode):
    """Creates an empty latent with video and audio of the same length."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DuetEmptyLatent",
            display_name="Empty Video + Audio",
            category="Duet/make",
            description="Creates an empty latent for a clip of the given length and size. Video and audio have the same length.",
            search_aliases=["duet", "empty latent", "av latent", "sound"],
            inputs=[
                JointModelSocket.Input("model", tooltip="The model that will generate the clip."),
                io.Float.Input(
                    "seconds", default=2.0, min=0.05, max=600.0, step=0.05,
                    tooltip="Length of the clip in seconds. Decoding trims the clip to exactly this length.",
                ),
                io.Int.Input(
                    "batch", default=1, min=1, max=64, tooltip="Number of clips to generate at once, each from different noise."
                ),
                io.DynamicCombo.Input(
                    "size",
                    options=[io.DynamicCombo.Option(SIZES[0], []), io.DynamicCombo.Option(SIZES[1], _custom_size())],
                    tooltip="as trained: the size and frame rate that the model was trained on. custom: set them yourself.",
                ),
            ],
            outputs=[io.Latent.Output(display_name="latent", tooltip="Connect to the sampler.")],
        )  # fmt: skip

    @classmethod
    def execute(cls, model, seconds: float, batch: int, size: dict | None = None) -> io.NodeOutput:
        if batch < 1:  # from another node: the widget has a limit
            raise ValueError(f"batch is {batch}; use at least 1")
        size = require_choice("size", size, SIZES)
        custom = {name: size[name] for name in ("height", "width", "fps") if name in size}
        shape = model.shape(seconds=seconds, **custom)
        sizes = model.latent_shape(shape, batch)
        check_memory(shape, sizes)
        latent = AVLatent(torch.zeros(sizes.video), torch.zeros(sizes.audio))
        video, audio = shape.video, shape.audio
        line = f"{video.frames} frames of {video.width}×{video.height} at {float(video.fps):g} fps, {audio.samples} samples"
        warnings = _frame_rate_warnings(model, float(video.fps))
        lines = line, *size_lines(model, shape), *length_lines(model, shape)
        shown = report(*lines, warnings=warnings, frames=video.frames, samples=audio.samples)
        return io.NodeOutput(latent_dict(latent, shape), ui=shown)


def _frame_rate_warnings(model, fps: float) -> list[str]:
    """Warns if a jointly trained model is used at another frame rate, at which its video and audio go out of sync."""
    trained = float(model.clip.fps)
    if not model.trained or fps == trained:
        return []
    return [f"fps is {fps:g} and the model was trained at {trained:g}, so video and audio go out of sync; set fps to {trained:g}"]


def _custom_size() -> list:
    return [
        io.Int.Input("width", default=512, min=16, max=4096, step=8, tooltip="Width in pixels."),
        io.Int.Input("height", default=512, min=16, max=4096, step=8, tooltip="Height in pixels."),
        io.Float.Input("fps", default=16.0, min=1.0, max=120.0, step=0.01, tooltip="Frame rate in frames per second."),
    ]
