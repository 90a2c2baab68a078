"""Makes several takes of a clip with a GUIDER of ComfyUI and passes the best one on."""

from __future__ import annotations

from typing import Any

from .agreement_inputs import BinderNode, binder_input, prompt_inputs, unused_prompts
from .host import io, report_text, require_comfyui
from .kept_clips import begin_run, take_last_run
from .model_cache import NONE
from .take_report import AUDIO_SEED, reused_takes, show_takes, take_outputs, takes_inputs, weight_inputs
from .takes import Question, Take, Takes


class DuetBestTakeGuider(BinderNode):
    """Samples takes as ComfyUI's SamplerCustomAdvanced does, scores each, and passes the best one on."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DuetBestTakeGuider",
            display_name="Best Take (Guider)",
            category="Duet/make",
            description="Generates several takes of LTX-2, MiniMax-H3 or joined models with different seeds, such as eight sounds "
            "for one video, and passes the best one on. Takes are scored by sync, by a binder, and by the health of the audio.",
            search_aliases=[
                "duet", "best of n", "batch seeds", "reroll", "pick best", "foley", "sound", "rank", "ltx", "ltxv", "minimax",
                "sampler custom advanced",
            ],
            inputs=[
                io.Guider.Input("guider", tooltip="Joint Guider or any other guider."),
                io.Noise.Input("noise", tooltip="From Joint Noise, or RandomNoise if both seeds vary."),
                io.Sampler.Input("sampler", tooltip="From KSamplerSelect."),
                io.Sigmas.Input("sigmas", tooltip="From a scheduler."),
                io.Latent.Input(
                    "latent", tooltip="A latent of video and audio with one clip. With a kept video, all takes have that video."
                ),
                io.Vae.Input("vae", tooltip="The VAE of the video."),
                io.Vae.Input("audio_vae", tooltip="The VAE of the audio."),
                *takes_inputs(),
                io.Float.Input(
                    "fps", default=0.0, min=0.0, max=1000.0, step=0.01, optional=True,
                    tooltip="Frame rate in frames per second. 0: the model's own, which LTXVConditioning sets for LTX-2.",
                ),
                binder_input("Also scores how well the content of video, audio and prompts matches."),
                *prompt_inputs(),
                *weight_inputs(),
            ],
            hidden=[io.Hidden.unique_id],
            outputs=take_outputs(),
            is_output_node=True,
        )  # fmt: skip

    @classmethod
    def execute(  # noqa: PLR0913
        cls, guider: Any, noise: Any, sampler: Any, sigmas: Any, latent: dict, vae: Any, audio_vae: Any, takes: int = 8,
        vary: str = AUDIO_SEED, fps: float = 0.0, binder: str = NONE, video_prompt: str = "", audio_prompt: str = "",
        sync_weight: float = 1.0, agreement_weight: float = 1.0,
    ) -> io.NodeOutput:  # fmt: skip
        require_comfyui("Best Take (Guider)")
        from ..av_models.takes import Ranking
        from .native.frame_rate import shared_frame_rate
        from .native.guider_cells import GuiderCells
        from .native.guider_inputs import GuiderInputs
        from .native.raised_seeds import raise_audio_seed, raise_seeds, seeds_of

        node_id, rate = cls.hidden.unique_id, shared_frame_rate([guider], fps)
        noises = raise_audio_seed(noise, takes) if vary == AUDIO_SEED else raise_seeds(noise, takes, "takes")
        given = GuiderInputs([guider], noises, sampler, sigmas, latent, vae, audio_vae, rate)
        given.check()
        cells, last = GuiderCells(given, node_id), take_last_run(node_id)
        keys = [("take", vary, key) for key in given.keys()[0]]
        kept = begin_run(guider.model_patcher.model, node_id, {key: last[key] for key in keys if key in last})
        reused, question = reused_takes(list(kept), takes), Question(binder, (video_prompt, audio_prompt))
        made = Takes(cells, kept, keys, question, Ranking(sync_weight, agreement_weight))

        def sample(number: int, run: int, runs: int) -> Take:
            report_text(f"take {number + 1} of {takes}", node_id)
            found, cost, _ = cells.run(0, number, run, runs)
            return Take.of(found, cost)

        order = made.make(sample)
        own_rate = [] if fps > 0 else [f"{float(rate):g} frames per second, the model's own"]
        warnings = unused_prompts(binder, video_prompt, audio_prompt)
        return show_takes(cls, made, order, [seeds_of(each) for each in noises], [*own_rate, *reused], warnings)
