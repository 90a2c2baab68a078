"""The result of a comparison: its socket, and the table and the grid that the nodes that compare show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .host import check_interrupt, has_page, io
from .kept_clips import Key
from .reports import report
from .saving import destination

if TYPE_CHECKING:
    from ..av_models.compare_guidances import Clip, Variant

ComparisonSocket = io.Custom("DUET_COMPARISON")
HEAD = ("guidance", "sync F1", "chance", "motion %", "LUFS", "branches", "calls", "seconds")
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
        """Returns the sounds [C, samples] of `cells` one after another, at the loudness that all cells can reach.

        Several are cut or padded to the length of the video, so that each starts with the frames of its cell.
        """
        from ..av_models.media import fit_audio
        from ..av_models.metrics.grid import match_loudness

        waves = match_loudness([variant.waveform for variant in self.variants], self.sample_rate)
        if len(cells) == 1:
            return waves[cells[0]]
        samples = round(len(self.clips[0]) * self.sample_rate / self.fps)
        return torch.cat([fit_audio(waves[cell], samples, "pad") for cell in cells], -1)


def comparison_outputs() -> list:
    """Returns the outputs of the nodes that compare."""
    return [
        ComparisonSocket.Output(display_name="comparison", tooltip="Connect to Show Comparison."),
        io.String.Output(display_name="table", tooltip="Sync, motion, loudness and cost of each cell, as text."),
        io.Image.Output(display_name="table_image", tooltip="The table as an image."),
    ]


def seeds_input(tooltip: str):
    """Returns the input for the number of clips per cell."""
    return io.Int.Input("seeds", default=1, min=1, max=MAX_SEEDS, optional=True, tooltip=tooltip)


def show_comparison(made: Comparison, notes: Sequence[str], warnings: Sequence[str], **settings: Any) -> io.NodeOutput:
    """Returns the outputs of a comparison. notes: lines below the table. settings: facts of the report."""
    from ..av_models.metrics.grid import draw_table, format_table

    facts = [variant.facts() for variant in made.variants]
    rows = [row_of(each) for each in facts]
    warnings = [*warnings, *(f"{each.label}: {warning}" for each in made.variants for warning in each.warnings)]
    shown = report(
        *format_table(HEAD, rows).split("\n"),
        *notes,
        warnings=warnings,
        table={"head": HEAD, "rows": rows, "lines": 1 + len(rows)},
        cells=facts,
        forwards_per_step=sum(each["forwards_per_step"] for each in facts),
        **settings,
    )
    image = draw_table(HEAD, rows, [*notes, *warnings])[None]
    return io.NodeOutput(made, "\n".join(shown["text"]), image, ui=shown | _preview(made))


def means_note(seeds: int) -> list[str]:
    """Returns a line that says how many clips the values of the table are means of, or none if it is one."""
    return [f"means of {seeds} clips each; in brackets: 95 % intervals"] if seeds > 1 else []


def reused_note(labels: Sequence[str], keys: Sequence[Sequence[Key]], kept: Mapping[Key, Clip]) -> list[str]:
    """Says which cells are from the node's last run. keys: of the clips of each cell. kept: the clips of the last run."""
    clips = sum(key in kept for own in keys for key in own)
    cells = [label for label, own in zip(labels, keys) if all(key in kept for key in own)]
    if clips == 0:
        return []
    if clips == len(cells) * len(keys[0]):
        return [f"{len(cells)} of {len(keys)} cells are from the last run, with the seconds measured then: {', '.join(cells)}"]
    return [f"{clips} of {sum(map(len, keys))} clips are from the last run, with the seconds measured then"]


def row_of(facts: Mapping[str, Any]) -> tuple[str, ...]:
    """Returns the row of the table for the facts of a variant."""
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
