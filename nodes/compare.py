"""Several guidances on one clip, side by side."""

from __future__ import annotations

import torch

from .host import io, report_progress
from .sampling import Settings, notes_on, sample_latent, settings_inputs
from .types import CATEGORY, GuidanceSocket, JointModelSocket, PromptsSocket, clip_shape, report, unpack_latent

HEAD = ("guidance", "sync F1", "chance", "motion %", "LUFS", "branches", "calls", "seconds")
IN_TURN, ONE = "one after another", "one cell"
MOST = 16


class DuetCompare(io.ComfyNode):
    """The same seeds and prompts for every cell; models, words and noise are made ready once."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        cell = io.Int.Input("cell", default=1, min=1, max=MOST, tooltip="Whose sound is heard, counted from 1.")
        return io.Schema(
            node_id="DuetCompare",
            display_name="Compare Guidances",
            category=CATEGORY,
            description="Makes the same clip with several guidances and shows them side by side, with what each one costs and "
            "how well its picture and sound hold together.",
            search_aliases=["duet", "ab test", "xy plot", "grid"],
            inputs=[
                JointModelSocket.Input("model", tooltip="The model that makes the clips."),
                PromptsSocket.Input("prompts", tooltip="What to make."),
                io.Latent.Input("latent", tooltip="From Empty Picture + Sound, or Encode Picture + Sound; one clip."),
                io.Autogrow.Input(
                    "guidances",
                    template=io.Autogrow.TemplatePrefix(
                        GuidanceSocket.Input("guidance", tooltip="One cell of the grid."), prefix="guidance", min=2, max=MOST
                    ),
                    tooltip="One cell each; connect another and a new place appears.",
                ),
                *settings_inputs(),
                io.DynamicCombo.Input(
                    "sound",
                    options=[io.DynamicCombo.Option(IN_TURN, []), io.DynamicCombo.Option(ONE, [cell])],
                    tooltip="One after another plays the grid once for each cell, all at one loudness, the one heard marked.",
                ),
            ],
            hidden=[io.Hidden.unique_id],
            outputs=[
                io.Image.Output(display_name="images", tooltip="The grid, to the muxer."),
                io.Audio.Output(display_name="audio", tooltip="The sound, to the muxer."),
                io.Float.Output(display_name="fps", tooltip="Frames a second, to the muxer."),
                io.String.Output(display_name="table", tooltip="Sync, motion, loudness and cost of each cell, in words."),
                io.Image.Output(display_name="table_image", tooltip="The same as a picture."),
            ],
        )

    @classmethod
    def execute(cls, model, prompts, latent, guidances: dict, sound: dict, **settings) -> io.NodeOutput:
        from ..av_models.compare import compare, difference_lines
        from ..av_models.metrics.grid import draw_table, table

        settings, guidances, shape = Settings(**settings), list(guidances.values()), clip_shape(latent, model)
        _check(latent, len(guidances), sound)

        def sample_with(index: int):
            def progress(step: int, steps: int, x0) -> None:
                report_progress(index * steps + step, len(guidances) * steps)

            return sample_latent(model, prompts, latent, guidances[index], settings, cls.hidden.unique_id, progress)

        strategies = [guidance.strategy for guidance in guidances]
        variants = list(compare(strategies, sample_with, lambda made: model.decode(made, shape), shape))
        images, wave = _play(variants, shape.audio.sample_rate, sound)
        rows = [_row(variant) for variant in variants]
        notes = [*difference_lines(strategies), *notes_on(model)]
        lines = "\n".join([table(HEAD, rows), *notes])
        audio = {"waveform": wave[None], "sample_rate": shape.audio.sample_rate}
        return io.NodeOutput(
            images, audio, float(shape.video.fps), lines, draw_table(HEAD, rows, notes)[None],
            ui=report(*lines.split("\n"), cells=[_facts(variant) for variant in variants]),
        )  # fmt: skip


def _check(latent: dict, cells: int, sound: dict) -> None:
    clips = unpack_latent(latent).rows
    if clips != 1:
        raise ValueError(f"latent holds {clips} clips; compare guidances on one")
    if sound.get("cell", 1) > cells:
        raise ValueError(f"sound.cell is {sound['cell']}; there are {cells} cells")


def _play(variants, sample_rate: int, sound: dict) -> tuple[torch.Tensor, torch.Tensor]:
    """The grid with one cell's sound, or once for each cell with all of them."""
    from ..av_models.metrics.grid import grid, match_loudness

    clips, labels = [variant.frames for variant in variants], [variant.label for variant in variants]
    waves = match_loudness([variant.waveform.float().cpu() for variant in variants], sample_rate)
    heard = [sound["cell"] - 1] if sound["sound"] == ONE else range(len(variants))
    return torch.cat([grid(clips, labels, cell) for cell in heard]), torch.cat([waves[cell] for cell in heard], -1)


def _row(variant) -> tuple[str, ...]:
    facts = _facts(variant)
    numbers = (facts["f1"], facts["chance"], facts["motion"], facts["lufs"], facts["branches_per_step"])
    shown = ["–" if number is None else f"{number:.2f}" for number in numbers]
    return variant.label, *shown[:4], f"{numbers[4]:g}", f"{variant.forwards_per_step:g}", f"{variant.seconds:.1f}"


def _facts(variant) -> dict:
    score = variant.score.facts()
    return {
        "label": variant.label, "f1": score["sync"]["f1"], "chance": score["sync"]["chance"], "motion": 100 * score["motion"],
        "lufs": score["sound"]["lufs"], "branches_per_step": variant.branches_per_step,
        "forwards_per_step": variant.forwards_per_step, "seconds": variant.seconds,
    }  # fmt: skip
