"""Loads a joint model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from ..av_models.published.description import description_lines, missing_lines
from ..av_models.published.joint import LoadOptions, find_family
from ..bounce.shipped import BOUNCE, BOUNCE_JOINTDIT, HEARING_T2AV
from . import model_cache
from .host import DIFFUSERS, LORAS, MODELS, files_of, gguf_files, io, model_files, on_gpu
from .joint_files import find_joint, is_joint_checkpoint, joint_names
from .lora_files import find_lora
from .model_cache import COMES_WITH_DUET, NONE
from .precisions import AS_STORED, PRECISIONS
from .reports import report
from .sockets import JointModelSocket

AVFULLDIT = "AVFullDiT"


class DuetLoadJointModel(io.ComfyNode):
    """Loads a model that comes with the pack, a file in models/duet, or the folder of a published joint model."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DuetLoadJointModel",
            display_name="Load Joint Model",
            category="Duet/load",
            description="Loads a model that generates video and audio together.",
            search_aliases=["duet", "audio video model", "sound", "bounce", "kandinsky", "ltx", "ovi", "diffusers"],
            inputs=[
                io.Combo.Input(
                    "model", options=[BOUNCE, BOUNCE_JOINTDIT, HEARING_T2AV, *joint_names()],
                    tooltip="Bounce comes with Duet and runs on any machine. Put folders of Kandinsky 6 and LTX-2 in "
                    f"models/{DIFFUSERS}, and Ovi and other model files in models/{MODELS}.",
                ),
                io.Combo.Input(
                    "precision", advanced=True, options=list(PRECISIONS), default=AS_STORED, optional=True,
                    tooltip="Precision of Kandinsky 6, LTX-2 and Ovi. fp8 takes half the memory of bf16, at some loss of quality.",
                ),
                io.Combo.Input(
                    "gguf", advanced=True, options=[NONE, *gguf_files()], default=NONE, optional=True,
                    tooltip="A GGUF file with the network of the model, in place of the one in its folder. Needs less memory.",
                ),
                io.Combo.Input(
                    "lora", advanced=True, options=[NONE, *files_of(LORAS)], default=NONE, optional=True,
                    tooltip="A LoRA for Kandinsky 6, LTX-2 or Ovi, in models/loras.",
                ),
                io.Float.Input(
                    "lora_strength", advanced=True, default=1.0, min=-20.0, max=20.0, step=0.01, optional=True,
                    tooltip="How strongly the LoRA changes the model. 0: not at all.",
                ),
            ],
            outputs=[JointModelSocket.Output(display_name="model", tooltip="Connect to prompts, latent, sampler and decoder.")],
        )  # fmt: skip

    @classmethod
    def validate_inputs(cls, model: str) -> bool | str:
        return model_cache.check_files(model, find=find_joint)

    @classmethod
    def fingerprint_inputs(
        cls, model: str, precision: str = AS_STORED, gguf: str = NONE, lora: str = NONE, lora_strength: float = 1.0
    ) -> tuple:
        weights = () if gguf == NONE else model_cache.stamp(_find_gguf(gguf))
        added = () if lora == NONE else (*model_cache.stamp(find_lora(lora)), lora_strength)
        return (*model_cache.fingerprint(model), precision, weights, added)

    @classmethod
    def execute(
        cls, model: str, precision: str = AS_STORED, gguf: str = NONE, lora: str = NONE, lora_strength: float = 1.0
    ) -> io.NodeOutput:
        options = _options(precision, gguf)
        if not _is_published(model):
            _require_as_stored(model, precision, gguf, lora)
        loras = () if lora == NONE or lora_strength == 0 else ((find_lora(lora), lora_strength),)
        joint = model_cache.load(model, replace(options, keep_dtype=on_gpu(), loras=loras))
        return io.NodeOutput(joint, ui=model_report(joint))


def _is_published(name: str) -> bool:
    return name not in COMES_WITH_DUET and find_family(find_joint(name)) is not None


def _options(precision: str, gguf: str) -> LoadOptions:
    """Returns how to load. Raises ValueError for two ways at once."""
    if gguf == NONE:
        return LoadOptions(**PRECISIONS[precision])
    if "quantize" in PRECISIONS[precision]:
        raise ValueError(f"precision is {precision} and gguf is {gguf}, which has a precision of its own; use only one")
    return LoadOptions(**PRECISIONS[precision], gguf=_find_gguf(gguf))


def _require_as_stored(name: str, precision: str, gguf: str, lora: str) -> None:
    """Raises ValueError for options that Duet's own models do not have, and joint checkpoints neither, except for a precision."""
    with_precision = name not in COMES_WITH_DUET and is_joint_checkpoint(find_joint(name))
    for option, value, off in (("precision", precision, AS_STORED), ("gguf", gguf, NONE), ("lora", lora, NONE)):
        if option == "precision" and with_precision:
            continue
        if value != off:
            raise ValueError(f"{option} is {value}, which {name} does not have; set {option} to {off}")


def _find_gguf(name: str) -> Path:
    files = gguf_files()
    if name not in files:
        raise FileNotFoundError(f"GGUF file {name!r} was not found; put it in models/diffusion_models, or set gguf to {NONE}")
    return files[name]


def file_input(name: str, tooltip: str, *shipped: str, advanced: bool | None = None):
    """Returns a dropdown with Bounce, other `shipped` models, and the user's model files."""
    return io.Combo.Input(name, options=[BOUNCE, *shipped, *model_files()], tooltip=tooltip, advanced=advanced)


def model_report(joint, untrained: Sequence[str] | None = None) -> dict:
    """Returns the report of a node whose output is a joint model. untrained: warnings in place of the one for untrained pairs."""
    if untrained is None:
        line = f"{joint.name} is untrained as a pair: video and audio are generated independently"
        untrained = [] if joint.trained else [line]
    if "capabilities" in joint.card:
        warnings = [*missing_lines(joint.card), *untrained]
        return report(*description_lines(joint.card), *_joint_lines(joint.card), warnings=warnings, **_facts(joint.card))
    notes = joint.card.get("notes", [])
    return report(joint.name, *notes, warnings=list(untrained), model=joint.name, trained=joint.trained)


def _joint_lines(card: dict) -> list[str]:
    return [f"joint blocks: the last {card['joint_blocks']} of both experts"] if card["architecture"] == AVFULLDIT else []


def _facts(card: dict) -> dict:
    kept = ("trained", "licence", "parameters", "bytes", "capabilities", "needs", "notes")
    return {"model": card["name"], **{name: card[name] for name in kept}}
