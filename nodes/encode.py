"""Encodes the user's images and audio into a latent with a mask of the parts to keep."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from ..av_models.contract import AVLatent
from ..av_models.limits import check_memory
from ..av_models.media.audio import check_audio
from ..av_models.media.select_frames import SelectedFrames
from ..av_models.media.settings import validate_fps
from ..av_models.shapes import AVShape, VideoShape
from .clip_inputs import ClipInputs, read_clip, read_file_clip, unused_inputs, video_file
from .clip_size import length_lines, size_lines
from .dropdowns import require_choice
from .host import io
from .latents import STORAGE_DEVICE, latent_dict
from .placement import load_codecs
from .reports import report
from .sockets import JointModelSocket

WHOLE, FIRST, BEGINNING, STRETCH = "what is connected", "the first frame", "a beginning", "all but a stretch"
VIDEO, AUDIO = "the video", "the audio"
KEPT = (WHOLE, FIRST, BEGINNING, STRETCH, VIDEO, AUDIO)


class DuetEncode(io.ComfyNode):
    """Encodes input for image-to-video, video-to-audio, audio-to-video, and for extending or inpainting a clip."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DuetEncode",
            display_name="Encode Video + Audio",
            category="Duet/make",
            description="Encodes a video, images or audio into a latent. The parts you keep stay unchanged, and the sampler "
            "generates the rest to match. A single image is kept as the first frame.",
            search_aliases=["duet", "vae encode", "image to video", "video to audio", "audio to video", "extend", "inpaint",
                            "sound", "foley", "lipsync"],
            inputs=[
                JointModelSocket.Input("model", tooltip="The model that will generate the clip."),
                io.Image.Input("images", optional=True, tooltip="One image to start from, or the frames of a clip."),
                io.Audio.Input("audio", optional=True, tooltip="The audio of the clip."),
                io.Float.Input(
                    "fps", default=16.0, min=0.01, max=1000.0, step=0.01, tooltip="Frame rate of the images, in frames per second."
                ),
                io.Float.Input(
                    "seconds", default=0.0, min=0.0, max=600.0, step=0.05,
                    tooltip="Length of the clip in seconds. 0: as long as the connected frames or audio; for one image, as in "
                    "training.",
                ),
                io.DynamicCombo.Input(
                    "keep",
                    options=[
                        io.DynamicCombo.Option(WHOLE, []),
                        io.DynamicCombo.Option(FIRST, []),
                        io.DynamicCombo.Option(BEGINNING, [_time_input("until", 1.0, "The clip is kept until then, in seconds.")]),
                        io.DynamicCombo.Option(STRETCH, _stretch_inputs()),
                        io.DynamicCombo.Option(VIDEO, []),
                        io.DynamicCombo.Option(AUDIO, []),
                    ],
                    tooltip="what is connected: keeps all of it and generates the missing video or audio. the first frame: "
                    "starts from that frame. a beginning: continues a clip. all but a stretch: regenerates a part of a clip. "
                    "the video: keeps the frames and generates new audio. the audio: keeps the audio and generates new video.",
                ),
                io.Video.Input(
                    "video", optional=True,
                    tooltip="A video, used instead of images, audio and fps. Its audio comes along.",
                ),
            ],
            outputs=[io.Latent.Output(display_name="latent", tooltip="Connect to the sampler. The noise mask marks what is kept.")],
        )  # fmt: skip

    @classmethod
    def execute(cls, model, fps: float, seconds: float, keep=None, images=None, audio=None, video=None) -> io.NodeOutput:
        # they import diffusers: only when the node runs
        from ..av_models.clip_latent import encode_clip, make_known_masks, needs_image_only
        from ..av_models.media.fit import fit_waveform

        keep = require_choice("keep", keep, KEPT)
        clip = _used_clip(_read(model, images, audio, fps, seconds, video), keep["keep"])
        images, audio, fps = clip.images, clip.audio, clip.fps
        sound = None if audio is None else _single_sound(audio)
        shape = model.shape(seconds=seconds or _input_seconds(images, fps, sound, model))
        check_memory(shape, model.latent_shape(shape))
        frames = None if images is None else _fit(images, fps, shape.video)
        waveform = None if sound is None else fit_waveform(*sound, shape.audio)
        ends = _input_ends(images, fps, sound, shape.video)
        known = make_known_masks(model, shape, *_kept_times(keep, shape.video.seconds, images, audio, ends))
        notes = [*size_lines(model, shape), *length_lines(model, shape)]
        if frames is not None and needs_image_only(model, known):
            frames = frames[:1]
            notes += _first_frame_note(model)
        with torch.no_grad():
            load_codecs(model)
            latent = encode_clip(model, shape, frames, waveform).to(STORAGE_DEVICE)
        return io.NodeOutput(latent_dict(latent, shape, known), ui=_report(known, shape, clip, notes))


def _time_input(name: str, default: float, tooltip: str):
    return io.Float.Input(name, default=default, min=0.0, max=600.0, step=0.05, tooltip=tooltip)


def _stretch_inputs() -> list:
    return [
        _time_input("start", 0.5, "Start of the part to regenerate, in seconds."),
        _time_input("end", 1.0, "End of the part to regenerate, in seconds."),
        io.Combo.Input(
            "stream", options=["both", "picture", "sound"], tooltip="What to regenerate there: the video, the audio or both."
        ),
    ]


def _read(model, images, audio, fps: float, seconds: float, video) -> ClipInputs:
    """Returns the connected clip. Of a video file, only what the clip needs is read."""
    file = video_file(video)
    if file is None:
        return read_clip(images, audio, fps, video)
    until = model.shape(seconds=seconds).video.frames if seconds else None
    clip = read_file_clip(*file, model.shape().video, until)
    return replace(clip, warnings=unused_inputs(images, audio))


def _fit(images: Tensor | SelectedFrames, fps: float, shape: VideoShape) -> Tensor:
    from ..av_models.media.fit import fit_frames

    return images.clip(shape.frames) if isinstance(images, SelectedFrames) else fit_frames(images, fps, shape)


def _used_clip(clip: ClipInputs, keep: str) -> ClipInputs:
    """Returns the parts of the connected clip that are used. Raises ValueError if what is to be kept is missing."""
    if clip.images is None and clip.audio is None:
        raise ValueError("no video, images or audio is connected; connect one of them, or use Empty Video + Audio")
    if keep in (FIRST, VIDEO) and clip.images is None:
        what = "an image" if keep == FIRST else "a video or images"
        raise ValueError(f"keep is {keep!r} and no images are connected; connect {what}, or set keep to {WHOLE!r}")
    if keep == AUDIO and clip.audio is None:
        raise ValueError(f"keep is {AUDIO!r} and there is no audio; connect audio or a video with audio, or set keep to {WHOLE!r}")
    return replace(clip, images=None if keep == AUDIO else clip.images, audio=None if keep == VIDEO else clip.audio)


def _single_sound(audio: dict) -> tuple:
    waveform = audio["waveform"]
    if waveform.ndim != 3 or len(waveform) != 1:
        raise ValueError(f"audio has shape {list(waveform.shape)}; use one audio clip of shape [1, channels, samples]")
    check_audio(waveform[0], audio["sample_rate"])
    return waveform[0], audio["sample_rate"]


def _input_seconds(images, fps: float, sound, model) -> float:
    if images is not None and len(images) > 1:
        frames = math.ceil(len(images) / validate_fps(fps) * model.clip.fps)  # rounded up, so that no image is cut off
        return float(frames / model.clip.fps)
    return model.clip.seconds if sound is None else sound[0].shape[-1] / sound[1]


def _input_ends(images, fps: float, sound, clip) -> tuple[float, float]:
    """Returns the times in seconds at which images and audio end; infinity if that is within the clip's last frame or later."""
    video_end = 0.0 if images is None else len(images) / float(validate_fps(fps))
    audio_end = 0.0 if sound is None else sound[0].shape[-1] / sound[1]
    return tuple(math.inf if end > clip.seconds - 1 / float(clip.fps) else end for end in (video_end, audio_end))


def _kept_times(keep: dict, seconds: float, images, audio, ends: tuple[float, float]) -> tuple:
    """Returns functions of the time that are True where video and audio are kept. Neither is kept after its input ends."""
    from ..av_models.clip_latent import before, both, everything, first_frame, nothing, outside

    kept_video = kept_audio = everything
    if keep["keep"] == FIRST:
        kept_video, kept_audio = first_frame, nothing
    elif keep["keep"] == BEGINNING:
        until = _checked_time(keep, "until", seconds)
        kept_video = kept_audio = before(until)
    elif keep["keep"] == STRETCH:
        start, end, stream = _checked_time(keep, "start", seconds, 0.0), keep["end"], keep["stream"]
        if not start < end:
            raise ValueError(f"end is {end:g} and start is {start:g}; set end later than start")
        kept_video = everything if stream == "sound" else outside(start, end)
        kept_audio = everything if stream == "picture" else outside(start, end)
    if images is not None and len(images) == 1:
        kept_video = first_frame
    kept_video, kept_audio = (both(kept, before(end)) for kept, end in zip((kept_video, kept_audio), ends))
    return nothing if images is None else kept_video, nothing if audio is None else kept_audio


def _checked_time(keep: dict, name: str, seconds: float, minimum: float = 1e-3) -> float:
    if not minimum <= keep[name] < seconds:
        raise ValueError(f"{name} is {keep[name]:g}; use a time within the clip, which is {seconds:g} s long")
    return keep[name]


def _report(known: AVLatent, shape: AVShape, clip: ClipInputs, notes: list[str]) -> dict[str, list]:
    """Returns what is kept, and how the input was changed to the model's size, frame rate and sample rate."""
    from ..av_models.media.fit import WaveformFit, change_line, plan_frames

    frames = sound = None
    if clip.images is not None:
        frames = plan_frames(*clip.images.shape[:3], clip.fps, shape.video)
    if clip.audio is not None:
        sound = WaveformFit(*clip.audio["waveform"].shape[1:], clip.audio["sample_rate"], shape.audio)
    lines = [*change_line("video", frames), _kept_line("video", known.video)]
    lines += [*change_line("audio", sound), _kept_line("audio", known.audio)]
    everything = f"everything is kept, so there is nothing to generate; set keep to {VIDEO!r} or {AUDIO!r}"
    return report(
        *lines,
        *notes,
        warnings=[*clip.warnings, *([everything] if bool(known.video.all() and known.audio.all()) else [])],
        seconds=shape.video.seconds,
        video_fit=frames and frames.facts(),
        audio_fit=sound and sound.facts(),
    )


def _first_frame_note(model) -> list[str]:
    taken = getattr(model.denoiser, "takes_first_frame", False)
    return [f"{model.name} generates the first frame anew after the image, as in its training"] if taken else []


def _kept_line(part: str, known: Tensor) -> str:
    return f"{part}: {float(known.float().mean()):.0%} is kept"
