"""Pictures and sound of the user's into a latent, and what of it is to stay."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ..av_models.media.settings import valid_fps
from ..av_models.media.sound import check_audio
from .host import io, on_device
from .types import CATEGORY, KEPT_ON, JointModelSocket, latent_dict, report

WHOLE, FIRST, BEGINNING, STRETCH = "what is connected", "the first frame", "a beginning", "all but a stretch"


class DuetEncode(io.ComfyNode):
    """A picture to start from, a picture to give a sound, a sound to give a picture, a clip to go on with or to mend."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DuetEncode",
            display_name="Encode Picture + Sound",
            category=CATEGORY,
            description="Encodes images, sound or both into a latent. The parts you keep stay unchanged, and the sampler generates "
            "the rest to match. A single image is kept as the first frame.",
            search_aliases=["duet", "vae encode", "image to video", "video to audio", "audio to video", "extend", "inpaint"],
            inputs=[
                JointModelSocket.Input("model", tooltip="The model that will generate the clip."),
                io.Image.Input("images", optional=True, tooltip="One image to start from, or the frames of a clip."),
                io.Audio.Input("audio", optional=True, tooltip="The sound of the clip."),
                io.Float.Input(
                    "fps", default=16.0, min=0.01, max=1000.0, step=0.01, tooltip="Frame rate of the images, in frames per second."
                ),
                io.Float.Input(
                    "seconds", default=0.0, min=0.0, max=600.0, step=0.05,
                    tooltip="Length of the clip in seconds. 0: as long as the connected frames or sound; for one image, as in "
                    "training.",
                ),
                io.DynamicCombo.Input(
                    "keep",
                    options=[
                        io.DynamicCombo.Option(WHOLE, []),
                        io.DynamicCombo.Option(FIRST, []),
                        io.DynamicCombo.Option(BEGINNING, [_seconds("until", 1.0, "The clip is kept until then, in seconds.")]),
                        io.DynamicCombo.Option(STRETCH, _stretch()),
                    ],
                    tooltip="what is connected: keeps all of it and generates the missing picture or sound. the first frame: "
                    "starts from that frame. a beginning: continues a clip. all but a stretch: regenerates a part of a clip.",
                ),
            ],
            outputs=[io.Latent.Output(display_name="latent", tooltip="Connect to the sampler. The noise mask marks what is kept.")],
        )  # fmt: skip

    @classmethod
    def execute(cls, model, fps: float, seconds: float, keep: dict, images=None, audio=None) -> io.NodeOutput:
        from ..av_models.clip_latent import encode_clip, known_where  # diffusers: only once used
        from ..av_models.media.fit import fit_frames, fit_sound

        if images is None and audio is None:
            raise ValueError("neither images nor audio is connected; connect one of them, or use Empty Picture + Sound")
        sound = None if audio is None else _one_sound(audio)
        shape = model.shape(seconds=seconds or _length(images, fps, sound, model))
        frames = None if images is None else fit_frames(images, fps, shape.video)
        waveform = None if sound is None else fit_sound(*sound, shape.audio)
        if keep["keep"] == FIRST and images is None:
            raise ValueError(f"keep is {FIRST!r} and no images are connected; connect an image, or set keep to {WHOLE!r}")
        reach = _reach(images, fps, sound, shape.video)
        known = known_where(model, shape, *_kept(keep, shape.video.seconds, images, audio, reach))
        with torch.no_grad():
            on_device(model)
            latent = encode_clip(model, shape, frames, waveform).to(KEPT_ON)
        lines = [_line("picture", known.video), _line("sound", known.audio)]
        return io.NodeOutput(latent_dict(latent, shape, known), ui=report(*lines, seconds=shape.video.seconds))


def _seconds(name: str, default: float, tooltip: str):
    return io.Float.Input(name, default=default, min=0.0, max=600.0, step=0.05, tooltip=tooltip)


def _stretch() -> list:
    return [
        _seconds("start", 0.5, "Start of the part to regenerate, in seconds."),
        _seconds("end", 1.0, "End of the part to regenerate, in seconds."),
        io.Combo.Input(
            "stream", options=["both", "picture", "sound"], tooltip="What to regenerate there: the picture, the sound or both."
        ),
    ]


def _one_sound(audio: dict) -> tuple:
    waveform = audio["waveform"]
    if waveform.ndim != 3 or len(waveform) != 1:
        raise ValueError(f"audio has shape {list(waveform.shape)}; use one sound of shape [1, channels, samples]")
    check_audio(waveform[0], audio["sample_rate"])
    return waveform[0], audio["sample_rate"]


def _length(images, fps: float, sound, model) -> float:
    if images is not None and len(images) > 1:
        frames = math.ceil(len(images) / valid_fps(fps) * model.clip.fps)  # a sound for all of it
        return float(frames / model.clip.fps)
    return model.clip.seconds if sound is None else sound[0].shape[-1] / sound[1]


def _reach(images, fps: float, sound, clip) -> tuple[float, float]:
    """How many seconds of the clip pictures and sound fill; all of it, where they end within its last frame."""
    seen = 0.0 if images is None else len(images) / float(valid_fps(fps))
    heard = 0.0 if sound is None else sound[0].shape[-1] / sound[1]
    return tuple(math.inf if end > clip.seconds - 1 / float(clip.fps) else end for end in (seen, heard))


def _kept(keep: dict, seconds: float, images, audio, reach: tuple[float, float]) -> tuple:
    """When the picture stays, and when the sound does: no longer than either reaches."""
    from ..av_models.clip_latent import before, both, everything, first_frame, nothing, outside

    video = audio_too = everything
    if keep["keep"] == FIRST:
        video, audio_too = first_frame, nothing
    elif keep["keep"] == BEGINNING:
        until = _within(keep, "until", seconds)
        video = audio_too = before(until)
    elif keep["keep"] == STRETCH:
        start, end, stream = _within(keep, "start", seconds, 0.0), keep["end"], keep["stream"]
        if not start < end:
            raise ValueError(f"end is {end:g} and start is {start:g}; set end later than start")
        video = everything if stream == "sound" else outside(start, end)
        audio_too = everything if stream == "picture" else outside(start, end)
    if images is not None and len(images) == 1:
        video = first_frame
    seen, heard = (both(each, before(end)) for each, end in zip((video, audio_too), reach))
    return nothing if images is None else seen, nothing if audio is None else heard


def _within(keep: dict, name: str, seconds: float, least: float = 1e-3) -> float:
    if not least <= keep[name] < seconds:
        raise ValueError(f"{name} is {keep[name]:g}; use a time within the clip, which is {seconds:g} s long")
    return keep[name]


def _line(part: str, known: Tensor) -> str:
    return f"{part}: {float(known.float().mean()):.0%} is kept"
