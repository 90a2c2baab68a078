"""Making experts agree that never met."""

from __future__ import annotations

from ..av_models.media.settings import valid_fps
from ..bounce.shipped import BINDERS
from . import model_cache
from .host import MODELS, io, model_files
from .model_cache import NONE
from .types import CATEGORY, AlignedBy, AlignerSocket, report

TASKS = {
    "joint": "picture and sound are both moved until they agree",
    "v2a": "the sound is moved towards a video",
    "a2v": "the picture is moved towards a sound",
    "i2a": "the sound is moved towards one picture",
}
RATE = {"min": 0.0, "max": 1000.0, "step": 0.001}
PART = {"min": 0.0, "max": 1.0, "step": 0.01}
WEIGHT = {"default": 1.0, "min": 0.0, "max": 100.0, "step": 0.1}


class DuetAligner(io.ComfyNode):
    """Nothing is trained: after each step, latents move against what a binder says is between picture, sound and words."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DuetAligner",
            display_name="Aligner",
            category=CATEGORY,
            description="Makes picture and sound agree while they are sampled, though the models never learned to.",
            search_aliases=["duet", "seeing and hearing", "imagebind", "latent aligner", "foley", "video to audio"],
            inputs=[
                io.Combo.Input(
                    "binder", options=[*BINDERS, *model_files()],
                    tooltip="What compares picture and sound. Bounce-Bind comes with Duet; Robust is harder to fool. Put ImageBind "
                    f"in models/{MODELS}.",
                ),
                io.Combo.Input(
                    "task", options=list(TASKS), tooltip="What is moved: " + "; ".join(f"{k}: {v}" for k, v in TASKS.items()) + "."
                ),
                io.Float.Input("video_rate", default=0.1, **RATE, tooltip="How far a step moves the picture. 0: it stays."),
                io.Float.Input("audio_rate", default=0.1, **RATE, tooltip="How far a step moves the sound. 0: it stays."),
                io.Combo.Input(
                    "update", options=["sign", "gradient", "adam"],
                    tooltip="How rates are meant: every number moves by the rate itself (sign, as the published code has it), by "
                    "the rate times the gradient (gradient, as the paper has it), or all by the rate on average, as earlier moves "
                    "have it too (adam).",
                ),
                io.Combo.Input(
                    "keep", options=["nothing", "rms", "spectrum"],
                    tooltip="What of latents stays as it was: how large they are (rms), or how large at every frequency (spectrum): "
                    "guards against noise and overdriven sound.",
                ),
                io.Int.Input("inner_steps", default=1, min=1, max=100, tooltip="Moves a step. More are slower and stronger."),
                io.Float.Input("first", default=0.2, **PART, tooltip="From which part of the steps on. 0: from the first."),
                io.Float.Input("last", default=1.0, **PART, tooltip="Up to which part of the steps. 1: to the last."),
                io.Float.Input("words", **WEIGHT, tooltip="How much agreement with the prompts counts."),
                io.Float.Input("agreement", **WEIGHT, tooltip="How much agreement of picture and sound counts."),
                io.Float.Input(
                    "prompt_rate", default=0.0, **RATE, tooltip="How far a step moves the prompts themselves. 0: they stay; slower."
                ),
                io.Boolean.Input(
                    "through_denoiser", default=False, tooltip="Asks the model anew what a move leads to: better, and slower."
                ),
                io.Int.Input(
                    "steps_ahead", default=0, min=0, max=100,
                    tooltip="Through the denoiser: how many steps are taken to see what a move leads to. 3 is much better than 0.",
                ),
                io.Int.Input(
                    "latent_frames", default=0, min=0, max=1024,
                    tooltip="How many latent frames of the picture the binder looks at. Fewer save memory and time. 0: all.",
                ),
                io.Boolean.Input("save_memory", default=True, tooltip="Decodes twice instead of remembering it: slower."),
                io.Boolean.Input("half_precision", default=False, tooltip="Runs the binder in bfloat16."),
                io.Image.Input("images", optional=True, tooltip="The video, or the picture, to agree with. Without: what is "
                               "kept of the latent."),
                io.Float.Input("fps", default=16.0, min=0.01, max=1000.0, step=0.01, optional=True,
                               tooltip="Frames a second of the images."),
                io.Audio.Input("audio", optional=True, tooltip="The sound to agree with. Without: what is kept of the latent."),
                io.Boolean.Input(
                    "turns", default=False, optional=True,
                    tooltip="The latent frames looked at take turns from move to move, until all were seen. Off: always the same.",
                ),
                io.Combo.Input(
                    "second_binder", options=[NONE, *BINDERS, *model_files()], default=NONE, optional=True,
                    tooltip="Another binder that is to be pleased too, as much as the first: what fools one seldom fools both.",
                ),
                io.Float.Input(
                    "audio_words", default=-1.0, min=-1.0, max=100.0, step=0.1, optional=True,
                    tooltip="How much agreement of the sound with its prompt counts. -1: as much as words says.",
                ),
            ],
            outputs=[AlignerSocket.Output(display_name="aligner", tooltip="To the sampler.")],
        )  # fmt: skip

    @classmethod
    def validate_inputs(cls, binder: str, second_binder: str = NONE) -> bool | str:
        return model_cache.present(binder, second_binder)

    @classmethod
    def fingerprint_inputs(cls, binder: str, second_binder: str = NONE, **others) -> tuple:
        return model_cache.fingerprint(binder, second_binder)

    @classmethod
    def execute(
        cls, binder: str, task: str, agreement: float, half_precision: bool, images=None, fps: float = 16.0, audio=None,
        second_binder: str = NONE, audio_words: float = -1.0, **settings,
    ) -> io.NodeOutput:  # fmt: skip
        from ..av_models.binders.ensemble import BinderEnsemble
        from ..av_models.latent_aligner import Aligner, Reference

        bound = model_cache.binder(binder)
        if second_binder != NONE:
            bound = BinderEnsemble(bound, model_cache.binder(second_binder))
        heard = None if audio_words < 0 else audio_words
        aligner = Aligner(binder=bound, task=task, other=agreement, half=half_precision, audio_words=heard, **settings)
        reference = Reference(
            video=images if images is None else images[None],
            fps=float(valid_fps(fps)),
            image=images if images is None else images[:1],
            audio=audio and audio["waveform"],
            sample_rate=audio["sample_rate"] if audio else 0,
        )
        lines = [f"{bound.name}: {TASKS[task]}", *([bound.licence] if bound.licence else [])]
        return io.NodeOutput(AlignedBy(aligner, reference), ui=report(*lines, binder=bound.name, task=task))
