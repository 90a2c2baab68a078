"""The aligner for whatever ComfyUI samples."""

from __future__ import annotations

from typing import Any

from .aligner import TASKS
from .host import io, report_text, require_comfyui
from .load_expert import NOT_TRIED
from .reports import report
from .sockets import AlignerInput, AlignerSocket

SAMPLERS = ["euler", "euler_ancestral"]
TEXT_TIP = "Text that the binder compares the {0} with, in the words of its own captions. Empty: the {0} is not compared with text."


class DuetAlignedSampler(io.ComfyNode):
    """Creates a SAMPLER that aligns video and audio, for ComfyUI's SamplerCustomAdvanced."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DuetAlignedSampler",
            display_name="Aligned Sampler",
            category="Duet/guidance",
            description="Pulls video and audio together while any MODEL with both is sampled: joined models, LTX-2 or MiniMax-H3. "
            "Needs no training. Use it with SamplerCustomAdvanced and any guider.",
            search_aliases=[
                "duet", "aligner", "seeing and hearing", "euler", "sampler", "sound for video", "foley", "video to audio", "ltx",
                "minimax", "wan", "stable audio", "sync",
            ],
            inputs=[
                AlignerSocket.Input("aligner", tooltip=f"What is matched, and how strongly. From Aligner. {NOT_TRIED}"),
                io.Combo.Input("sampler_name", options=SAMPLERS, tooltip="The steps between adjustments, as in KSamplerSelect."),
                io.Float.Input(
                    "fps", default=24.0, min=0.01, max=1000.0, step=0.01,
                    tooltip="Frame rate of the generated video, in frames per second.",
                ),
                io.Vae.Input(
                    "vae", optional=True,
                    tooltip="A VAE of the video's latent, for the binder. Best a tiny one (taew2_1, taehv, taeltx_2), which takes "
                    "less time and memory; the real one then decodes the result. Needed where the task adjusts the video, or "
                    "matches one that the latent keeps.",
                ),
                io.Vae.Input(
                    "audio_vae", optional=True,
                    tooltip="The VAE of the audio's latent, for the binder. Needed where the task adjusts the audio, or matches "
                    "one that the latent keeps.",
                ),
                io.String.Input("video_prompt", default="", multiline=True, optional=True, tooltip=TEXT_TIP.format("video")),
                io.String.Input("audio_prompt", default="", multiline=True, optional=True, tooltip=TEXT_TIP.format("audio")),
                io.Float.Input(
                    "eta", advanced=True, default=1.0, min=0.0, max=100.0, step=0.01, optional=True,
                    tooltip="How much new noise each step of euler_ancestral adds. 0: none.",
                ),
            ],
            hidden=[io.Hidden.unique_id],
            outputs=[io.Sampler.Output(display_name="sampler", tooltip="Connect to SamplerCustomAdvanced.")],
        )  # fmt: skip

    @classmethod
    def execute(
        cls, aligner: AlignerInput, sampler_name: str, fps: float, vae: Any = None, audio_vae: Any = None, video_prompt: str = "",
        audio_prompt: str = "", eta: float = 1.0,
    ) -> io.NodeOutput:  # fmt: skip
        require_comfyui("Aligned Sampler")
        from .native.aligned_sampler import AlignedSampling

        node_id = cls.hidden.unique_id or ""
        setup = AlignedSampling(
            aligner.aligner, aligner.reference, sampler_name, eta, fps, {"video": vae, "audio": audio_vae},
            (video_prompt, audio_prompt), lambda text: report_text(text, node_id),
        )  # fmt: skip
        lines = [f"{aligner.aligner.binder.name}: {TASKS[aligner.aligner.task]}"]
        if setup.is_idle:
            lines.append("rates or weights are 0: the sampler changes nothing")
        return io.NodeOutput(setup.make_sampler(), ui=report(*lines, binder=aligner.aligner.binder.name, task=aligner.aligner.task))
