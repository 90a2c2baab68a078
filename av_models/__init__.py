"""Duet's library: joint audio-video denoising with guidance, without ComfyUI.

`from duet_av import av_models as duet`, then `duet.load_joint_model`, `duet.generate`, `duet.write_video`. Names are
imported when they are first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .generation import GeneratedClip, generate
    from .guidance import make_guidance
    from .joining import join_experts
    from .joint_model import JointModel
    from .known_parts import KnownParts
    from .latent_aligner import Aligner
    from .load_joint import load_joint_model
    from .media import read_video, write_audio, write_video
    from .metrics.score import score_clip, score_file
    from .sampling import sample, sampling_cost
    from .schedule import SamplingSchedule
    from .shapes import AudioShape, AVShape, VideoShape

_MODULES = {
    "AVShape": "shapes", "Aligner": "latent_aligner", "AudioShape": "shapes", "GeneratedClip": "generation",
    "JointModel": "joint_model", "KnownParts": "known_parts", "SamplingSchedule": "schedule", "VideoShape": "shapes",
    "generate": "generation", "join_experts": "joining", "load_joint_model": "load_joint", "make_guidance": "guidance",
    "read_video": "media", "sample": "sampling", "sampling_cost": "sampling", "score_clip": "metrics.score",
    "score_file": "metrics.score", "write_audio": "media", "write_video": "media",
}  # fmt: skip
__all__ = [
    "AVShape", "Aligner", "AudioShape", "GeneratedClip", "JointModel", "KnownParts", "SamplingSchedule", "VideoShape",
    "generate", "join_experts", "load_joint_model", "make_guidance", "read_video", "sample", "sampling_cost", "score_clip",
    "score_file", "write_audio", "write_video",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(f".{_MODULES[name]}", __name__), name)
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
