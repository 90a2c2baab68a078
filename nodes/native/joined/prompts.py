"""The conditioning of a joined MODEL: that of the video and that of the audio, each kept whole."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..pair_prompts import percents
from .hooks import OwnHooks

STREAMS_KEY = "duet_streams"  # in an entry of a joined conditioning: its `StreamPrompts`
ENTRY_KEY = "duet_entry"  # in a joined entry: the name of its conditioning in the guider, such as "positive", and its number in it;
# in a model's entry: those of the joined one
ONLY_KEY = "duet_only"  # in a joined entry: the stream that it is for, if it is not for both
OURS = (STREAMS_KEY, ENTRY_KEY, ONLY_KEY, "cross_attn", "pooled_output", "model_conds", "uuid")
OF_BOTH = ("start_percent", "end_percent", "clip_start_percent", "clip_end_percent", "strength", "hooks", "default")
JOIN = "connect Join Video + Audio Prompts"


@dataclass(frozen=True)
class StreamPrompts:
    """The CONDITIONINGs of both models."""

    video: Sequence
    audio: Sequence


def join_prompts(video: Sequence, audio: Sequence) -> list:
    """Returns a CONDITIONING for a joined MODEL."""
    for name, given in (("video", video), ("audio", audio)):
        if any(STREAMS_KEY in others for _, others in given):
            raise ValueError(f"{name} is a joined conditioning already; connect the prompt of one model")
        if not given:
            raise ValueError(f"{name} has no prompt; connect a CONDITIONING with at least one")
    return [[video[0][0], {STREAMS_KEY: StreamPrompts(video, audio)}]]


def split_prompts(entries: Sequence[dict[str, Any]], name: str, hooks: Mapping[str, OwnHooks]) -> dict[str, list]:
    """Returns the CONDITIONING of each running model. Numbers the `entries` of a joined conditioning, and empties them.

    name: of the conditioning, for messages. hooks: of each stream whose network runs.
    Later changes of nodes are applied: times, strengths and hooks to both models, all else, such as areas, to the video.
    ComfyUI must not find these in the joined entries: it would resolve them on the packed latent.
    Raises ValueError if a prompt is not joined and both models run, or if its tokens were changed after joining.
    """
    split: dict[str, list] = {stream: [] for stream in hooks}
    for number, entry in enumerate(entries):
        entry[ENTRY_KEY] = key = name, number
        prompts = _stream_prompts(entry, name, len(hooks))
        for stream, own_hooks in hooks.items():
            changes = {key: each for key, each in entry.items() if key not in OURS and (stream == "video" or key in OF_BOTH)}
            own = (_changed(others, changes, own_hooks) for others in _numbered(getattr(prompts, stream), key))
            split[stream] += [[others.pop("cross_attn"), others] for others in own if others is not None]
        for of_video in [key for key in entry if key not in OURS + OF_BOTH]:
            del entry[of_video]
    return split


def join_processed(video: Sequence[Mapping[str, Any]], audio: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Returns a processed joined conditioning with the video's prompts of one and the audio's prompts of another."""
    return [{**entry, ONLY_KEY: stream} for stream, of in (("video", video), ("audio", audio)) for entry in of]


def entries_of(conds: Sequence[Mapping[str, Any]] | None, own: Mapping[str, Sequence[dict]], stream: str) -> list[dict] | None:
    """Returns a model's processed entries for those of a joined conditioning. own: the entries of each name."""
    if conds is None:
        return None
    wanted = [cond[ENTRY_KEY] for cond in conds if cond.get(ONLY_KEY, stream) == stream]
    return [entry for name, number in wanted for entry in own[name] if _is_of(entry, name, number)]


def _is_of(entry: Mapping[str, Any], name: str, number: int) -> bool:
    """An entry that ComfyUI has added, for the area of an entry of another name, counts as part of the first."""
    own_name, own_number = entry[ENTRY_KEY]
    return own_number == number if own_name == name else number == 0


def _stream_prompts(entry: Mapping[str, Any], name: str, running: int) -> StreamPrompts:
    prompts, tokens = entry.get(STREAMS_KEY), entry.get("cross_attn")
    if prompts is None:
        if running == 1:  # the other stream is given: a prompt of one model is that of the stream that is made
            others = {key: each for key, each in entry.items() if key not in OURS or key == "pooled_output"}
            return StreamPrompts([[tokens, others]], [[tokens, others]])
        raise ValueError(f"{name} is the prompt of one model, and a joined model needs one for each; {JOIN}")
    if tokens is not prompts.video[0][0]:
        raise ValueError(f"the tokens of {name} were changed after its prompts were joined; change them before, then {JOIN}")
    return prompts


def _numbered(conditioning: Sequence, key: tuple[str, int]) -> list[dict[str, Any]]:
    return [{**others, "cross_attn": tokens, ENTRY_KEY: key} for tokens, others in conditioning]


def _changed(entry: dict[str, Any], changes: Mapping[str, Any], hooks: OwnHooks) -> dict[str, Any] | None:
    """Returns an entry with the changes of a joined one; None if it is active at no time."""
    changed = {**entry, **{key: each for key, each in changes.items() if key not in OF_BOTH}}
    if "default" in changes:
        changed["default"] = changes["default"]
    if "strength" in changes:
        changed["strength"] = changes["strength"] * entry.get("strength", 1.0)
    if (own := hooks.combine(entry.get("hooks"), changes.get("hooks"))) is not None:
        changed["hooks"] = own
    times = percents(changes)
    if times != (0.0, 1.0):
        start, end = (pick(pair) for pick, pair in zip((max, min), zip(percents(entry), times)))
        if start >= end:
            return None
        changed |= {"start_percent": start, "end_percent": end}
    return changed
