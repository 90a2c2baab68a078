"""The aligner: pulls video and audio together while models that were trained separately are sampled."""

from __future__ import annotations

from ..av_models.media.settings import validate_fps
from ..bounce.shipped import BINDERS
from . import model_cache
from .binder_files import binder_names, find_binder
from .host import MODELS, io
from .model_cache import NONE
from .reports import report
from .sockets import AlignerInput, AlignerSocket

TASKS = {
    "joint": "video and audio are both adjusted to match",
    "v2a": "the audio is adjusted to match a video",
    "a2v": "the video is adjusted to match audio",
    "i2a": "the audio is adjusted to match one image",
}
RATE = {"min": 0.0, "max": 1000.0, "step": 0.001}
FRACTION = {"min": 0.0, "max": 1.0, "step": 0.01}
RATE_TIP = "Step size of the {0}'s adjustment after each sampling step. 0: the {0} is not changed."
WEIGHT = {"default": 1.0, "min": 0.0, "max": 100.0, "step": 0.1}


class DuetAligner(io.ComfyNode):
    """Creates an aligner, which moves the latents after each sampling step along the gradient of a binder's score."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DuetAligner",
            display_name="Aligner",
            category="Duet/guidance",
            description="Pulls video and audio together during sampling when the model generates them independently. Needs no "
            "training.",
            search_aliases=["duet", "seeing and hearing", "imagebind", "pe-av", "latent aligner", "foley", "video to audio"],
            inputs=[*_adjustment_inputs(), *_weight_inputs(), *_cost_inputs(), *_optional_inputs()],
            outputs=[AlignerSocket.Output(display_name="aligner", tooltip="Connect to Joint Sampler or Aligned Sampler.")],
        )

    @classmethod
    def validate_inputs(cls, binder: str, second_binder: str = NONE) -> bool | str:
        return model_cache.check_files(binder, second_binder, find=find_binder)

    @classmethod
    def fingerprint_inputs(cls, binder: str, second_binder: str = NONE, **others) -> tuple:
        return model_cache.fingerprint(binder, second_binder)

    @classmethod
    def execute(
        cls, binder: str, agreement: float, half_precision: bool, images=None, fps: float = 16.0, audio=None,
        second_binder: str = NONE, audio_words: float = -1.0, **settings,
    ) -> io.NodeOutput:  # fmt: skip
        from ..av_models.binders.ensemble import BinderEnsemble
        from ..av_models.latent_aligner import Aligner, Reference, reference_modalities

        model = model_cache.load_binder(binder)
        if second_binder != NONE:
            model = BinderEnsemble(model, model_cache.load_binder(second_binder))
        aligner = Aligner(
            binder=model,
            other=agreement,
            half=half_precision,
            audio_words=None if audio_words < 0 else audio_words,
            **settings,
        )
        reference = Reference(
            video=None if images is None else images[None],
            fps=float(validate_fps(fps)),
            image=None if images is None else images[:1],
            audio=audio and audio["waveform"],
            sample_rate=audio["sample_rate"] if audio else 0,
        )
        used = [line for modality in reference_modalities(aligner.task) for line in reference.describe(modality, model)]
        lines = [f"{model.name}: {TASKS[aligner.task]}", *used, *([model.licence] if model.licence else [])]
        shown = report(*lines, binder=model.name, task=aligner.task, reference=used)
        return io.NodeOutput(AlignerInput(aligner, reference), ui=shown)


def _adjustment_inputs() -> list:
    """Returns the inputs for what is adjusted, and how."""
    return [
        io.Combo.Input(
            "binder", options=[*BINDERS, *binder_names()],
            tooltip="The model that scores how well video, audio and prompts match. Bounce-Bind and the adversarially "
            "trained Bounce-Bind Robust come with Duet. For real footage, put PE-AV (a folder such as pe-av-small; not tried with "
            f"published weights yet) or ImageBind in models/{MODELS}.",
        ),
        io.Combo.Input(
            "task", options=list(TASKS),
            tooltip="What is adjusted. " + "; ".join(f"{k}: {v}" for k, v in TASKS.items()) + ".",
        ),
        io.Float.Input("video_rate", default=0.1, **RATE, tooltip=RATE_TIP.format("video")),
        io.Float.Input("audio_rate", default=0.1, **RATE, tooltip=RATE_TIP.format("audio")),
        io.Combo.Input(
            "update", advanced=True, options=["sign", "gradient", "adam"],
            tooltip="How the adjustment follows from the gradient. sign: each value changes by the rate, as in the "
            "published code. gradient: by the rate times the gradient, as in the paper. adam: by the rate on average, with "
            "momentum from earlier adjustments.",
        ),
        io.Combo.Input(
            "keep", advanced=True, options=["nothing", "rms", "spectrum"],
            tooltip="What each adjustment of the latent preserves. rms: the overall level. spectrum: the level at every "
            "frequency. Use one of them if the result is noisy or the audio is distorted.",
        ),
        io.Int.Input(
            "inner_steps", advanced=True, default=1, min=1, max=100,
            tooltip="Number of adjustments after each sampling step. More are stronger and slower.",
        ),
    ]  # fmt: skip


def _weight_inputs() -> list:
    """Returns the inputs for the aligned steps and the weights."""
    return [
        io.Float.Input(
            "first", advanced=True, default=0.2, **FRACTION,
            tooltip="Where alignment starts, as a fraction of the steps. 0: at the first step.",
        ),
        io.Float.Input(
            "last", advanced=True, default=1.0, **FRACTION,
            tooltip="Where alignment ends, as a fraction of the steps. 1: at the last step."
        ),
        io.Float.Input("words", advanced=True, **WEIGHT, tooltip="Weight of the match with the prompts. 0: off."),
        io.Float.Input("agreement", advanced=True, **WEIGHT, tooltip="Weight of the match between video and audio. 0: off."),
        io.Float.Input(
            "prompt_rate", advanced=True, default=0.0, **RATE,
            tooltip="Step size for tuning the prompt embeddings as well. 0: they are not changed. Above 0 is slower.",
        ),
    ]  # fmt: skip


def _cost_inputs() -> list:
    """Returns the inputs that trade quality for time and memory."""
    return [
        io.Boolean.Input(
            "through_denoiser", advanced=True, default=False,
            tooltip="Runs the model again for each adjustment and backpropagates through it. Better results, but slower.",
        ),
        io.Int.Input(
            "steps_ahead", advanced=True, default=0, min=0, max=100,
            tooltip="With through_denoiser or prompt_rate: number of extra sampling steps to estimate the final clip. 3 is "
            "much better than 0, but needs more time and memory.",
        ),
        io.Int.Input(
            "latent_frames", advanced=True, default=0, min=0, max=1024,
            tooltip="Number of latent frames that the binder sees, evenly spaced. Fewer save memory and time. 0: all.",
        ),
        io.Boolean.Input(
            "save_memory", advanced=True, default=True,
            tooltip="Gradient checkpointing for decoding: uses less memory, but is slower."
        ),
        io.Boolean.Input(
            "half_precision", advanced=True, default=False, tooltip="Runs the binder in bfloat16 instead of float32."
        ),
    ]  # fmt: skip


def _optional_inputs() -> list:
    """Returns the inputs for the references to match, and inputs that older workflows do not have."""
    return [
        io.Image.Input(
            "images", optional=True,
            tooltip="The video or image to match. Not connected: the video kept by Encode Video + Audio.",
        ),
        io.Float.Input(
            "fps", default=16.0, min=0.01, max=1000.0, step=0.01, optional=True,
            tooltip="Frame rate of the images, in frames per second.",
        ),
        io.Audio.Input(
            "audio", optional=True,
            tooltip="The audio to match. Not connected: the audio kept by Encode Video + Audio.",
        ),
        io.Boolean.Input(
            "turns", advanced=True, default=False, optional=True,
            tooltip="With latent_frames: uses other frames for each adjustment until all were used. Off: always the same "
            "frames.",
        ),
        io.Combo.Input(
            "second_binder", advanced=True, options=[NONE, *BINDERS, *binder_names()], default=NONE, optional=True,
            tooltip="A second scoring model; using two reduces false matches.",
        ),
        io.Float.Input(
            "audio_words", advanced=True, default=-1.0, min=-1.0, max=100.0, step=0.1, optional=True,
            tooltip="Separate weight of the match between the audio and its prompt. -1: the value of words.",
        ),
        io.Float.Input(
            "timing", advanced=True, default=0.0, min=0.0, max=100.0, step=0.1, optional=True,
            tooltip="Weight of the match in time: video and audio change together. Needs a binder that sees when things "
            "happen, such as PE-AV. 0: off.",
        ),
    ]  # fmt: skip
