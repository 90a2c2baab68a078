"""Loads a joint model."""

from __future__ import annotations

from ..bounce.shipped import BOUNCE, BOUNCE_JOINTDIT, HEARING_T2AV
from . import model_cache
from .host import MODELS, io, model_files
from .reports import report
from .sockets import JointModelSocket


class DuetLoadJointModel(io.ComfyNode):
    """Loads a model that comes with the pack, or a file in models/duet."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DuetLoadJointModel",
            display_name="Load Joint Model",
            category="Duet/load",
            description="Loads a model that generates video and audio together.",
            search_aliases=["duet", "audio video model", "sound", "bounce"],
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
        return model_cache.check_files(model)

    @classmethod
    def fingerprint_inputs(cls, model: str) -> tuple:
        return model_cache.fingerprint(model)

    @classmethod
    def execute(cls, model: str) -> io.NodeOutput:
        joint = model_cache.load(model)
        return io.NodeOutput(joint, ui=model_report(joint))


def file_input(name: str, tooltip: str, *shipped: str, advanced: bool | None = None):
    """Returns a dropdown with Bounce, other `shipped` models, and the user's model files."""
    return io.Combo.Input(name, options=[BOUNCE, *shipped, *model_files()], tooltip=tooltip, advanced=advanced)


def model_report(joint) -> dict:
    """Returns the report of a node whose output is a joint model."""
    untrained = f"{joint.name} is untrained as a pair: video and audio are generated independently"
    return report(joint.name, warnings=[] if joint.trained else [untrained], model=joint.name, trained=joint.trained)
