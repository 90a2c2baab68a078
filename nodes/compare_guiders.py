"""Samples one clip with several GUIDERs of ComfyUI and shows the results side by side."""

from __future__ import annotations

from typing import Any

from .compare_cells import sample_missing
from .comparison import MAX_CELLS, Comparison, comparison_outputs, means_note, reused_note, seeds_input, show_comparison
from .host import io, require_comfyui
from .kept_clips import keep_needed


class DuetCompareGuiders(io.ComfyNode):
    """Samples every cell with the same noise, sampler and sigmas, as ComfyUI's SamplerCustomAdvanced does."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DuetCompareGuiders",
            display_name="Compare Guiders",
            category="Duet/measure",
            description="Generates the same clip of LTX-2, MiniMax-H3 or joined models with several guiders, and reports the cost "
            "of each and how well video and audio match.",
            search_aliases=["duet", "ab test", "xy plot", "grid", "compare cfg", "ltx", "ltxv", "minimax", "guider", "join models"],
            inputs=[
                io.Autogrow.Input(
                    "guiders",
                    template=io.Autogrow.TemplatePrefix(
                        io.Guider.Input("guider", tooltip="Joint Guider or any other guider, for one cell of the grid."),
                        prefix="guider",
                        min=2,
                        max=MAX_CELLS,
                    ),
                    tooltip="One grid cell per guider. Connect one and a new input appears.",
                ),
                io.Noise.Input("noise", tooltip="From Joint Noise or RandomNoise. All cells use it."),
                io.Sampler.Input("sampler", tooltip="From KSamplerSelect."),
                io.Sigmas.Input("sigmas", tooltip="From a scheduler."),
                io.Latent.Input(
                    "latent",
                    tooltip="A latent of video and audio with one clip, from LTXVConcatAVLatent or Empty Video + Audio "
                    "(Joined Models).",
                ),
                io.Vae.Input("vae", tooltip="The VAE of the video."),
                io.Vae.Input("audio_vae", tooltip="The VAE of the audio."),
                io.Float.Input(
                    "fps", default=0.0, min=0.0, max=1000.0, step=0.01, optional=True,
                    tooltip="Frame rate in frames per second. 0: the model's own, which LTXVConditioning sets for LTX-2 and "
                    "LTX-Video.",
                ),
                seeds_input(
                    "Clips per guider. The table then shows means. Each further clip raises the seeds of the noise by 1; the first "
                    "one is shown."
                ),
            ],
            hidden=[io.Hidden.unique_id],
            outputs=comparison_outputs(),
            is_output_node=True,
        )  # fmt: skip

    @classmethod
    def execute(  # noqa: PLR0913
        cls, guiders: dict, noise: Any, sampler: Any, sigmas: Any, latent: dict, vae: Any, audio_vae: Any, fps: float = 0.0,
        seeds: int = 1,
    ) -> io.NodeOutput:  # fmt: skip
        require_comfyui("Compare Guiders")
        from ..av_models.compare_guidances import Variant
        from .native.frame_rate import shared_frame_rate
        from .native.guider_cells import GuiderCells
        from .native.guider_inputs import GuiderInputs
        from .native.guider_labels import changes, differences, label_guiders
        from .native.raised_seeds import raise_seeds

        connected = list(guiders.values())
        noises, rate = raise_seeds(noise, seeds), shared_frame_rate(connected, fps)
        given = GuiderInputs(connected, noises, sampler, sigmas, latent, vae, audio_vae, rate)
        given.check()
        keys, labels = given.keys(), label_guiders(connected)
        kept = keep_needed(connected[0].model_patcher.model, cls.hidden.unique_id, keys)
        reused = reused_note(labels, keys, kept)
        sample_missing(GuiderCells(given, cls.hidden.unique_id), kept, keys)
        variants = [Variant(label, tuple(kept[key] for key in own)) for label, own in zip(labels, keys)]

        own_rate = [] if fps > 0 else [f"{float(rate):g} frames per second, the model's own"]
        notes = [*differences(connected), *changes(connected), *own_rate, *means_note(seeds), *reused]
        return show_comparison(Comparison(variants, rate, variants[0].sample_rate), notes, [], steps=given.steps)
