"""Samples one clip with several guidances and shows the results side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .compare_cells import CellSampler
from .dropdowns import require_choice
from .host import check_interrupt, has_page, io, on_device
from .kept_clips import Key, clip_keys, keep_needed, seed_settings
from .latents import clip_shape, unpack_latent
from .own_settings import resolve_settings
from .reports import report
from .run_sampler import Settings, model_warnings, settings_inputs
from .saving import destination
from .sockets import GuidanceInput, GuidanceSocket, JointModelSocket, PromptsSocket

if TYPE_CHECKING:
    from ..av_models.compare_guidances import Clip, Variant

ComparisonSocket = io.Custom("DUET_COMPARISON")
HEAD = ("guidance", "sync F1", "chance", "motion %", "LUFS", "branches", "calls", "seconds")
ALL_CELLS, ONE_CELL = "one after another", "one cell"
MAX_CELLS, MAX_SEEDS = 16, 64


@dataclass(frozen=True)
class Comparison:
    """The result of each guidance (`av_models.compare_guidances.Variant`)."""

    variants: list[Variant]
    fps: Fraction
    sample_rate: int

    @property
    def clips(self) -> list[Tensor]:
        """The frames of each cell."""
        return [variant.frames for variant in self.variants]

    @property
    def labels(self) -> list[str]:
        """The label of each cell."""
        return [variant.label for variant in self.variants]

    def sound(self, cells: Sequence[int]) -> Tensor:
        """Returns the sounds [C, samples] of `cells` one after another, at the loudness that all cells can reach."""
        from ..av_models.metrics.grid import match_loudness

        waves = match_loudness([variant.waveform for variant in self.variants], self.sample_rate)
        return torch.cat([waves[cell] for cell in cells], -1)


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
                io.Int.Input(
                    "seeds", default=1, min=1, max=MAX_SEEDS, optional=True,
                    tooltip="Clips per guidance. The table then shows means. Each further clip raises both seeds by 1; the first "
                    "one is shown.",
                ),
            ],
            hidden=[io.Hidden.unique_id],
            outputs=[
                ComparisonSocket.Output(display_name="comparison", tooltip="Connect to Show Comparison."),
                io.String.Output(display_name="table", tooltip="Sync, motion, loudness and cost of each cell, as text."),
                io.Image.Output(display_name="table_image", tooltip="The table as an image."),
            ],
            is_output_node=True,
        )  # fmt: skip

    @classmethod
    def execute(cls, model, prompts, latent, guidances: dict, seeds: int = 1, **settings) -> io.NodeOutput:
        from ..av_models.compare_guidances import Variant, describe_differences
        from ..av_models.metrics.grid import draw_table, format_table

        settings, guidances, taken = resolve_settings(model, Settings(**settings), guidances.values())
        shape = clip_shape(latent, model)
        if unpack_latent(latent).rows != 1:
            raise ValueError(f"latent holds {unpack_latent(latent).rows} clips; use a batch of 1")
        for each in guidances:
            each.require_duet_model()
        on_device(model, *(each.bad_model for each in guidances if each.bad_model))  # before the timed part
        inputs = model, prompts, latent, guidances, seed_settings(settings, seeds)
        keys, labels = clip_keys(*inputs), _labels(guidances)
        kept = keep_needed(model, cls.hidden.unique_id, keys)
        reused = _reused_note(labels, keys, kept)
        CellSampler(*inputs, cls.hidden.unique_id).add_missing(kept, keys)
        variants = [Variant(label, tuple(kept[key] for key in own)) for label, own in zip(labels, keys)]

        facts = [variant.facts() for variant in variants]
        rows = [_row(each) for each in facts]
        notes = [*describe_differences([each.strategy for each in guidances]), *taken]
        notes += [*prompts.image_change(model, shape), *_means_note(seeds), *reused]
        warnings = [*model_warnings(model), *(f"{each.label}: {warning}" for each in variants for warning in each.warnings)]
        shown = report(
            *format_table(HEAD, rows).split("\n"),
            *notes,
            warnings=warnings,
            table={"head": HEAD, "rows": rows, "lines": 1 + len(rows)},
            cells=facts,
            forwards_per_step=sum(each["forwards_per_step"] for each in facts),
            **{name: getattr(settings, name) for name in ("steps", "shift", "eta")},
        )
        made = Comparison(variants, shape.video.fps, shape.audio.sample_rate)
        image = draw_table(HEAD, rows, [*notes, *warnings])[None]
        return io.NodeOutput(made, "\n".join(shown["text"]), image, ui=shown | _preview(made))


class DuetShowComparison(io.ComfyNode):
    """Shows a comparison. It is a separate node, so that choosing another audio does not sample the clips again."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        cell = io.Int.Input(
            "cell", default=1, min=1, max=MAX_CELLS, tooltip="Number of the cell whose audio is played, counting from 1."
        )
        return io.Schema(
            node_id="DuetShowComparison",
            display_name="Show Comparison",
            category="Duet/measure",
            description="Shows the compared clips side by side with labels, with their audio at the same loudness.",
            search_aliases=["duet", "grid", "side by side"],
            inputs=[
                ComparisonSocket.Input("comparison", tooltip="From Compare Guidances."),
                io.DynamicCombo.Input(
                    "sound",
                    options=[io.DynamicCombo.Option(ALL_CELLS, []), io.DynamicCombo.Option(ONE_CELL, [cell])],
                    tooltip="one after another: plays the grid once for each cell and marks the cell that is heard. one cell: "
                    "plays the audio of one cell.",
                ),
            ],
            outputs=[
                io.Image.Output(display_name="images", tooltip="Frames of the grid. Connect to Save Video + Audio."),
                io.Audio.Output(display_name="audio", tooltip="The audio. Connect to Save Video + Audio."),
                io.Float.Output(display_name="fps", tooltip="Frames per second. Connect to Save Video + Audio."),
            ],
        )

    @classmethod
    def execute(cls, comparison: Comparison, sound: dict | None = None) -> io.NodeOutput:
        from ..av_models.metrics.grid import draw_grid

        sound, count = require_choice("sound", sound, (ALL_CELLS, ONE_CELL)), len(comparison.variants)
        if sound.get("cell", 1) > count:
            raise ValueError(f"sound.cell is {sound['cell']}; use a number from 1 to {count}")
        heard = [sound["cell"] - 1] if sound["sound"] == ONE_CELL else list(range(count))
        images = draw_grid(comparison.clips, comparison.labels, heard)
        audio = {"waveform": comparison.sound(heard)[None], "sample_rate": comparison.sample_rate}
        return io.NodeOutput(images, audio, float(comparison.fps))


def _labels(guidances: list[GuidanceInput]) -> list[str]:
    """Returns a label for each cell, with the name of the bad model if there is one."""
    from ..av_models.compare_guidances import label_guidances, number_duplicates

    plain = label_guidances([each.strategy for each in guidances])
    return number_duplicates(
        [f"{label} from {each.bad_model.name}" if each.bad_model else label for label, each in zip(plain, guidances)]
    )


def _means_note(seeds: int) -> list[str]:
    return [f"means of {seeds} clips each; in brackets: 95 % intervals"] if seeds > 1 else []


def _reused_note(labels: Sequence[str], keys: Sequence[Sequence[Key]], kept: Mapping[Key, Clip]) -> list[str]:
    """Says which cells are from the node's last run. keys: of the clips of each cell. kept: the clips of the last run."""
    clips = sum(key in kept for own in keys for key in own)
    cells = [label for label, own in zip(labels, keys) if all(key in kept for key in own)]
    if clips == 0:
        return []
    if clips == len(cells) * len(keys[0]):
        return [f"{len(cells)} of {len(keys)} cells are from the last run, with the seconds measured then: {', '.join(cells)}"]
    return [f"{clips} of {sum(map(len, keys))} clips are from the last run, with the seconds measured then"]


def _row(facts: Mapping[str, Any]) -> tuple[str, ...]:
    shown = ["–" if facts[name] is None else f"{facts[name]:.2f}" for name in ("f1", "chance", "motion", "lufs")]
    if facts["f1_interval"]:
        shown[0] += " [{:.2f}, {:.2f}]".format(*facts["f1_interval"])
    return facts["label"], *shown, f"{facts['branches_per_step']:g}", f"{facts['forwards_per_step']:g}", f"{facts['seconds']:.1f}"


def _preview(comparison: Comparison) -> dict[str, Any]:
    """Writes a temporary file with the grid, played once for each cell's audio. Returns the UI output that shows it."""
    from ..av_models.media import target_path, write_video
    from ..av_models.metrics.grid import iter_grid

    if not has_page():
        return {}
    heard = range(len(comparison.variants))
    target = destination(save_output=False)
    path = target_path(target.root, "duet/compare", "mp4")
    write_video(
        iter_grid(comparison.clips, comparison.labels, heard),
        path,
        fps=comparison.fps,
        audio=comparison.sound(heard),
        sample_rate=comparison.sample_rate,
        check_interrupt=check_interrupt,
    )
    return target.shown([path])
