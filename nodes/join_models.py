"""Two of ComfyUI's models as one joint MODEL."""

from __future__ import annotations

from typing import Any

from .host import io, require_comfyui
from .load_expert import NOT_TRIED
from .reports import report


class DuetJoinModels(io.ComfyNode):
    """Joins a MODEL of video and a MODEL of audio."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DuetJoinModels",
            display_name="Join Models (any video + any audio)",
            category="Duet/load",
            description="Makes one MODEL of a video model and an audio model, such as Wan 2.2 and Stable Audio 3. ComfyUI's "
            "samplers and Duet's guidance then generate both together. Add LoRAs and other patches before joining.",
            search_aliases=[
                "duet", "join", "merge models", "audio video model", "wan", "hunyuan video", "ltxv", "svd", "stable audio",
                "ace-step", "two models", "foley", "sound for video", "music video",
            ],
            inputs=[
                io.Model.Input("video", tooltip=f"A video model from ComfyUI's loaders, with its LoRAs and patches. {NOT_TRIED}"),
                io.Model.Input("audio", tooltip=f"An audio model from ComfyUI's loaders, with its LoRAs and patches. {NOT_TRIED}"),
                io.Float.Input(
                    "sound_ahead", default=1.0, min=0.05, max=20.0, step=0.05, optional=True,
                    tooltip="1: each model runs on its own noise schedule, with its own shift. Above 1: the audio is finished "
                    "earlier than the video. Below 1: later.",
                ),
            ],
            outputs=[
                io.Model.Output(
                    display_name="model",
                    tooltip="Connect to a sampler or guider, Join Video + Audio Prompts and Empty Video + Audio (Joined Models).",
                )
            ],
        )  # fmt: skip

    @classmethod
    def execute(cls, video: Any, audio: Any, sound_ahead: float = 1.0) -> io.NodeOutput:
        require_comfyui("Join Models")
        from .native.joined.model import join_models, streams_of
        from .native.joined.streams import describe

        joined = join_models(video, audio, sound_ahead)
        return io.NodeOutput(joined, ui=report(*describe(streams_of(joined))))
