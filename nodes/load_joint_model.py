"""Loading a joint model."""

from __future__ import annotations

from . import model_cache
from .host import MODELS, find_model, io, model_files
from .types import CATEGORY, JointModelSocket, report


class DuetLoadJointModel(io.ComfyNode):
    """`Bounce`, which comes with the pack, or a file in models/duet."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DuetLoadJointModel",
            display_name="Load Joint Model",
            category=CATEGORY,
            description="Loads a model that makes a picture and its sound together.",
            search_aliases=["duet", "audio video model", "bounce"],
            inputs=[
                io.Combo.Input(
                    "model",
                    options=[model_cache.BOUNCE, *model_files()],
                    tooltip=f"Bounce comes with Duet and runs anywhere. Put other model files in models/{MODELS}.",
                )
            ],
            outputs=[JointModelSocket.Output(display_name="model", tooltip="To prompts, latent, sampler and decoder.")],
        )

    @classmethod
    def validate_inputs(cls, model: str) -> bool | str:
        if model == model_cache.BOUNCE:
            return True
        try:
            find_model(model)
        except FileNotFoundError as error:
            return str(error)
        return True

    @classmethod
    def fingerprint_inputs(cls, model: str) -> tuple:
        return model_cache.fingerprint(model)

    @classmethod
    def execute(cls, model: str) -> io.NodeOutput:
        joint = model_cache.load(model)
        note = "" if joint.trained else ", untrained: picture and sound are made apart"
        return io.NodeOutput(joint, ui=report(f"{joint.name}{note}", model=joint.name, trained=joint.trained))
