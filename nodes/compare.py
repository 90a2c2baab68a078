"""Samples one clip with several guidances and shows the results side by side."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from .host import io, on_device, report_progress
from .latents import clip_shape, unpack_latent
from .own_settings import resolve_settings
from .reports import report
from .run_sampler import Settings, model_warnings, sample_latent, settings_inputs
from .sockets import CATEGORY, GuidanceInput, GuidanceSocket, JointModelSocket, PromptsSocket

ComparisonSocket = io.Custom("DUET_COMPARISON")
HEAD = ("guidance", "sync F1", "chance", "motion %", "LUFS", "branches", "calls", "seconds")
ALL_CELLS, ONE_CELL = "one after another", "one cell"
MAX_CELLS = 16


@dataclass(frozen=True)
class Comparison:
    """The result of each guidance (`av_models.compare_guidances.Variant`)."""

    variants: list
    fps: Fraction
    sample_rate: int


class DuetCompare(io.ComfyNode):
    """Samples every cell with the same seeds and prompts. Models and prompts are prepared once."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DuetCompare",
            display_name="Compare Guidances",
            category=CATEGORY,
            description="Generates the same clip with several guidance settings, and reports the cost of each and how well picture "
            "and sound match.",
            search_aliases=["duet", "ab test", "xy plot", "grid"],
            inputs=[
                JointModelSocket.Input("model", tooltip="The joint model that generates the clips."),
                PromptsSocket.Input("prompts", tooltip="From Prompts for Picture and Sound."),
                io.Latent.Input("latent", tooltip="From Empty Picture + Sound or Encode Picture + Sound, with one clip."),
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
            ],
            hidden=[io.Hidden.unique_id],
            outputs=[
                ComparisonSocket.Output(display_name="comparison", tooltip="Connect to Show Comparison."),
                io.String.Output(display_name="table", tooltip="Sync, motion, loudness and cost of each cell, as text."),
                io.Image.Output(display_name="table_image", tooltip="The table as an image."),
            ],
        )

    @classmethod
    def execute(cls, model, prompts, latent, guidances: dict, **settings) -> io.NodeOutput:
        from ..av_models.compare_guidances import compare_guidances, describe_differences
        from ..av_models.metrics.grid import draw_table, format_table

        settings, guidances, taken = resolve_settings(model, Settings(**settings), guidances.values())
        shape = clip_shape(latent, model)
        if unpack_latent(latent).rows != 1:
            raise ValueError(f"latent holds {unpack_latent(latent).rows} clips; use a batch of 1")
        for each in guidances:
            each.require_duet_model()
        on_device(model, *(each.bad_model for each in guidances if each.bad_model))  # before the timed part

        def sample_with(index: int):
            def progress(step: int, steps: int, x0) -> None:
                report_progress(index * steps + step, len(guidances) * steps)

            return sample_latent(model, prompts, latent, guidances[index], settings, cls.hidden.unique_id, progress)

        variants = list(compare_guidances(_labels(guidances), sample_with, lambda made: model.decode(made, shape), shape))
        rows = [_row(variant) for variant in variants]
        differences = describe_differences([each.strategy for each in guidances])
        notes, warnings = [*differences, *taken], [*model_warnings(model), *_warnings(variants)]
        shown = report(
            *format_table(HEAD, rows).split("\n"),
            *notes,
            warnings=warnings,
            table={"head": HEAD, "rows": rows, "lines": 1 + len(rows)},
            cells=[_facts(variant) for variant in variants],
            forwards_per_step=sum(variant.forwards_per_step for variant in variants),
            **{name: getattr(settings, name) for name in ("steps", "shift", "eta")},
        )
        made = Comparison(variants, shape.video.fps, shape.audio.sample_rate)
        image = draw_table(HEAD, rows, [*notes, *warnings])[None]
        return io.NodeOutput(made, "\n".join(shown["text"]), image, ui=shown)


class DuetShowComparison(io.ComfyNode):
    """Shows a comparison. It is a separate node, so that choosing another sound does not sample the clips again."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        cell = io.Int.Input(
            "cell", default=1, min=1, max=MAX_CELLS, tooltip="Number of the cell whose sound is played, counting from 1."
        )
        return io.Schema(
            node_id="DuetShowComparison",
            display_name="Show Comparison",
            category=CATEGORY,
            description="Shows the compared clips side by side with labels, with their sounds at the same loudness.",
            search_aliases=["duet", "grid", "side by side"],
            inputs=[
                ComparisonSocket.Input("comparison", tooltip="From Compare Guidances."),
                io.DynamicCombo.Input(
                    "sound",
                    options=[io.DynamicCombo.Option(ALL_CELLS, []), io.DynamicCombo.Option(ONE_CELL, [cell])],
                    tooltip="one after another: plays the grid once for each cell and marks the cell that is heard. one cell: "
                    "plays one sound.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="images", tooltip="Frames of the grid. Connect to Save Picture + Sound."),
                io.Audio.Output(display_name="audio", tooltip="The sound. Connect to Save Picture + Sound."),
                io.Float.Output(display_name="fps", tooltip="Frames per second. Connect to Save Picture + Sound."),
            ],
        )

    @classmethod
    def execute(cls, comparison: Comparison, sound: dict) -> io.NodeOutput:
        import torch

        from ..av_models.metrics.grid import draw_grid, match_loudness

        variants, rate = comparison.variants, comparison.sample_rate
        if sound.get("cell", 1) > len(variants):
            raise ValueError(f"sound.cell is {sound['cell']}; use a number from 1 to {len(variants)}")
        heard = [sound["cell"] - 1] if sound["sound"] == ONE_CELL else list(range(len(variants)))
        waves = match_loudness([variant.waveform for variant in variants], rate)
        images = draw_grid([variant.frames for variant in variants], [variant.label for variant in variants], heard)
        wave = torch.cat([waves[cell] for cell in heard], -1)
        return io.NodeOutput(images, {"waveform": wave[None], "sample_rate": rate}, float(comparison.fps))


def _labels(guidances: list[GuidanceInput]) -> list[str]:
    """Returns a label for each cell, with the name of the bad model if there is one."""
    from ..av_models.compare_guidances import label_guidances, number_duplicates

    plain = label_guidances([each.strategy for each in guidances])
    return number_duplicates(
        [f"{label} from {each.bad_model.name}" if each.bad_model else label for label, each in zip(plain, guidances)]
    )


def _warnings(variants) -> list[str]:
    return [f"{variant.label}: {warning}" for variant in variants for warning in variant.warnings]


def _row(variant) -> tuple[str, ...]:
    facts = _facts(variant)
    numbers = (facts["f1"], facts["chance"], facts["motion"], facts["lufs"])
    shown = ["–" if number is None else f"{number:.2f}" for number in numbers]
    return variant.label, *shown, f"{variant.branches_per_step:g}", f"{variant.forwards_per_step:g}", f"{variant.seconds:.1f}"


def _facts(variant) -> dict:
    score = variant.score.facts()
    return {
        "label": variant.label, "f1": score["sync"]["f1"], "chance": score["sync"]["chance"], "motion": 100 * score["motion"],
        "lufs": score["sound"]["lufs"], "branches_per_step": variant.branches_per_step,
        "forwards_per_step": variant.forwards_per_step, "seconds": variant.seconds,
    }  # fmt: skip
