"""Makes several takes of a clip and passes the best one on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from . import model_cache
from .agreement_inputs import binder_input
from .binder_files import find_binder
from .encode_prompts import empty_prompts
from .host import io, on_device, preview_images, report_text
from .kept_clips import begin_run, raised_seed, take_last_run
from .latents import clip_shape, latent_dict, unpack_latent
from .live_preview import step_reporter
from .model_cache import NONE
from .own_settings import resolve_settings
from .reports import cost_line, report
from .run_sampler import Settings, model_warnings, sample_latent, settings_inputs
from .sockets import AlignerSocket, GuidanceSocket, JointModelSocket, Prompts, PromptsSocket
from .takes import Takes, take_keys

if TYPE_CHECKING:
    from ..av_models.metrics.agreement import AgreementSettings

AUDIO_SEED, BOTH_SEEDS = "audio seed", "both seeds"
MAX_TAKES = 64
HEAD = ("take", "video seed", "audio seed", "score", "sync F1", "chance", "agreement", "LUFS", "faults")
WEIGHT = {"default": 1.0, "min": 0.0, "max": 100.0, "step": 0.1, "optional": True, "advanced": True}


class DuetBestTake(io.ComfyNode):
    """Samples takes with different seeds, scores each, and passes the best one on. Takes are kept for the next run."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DuetBestTake",
            display_name="Best Take",
            category="Duet/make",
            description="Generates several takes with different seeds, such as eight sounds for one video, and passes the best one "
            "on. Takes are scored by sync, by a binder, and by the health of the audio.",
            search_aliases=["duet", "best of n", "batch seeds", "reroll", "pick best", "foley", "sound", "rank"],
            inputs=[
                JointModelSocket.Input("model", tooltip="The joint model that generates the takes."),
                PromptsSocket.Input(
                    "prompts", optional=True,
                    tooltip="From Prompts for Video and Audio. Not connected: video and audio can be anything.",
                ),
                io.Latent.Input(
                    "latent",
                    tooltip="From Empty Video + Audio or Encode Video + Audio, with one clip. With a kept video, all takes have "
                    "that video.",
                ),
                GuidanceSocket.Input(
                    "guidance", optional=True,
                    tooltip="From Guidance or Guidance Modifiers. Not connected: as the model recommends.",
                ),
                io.Int.Input("takes", default=8, min=1, max=MAX_TAKES, tooltip="Number of takes."),
                io.Combo.Input(
                    "vary", options=[AUDIO_SEED, BOTH_SEEDS],
                    tooltip="Which seeds each further take raises by 1. audio seed: the noise of the video stays.",
                ),
                *settings_inputs(),
                AlignerSocket.Input(
                    "aligner", optional=True,
                    tooltip="Pulls video and audio together when the model generates them independently.",
                ),
                binder_input("Also scores how well the content of video, audio and prompts matches."),
                io.Float.Input(
                    "sync_weight", **WEIGHT, tooltip="Weight of sync F1 in the score of a take. 0: off."
                ),
                io.Float.Input(
                    "agreement_weight", **WEIGHT, tooltip="With a binder: weight of the agreement in the score of a take. 0: off."
                ),
            ],
            hidden=[io.Hidden.unique_id],
            outputs=[
                io.Latent.Output(display_name="latent", tooltip="The best take. Connect to Decode or Save Video + Audio."),
                io.Image.Output(display_name="images", tooltip="Frames of the best take."),
                io.Audio.Output(display_name="audio", tooltip="Audio of the best take."),
                io.Float.Output(display_name="fps", tooltip="Frames per second. Connect it to the node that saves the video."),
                io.String.Output(display_name="table", tooltip="Scores of all takes as text, the best first."),
                io.Image.Output(display_name="sheet", tooltip="Contact sheet of all takes, the best first."),
                io.Int.Output(display_name="audio_seed", tooltip="Audio seed of the best take."),
            ],
            is_output_node=True,
        )  # fmt: skip

    @classmethod
    def validate_inputs(cls, binder: str = NONE) -> bool | str:
        return model_cache.check_files(binder, find=find_binder)

    @classmethod
    def fingerprint_inputs(cls, binder: str = NONE, **others) -> tuple:
        return model_cache.fingerprint(binder)

    @classmethod
    def execute(cls, model, prompts=None, latent=None, guidance=None, aligner=None, **others) -> io.NodeOutput:
        from ..av_models.takes import Ranking

        own = {each.name: others.pop(each.name) for each in fields(Choices) if each.name in others}
        choices, (settings, (guidance,), taken) = Choices(**own), resolve_settings(model, Settings(**others), [guidance])
        prompts, node_id, shape = prompts or empty_prompts(model), cls.hidden.unique_id, clip_shape(latent, model)
        if unpack_latent(latent).rows != 1:
            raise ValueError(f"latent holds {unpack_latent(latent).rows} clips; use a batch of 1")
        each = [_take_settings(settings, number, choices.vary) for number in range(choices.takes)]
        keys, last = take_keys(model, prompts, latent, guidance, each, aligner), take_last_run(node_id)
        kept = begin_run(model.networks, node_id, {key: last[key] for key in keys if key in last})
        reused = [f"{len(kept)} of {choices.takes} takes are from the last run"] if kept else []
        question = _Question(choices.binder, prompts)
        ranking, said = Ranking(choices.sync_weight, choices.agreement_weight), list(model_warnings(model))
        made = Takes(model, shape, kept, keys, question.key, question.settings, ranking, said.append)

        def sample(number: int, run: int, runs: int):
            report_text(f"take {number + 1} of {choices.takes}", node_id)
            progress = step_reporter(model, shape, node_id, run, runs)
            return sample_latent(model, prompts, latent, guidance, each[number], node_id, progress, aligner)

        order = made.make(sample)
        best = each[order[0]]
        passed = f"take {order[0] + 1} goes on: video seed {best.video_seed}, audio seed {best.audio_seed}"
        cost = f"{settings.steps} steps with {guidance.strategy.name}; {cost_line(kept[keys[order[0]]])}"
        notes = [passed, cost, ranking.describe(choices.binder != NONE), *reused, *taken, *question.licence()]
        return _show(cls, made, each, order, (notes, said))


@dataclass(frozen=True)
class Choices:
    """The values of the inputs that other sampling nodes do not have."""

    takes: int = 8
    vary: str = AUDIO_SEED
    binder: str = NONE
    sync_weight: float = 1.0
    agreement_weight: float = 1.0


class _Question:
    """What a binder is asked about each take."""

    def __init__(self, binder: str, prompts: Prompts) -> None:
        self.binder, self.words = binder, prompts.words[0]
        self.key = None if binder == NONE else (model_cache.fingerprint(binder), self.words)
        self._settings: AgreementSettings | None = None

    def settings(self) -> AgreementSettings | None:
        """Returns the question, with the binder on its device; None without a binder."""
        from ..av_models.metrics.agreement import AgreementSettings

        if self.binder == NONE:
            return None
        if self._settings is None:
            model = model_cache.load_binder(self.binder)
            self._settings = AgreementSettings(model, *(self.words if "text" in model.modalities else ("", "")))
        on_device(self._settings.binder)
        return self._settings

    def licence(self) -> list[str]:
        """Returns the licence of the binder, or none."""
        licence = "" if self.binder == NONE else model_cache.load_binder(self.binder).licence
        return [licence] if licence else []


def _take_settings(settings: Settings, number: int, vary: str) -> Settings:
    """Returns the settings of take `number`, counting from 0."""
    audio = replace(settings, audio_seed=raised_seed(settings.audio_seed, number))
    return replace(audio, video_seed=raised_seed(settings.video_seed, number)) if vary == BOTH_SEEDS else audio


def _show(
    cls: type, made: Takes, each: Sequence[Settings], order: Sequence[int], said: tuple[list[str], list[str]]
) -> io.NodeOutput:
    """Returns the outputs. order: the takes, best first. said: notes and warnings."""
    from ..av_models.metrics.grid import format_table

    facts = [_facts(made, number, each[number]) for number in order]
    rows, (notes, warnings) = [_row(fact) for fact in facts], said
    warnings += [f"take {n + 1}: {line}" for n in sorted(order) for line in _take_warnings(made, n)]
    table = {"head": HEAD, "rows": rows, "lines": 1 + len(rows)}
    sheet = _draw_sheet(made, facts)
    best, shape = made.measured(order[0]), made.shape
    shown = report(*format_table(HEAD, rows).split("\n"), *notes, warnings=warnings, table=table, takes=facts)
    return io.NodeOutput(
        latent_dict(made.kept[made.keys[order[0]]].latent, shape),
        best.frames,
        {"waveform": best.waveform[None], "sample_rate": shape.audio.sample_rate},
        float(shape.video.fps),
        "\n".join(shown["text"]),
        sheet,
        each[order[0]].audio_seed,
        ui=shown | preview_images(sheet, cls),
    )


def _facts(made: Takes, number: int, settings: Settings) -> dict[str, Any]:
    from ..av_models.takes import audio_faults, mean_agreement

    score = made.measured(number).score
    facts = score.facts()
    return {
        "take": number + 1, "video_seed": settings.video_seed, "audio_seed": settings.audio_seed,
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
    clips = [(take.shown, take.waveform.nan_to_num(0.0, 0.0, 0.0), made.shape.audio.sample_rate) for take in takes]
    events = [(sync.seen, sync.heard) if (sync := take.score.sync) else ((), ()) for take in takes]
    return torch.from_numpy(np.asarray(draw_contact_sheet(clips, titles, events)).copy())[None].float() / 255
