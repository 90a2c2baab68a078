"""Joining two experts into one model."""

from __future__ import annotations

from pathlib import Path

from . import model_cache
from .host import find_model, io, model_files
from .load_joint_model import file_input, model_report
from .model_cache import NONE
from .types import CATEGORY, AudioExpertSocket, JointModelSocket, VideoExpertSocket, report

VIDEO_CODEC, AUDIO_CODEC = "video_codec", "audio_codec"
SEPARATE = "SeparateExperts"


class DuetJoinExperts(io.ComfyNode):
    """Two of ours fit where both have heads of one size and the picture's network is the wider one; of published ones,
    Stable Video Diffusion and AudioLDM2. Other pairs with a published one stay apart."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DuetJoinExperts",
            display_name="Join Experts",
            category=CATEGORY,
            description="Weaves a video expert and an audio expert into one joint model. Until such a pair is trained "
            "together, samplers make its picture and its sound apart.",
            search_aliases=["duet", "merge models", "avfulldit"],
            inputs=[
                VideoExpertSocket.Input("video_expert", tooltip="Makes the picture."),
                AudioExpertSocket.Input("audio_expert", tooltip="Makes the sound."),
                io.Int.Input(
                    "joint_blocks", default=4, min=1, max=64,
                    tooltip="In how many blocks picture and sound see each other: at most as many as the shallower expert has.",
                ),
                _codec(VIDEO_CODEC, "What turns pictures into latents: the one the video expert was trained with."),
                _codec(AUDIO_CODEC, "What turns sound into latents: the one the audio expert was trained with."),
                io.Combo.Input(
                    "joint_layers", options=[NONE, *model_files()], default=NONE, optional=True,
                    tooltip="What duet train made to go between Stable Video Diffusion and AudioLDM2: the model is a trained one "
                    "then, has the blocks it was trained with, and goes by a picture alone.",
                ),
            ],
            outputs=[JointModelSocket.Output(display_name="model", tooltip="To prompts, latent, sampler and decoder.")],
        )  # fmt: skip

    @classmethod
    def validate_inputs(
        cls, video_codec: str | None = None, audio_codec: str | None = None, joint_layers: str | None = None
    ) -> bool | str:
        return model_cache.present(video_codec, audio_codec, joint_layers)

    @classmethod
    def fingerprint_inputs(cls, video_codec: str, audio_codec: str, joint_layers: str = NONE, **others) -> list[tuple]:
        files = *_codec_files(video_codec, audio_codec), _layers_file(joint_layers)
        return [model_cache.stamp(file) for file in files if file]

    @classmethod
    def execute(
        cls, video_expert, audio_expert, joint_blocks: int, video_codec: str, audio_codec: str, joint_layers: str = NONE
    ) -> io.NodeOutput:
        codecs = _codec_files(video_codec, audio_codec)
        joint = model_cache.join(video_expert, audio_expert, *codecs, joint_blocks, _layers_file(joint_layers))
        apart = joint.card["architecture"] == SEPARATE
        return io.NodeOutput(joint, ui=_apart_report(joint) if apart else model_report(joint))


def _codec(name: str, tooltip: str):
    return file_input(name, f"{tooltip} A published expert brings its own, and then this does not matter.")


def _apart_report(joint) -> dict:
    line = f"{joint.name}: such a pair cannot be woven; picture and sound are made apart, and only an aligner brings them together"
    return report(line, model=joint.name, trained=joint.trained, architecture=SEPARATE)


def _codec_files(video: str, audio: str) -> tuple:
    return model_cache.part_file(video, VIDEO_CODEC), model_cache.part_file(audio, AUDIO_CODEC)


def _layers_file(name: str) -> Path | None:
    return None if name == NONE else Path(find_model(name))
