"""What the nodes that make takes have in common: inputs, outputs, the table and the contact sheet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .host import io, preview_images
from .reports import cost_line, report
from .takes import Takes

AUDIO_SEED, BOTH_SEEDS = "audio seed", "both seeds"
MAX_TAKES = 64
HEAD = ("take", "video seed", "audio seed", "score", "sync F1", "chance", "agreement", "LUFS", "faults")
WEIGHT = {"default": 1.0, "min": 0.0, "max": 100.0, "step": 0.1, "optional": True, "advanced": True}


def takes_inputs() -> list:
    """Returns the inputs for the number of takes and what they differ in."""
    return [
        io.Int.Input("takes", default=8, min=1, max=MAX_TAKES, tooltip="Number of takes."),
        io.Combo.Input(
            "vary", options=[AUDIO_SEED, BOTH_SEEDS],
            tooltip="Which seeds each further take raises by 1. audio seed: the noise of the video stays.",
        ),
    ]  # fmt: skip


def weight_inputs() -> list:
    """Returns the inputs for the weights of the score."""
    return [
        io.Float.Input("sync_weight", **WEIGHT, tooltip="Weight of sync F1 in the score of a take. 0: off."),
        io.Float.Input(
            "agreement_weight", **WEIGHT, tooltip="With a binder: weight of the agreement in the score of a take. 0: off."
        ),
    ]


def take_outputs() -> list:
    """Returns the outputs of the nodes that make takes."""
    return [
        io.Latent.Output(display_name="latent", tooltip="The best take, as sampled."),
        io.Image.Output(display_name="images", tooltip="Frames of the best take."),
        io.Audio.Output(display_name="audio", tooltip="Audio of the best take."),
        io.Float.Output(display_name="fps", tooltip="Frames per second. Connect it to the node that saves the video."),
        io.String.Output(display_name="table", tooltip="Scores of all takes as text, the best first."),
        io.Image.Output(display_name="sheet", tooltip="Contact sheet of all takes, the best first."),
        io.Int.Output(display_name="audio_seed", tooltip="Audio seed of the best take."),
    ]


def reused_takes(kept: Sequence[Any], takes: int) -> list[str]:
    """Returns a line that says how many takes are from the last run, or none."""
    return [f"{len(kept)} of {takes} takes are from the last run"] if kept else []


def show_takes(
    cls: type, made: Takes, order: Sequence[int], seeds: Sequence[tuple[int, int]], notes: Sequence[str], warnings: Sequence[str]
) -> io.NodeOutput:
    """Returns the outputs. order: the takes, best first. seeds: of video and audio of each take. notes: lines below the table."""
    from ..av_models.metrics.grid import format_table

    facts = [_facts(made, number, seeds[number]) for number in order]
    rows, first = [_row(fact) for fact in facts], order[0]
    passed = f"take {first + 1} goes on: video seed {seeds[first][0]}, audio seed {seeds[first][1]}"
    rule = made.ranking.describe(made.question.key is not None)
    notes = [passed, cost_line(made.kept[made.keys[first]]), rule, *notes, *made.question.licence()]
    warnings = [*warnings, *(f"take {n + 1}: {line}" for n in sorted(order) for line in _take_warnings(made, n))]
    table = {"head": HEAD, "rows": rows, "lines": 1 + len(rows)}
    best, sheet = made.measured(first), _draw_sheet(made, facts)
    shown = report(*format_table(HEAD, rows).split("\n"), *notes, warnings=warnings, table=table, takes=facts)
    return io.NodeOutput(
        made.kept[made.keys[first]].latent,
        best.frames,
        {"waveform": best.waveform[None], "sample_rate": best.sample_rate},
        float(made.decoder.fps),
        "\n".join(shown["text"]),
        sheet,
        seeds[first][1],
        ui=shown | preview_images(sheet, cls),
    )


def _facts(made: Takes, number: int, seeds: tuple[int, int]) -> dict[str, Any]:
    from ..av_models.takes import audio_faults, mean_agreement

    score = made.measured(number).score
    facts = score.facts()
    return {
        "take": number + 1, "video_seed": seeds[0], "audio_seed": seeds[1],
        "score": made.ranking.points(score), "f1": facts["sync"]["f1"], "chance": facts["sync"]["chance"],
        "agreement": mean_agreement(score), "lufs": facts["sound"] and facts["sound"]["lufs"], "faults": audio_faults(score),
        "measured": facts,
    }  # fmt: skip


def _row(facts: dict[str, Any]) -> tuple[str, ...]:
    values = ("–" if facts[name] is None else f"{facts[name]:.2f}" for name in ("score", "f1", "chance", "agreement", "lufs"))
    seeds = (str(facts[name]) for name in ("take", "video_seed", "audio_seed"))
    return *seeds, *values, str(len(facts["faults"]))


def _take_warnings(made: Takes, number: int) -> list[str]:
    return list(dict.fromkeys([*made.kept[made.keys[number]].warnings, *made.measured(number).score.warnings()]))


def _draw_sheet(made: Takes, facts: Sequence[dict[str, Any]]) -> Tensor:
    """Returns the contact sheet [1, H, W, 3], a row for each take."""
    from ..av_models.metrics.sheet import draw_contact_sheet

    takes = [made.measured(fact["take"] - 1) for fact in facts]
    titles = [", ".join(f"{name} {cell}" for name, cell in zip(HEAD, _row(fact)) if cell != "–") for fact in facts]
    clips = [(take.shown, take.waveform.nan_to_num(0.0, 0.0, 0.0), take.sample_rate) for take in takes]
    events = [(sync.seen, sync.heard) if (sync := take.score.sync) else ((), ()) for take in takes]
    return torch.from_numpy(np.asarray(draw_contact_sheet(clips, titles, events)).copy())[None].float() / 255
