"""The joint sampler, which denoises video and audio together."""

from __future__ import annotations

from dataclasses import asdict

from .encode_prompts import empty_prompts
from .host import io
from .latents import STORAGE_DEVICE, clip_shape, latent_dict
from .live_preview import step_reporter
from .own_settings import resolve_settings
from .reports import cost_line, report
from .run_sampler import Settings, model_warnings, sample_latent, settings_inputs
from .sockets import AlignerSocket, GuidanceSocket, JointModelSocket, PromptsSocket


class DuetJointSampler(io.ComfyNode):
    """Samples a latent, with one seed for the video and one for the audio."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DuetJointSampler",
            display_name="Joint Sampler",
            category="Duet/make",
            description="Generates video and audio together. The report gives the seeds and the cost of each step.",
            search_aliases=["duet", "ksampler", "audio video sampler", "sound", "foley", "lipsync", "lip sync"],
            inputs=[
                JointModelSocket.Input("model", tooltip="The joint model that generates the clip."),
                PromptsSocket.Input(
                    "prompts",
                    optional=True,
                    tooltip="From Prompts for Video and Audio. Not connected: video and audio can be anything.",
                ),
                io.Latent.Input("latent", tooltip="From Empty Video + Audio or Encode Video + Audio."),
                GuidanceSocket.Input(
                    "guidance",
                    optional=True,
                    tooltip="From Guidance or Guidance Modifiers. Not connected: as the model recommends.",
                ),
                *settings_inputs(),
                AlignerSocket.Input(
                    "aligner",
                    optional=True,
                    tooltip="Pulls video and audio together when the model generates them independently.",
                ),
            ],
            hidden=[io.Hidden.unique_id],
            outputs=[
                io.Latent.Output(display_name="latent", tooltip="Connect to Decode Video + Audio."),
                io.String.Output(display_name="report", tooltip="Seeds, settings and cost of each step."),
            ],
        )

    @classmethod
    def execute(cls, model, prompts=None, latent=None, guidance=None, aligner=None, **settings) -> io.NodeOutput:
        settings, (guidance,), taken = resolve_settings(model, Settings(**settings), [guidance])
        prompts, node_id, shape = prompts or empty_prompts(model), cls.hidden.unique_id, clip_shape(latent, model)
        progress = step_reporter(model, shape, node_id)
        result = sample_latent(model, prompts, latent, guidance, settings, node_id, progress, aligner)
        facts = asdict(settings) | {
            "guidance": guidance.strategy.name,
            "scales": guidance.strategy.scales,
            "branches_per_step": result.branches_per_step,
            "forwards_per_step": result.forwards_per_step,
        }
        lines = _summary(facts, result), *taken, *prompts.image_change(model, shape)
        shown = report(*lines, warnings=[*model_warnings(model), *result.warnings], **facts)
        made = latent_dict(result.latent.to(STORAGE_DEVICE), shape)
        return io.NodeOutput(made, "\n".join(shown["text"]), ui=shown)


def _summary(facts: dict, result) -> str:
    eta = f", eta {facts['eta']:g}" if facts["eta"] else ""
    audio_shift = f", audio shift {facts['audio_shift']:g}" if facts["audio_shift"] else ""
    return (
        f"video seed {facts['video_seed']}, audio seed {facts['audio_seed']}; "
        f"{facts['steps']} steps with {facts['guidance']}{eta}{audio_shift}; "
        f"{cost_line(result)}"
    )
