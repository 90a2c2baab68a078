"""The size and length of the clip to make."""

from __future__ import annotations

import torch

from ..av_models.contract import AVLatent
from .host import io
from .types import CATEGORY, JointModelSocket, latent_dict, report


class DuetEmptyLatent(io.ComfyNode):
    """Seconds in; an empty picture and an equally long, empty sound out."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DuetEmptyLatent",
            display_name="Empty Picture + Sound",
            category=CATEGORY,
            description="Says how long and how large the clip is to be. Picture and sound come out equally long.",
            search_aliases=["duet", "empty latent", "av latent"],
            inputs=[
                JointModelSocket.Input("model", tooltip="The model that will make the clip."),
                io.Float.Input(
                    "seconds", default=2.0, min=0.05, max=600.0, step=0.05,
                    tooltip="How long the clip is. Exactly so many frames come out, whatever the model works in.",
                ),
                io.Int.Input("batch", default=1, min=1, max=64, tooltip="How many clips to make at once, all different."),
                io.DynamicCombo.Input(
                    "size",
                    options=[io.DynamicCombo.Option("as trained", []), io.DynamicCombo.Option("custom", _custom_size())],
                    tooltip="'as trained' takes the size and frame rate that the model knows best.",
                ),
            ],
            outputs=[io.Latent.Output(display_name="latent", tooltip="To the sampler.")],
        )  # fmt: skip

    @classmethod
    def execute(cls, model, seconds: float, batch: int, size: dict) -> io.NodeOutput:
        custom = {name: size[name] for name in ("height", "width", "fps") if name in size}
        shape = model.shape(seconds=seconds, **custom)
        sizes = model.latent_shape(shape, batch)
        latent = AVLatent(torch.zeros(sizes.video), torch.zeros(sizes.audio))
        video, audio = shape.video, shape.audio
        line = f"{video.frames} frames of {video.width}×{video.height} at {float(video.fps):g} fps, {audio.samples} samples"
        shown = report(line, *_other_times(model, float(video.fps)), frames=video.frames, samples=audio.samples)
        return io.NodeOutput(latent_dict(latent, shape), ui=shown)


def _other_times(model, fps: float) -> list[str]:
    """What a model that was trained as a pair does not know: how its picture and sound meet at another frame rate."""
    trained = float(model.clip.fps)
    if not model.trained or fps == trained:
        return []
    return [f"trained at {trained:g} fps: at {fps:g} picture and sound keep different times; set fps to {trained:g}"]


def _custom_size() -> list:
    return [
        io.Int.Input("width", default=512, min=16, max=4096, step=8, tooltip="Pixels across."),
        io.Int.Input("height", default=512, min=16, max=4096, step=8, tooltip="Pixels down."),
        io.Float.Input("fps", default=16.0, min=1.0, max=120.0, step=0.01, tooltip="Frames a second."),
    ]
