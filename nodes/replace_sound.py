"""Saves a video with new audio, without encoding the frames of a video file again."""

from __future__ import annotations

from ..av_models.media import MuxSettings, write_video
from ..av_models.media.replace_sound import CopyPlan, NotCopyableError, plan_copy, replace_sound
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
        target, (plan, encoded_because) = destination(save_output), _plan(video)
        options = {"metadata": workflow_metadata(cls.hidden), "progress": report_progress, "check_interrupt": check_interrupt}
        sound = {"audio": audio["waveform"][0], "sample_rate": audio["sample_rate"]}
        settings = MuxSettings(audio_bitrate=1000 * audio_kbps)
        path = target.path(filename_prefix, plan.container if plan else settings.container, video.get_dimensions)
        notes = [] if plan else [f"{encoded_because}, so its frames were encoded"]
        if plan:
            written = replace_sound(plan, path, **sound, bitrate=settings.audio_bitrate, **options)
            facts = {"samples": written.samples, "copied": written.packets}
        else:
            parts = video.get_components()
            written = write_video(parts.images, path, fps=parts.frame_rate, settings=settings, **sound, **options)
            facts = {"samples": written.audio_samples, "copied": 0}
        files = [{"path": target.lasting_path(written.path), "seconds": written.seconds} | facts]
        shown = report(written.summary(), *notes, *target.notes(), warnings=written.warnings(), files=files, saved=save_output)
        video = InputImpl.VideoFromFile(str(written.path))
        return io.NodeOutput(video, "\n".join(shown["text"]), ui=target.shown([written.path]) | shown)


def _plan(video) -> tuple[CopyPlan | None, str]:
    """Returns how the frames of a VIDEO are copied; or None, and why they are encoded."""
    if not isinstance(video, InputImpl.VideoFromFile):
        return None, "video is not a file"
    if any(video.get_active_trim_window()):
        return None, "video is trimmed"
    try:
        return plan_copy(video.get_stream_source(), check_interrupt), ""
    except NotCopyableError as error:
        return None, error.reason
