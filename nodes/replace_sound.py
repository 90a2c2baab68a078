"""Saves a video file with a new sound, without encoding the frames again."""

from __future__ import annotations

from ..av_models.media import target_path
from ..av_models.media.replace_sound import choose_container, replace_sound
from .host import InputImpl, check_interrupt, io, output_folder, report_progress, ui
from .mux import saved_result, workflow_metadata
from .reports import report
from .sockets import CATEGORY


class DuetReplaceSound(io.ComfyNode):
    """Copies the encoded frames, and makes the sound exactly as long as they are."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DuetReplaceSound",
            display_name="Save Video with New Sound",
            category=CATEGORY,
            description="Saves a video with a new sound. The frames are copied without re-encoding, so no quality is lost.",
            search_aliases=["duet", "foley", "replace audio", "remux", "add sound", "video to audio"],
            inputs=[
                io.Video.Input("video", tooltip="A whole video file, from Load Video."),
                io.Audio.Input("audio", tooltip="The new sound. Too long: it is cut and faded out. Too short: silence is added."),
                io.String.Input(
                    "filename_prefix", default="video/duet", tooltip="File name in the output folder. A number is added."
                ),
                io.Int.Input(
                    "audio_kbps", default=192, min=8, max=512, step=8, tooltip="Audio bit rate in kbit/s. Higher sounds better."
                ),
            ],
            hidden=[io.Hidden.prompt, io.Hidden.extra_pnginfo],
            outputs=[
                io.Video.Output(display_name="video", tooltip="The video with the new sound."),
                io.String.Output(display_name="report", tooltip="What was written."),
            ],
            is_output_node=True,
        )  # fmt: skip

    @classmethod
    def execute(cls, video, audio, filename_prefix: str, audio_kbps: int) -> io.NodeOutput:
        source = _whole_file(video)
        root = output_folder()
        path = target_path(root, filename_prefix, choose_container(source))
        if len(audio["waveform"]) != 1:
            raise ValueError(f"audio is a batch of {len(audio['waveform'])}; use one sound")
        metadata, waveform = workflow_metadata(cls.hidden), audio["waveform"][0]
        written = replace_sound(
            source, path, waveform, audio["sample_rate"], bitrate=1000 * audio_kbps, metadata=metadata,
            progress=report_progress, check_interrupt=check_interrupt,
        )  # fmt: skip
        shown = ui.PreviewVideo([saved_result(written.path, root)]).as_dict()
        facts = {"path": str(written.path), "seconds": written.seconds, "samples": written.samples, "copied": written.packets}
        video = InputImpl.VideoFromFile(str(written.path))
        return io.NodeOutput(video, written.summary(), ui=shown | report(written.summary(), files=[facts]))


def _whole_file(video) -> str:
    """Returns the file of a VIDEO. Raises ValueError if it is not a file, or a trimmed part of one."""
    source = video.get_stream_source() if isinstance(video, InputImpl.VideoFromFile) else None
    if not isinstance(source, str):  # a video in memory
        raise ValueError("video is not a file, so its frames cannot be copied; connect Load Video, or use Save Picture + Sound")
    if any(video.get_active_trim_window()):
        raise ValueError("video is trimmed, so its frames cannot be copied; connect the whole video, or use Save Picture + Sound")
    return source
