"""For the joint models that ComfyUI runs itself, LTX-2 and MiniMax-H3: our guidance, and our two seeds."""

from __future__ import annotations

from typing import Any

from .host import io
from .native.noise import TwoSeeds
from .run_sampler import seed_input
from .types import CATEGORY, GuidanceSocket, GuidedBy


class DuetJointGuider(io.ComfyNode):
    """A GUIDER for core's Sampler Custom Advanced."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DuetJointGuider",
            display_name="Joint Guider",
            category=CATEGORY,
            description="Guides LTX-2 or MiniMax-H3 by any of Duet's strategies. Goes to Sampler Custom Advanced.",
            search_aliases=["duet", "guider", "ltx", "ltxv", "minimax", "joint cfg", "modality cfg"],
            inputs=[
                io.Model.Input("model", tooltip="LTX-2 or MiniMax-H3, as core's loaders give it."),
                io.Conditioning.Input("positive", tooltip="What to make."),
                io.Conditioning.Input("negative", tooltip="What to keep away from."),
                GuidanceSocket.Input("guidance", tooltip="How strongly to follow the prompts, and picture and sound each other."),
            ],
            outputs=[io.Guider.Output(display_name="guider", tooltip="To Sampler Custom Advanced.")],
        )

    @classmethod
    def execute(cls, model: Any, positive: list, negative: list, guidance: GuidedBy) -> io.NodeOutput:
        from .native.guider import JointGuider

        if guidance.bad_model is not None and guidance.bad_is_ours:
            raise ValueError("the guidance's bad_model is one of Duet's own; connect a MODEL, a worse version of this one")
        return io.NodeOutput(JointGuider(model, guidance.strategy, positive, negative, guidance.bad_model))


class DuetJointNoise(io.ComfyNode):
    """A NOISE for core's Sampler Custom Advanced."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DuetJointNoise",
            display_name="Joint Noise",
            category=CATEGORY,
            description="One seed for the picture and one for the sound, for models that ComfyUI runs itself.",
            search_aliases=["duet", "random noise", "seed"],
            inputs=[
                seed_input("video_seed", "Chance in the picture. Another seed leaves the sound's noise as it is."),
                seed_input("audio_seed", "Chance in the sound. Another seed leaves the picture's noise as it is."),
            ],
            outputs=[io.Noise.Output(display_name="noise", tooltip="To Sampler Custom Advanced.")],
        )

    @classmethod
    def execute(cls, video_seed: int, audio_seed: int) -> io.NodeOutput:
        return io.NodeOutput(TwoSeeds(video_seed, audio_seed))
