"""The model files that ship with Duet, by the names that nodes and commands show."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..av_models.load_parts import AUDIO_EXPERT, VIDEO_EXPERT
from ..av_models.paused_gc import paused_gc

if TYPE_CHECKING:
    from ..av_models.joint_model import JointModel
    from ..av_models.published.joint import LoadOptions

BOUNCE, BOUNCE_JOINTDIT = "Bounce", "Bounce JointDiT"
HEARING_T2AV, HEARING_T2V = "Hearing study T2AV", "Hearing study T2V"
BOUNCE_BIND, BOUNCE_BIND_ROBUST, BOUNCE_BIND_TIMES = "Bounce-Bind", "Bounce-Bind Robust", "Bounce-Bind Times"
MODELS = Path(__file__).parent / "models"
JOINT_MODELS = {BOUNCE: "bounce", HEARING_T2AV: "hearing_t2av", BOUNCE_JOINTDIT: "jointdit", "jointdit": "jointdit"}
BINDERS = {BOUNCE_BIND: "bind", BOUNCE_BIND_ROBUST: "bind_robust", BOUNCE_BIND_TIMES: "bind_times"}
EXPERTS = {
    VIDEO_EXPERT: {BOUNCE: "video_expert", HEARING_T2V: "hearing_t2v"},
    AUDIO_EXPERT: {BOUNCE: "audio_expert"},
}


def shipped(part: str) -> Path:
    """Returns the path of a shipped file, by its stem such as `video_expert` or `audio_codec`."""
    return MODELS / f"{part}.safetensors"


def load_joint_model(source: str | Path, *options: LoadOptions) -> JointModel:
    """Loads a shipped joint model by name, or one of the user (see `av_models.load_joint`). options: one, of a published model."""
    with paused_gc():
        from ..av_models import load_joint  # diffusers: only when a model is needed

    return load_joint.load_joint_model(shipped(JOINT_MODELS[source]) if source in JOINT_MODELS else source, *options)


def load_untrained_bounce() -> JointModel:
    """Joins the two experts of Bounce into a joint model without joint training."""
    from ..av_models.checkpoint import read_card
    from ..av_models.joining import join_experts

    blocks = read_card(shipped("bounce"))["joint_blocks"]
    parts = (shipped(part) for part in ("video_expert", "audio_expert", "video_codec", "audio_codec"))
    return join_experts(*parts, joint_blocks=blocks, name="Bounce's experts")
