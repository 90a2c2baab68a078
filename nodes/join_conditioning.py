"""Different prompts for the video and the audio of a joint model that ComfyUI runs itself, or of two models joined."""

from __future__ import annotations

from typing import Any

from .host import io, require_comfyui


class DuetJoinConditioning(io.ComfyNode):
    """Joins a CONDITIONING for the video and one for the audio."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DuetJoinConditioning",
            display_name="Join Video + Audio Prompts",
            category="Duet/make",
            description="Gives the video and the audio of LTX-2, or of a model from Join Models, separate prompts. "
            "Use one of these nodes for the positive prompts and one for the negative prompts.",
            search_aliases=[
                "duet", "separate prompts", "audio prompt", "sound prompt", "video prompt", "conditioning combine", "ltx", "ltxv",
                "negative audio prompt", "dual prompt", "join models",
            ],
            inputs=[
                io.Model.Input("model", tooltip="LTX-2 with its LoRAs, or the model from Join Models: the one that is sampled."),
                io.Conditioning.Input(
                    "video", tooltip="The prompt for the video. Frame rate, first frame, guides and keyframes are kept."
                ),
                io.Conditioning.Input("audio", tooltip="The prompt for the audio. Its reference audio is kept."),
            ],
            outputs=[
                io.Conditioning.Output(
                    display_name="conditioning", tooltip="Connect to a guider or a sampler as positive or negative."
                )
            ],
        )  # fmt: skip

    @classmethod
    def execute(cls, model: Any, video: list, audio: list) -> io.NodeOutput:
        require_comfyui("Join Video + Audio Prompts")
        from .native.join_text import join_conditionings
        from .native.joined.model import streams_of
        from .native.joined.prompts import join_prompts

        joined = join_conditionings(model, video, audio) if streams_of(model) is None else join_prompts(video, audio)
        return io.NodeOutput(joined)
