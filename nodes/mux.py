"""Saves frames and sound as one video file."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from ..av_models.media import CONTAINERS, POLICIES, MuxReport, MuxSettings, target_path, write_video
from ..av_models.media.settings import validate_fps
from .host import InputImpl, Types, check_interrupt, io, keeps_workflow, output_folder, report_progress, ui
from .reports import report
from .sockets import CATEGORY


class DuetMux(io.ComfyNode):
    """Saves every frame. The sound is fitted to them, and the report says how."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DuetMux",
            display_name="Save Picture + Sound",
            category=CATEGORY,
            description="Saves frames and sound as one video. Keeps every frame, and stores the workflow in the file.",
            search_aliases=["duet", "mux", "save video", "video combine"],
            inputs=[
                io.Image.Input("images", tooltip="The frames. For a batch, one clip after another."),
                io.Float.Input(
                    "fps", default=16.0, min=0.01, max=1000.0, step=0.01,
                    tooltip="Frame rate in frames per second. Connect it to the node that the frames come from.",
                ),
                io.Audio.Input("audio", optional=True, tooltip="The sound. For a batch, each clip is saved as its own file."),
                io.String.Input(
                    "filename_prefix", default="video/duet", tooltip="File name in the output folder. A number is added."
                ),
                io.DynamicCombo.Input(
                    "container",
                    options=[io.DynamicCombo.Option(name, _codec_inputs(name)) for name in CONTAINERS],
                    tooltip="File format. mp4 plays everywhere.",
                ),
                io.Float.Input(
                    "crf", default=-1.0, min=-1.0, max=63.0, step=1.0,
                    tooltip="Quality. Lower looks better and makes larger files. -1: a good value for the codec.",
                ),
                io.Int.Input(
                    "audio_kbps", default=192, min=8, max=512, step=8, tooltip="Audio bit rate in kbit/s. Higher sounds better."
                ),
                io.Combo.Input(
                    "audio_fit", options=list(reversed(POLICIES)), default="fade",
                    tooltip="How the sound is fitted to the frames. Too long: it is cut; fade also fades out the last 20 ms. Too "
                    "short: silence is added; with trim, the sound ends early. Frames are never changed.",
                ),
            ],
            hidden=[io.Hidden.prompt, io.Hidden.extra_pnginfo],
            outputs=[
                io.Video.Output(display_name="video", tooltip="The clip before encoding. For a batch, the first clip."),
                io.String.Output(display_name="report", tooltip="What was written, and how the sound was changed."),
            ],
            is_output_node=True,
        )  # fmt: skip

    @classmethod
    def execute(
        cls, images, fps: float, filename_prefix: str, container: dict, crf: float, audio_kbps: int, audio_fit: str, audio=None
    ) -> io.NodeOutput:
        settings = MuxSettings(
            container["container"], container["video_codec"], None if crf < 0 else crf,
            container["audio_codec"], 1000 * audio_kbps, audio_fit,
        )  # fmt: skip
        clips = split_clips(images, audio)
        metadata = workflow_metadata(cls.hidden)
        root = output_folder()
        written = []
        for frames, sound in clips:
            written.append(
                write_video(
                    frames,
                    target_path(root, filename_prefix, settings.container),
                    fps=fps,
                    audio=None if sound is None else sound["waveform"][0],
                    sample_rate=None if sound is None else sound["sample_rate"],
                    settings=settings,
                    metadata=metadata,
                    progress=report_progress,
                    check_interrupt=check_interrupt,
                )
            )
        lines = [each.summary() for each in written]
        frames, sound = clips[0]
        video = InputImpl.VideoFromComponents(Types.VideoComponents(images=frames, audio=sound, frame_rate=validate_fps(fps)))
        shown = ui.PreviewVideo([saved_result(each.path, root) for each in written]).as_dict()
        return io.NodeOutput(video, "\n".join(lines), ui=shown | report(*lines, files=[_facts(each) for each in written]))


def _codec_inputs(container: str) -> list:
    codecs = CONTAINERS[container]
    return [
        io.Combo.Input(
            "video_codec", options=list(codecs.video), tooltip="h264 and vp9 play everywhere; h265 and av1 make smaller files."
        ),
        io.Combo.Input(
            "audio_codec", options=list(codecs.audio), tooltip="aac plays everywhere; opus sounds better at low bit rates."
        ),
    ]  # fmt: skip


def split_clips(images, audio) -> list[tuple]:
    """Splits a batch into clips (frames, sound). The number of clips is the batch size of the sound."""
    rows = 1 if audio is None else len(audio["waveform"])
    if rows == 0 or len(images) % rows:
        raise ValueError(f"{len(images)} frames cannot be split into {rows} clips of equal length; use one sound per clip")
    if rows == 1:
        return [(images, audio)]
    rate = audio["sample_rate"]
    sounds = [{"waveform": waveform[None], "sample_rate": rate} for waveform in audio["waveform"]]
    return list(zip(images.split(len(images) // rows), sounds))


def workflow_metadata(hidden) -> dict[str, str]:
    """Returns the workflow as metadata, under ComfyUI's names. Empty if the user has turned metadata off."""
    if not keeps_workflow():
        return {}
    kept = dict(hidden.extra_pnginfo or {})
    if hidden.prompt is not None:
        kept["prompt"] = hidden.prompt
    return {name: json.dumps(value) for name, value in kept.items()}


def saved_result(path: Path, root: Path) -> ui.SavedResult:
    """Describes a saved file for ComfyUI's page."""
    folder = path.parent.relative_to(root.resolve()).as_posix()
    return ui.SavedResult(path.name, "" if folder == "." else folder, io.FolderType.output)


def _facts(written: MuxReport) -> dict:
    return asdict(written) | {"path": str(written.path), "fps": float(written.fps), "seconds": written.seconds}
