"""A latent for a clip of two of ComfyUI's models that are joined."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .host import io, require_comfyui
from .reports import report

if TYPE_CHECKING:
    from .native.joined.empty_latent import Clip
    from .native.joined.streams import JoinedStreams

KEEP = ("nothing", "video", "audio")


class DuetEmptyJointLatent(io.ComfyNode):
    """Creates a latent with a video and an audio of the same length for a joined MODEL."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DuetEmptyJointLatent",
            display_name="Empty Video + Audio (Joined Models)",
            category="Duet/make",
            description="Creates a latent with video and audio of the same length for two models from Join Models. "
            "A latent of the video or the audio can be given, for image to video or for sound for a silent video.",
            search_aliases=[
                "duet", "empty latent", "av latent", "joined models", "wan", "hunyuan video", "ltxv", "svd", "stable audio",
                "ace-step", "sound for video", "image to video", "i2v", "v2a", "foley", "concat av latent",
            ],
            inputs=[
                io.Model.Input("model", tooltip="The joined model, from Join Models."),
                *_size_inputs(),
                io.Combo.Input(
                    "keep", options=list(KEEP),
                    tooltip="The connected latent that is not changed. video: only the audio is generated. audio: only the video.",
                ),
                io.Latent.Input(
                    "video_latent", optional=True,
                    tooltip="A latent of the video model: from an image to video node, or from VAE Encode. Its mask is kept.",
                ),
                io.Latent.Input(
                    "audio_latent", optional=True, tooltip="A latent of the audio model: from VAE Encode Audio. Its mask is kept."
                ),
            ],
            outputs=[
                io.Latent.Output(display_name="latent", tooltip="Connect to the sampler."),
                io.Int.Output(display_name="frames", tooltip="Number of frames of the clip."),
                io.Float.Output(display_name="seconds", tooltip="Length of the clip. Connect it to the prompt of the audio model."),
                io.Float.Output(display_name="fps", tooltip="Frames per second. Connect it to the node that saves the video."),
            ],
        )  # fmt: skip

    @classmethod
    def execute(  # noqa: PLR0913
        cls, model: Any, width: int = 832, height: int = 480, seconds: float = 5.0, fps: float = 0.0, batch_size: int = 1,
        keep: str = KEEP[0], video_latent: dict | None = None, audio_latent: dict | None = None,
    ) -> io.NodeOutput:  # fmt: skip
        require_comfyui("Empty Video + Audio (Joined Models)")
        from .native.joined.empty_latent import Wanted, make_clip
        from .native.joined.model import streams_of

        streams = streams_of(model)
        if streams is None:
            raise ValueError(f"model is a {type(model.model).__name__}, which is not a joined model; connect Join Models")
        wanted = Wanted(width, height, seconds, fps, batch_size, keep)
        clip = make_clip(streams, wanted, video_latent, audio_latent)
        video = clip.shape.video
        shown = _report(streams, wanted, clip, video_latent)
        return io.NodeOutput(clip.latent, video.frames, video.seconds, float(video.fps), ui=shown)


def _size_inputs() -> list:
    return [
        io.Int.Input("width", default=832, min=16, max=16384, step=16, tooltip="Width in pixels. Not used with a video_latent."),
        io.Int.Input("height", default=480, min=16, max=16384, step=16, tooltip="Height in pixels. Not used with a video_latent."),
        io.Float.Input(
            "seconds", default=5.0, min=0.0, max=1000.0, step=0.01,
            tooltip="Length of the clip in seconds, rounded up to one that the video model makes. 0: that of the connected latent.",
        ),
        io.Float.Input(
            "fps", default=0.0, min=0.0, max=120.0, step=0.01,
            tooltip="Frames per second. 0: the usual frame rate of the video model.",
        ),
        io.Int.Input("batch_size", default=1, min=1, max=64, tooltip="Number of clips, each from different noise."),
    ]  # fmt: skip


def _report(streams: JoinedStreams, wanted: Any, clip: Clip, video_latent: dict | None) -> dict[str, list]:
    video, audio = clip.shape.video, streams.audio.kind
    heard = float(audio.seconds(clip.audio_steps))
    lines = [
        f"{video.frames} frames of {video.width}×{video.height} at {float(video.fps):g} fps, {video.seconds:.4g} s",
        f"{clip.audio_steps} latent steps of audio, {heard:.4g} s",
    ]
    if video_latent is None and (video.width, video.height) != (wanted.width, wanted.height):
        multiple = streams.video.kind.multiple
        lines.append(f"{wanted.width}×{wanted.height} is cut, because {streams.video.kind.name} makes multiples of {multiple}")
    return report(*lines, frames=video.frames, seconds=video.seconds)
