"""Runs LTX-2 rows of different coupling and skipped blocks in one network call.

The output of a cross-modal layer is multiplied by a gate, `table + timestep`: a table of the block and an embedding of the row's
timestep. A row's embedding is changed so that its gate becomes `strength` times what it was. At strength 0 the gate is exactly 0,
because table + (−table) is, so nothing of the other modality reaches the row.

In long clips the arithmetic of a row takes the time, not the number of kernels. There a block runs cut rows apart from the others,
without their cross-modal layers. The result is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch
from comfy.ldm.lightricks.av_model import CompressedTimestep
from comfy.patcher_extension import WrappersMP, add_wrapper_with_key
from torch import Tensor, nn

from ....av_models.guidance import PromptKind
from ..compiled import PASS_KEY, is_compiled
from ..rows import TEXTS

ROWS_KEY = "duet_rows"  # in `transformer_options` during a call: a `_RowsOfCall`
LONG = 1024  # video tokens of a row from which cut rows run apart


class RowSettings(NamedTuple):
    """How a row is run: the strengths of its cross-modal layers, and the block whose self-attention is skipped, or None."""

    a_to_v: float
    v_to_a: float
    skip_block: int | None


class _RowsOfCall(NamedTuple):
    """For the rows of a network call: the gate of each direction (see `_gate`) or None, and the rows that skip a block.

    cut: the rows that can run apart, without cross-modal layers. places: the conditioning of each row.
    """

    a_to_v: Tensor | None
    v_to_a: Tensor | None
    skips: Mapping[int, Sequence[int]]
    cut: Sequence[int]
    places: Sequence[int]


def needs_gate(strengths: Sequence[float]) -> bool:
    """Returns whether the strengths of a direction cannot be had by turning its layers on or off for all rows."""
    return len(set(strengths)) > 1 or strengths[0] not in (0.0, 1.0)


def off_flags(a_to_v: Sequence[float], v_to_a: Sequence[float]) -> dict[str, bool]:
    """Returns the options that turn off the cross-modal layers of the directions that no row needs."""
    return {flag: False for flag, each in (("a2v_cross_attn", a_to_v), ("v2a_cross_attn", v_to_a)) if not any(each)}


def mix_rows(
    options: dict[str, Any], wanted: Sequence[RowSettings | None], texts: Sequence[PromptKind | None], blocks: Sequence[nn.Module]
) -> None:
    """Changes model options so that each row of a call runs with its own settings.

    wanted, texts: the settings and the prompt of each conditioning of the call, in ComfyUI's order, or of all of them.
    """
    transformer = options["transformer_options"]
    add_wrapper_with_key(WrappersMP.APPLY_MODEL, ROWS_KEY, _RowsWrapper(wanted, texts), transformer)
    replaced = transformer.setdefault("patches_replace", {}).setdefault("dit", {})
    for index, block in enumerate(blocks):
        name = ("double_block", index)
        replaced[name] = _block_patch(block, index, replaced.get(name))


class _RowsWrapper:
    """A wrapper of ComfyUI's `apply_model`: finds which rows of the batch are which, as memory decides how many share a call."""

    def __init__(self, wanted: Sequence[RowSettings | None], texts: Sequence[PromptKind | None]) -> None:
        self.wanted, self.texts = wanted, texts

    def __call__(self, apply: Callable, x: Tensor, t: Tensor, concat: Any, context: Any, control: Any, options: Any, **kwargs: Any):
        places = options["cond_or_uncond"]
        one_for_all = len(self.wanted) == 1
        each_place = [index for index in range(len(places)) for _ in range(len(x) // len(places))]
        rows = [self.wanted[0 if one_for_all else places[index]] for index in each_place]
        couplings = [row.a_to_v for row in rows], [row.v_to_a for row in rows]
        gates = [_gate(strengths, x.device) if needs_gate(strengths) else None for strengths in couplings]
        made = _RowsOfCall(*gates, _skips(rows), _cut(rows, options), each_place)
        layout = (*(None if gate is None else gate.dtype for gate in gates), tuple(made.skips.items()), made.cut)
        options = {**options, ROWS_KEY: made, PASS_KEY: layout, **off_flags(*couplings)}
        if not one_for_all:  # patches of other nodes tell the prompts apart by these numbers
            options["cond_or_uncond"] = [TEXTS.index(self.texts[place]) for place in places]
        return apply(x, t, concat, context, control, options, **kwargs)


def _gate(strengths: Sequence[float], device: torch.device) -> Tensor:
    """Returns the strengths [B, 1, 1], as bool if each is 0 or 1."""
    gate = torch.tensor(strengths, device=device).view(-1, 1, 1)
    return gate.bool() if set(strengths) <= {0.0, 1.0} else gate


def _cut(rows: Sequence[RowSettings], options: Mapping[str, Any]) -> tuple[int, ...]:
    """Returns the rows without coupling, if other rows have some.

    None with a patch of another node that may need all rows together, or with torch.compile, for which options must not change in
    a call.
    """
    if is_compiled(options.get("wrappers", {})) or options.get("patches") or options.get("optimized_attention_override"):
        return ()
    cut = tuple(i for i, row in enumerate(rows) if row.a_to_v == row.v_to_a == 0)
    return () if len(cut) == len(rows) else cut


def _skips(rows: Sequence[RowSettings]) -> dict[int, tuple[int, ...]]:
    blocks = {row.skip_block for row in rows if row.skip_block is not None}
    return {block: tuple(i for i, row in enumerate(rows) if row.skip_block == block) for block in blocks}


def _block_patch(block: nn.Module, index: int, previous: Callable | None) -> Callable:
    """Returns a patch of ComfyUI's "double_block" kind. previous: that of another node, which is still called."""

    def run(args: dict[str, Any], extra: dict[str, Any]) -> dict[str, Any]:
        call = extra["original_block"] if previous is None else lambda given: previous(given, extra)
        rows: _RowsOfCall = args["transformer_options"][ROWS_KEY]
        video_gate, audio_gate = args["v_cross_gate_timestep"], args["a_cross_gate_timestep"]
        if rows.a_to_v is not None:
            video_gate = _scale_gate(video_gate, block.scale_shift_table_a2v_ca_video[4:, :], rows.a_to_v)
        if rows.v_to_a is not None:
            audio_gate = _scale_gate(audio_gate, block.scale_shift_table_a2v_ca_audio[4:, :], rows.v_to_a)
        args = {**args, "v_cross_gate_timestep": video_gate, "a_cross_gate_timestep": audio_gate}
        return _run_apart(call, args, _groups(rows, index, args["img"][0]))

    return run


def _groups(rows: _RowsOfCall, index: int, video: Tensor) -> dict[tuple[bool, bool], list[int]]:
    """Returns the rows that a block runs together, by whether they skip its self-attention and its cross-modal layers."""
    groups: dict[tuple[bool, bool], list[int]] = {}
    for i in range(len(video)):
        kind = i in rows.skips.get(index, ()), video.shape[1] >= LONG and i in rows.cut
        groups.setdefault(kind, []).append(i)
    return groups


def _scale_gate(timestep: Tensor | CompressedTimestep, table: Tensor, strength: Tensor) -> Tensor | CompressedTimestep:
    """Returns the embedding with which table + embedding is `strength` times what it was."""
    if isinstance(timestep, CompressedTimestep):
        scaled = _scale_gate(timestep.data, table, strength)
        return CompressedTimestep(scaled, timestep.patches_per_frame, per_frame=True)
    table = table.to(device=timestep.device, dtype=timestep.dtype)
    if strength.dtype == torch.bool:
        return torch.where(strength, timestep, -table)
    scaled = strength * (table.float() + timestep.float()) - table.float()
    return torch.where(strength == 1, timestep, scaled.to(timestep.dtype))


def _run_apart(call: Callable, args: dict[str, Any], groups: Mapping[tuple[bool, bool], list[int]]) -> dict[str, Any]:
    """Runs a block on each group of rows. Returns all in the order of the rows."""
    options = args["transformer_options"]
    if len(groups) == 1:
        ((kind, _),) = groups.items()
        return call(args if not any(kind) else {**args, "transformer_options": options | _options(*kind)})
    count = len(args["img"][0])
    video, audio = (torch.empty_like(stream) for stream in args["img"])
    for kind, rows in groups.items():
        where = slice(rows[0], rows[-1] + 1) if rows == [*range(rows[0], rows[-1] + 1)] else rows  # a slice copies nothing
        part = {name: _take(value, where, count) for name, value in args.items()}
        places = sorted({options[ROWS_KEY].places[row] for row in rows})
        own = {name: [options[name][place] for place in places] for name in ("cond_or_uncond", "uuids") if name in options}
        part["transformer_options"] = options | own | _options(*kind)
        video[where], audio[where] = call(part)["img"]
    return {"img": (video, audio)}


def _options(skips: bool, cut: bool) -> dict[str, bool]:
    return ({"stg_skip_self_attn": True} if skips else {}) | ({"a2v_cross_attn": False, "v2a_cross_attn": False} if cut else {})


def _take(value: Any, rows: slice | list[int], count: int) -> Any:
    """Returns these rows of a block's input. count: the rows of the batch; inputs with fewer serve all of them."""
    if isinstance(value, CompressedTimestep):
        return CompressedTimestep(value.data[rows], value.patches_per_frame, per_frame=True)
    if isinstance(value, Tensor):
        return value[rows] if value.ndim and len(value) == count else value
    return type(value)(_take(each, rows, count) for each in value) if isinstance(value, tuple | list) else value
