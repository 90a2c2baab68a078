"""Samples one clip with several guidances and shows the results side by side."""

from __future__ import annotations

from .compare_cells import sample_missing
from .comparison import MAX_CELLS, Comparison, comparison_outputs, means_note, reused_note, seeds_input, show_comparison
from .guidance_cells import GuidanceCells
from .host import io
from .kept_clips import clip_keys, keep_needed, seed_settings
from .latents import clip_shape, unpack_latent
from .own_settings import resolve_settings
from .run_sampler import Settings, model_warnings, settings_inputs
from .sockets import GuidanceInput, GuidanceSocket, JointModelSocket, PromptsSocket


class DuetCompare(io.ComfyNode):
    """Samples every cell with the same seeds and prompts. Models and prompts are prepared once."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DuetCompare",
            display_name="Compare Guidances",
            category="Duet/measure",
            description="Generates the same clip with several guidance settings, and reports the cost of each and how well video "
            "and audio match.",
            search_aliases=["duet", "ab test", "xy plot", "grid"],
            inputs=[
                JointModelSocket.Input("model", tooltip="The joint model that generates the clips."),
                PromptsSocket.Input("prompts", tooltip="From Prompts for Video and Audio."),
                io.Latent.Input("latent", tooltip="From Empty Video + Audio or Encode Video + Audio, with one clip."),
                io.Autogrow.Input(
                    "guidances",
                    template=io.Autogrow.TemplatePrefix(
                        GuidanceSocket.Input("guidance", tooltip="Guidance for one cell of the grid."),
                        prefix="guidance",
                        min=2,
                        max=MAX_CELLS,
                    ),
                    tooltip="One grid cell per guidance. Connect one and a new input appears.",
                ),
                *settings_inputs(),
                seeds_input(
                    "Clips per guidance. The table then shows means. Each further clip raises both seeds by 1; the first "
                    "one is shown."
                ),
            ],
            hidden=[io.Hidden.unique_id],
            outputs=comparison_outputs(),
            is_output_node=True,
        )

    @classmethod
    def execute(cls, model, prompts, latent, guidances: dict, seeds: int = 1, **settings) -> io.NodeOutput:
        from ..av_models.compare_guidances import Variant, describe_differences

        settings, guidances, taken = resolve_settings(model, Settings(**settings), guidances.values())
        shape = clip_shape(latent, model)
        if unpack_latent(latent).rows != 1:
            raise ValueError(f"latent holds {unpack_latent(latent).rows} clips; use a batch of 1")
        for each in guidances:
            each.require_duet_model()
        inputs = model, prompts, latent, guidances, seed_settings(settings, seeds)
        keys, labels = clip_keys(*inputs), _labels(guidances)
        kept = keep_needed(model.networks, cls.hidden.unique_id, keys)
        reused = reused_note(labels, keys, kept)
        sample_missing(GuidanceCells(*inputs, cls.hidden.unique_id), kept, keys)
        variants = [Variant(label, tuple(kept[key] for key in own)) for label, own in zip(labels, keys)]

        notes = [*describe_differences([each.strategy for each in guidances]), *taken]
        notes += [*prompts.image_change(model, shape), *means_note(seeds), *reused]
        made = Comparison(variants, shape.video.fps, shape.audio.sample_rate)
        facts = {name: getattr(settings, name) for name in ("steps", "shift", "eta")}
        return show_comparison(made, notes, model_warnings(model), **facts)


def _labels(guidances: list[GuidanceInput]) -> list[str]:
    """Returns a label for each cell, with the name of the bad model if there is one."""
    from ..av_models.compare_guidances import label_guidances, number_duplicates

    plain = label_guidances([each.strategy for each in guidances])
    return number_duplicates(
        [f"{label} from {each.bad_model.name}" if each.bad_model else label for label, each in zip(plain, guidances)]
    )
