"""Saves frames and audio as one video file."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

from torch import Tensor

from ..av_models.media import CONTAINERS, POLICIES, AudioReport, MuxReport, MuxSettings, write_audio, write_video
from ..av_models.media.settings import validate_fps
from .dropdowns import require_choice
from .host import InputImpl, Types, check_interrupt, io, report_progress
from .reports import report
from .saved_clips import SavedClip, SavedClips, given_clips, latent_clips
from .saving import check_prefix, destination, prefix_input, save_output_input, workflow_metadata
from .sockets import JointModelSocket

AudioPlayer = io.Custom("AUDIO_UI")  # ComfyUI's player for the "audio" of a node's UI output; it finds it by the name audioUI


class DuetMux(io.ComfyNode):
    """Saves every frame. The audio is fitted to them, and the report says how."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DuetMux",
            display_name="Save Video + Audio",
            category="Duet/save",
            description="Saves frames and audio as one video. Keeps every frame, and stores the workflow in the file. Also saves "
            "animated images and audio files.",
            search_aliases=["duet", "mux", "save video", "video combine", "save picture and sound", "audio"],
            inputs=[
                io.Image.Input("images", optional=True, tooltip="The frames. For a batch, one clip after another."),
                io.Float.Input(
                    "fps", default=0.0, min=0.0, max=1000.0, step=0.01,
                    tooltip="Frame rate in frames per second. Connect it to the node that the frames come from. 0: found from the "
                    "lengths of frames and audio.",
                ),
                io.Audio.Input("audio", optional=True, tooltip="The audio. For a batch, each clip is saved as its own file."),
                prefix_input(),
                io.DynamicCombo.Input(
                    "container",
                    options=[io.DynamicCombo.Option(name, _codec_inputs(name)) for name in CONTAINERS],
                    tooltip="File format. mp4 plays everywhere. mov and mkv also hold formats for editing. gif and webp: animated "
                    "images without audio. wav, flac, mp3 and opus: only the audio, fitted to the frames.",
                ),
                io.Float.Input(
                    "crf", advanced=True, default=-1.0, min=-1.0, max=63.0, step=1.0,
                    tooltip="Quality. Lower looks better and makes larger files; 0 encodes without loss. -1: a good value for the "
                    "codec. prores, ffv1 and gif have only one quality.",
                ),
                io.Int.Input(
                    "audio_kbps", advanced=True, default=192, min=8, max=512, step=8,
                    tooltip="Audio bit rate in kbit/s, for aac, opus and mp3. Higher sounds better. flac and pcm are lossless.",
                ),
                io.Combo.Input(
                    "audio_fit", advanced=True, options=list(reversed(POLICIES)), default="fade",
                    tooltip="How the audio is fitted to the frames. Too long: it is cut; fade also fades out the last 20 ms. Too "
                    "short: silence is added; with trim, the audio ends early. Frames are never changed.",
                ),
                save_output_input(),
                JointModelSocket.Input(
                    "model", optional=True, tooltip="The model that latent was sampled with. It decodes the latent."
                ),
                io.Latent.Input(
                    "latent", optional=True,
                    tooltip="From the sampler, instead of images and audio: frames are decoded while they are saved, so that a "
                    "long clip needs little memory.",
                ),
            ],
            hidden=[io.Hidden.prompt, io.Hidden.extra_pnginfo],
            outputs=[
                io.Video.Output(
                    display_name="video",
                    tooltip="The clip before encoding; the saved file if latent is used. For a batch, the first clip.",
                ),
                io.String.Output(display_name="report", tooltip="What was written, and how the audio was changed."),
            ],
            is_output_node=True,
        )  # fmt: skip

    @classmethod
    def validate_inputs(cls, filename_prefix: str | None = None, container: Any = None) -> bool | str:
        """Checks the file name. container: ComfyUI passes every dropdown that brings inputs."""
        return check_prefix(filename_prefix)

    @classmethod
    def execute(  # noqa: PLR0913
        cls, images=None, fps: float = 0.0, filename_prefix: str = "video/duet", container: dict | None = None, crf: float = -1.0,
        audio_kbps: int = 192, audio_fit: str = "fade", audio=None, save_output: bool = True, model=None, latent=None,
    ) -> io.NodeOutput:  # fmt: skip
        container = require_choice("container", container, CONTAINERS)
        codecs = {name: container[name] for name in ("video_codec", "audio_codec") if name in container}
        settings = MuxSettings(
            container["container"], crf=None if crf < 0 else crf, audio_bitrate=1000 * audio_kbps, policy=audio_fit, **codecs
        )
        others = images is not None or audio is not None
        made = given_clips(images, audio, fps) if latent is None else latent_clips(model, latent, fps, others)
        target = destination(save_output)
        job = _Job(settings, made.fps, workflow_metadata(cls.hidden))
        written = [job.write(target.path(filename_prefix, settings.container, lambda: each.size), each) for each in made.clips]
        files = [_facts(each) | {"path": target.lasting_path(each.path)} for each in written]
        warnings = [*made.warnings, *(line for each in written for line in each.warnings())]
        lines = [*(each.summary() for each in written), *made.found, *target.notes()]
        shown = report(*lines, warnings=warnings, files=files, saved=save_output)
        return io.NodeOutput(
            _video(made, written[0].path), "\n".join(shown["text"]), ui=target.shown([each.path for each in written]) | shown
        )


@dataclass(frozen=True)
class _Job:
    settings: MuxSettings
    fps: float | Fraction
    metadata: dict[str, str]

    def write(self, path: Path, clip: SavedClip) -> MuxReport | AudioReport:
        """Writes one clip. Returns its report."""
        audio, rate = (None, None) if clip.sound is None else (clip.sound["waveform"][0], clip.sound["sample_rate"])
        options: dict[str, Any] = {"settings": self.settings, "metadata": self.metadata, "check_interrupt": check_interrupt}
        if not self.settings.spec.is_audio:
            return write_video(
                clip.frames, path, fps=self.fps, audio=audio, sample_rate=rate, frame_count=clip.count, progress=report_progress,
                **options,
            )  # fmt: skip
        if audio is None:
            raise ValueError(f"container is {self.settings.container}, but there is no audio; connect audio, or choose mp4")
        return write_audio(audio, path, rate, seconds=clip.count / validate_fps(self.fps), **options)


def _video(made: SavedClips, path: Path):
    """Returns the first clip as a VIDEO: its frames if they are there, else the file."""
    frames = made.clips[0].frames
    if not isinstance(frames, Tensor):
        return InputImpl.VideoFromFile(str(path))
    rate = validate_fps(made.fps)
    return InputImpl.VideoFromComponents(Types.VideoComponents(images=frames, audio=made.clips[0].sound, frame_rate=rate))


def _codec_inputs(container: str) -> list:
    codecs = CONTAINERS[container]
    if codecs.is_audio:
        return [AudioPlayer.Input("audioUI", optional=True, tooltip="Plays the saved file.")]
    if not codecs.video:
        return []
    return [
        io.Combo.Input(
            "video_codec", advanced=True, options=list(codecs.video),
            tooltip="h264 and vp9 play everywhere; h265 and av1 make smaller files. 10-bit avoids banding in smooth areas. prores "
            "(422 HQ; 4444 for images with alpha) and ffv1 (lossless 8-bit RGB) are for editing.",
        ),
        io.Combo.Input(
            "audio_codec", advanced=True, options=list(codecs.audio),
            tooltip="aac plays everywhere; opus sounds better at low bit rates. flac and pcm are lossless, with 16 bits.",
        ),
    ]  # fmt: skip


def _facts(written: MuxReport | AudioReport) -> dict:
    fps = {"fps": float(written.fps)} if isinstance(written, MuxReport) else {}
    return asdict(written) | fps | {"seconds": written.seconds}
