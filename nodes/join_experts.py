"""Joins two experts into one joint model."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from . import model_cache
from .expert_files import title
from .host import find_model, io, model_files
from .load_joint_model import file_input, model_report
from .model_cache import NONE
from .sockets import AudioExpertSocket, ExpertFile, JointModelSocket, VideoExpertSocket

VIDEO_CODEC, AUDIO_CODEC = "video_codec", "audio_codec"
VIDEO, AUDIO = "video", "audio"
SEPARATE_EXPERTS = "SeparateExperts"


class DuetJoinExperts(io.ComfyNode):
    """Joins two experts.

    Two transformers fit if their heads have the same size and the video expert is wider, such as Wan and TangoFlux, and so do
    Stable Video Diffusion and AudioLDM2. Other pairs get no joint layers.
    """

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DuetJoinExperts",
            display_name="Join Experts",
            category="Duet/load",
            description="Joins a video expert and an audio expert into one joint model. Until the pair is trained together, "
            "samplers generate video and audio independently.",
            search_aliases=["duet", "merge models", "avfulldit"],
            inputs=[
                VideoExpertSocket.Input("video_expert", tooltip="Generates the video. From Load Video Expert."),
                AudioExpertSocket.Input("audio_expert", tooltip="Generates the audio. From Load Audio Expert."),
                io.Int.Input(
                    "joint_blocks", advanced=True, default=4, min=0, max=64,
                    tooltip="Number of blocks with attention between video and audio. At most as many as both experts have. "
                    "0: as recommended for the pair.",
                ),
                _codec_input(VIDEO_CODEC, "Encodes the video: choose the codec the video expert was trained with."),
                _codec_input(AUDIO_CODEC, "Encodes the audio: choose the codec the audio expert was trained with."),
                io.Combo.Input(
                    "joint_layers", options=[NONE, *model_files()], default=NONE, optional=True,
                    tooltip="Trained joint layers for these experts, from duet train. They set the number of joint blocks. With "
                    "those for Stable Video Diffusion and AudioLDM2, the model takes an image and ignores text prompts.",
                ),
                io.Vae.Input(
                    "video_vae", optional=True, tooltip="VAE of ComfyUI for the video, instead of the expert's own: that of Wan."
                ),
                io.Vae.Input(
                    "audio_vae", optional=True,
                    tooltip="VAE of ComfyUI for the audio, instead of the expert's own: that of Stable Audio and TangoFlux.",
                ),
            ],
            outputs=[JointModelSocket.Output(display_name="model", tooltip="Connect to prompts, latent, sampler and decoder.")],
        )  # fmt: skip

    @classmethod
    def validate_inputs(
        cls, video_codec: str | None = None, audio_codec: str | None = None, joint_layers: str | None = None
    ) -> bool | str:
        return model_cache.check_files(video_codec, audio_codec, joint_layers)

    @classmethod
    def fingerprint_inputs(cls, video_codec: str, audio_codec: str, joint_layers: str = NONE, **others) -> list[tuple]:
        files = *_codec_files(video_codec, audio_codec), _layers_file(joint_layers)
        return [model_cache.stamp(file) for file in files if file]

    @classmethod
    def execute(
        cls, video_expert, audio_expert, joint_blocks: int, video_codec: str, audio_codec: str, joint_layers: str = NONE,
        video_vae=None, audio_vae=None,
    ) -> io.NodeOutput:  # fmt: skip
        codecs = _codec_files(video_codec, audio_codec)
        video, audio = _with_vae(video_expert, VIDEO, video_vae), _with_vae(audio_expert, AUDIO, audio_vae)
        joint = model_cache.join(video, audio, *codecs, joint_blocks, _layers_file(joint_layers))
        separate = joint.card["architecture"] == SEPARATE_EXPERTS
        return io.NodeOutput(joint, ui=_separate_report(joint) if separate else model_report(joint))


def _with_vae(expert: ExpertFile, stream: str, vae) -> ExpertFile:
    """Returns the expert with a VAE of ComfyUI as its codec, if one is connected. Raises ValueError if it takes none."""
    if vae is None:
        return expert
    from .native.vae_codec import wrap_vae

    name = f"{stream}_vae"
    if expert.options is None:
        raise ValueError(f"{name} is connected, but {title(expert.path)} has its own; disconnect {name}")
    return replace(expert, options=replace(expert.options, codec=wrap_vae(vae, name)))


def _codec_input(name: str, tooltip: str):
    return file_input(name, f"{tooltip} Not used by published experts, which include their own.", advanced=True)


def _separate_report(joint) -> dict:
    warning = "without joint layers, video and audio are generated independently; use Aligner"
    shown = model_report(joint, [warning])
    shown["duet"][0]["architecture"] = SEPARATE_EXPERTS
    return shown


def _codec_files(video: str, audio: str) -> tuple:
    return model_cache.part_file(video, VIDEO_CODEC), model_cache.part_file(audio, AUDIO_CODEC)


def _layers_file(name: str) -> Path | None:
    return None if name == NONE else Path(find_model(name))
