"""Checks of a joined MODEL before a run: errors in one line, in place of those of a network."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from comfy.patcher_extension import WrappersMP
from torch import Tensor

from ..input_checks import check_sizes
from ..run_keys import JOINED_KEY
from .sampling import PerStream
from .streams import JoinedStreams, Stream

EMPTY = "connect Empty Video + Audio (Joined Models)"
BEFORE = "add it to the video's or the audio's model, before Join Models"
CHANGES = {
    "model_function_wrapper": "a patch that wraps the network's calls",
    "context_handler": "context windows",
    "sampler_cfg_function": "a patch that replaces CFG",
}
OF_NETWORK = (WrappersMP.CALC_COND_BATCH, WrappersMP.APPLY_MODEL, WrappersMP.DIFFUSION_MODEL)
FAILURES = (RuntimeError, KeyError, IndexError, AttributeError, TypeError, AssertionError)  # of a network with what is not for it
OF_SHAPE = ("sample_lcm_upscale", "sample_ar_video")
IN_TRANSFORMER = {
    "patches": "attention patches",
    "patches_replace": "attention patches",
    "optimized_attention_override": "attention patches",
}


def check_added(guider: Any) -> None:
    """Checks that no node behind Join Models has changed what only a network has. Raises ValueError."""
    patcher, options = guider.model_patcher, guider.model_options
    if not isinstance(patcher.get_model_object("model_sampling"), PerStream):
        raise ValueError(f"the model sampling of the joined model was changed; {BEFORE}")
    wrappers = options["transformer_options"].get("wrappers", {})
    found = [what for key, what in CHANGES.items() if key in options]
    found += [f"another {key}" for key in patcher.object_patches if key != "model_sampling"]
    found += [str(key) for kind in OF_NETWORK for key in wrappers.get(kind, {}) if key != JOINED_KEY and wrappers[kind][key]]
    if found:
        raise ValueError(f"the joined model has {found[0]}, which has no effect there; {BEFORE}")
    check_transformer(options)


def check_transformer(options: Mapping[str, Any]) -> None:
    """Checks that nothing is to be changed inside a network, also by a node that predicts once more. Raises ValueError."""
    transformer = options["transformer_options"]
    for key, what in IN_TRANSFORMER.items():
        if transformer.get(key):
            raise ValueError(f"the joined model has {what}, which have no effect there; {BEFORE}")


def check_latents(streams: JoinedStreams, shapes: Sequence[Sequence[int]]) -> None:
    """Checks that the latent has a video and an audio of the sizes that both models take. Raises ValueError."""
    if len(shapes) != 2:
        raise ValueError(f"the latent does not hold one video and one audio; {EMPTY}")
    for stream, shape in zip(streams, shapes):
        check_sizes(shape, f"the latent's {stream.kind.stream}", stream.kind.sizes, stream.kind.name, EMPTY)
        if stream.kind.frames_in_batch and shape[0] != 1:
            raise ValueError(f"the latent holds {shape[0]} clips, and {stream.kind.name} makes one at a time; use a batch of 1")


def check_prompts(stream: Stream, guider: Any) -> None:
    """Checks that a model's prompts have tokens of the width of its own text encoder, and areas and masks of its latent.

    Raises ValueError.
    """
    known = stream.kind.text_widths
    for name, entries in guider.original_conds.items():
        for entry in entries:
            _check_place(stream, name, entry)
            tokens = entry.get("cross_attn")
            if known and tokens is not None and tokens.shape[-1] not in known:
                raise ValueError(
                    f"the {stream.kind.stream} prompt of {name} is {tokens.shape[-1]} wide, and {stream.kind.name} needs "
                    f"{' or '.join(map(str, sorted(known)))}; encode it with the text encoder of {stream.kind.name}"
                )


def _check_place(stream: Stream, name: str, entry: Mapping[str, Any]) -> None:
    area, sizes = entry.get("area"), len(stream.kind.sizes) - 1 - stream.kind.frames_in_batch
    if area is not None and area[0] == "percentage" and len(area) < 1 + 2 * sizes:
        raise ValueError(
            f"the {stream.kind.stream} prompt of {name} has an area in {len(area) // 2} directions, and a latent of "
            f"{stream.kind.name} has {sizes}; use ConditioningSetArea, or ConditioningSetAreaPercentageVideo for a video"
        )
    if "mask" in entry and sizes < 2:
        raise ValueError(f"the {stream.kind.stream} prompt of {name} has a mask, which {stream.kind.name} cannot use; remove it")


def check_sampler(sampler: Any) -> None:
    """Checks that a SAMPLER does not need the shape of a video. Raises ValueError."""
    name = getattr(getattr(sampler, "sampler_function", None), "__name__", "")
    if name in OF_SHAPE:
        raise ValueError(
            f"the sampler {name.removeprefix('sample_')} needs the shape of a video, and video and audio are sampled as one; "
            "use another one, such as euler"
        )


def check_size(streams: JoinedStreams, x: Tensor) -> None:
    """Checks that a sampler has kept the size of the packed latent. Raises ValueError."""
    size = sum(math.prod(shape[1:]) for shape in streams.shapes or ())
    if x.shape[-1] != size:
        raise ValueError(
            "the sampler changes the size of the latent, so it cannot take video and audio as one; use another sampler"
        )


def check_joinable(patcher: Any, name: str) -> None:
    """Checks that a MODEL has no patch that cannot run inside a joined one. name: of the stream. Raises ValueError."""
    wrappers = patcher.model_options["transformer_options"].get("wrappers", {})
    keys = [key for each in (patcher.wrappers, wrappers) for key, of in each.get(WrappersMP.PREDICT_NOISE, {}).items() if of]
    if keys:
        shown = {"lazycache": "LazyCache", None: "a patch of the guider, such as CFG Override"}.get(keys[0], f"a patch ({keys[0]})")
        instead = "use EasyCache, or " if keys[0] == "lazycache" else ""
        raise ValueError(
            f"{name} has {shown}, which answers for a whole guider; {instead}add it after Join Models, for both models"
        )


@contextmanager
def explain_stream(stream: Stream, concerned: Callable[[], bool] = lambda: True) -> Iterator[None]:
    """Says which model failed where it has not taken its prompt or latent. concerned: whether an error is the model's."""
    try:
        yield
    except FAILURES as error:
        if "out of memory" in str(error).lower() or not concerned():
            raise
        why = " ".join(str(error).split()) or type(error).__name__
        raise ValueError(
            f"{stream.kind.name} failed on the {stream.kind.stream}'s prompt or latent ({why}); encode the prompt with its own "
            "text encoder, and give the latent and its images the same size and length"
        ) from error
