"""Loading a joint model."""

from __future__ import annotations

from ..bounce.shipped import BOUNCE, BOUNCE_JOINTDIT, HEARING_T2AV
from . import model_cache
from .host import MODELS, io, model_files
from .types import CATEGORY, JointModelSocket, report


class DuetLoadJointModel(io.ComfyNode):
    """`Bounce` and others that come with the pack, or a file in models/duet."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DuetLoadJointModel",
            display_name="Load Joint Model",
            category=CATEGORY,
            description="Loads a model that generates picture and sound together.",
            search_aliases=["duet", "audio video model", "bounce"],
            inputs=[
                file_input(
                    "model",
                    f"Bounce comes with Duet and runs on any machine. Put other model files in models/{MODELS}.",
                    BOUNCE_JOINTDIT,
                    HEARING_T2AV,
                )
            ],
            outputs=[JointModelSocket.Output(display_name="model", tooltip="Connect to prompts, latent, sampler and decoder.")],
        )

    @classmethod
    def validate_inputs(cls, model: str) -> bool | str:
        return model_cache.present(model)

    @classmethod
    def fingerprint_inputs(cls, model: str) -> tuple:
        return model_cache.fingerprint(model)

    @classmethod
    def execute(cls, model: str) -> io.NodeOutput:
        joint = model_cache.load(model)
        return io.NodeOutput(joint, ui=model_report(joint))


def file_input(name: str, tooltip: str, *ours: str):
    """A choice of Bounce, of `ours` that come with Duet as well, or of a file of the user's."""
    return io.Combo.Input(name, options=[BOUNCE, *ours, *model_files()], tooltip=tooltip)


def model_report(joint) -> dict:
    """What a node that gives a joint model shows."""
    note = "" if joint.trained else ", untrained as a pair: picture and sound are generated independently"
    return report(f"{joint.name}{note}", model=joint.name, trained=joint.trained)
