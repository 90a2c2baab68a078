"""Checks of what is connected to the guider: errors in one line, in place of those of the network."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ...av_models.contract import CouplingKind
from ...av_models.guidance import Branch
from .joined.prompts import STREAMS_KEY
from .ltx_text import ENCODE

if TYPE_CHECKING:
    from .adapters.base import NativeModel

WEAKER = "use a weaker version of the same model"
REMEDY = "connect LTXVConcatAVLatent"
FOR_MODEL = "make the latent for this model"


def check_negative(guidance: str, branches: Collection[Branch], prompts: Mapping[str, Any]) -> None:
    """Checks that there is a negative prompt, if one of the branches needs it. guidance: its name."""
    if "negative" not in prompts and any("negative" in (each.video, each.audio) for each in branches):
        raise ValueError(f"negative is not connected, and {guidance} or the sampler needs it; connect a negative prompt")


def check_joined_prompts(model: NativeModel, prompts: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Checks that the prompts are not those of a joined model, of which another model would read the video's alone."""
    for name, entries in prompts.items():
        if not model.takes_joined_prompts and any(STREAMS_KEY in entry for entry in entries):
            raise ValueError(
                f"{name} is for a model from Join Models, and this is {model.name}; join prompts for {model.name} instead"
            )


def check_latent(streams: Sequence[Sequence[int]], model: NativeModel, branches: Collection[Branch]) -> None:
    """Checks that the latent has the streams that the model and the guidance need. streams: the shape of each."""
    if len(streams) > 2 or (len(streams) < 2 and not model.runs_without_audio):
        raise ValueError(f"the latent does not hold both video and audio; {REMEDY}")
    if len(streams) < 2 and any(branch.coupling.kinds != (CouplingKind.FULL,) for branch in branches):
        raise ValueError(
            "this guidance separates video and audio, and the latent holds only video; "
            f"{REMEDY}, or choose a guidance that does not, such as cfg"
        )
    for stream, name, wanted in zip(streams, ("video", "audio"), model.stream_sizes):
        check_sizes(stream, f"the latent's {name}", wanted, model.name)


def check_sizes(shape: Sequence[int], shown: str, wanted: Sequence[int | None], model: str, remedy: str = FOR_MODEL) -> None:
    """Checks the sizes of a latent. shown: what it is called. wanted: its sizes without the batch; None: any size but 0."""
    sizes = tuple(shape[1:])
    if len(sizes) != len(wanted) or any(size != want for size, want in zip(sizes, wanted) if want is not None):
        found, needed = _sizes(sizes), _sizes(wanted)
        raise ValueError(f"{shown} is {found}, and {model} needs {needed}; {remedy}")
    if 0 in sizes:
        raise ValueError(f"{shown} has length 0; make a longer latent")


def _sizes(sizes: Sequence[int | None]) -> str:
    return "×".join("any" if size is None else str(size) for size in sizes)


def check_same_widths(model: NativeModel, bad: NativeModel) -> None:
    """Checks that the bad model can take the latents and the prompts of the model."""
    if bad.stream_sizes != model.stream_sizes:
        raise ValueError(
            f"bad_model has latents of {bad.stream_sizes[0][0]} channels and model of {model.stream_sizes[0][0]}; {WEAKER}"
        )
    if bad.text_widths != model.text_widths:
        raise ValueError(f"bad_model reads prompts of width {max(bad.text_widths)} and model of {max(model.text_widths)}; {WEAKER}")


def explain_failure(conds: Mapping[str, Sequence[Mapping[str, Any]]], models: Mapping[str, NativeModel]) -> str | None:
    """Returns why the network failed, if a prompt has another width than it reads."""
    for input_name, model in models.items():
        for text, entries in conds.items():
            read = (each["cross_attn"] for each in entries if "cross_attn" in each and not each.get("unprocessed_ltxav_embeds"))
            widths = {tokens.shape[-1] for tokens in read}
            if wrong := widths - model.text_widths:
                reader = model.name if input_name == "main" else "bad_model"
                widths_read = " or ".join(map(str, sorted(model.text_widths)))
                return f"{text} has tokens of width {wrong.pop()}, and {reader} reads {widths_read}; {ENCODE}"
    return None
