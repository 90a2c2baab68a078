"""Checks of a joined MODEL before a run: errors in one line, in place of those of a network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from comfy.patcher_extension import WrappersMP

from ..run_keys import JOINED_KEY
from .sampling import PerStream
from .streams import JoinedStreams, Stream

BEFORE = "add it to the video's or the audio's model, before Join Models"
CHANGES = {
    "model_function_wrapper": "a patch that wraps the network's calls",
    "context_handler": "context windows",
    "sampler_cfg_function": "a patch that replaces CFG",
}
OF_NETWORK = (WrappersMP.CALC_COND_BATCH, WrappersMP.APPLY_MODEL, WrappersMP.DIFFUSION_MODEL)
IN_TRANSFORMER = {"patches": "attention patches", "patches_replace": "attention patches", "optimized_attention_override": "a patch"}


def check_added(guider: Any) -> None:
    """Checks that no node behind Join Models has changed what only a network has. Raises ValueError."""
    patcher, options = guider.model_patcher, guider.model_options
    if not isinstance(patcher.get_model_object("model_sampling"), PerStream):
        raise ValueError(f"the model sampling of the joined model was changed; {BEFORE}")
    transformer = options["transformer_options"]
    wrappers = transformer.get("wrappers", {})
    found = [what for key, what in CHANGES.items() if key in options]
    found += [what for key, what in IN_TRANSFORMER.items() if transformer.get(key)]
    found += [str(key) for kind in OF_NETWORK for key in wrappers.get(kind, {}) if key != JOINED_KEY and wrappers[kind][key]]
    if found:
        raise ValueError(f"the joined model has {found[0]}, which has no effect there; {BEFORE}")


def check_latents(streams: JoinedStreams, shapes: Sequence[Sequence[int]]) -> None:
    """Checks that the latent has a video and an audio of the sizes that both models take. Raises ValueError."""
    if len(shapes) != 2:
        raise ValueError("the latent does not hold one video and one audio; connect Empty Video + Audio (Joined Models)")
    for stream, shape in zip(streams, shapes):
        sizes, wanted = tuple(shape[1:]), stream.kind.sizes
        if len(sizes) != len(wanted) or any(size != want for size, want in zip(sizes, wanted) if want is not None) or 0 in sizes:
            found, needed = ("×".join("any" if size is None else str(size) for size in each) for each in (sizes, wanted))
            raise ValueError(
                f"the latent's {stream.kind.stream} is {found}, and {stream.kind.name} needs {needed}; "
                "connect Empty Video + Audio (Joined Models)"
            )
        if stream.kind.frames_in_batch and shape[0] != 1:
            raise ValueError(f"the latent holds {shape[0]} clips, and {stream.kind.name} makes one at a time; use a batch of 1")


@contextmanager
def explain_stream(stream: Stream) -> Iterator[None]:
    """Says which model failed where a network has not taken its prompt."""
    try:
        yield
    except (RuntimeError, KeyError, AttributeError, TypeError) as error:
        if "out of memory" in str(error).lower():
            raise
        raise ValueError(
            f"{stream.kind.name} failed on the {stream.kind.stream}'s prompt or latent ({error}); "
            f"encode the prompt with its own text encoder"
        ) from error
