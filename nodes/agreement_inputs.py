"""The binder and the prompts that a clip is compared with."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..bounce.shipped import BINDERS
from . import model_cache
from .binder_files import binder_names, find_binder
from .host import MODELS, io, on_device
from .model_cache import NONE

if TYPE_CHECKING:
    from ..av_models.metrics.agreement import AgreementSettings


class BinderNode(io.ComfyNode):
    """A node with `binder_input`: it checks that the binder's files are there, and runs again when they have changed."""

    @classmethod
    def validate_inputs(cls, binder: str = NONE) -> bool | str:
        return model_cache.check_files(binder, find=find_binder)

    @classmethod
    def fingerprint_inputs(cls, binder: str = NONE, **others) -> tuple:
        return model_cache.fingerprint(binder)


def binder_input(tooltip: str):
    """Returns the input for an optional binder. tooltip: what it is for."""
    return io.Combo.Input(
        "binder", options=[NONE, *BINDERS, *binder_names()], default=NONE, optional=True,
        tooltip=f"{tooltip} Bounce-Bind is for clips of Bounce. For real footage, put PE-AV or ImageBind in "
        f"models/{MODELS}. Not tried with published weights yet.",
    )  # fmt: skip


def prompt_inputs() -> list:
    """Returns the inputs for the prompts that a binder compares with."""
    return [
        io.String.Input(
            f"{stream}_prompt", default="", multiline=True, optional=True,
            tooltip=f"With a binder: what the {stream} should match. For a batch, one prompt for all clips or one line per clip.",
        )
        for stream in ("video", "audio")
    ]  # fmt: skip


def agreement_settings(binder: str, video_prompt: str, audio_prompt: str, clips: int = 1) -> list[AgreementSettings | None]:
    """Returns what each clip of a batch is compared with; None without a binder."""
    from ..av_models.metrics.agreement import AgreementSettings

    if binder == NONE:
        return [None] * clips
    model = model_cache.load_binder(binder)
    prompts = list(zip(_each_clip(video_prompt, clips), _each_clip(audio_prompt, clips)))
    shared = {pair: AgreementSettings(model, *pair) for pair in prompts}
    on_device(model)
    return [shared[pair] for pair in prompts]


def unused_prompts(binder: str, *prompts: str) -> list[str]:
    """Returns a warning for prompts that nothing compares with."""
    if not any(text.strip() for text in prompts):
        return []
    if binder == NONE:
        return ["prompts are not used: no binder is chosen"]
    model = model_cache.load_binder(binder)
    return [] if "text" in model.modalities else [f"prompts are not used: {model.name} cannot embed text"]


def _each_clip(prompt: str, clips: int) -> list[str]:
    """Returns the prompt of each clip: its line if there are as many lines as clips, else all of the text."""
    lines = [line.strip() for line in prompt.splitlines() if line.strip()]
    return lines if len(lines) == clips > 1 else [prompt] * clips
