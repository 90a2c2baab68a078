"""Saves a video with new audio, without encoding the frames of a video file again."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from ..av_models.media import MuxReport, MuxSettings, write_video
from ..av_models.media.replace_sound import ReplaceReport, choose_container, replace_sound
from .host import InputImpl, check_interrupt, io, report_progress
from .reports import report
from .saving import check_prefix, destination, prefix_input, save_output_input, workflow_metadata


class DuetReplaceSound(io.ComfyNode):
    """Copies the encoded frames of a file, and makes the audio exactly as long as they are."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DuetReplaceSound",
            display_name="Save Video with New Audio",
            category="Duet/save",
            description="Saves a video with new audio. The frames of a video file are copied without re-encoding, so no quality is "
            "lost.",
            search_aliases=["duet", "foley", "new sound", "replace audio", "remux", "add sound", "video to audio", "dub"],
            inputs=[
                io.Video.Input(
                    "video", tooltip="The frames of a whole file, from Load Video, are copied. Those of other videos are encoded."
                ),
                io.Audio.Input("audio", tooltip="The new audio. Too long: it is cut and faded out. Too short: silence is added."),
                prefix_input(),
                io.Int.Input(
                    "audio_kbps", advanced=True, default=192, min=8, max=512, step=8,
                    tooltip="Audio bit rate in kbit/s. Higher sounds better."
                ),
                save_output_input(),
            ],
            hidden=[io.Hidden.prompt, io.Hidden.extra_pnginfo],
            outputs=[
                io.Video.Output(display_name="video", tooltip="The video with the new audio."),
                io.String.Output(display_name="report", tooltip="What was written."),
            ],
            is_output_node=True,
        )  # fmt: skip

    @classmethod
    def validate_inputs(cls, filename_prefix: str | None = None) -> bool | str:
        return check_prefix(filename_prefix)

    @classmethod
    def execute(cls, video, audio, filename_prefix: str, audio_kbps: int, save_output: bool = True) -> io.NodeOutput:
        if len(audio["waveform"]) != 1:
            raise ValueError(f"audio is a batch of {len(audio['waveform'])}; use one audio clip")
        target, encoded_because = destination(save_output), _why_encoded(video)
        options = {"metadata": workflow_metadata(cls.hidden), "progress": report_progress, "check_interrupt": check_interrupt}
        write = _write if encoded_because else _copy
        written, facts = write(video, audio, partial(target.path, filename_prefix), audio_kbps, options)
        notes = [f"{encoded_because}, so its frames were encoded"] if encoded_because else []
        files = [{"path": target.lasting_path(written.path), "seconds": written.seconds} | facts]
        shown = report(written.summary(), *notes, *target.notes(), warnings=written.warnings(), files=files, saved=save_output)
        video = InputImpl.VideoFromFile(str(written.path))
        return io.NodeOutput(video, "\n".join(shown["text"]), ui=target.shown([written.path]) | shown)


def _why_encoded(video) -> str:
    """Returns why the frames of a VIDEO cannot be copied from a file; empty if they can."""
    source = video.get_stream_source() if isinstance(video, InputImpl.VideoFromFile) else None
    if not isinstance(source, str):  # a video in memory
        return "video is not a file"
    return "video is trimmed" if any(video.get_active_trim_window()) else ""


def _copy(video, audio: dict, name: Callable[..., Path], kbps: int, options: dict[str, Any]) -> tuple[ReplaceReport, dict]:
    """Copies the frames of a video file. Returns what was written, and facts about it."""
    source = video.get_stream_source()
    path = name(choose_container(source), video.get_dimensions)
    written = replace_sound(source, path, audio["waveform"][0], audio["sample_rate"], bitrate=1000 * kbps, **options)
    return written, {"samples": written.samples, "copied": written.packets}


def _write(video, audio: dict, name: Callable[..., Path], kbps: int, options: dict[str, Any]) -> tuple[MuxReport, dict]:
    """Encodes the frames of a video. Returns what was written, and facts about it."""
    parts, settings = video.get_components(), MuxSettings(audio_bitrate=1000 * kbps)
    written = write_video(
        parts.images, name(settings.container, video.get_dimensions), fps=parts.frame_rate,
        audio=audio["waveform"][0], sample_rate=audio["sample_rate"], settings=settings, **options,
    )  # fmt: skip
    return written, {"samples": written.audio_samples, "copied": 0}
