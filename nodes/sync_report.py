"""Measures how well video and audio match."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch

from . import model_cache
from .agreement_inputs import BinderNode, agreement_settings, binder_input, prompt_inputs, unused_prompts
from .clip_inputs import read_clip, split_clips, unused_inputs, video_file
from .found_fps import find_fps
from .host import check_interrupt, io, preview_images, report_progress
from .model_cache import NONE
from .reports import report

SHOW_EVERY = 0.2  # seconds between two reports of progress

if TYPE_CHECKING:
    from ..av_models.metrics.agreement import AgreementSettings, Chance
    from ..av_models.metrics.score import Score


class DuetSyncReport(BinderNode):
    """Measures any clip with audio. Needs no model; with a binder, it also compares content."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DuetSyncReport",
            display_name="Sync Report",
            category="Duet/measure",
            description="Measures when events happen in the video and in the audio, and how well they match. Also measures "
            "motion, loudness and audio problems. Works on any clip and needs no model. With a binder, it also measures how well "
            "the content of video, audio and prompts matches.",
            search_aliases=[
                "duet", "av sync", "audio video sync", "audio offset", "lipsync", "sound", "loudness", "lufs", "score", "imagebind",
                "clip score",
            ],
            inputs=[
                io.Image.Input("images", optional=True, tooltip="The frames. For a batch, one clip after another."),
                io.Audio.Input("audio", optional=True, tooltip="The audio. For a batch, each clip is measured."),
                io.Float.Input(
                    "fps", default=0.0, min=0.0, max=1000.0, step=0.01,
                    tooltip="Frame rate of the images, in frames per second. 0: found from the lengths of images and audio.",
                ),
                io.Video.Input("video", optional=True, tooltip="A video. If connected, images, audio and fps are ignored."),
                binder_input("Also scores how well the content of video, audio and prompts matches."),
                *prompt_inputs(),
            ],
            outputs=[
                io.String.Output(display_name="report", tooltip="All measurements as text."),
                io.Image.Output(
                    display_name="timeline", tooltip="Motion and audio over time. Matched events are green, misses are red."
                ),
                io.Float.Output(
                    display_name="f1",
                    tooltip="Sync score. 1: every event is both seen and heard. 0 if nothing could be compared. For a batch, the "
                    "mean.",
                ),
                io.Float.Output(
                    display_name="offset_ms", tooltip="Delay of the audio in milliseconds. 0 if unknown. For a batch, the median."
                ),
            ],
            is_output_node=True,
        )  # fmt: skip

    @classmethod
    def execute(
        cls, fps: float, images=None, audio=None, video=None, binder: str = NONE, video_prompt: str = "", audio_prompt: str = "",
    ) -> io.NodeOutput:  # fmt: skip
        from ..av_models.metrics.timeline import draw_timeline

        scores, unused, notes = _measure(images, audio, fps, video, partial(agreement_settings, binder, video_prompt, audio_prompt))
        chance, licence = _chance(scores, binder)
        facts = [score.facts() for score in scores]
        measured, warnings = (_number_lines(lines) for lines in zip(*((s.measurements(), s.warnings()) for s in scores)))
        timelines = torch.from_numpy(np.stack([draw_timeline(score, chance) for score in scores])).float() / 255
        notes = [*notes, *([chance.line()] if chance else []), *licence]
        unused = [*unused, *unused_prompts(binder, video_prompt, audio_prompt)]
        content = {"chance": chance.facts()} if chance else {}
        return io.NodeOutput(
            "\n".join([*_number_lines([score.lines() for score in scores]), *notes]),
            timelines,
            _average(np.mean, [each["sync"]["f1"] for each in facts]),
            _average(np.median, [each["sync"]["offset_ms"] for each in facts]),
            ui=report(*measured, *notes, warnings=[*unused, *warnings], clips=facts, **content) | preview_images(timelines, cls),
        )


def _measure(
    images, audio, fps: float, video, settings_for: Callable[[int], list[AgreementSettings | None]]
) -> tuple[list[Score], tuple[str, ...], list[str]]:
    """Returns the scores of the clips, warnings and notes. A video file is read frame by frame, with its time stamps.

    settings_for: returns what each of so many clips is compared with.
    """
    from ..av_models.media.read import estimate_frames
    from ..av_models.metrics.score import score_clip, score_file

    if images is None and video is None:
        raise ValueError("neither images nor video is connected; connect one of them")
    file = video_file(video)
    if file is not None:
        score = score_file(file[0], _Progress(estimate_frames(*file)), file[1], *settings_for(1))
        return [score], unused_inputs(images, audio), []
    clip = read_clip(images, audio, fps, video)
    on_frame = _Progress(len(clip.images))
    clips = split_clips(clip.images, clip.audio)
    rate, notes = find_fps(clip.fps, *clips[0])
    settings = settings_for(len(clips))
    scores = [score_clip(frames, rate, *_waveform(sound), on_frame, each) for (frames, sound), each in zip(clips, settings)]
    return scores, clip.warnings, notes


def _chance(scores: list[Score], binder: str) -> tuple[Chance | None, list[str]]:
    """Returns the chance level of what a binder has compared, and the licence of the binder."""
    from ..av_models.metrics.agreement import Chance

    compared = [score.agreement for score in scores if score.agreement]
    if not compared:
        return None, []
    licence = model_cache.load_binder(binder).licence
    return Chance.of(compared), [licence] if licence else []


class _Progress:
    """Called after each frame: stops when the user cancels the run, and reports progress now and then."""

    def __init__(self, total: int) -> None:
        self.total, self.done, self.shown = total, 0, time.monotonic()

    def __call__(self) -> None:
        check_interrupt()
        self.done += 1
        if self.total and time.monotonic() - self.shown >= SHOW_EVERY:
            self.shown = time.monotonic()
            report_progress(min(self.done, self.total), self.total)


def _waveform(audio) -> tuple:
    return (None, None) if audio is None else (audio["waveform"][0], audio["sample_rate"])


def _number_lines(clips: Sequence[list[str]]) -> list[str]:
    if len(clips) == 1:
        return clips[0]
    return [f"clip {number}, {line}" for number, lines in enumerate(clips, start=1) for line in lines]


def _average(average, values: list[float | None]) -> float:
    known = [value for value in values if value is not None]
    return float(average(known)) if known else 0.0
