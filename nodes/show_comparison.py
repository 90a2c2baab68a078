"""Shows the clips of a comparison side by side."""

from __future__ import annotations

from .comparison import MAX_CELLS, Comparison, ComparisonSocket
from .dropdowns import require_choice
from .host import io

ALL_CELLS, ONE_CELL = "one after another", "one cell"


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
                ComparisonSocket.Input("comparison", tooltip="From Compare Guidances or Compare Guiders."),
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
