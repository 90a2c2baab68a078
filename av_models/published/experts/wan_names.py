"""The names of Wan's tensors: those of diffusers, and those of its authors, which ComfyUI's files and GGUF files have too."""

from __future__ import annotations

import re
from collections.abc import Iterable

PREFIXES = ("model.diffusion_model.", "diffusion_model.")
MARKS = {"diffusers": "condition_embedder.time_proj.weight", "original": "time_projection.1.weight"}
"""A tensor that every Wan transformer has, by whose names it has."""

ENDS = {
    "condition_embedder.text_embedder.linear_1.": "text_embedding.0.",
    "condition_embedder.text_embedder.linear_2.": "text_embedding.2.",
    "condition_embedder.time_embedder.linear_1.": "time_embedding.0.",
    "condition_embedder.time_embedder.linear_2.": "time_embedding.2.",
    "condition_embedder.time_proj.": "time_projection.1.",
    "proj_out.": "head.head.",
    "scale_shift_table": "head.modulation",
}
IN_BLOCK = {
    "attn1.": "self_attn.", "attn2.": "cross_attn.", "to_out.0.": "o.", "to_q.": "q.", "to_k.": "k.", "to_v.": "v.",
    "ffn.net.0.proj.": "ffn.0.", "ffn.net.2.": "ffn.2.", "norm2.": "norm3.", "scale_shift_table": "modulation",
}  # fmt: skip
BLOCK = re.compile(r"(blocks\.\d+\.)(.+)")
ONLY_IN_DIFFUSERS = re.compile(r"attn[12]\.|ffn\.net\.|scale_shift_table|norm2\.")


TO_DIFFUSERS = {there: here for here, there in IN_BLOCK.items()}


def original_name(name: str) -> str:
    """Return the name that Wan's authors gave to a tensor of diffusers' WanTransformer3DModel."""
    if block := BLOCK.fullmatch(name):
        return block[1] + _renamed(block[2], IN_BLOCK)
    own = next((own for own in ENDS if name.startswith(own)), "")
    return ENDS.get(own, "") + name.removeprefix(own)


def diffusers_name(name: str) -> str:
    """Return diffusers' name of a tensor, from either name, without a prefix. Other names stay as they are."""
    name = name.removeprefix(prefix_of([name]))
    if block := BLOCK.fullmatch(name):
        if ONLY_IN_DIFFUSERS.search(block[2]):
            return name
        return block[1] + _renamed(block[2], TO_DIFFUSERS)
    own = next((own for own, there in ENDS.items() if name.startswith(there)), "")
    return own + name.removeprefix(ENDS.get(own, ""))


def prefix_of(names: Iterable[str]) -> str:
    """Return the prefix of the names in a checkpoint, "" if they have none."""
    return next((prefix for name in names for prefix in PREFIXES if name.startswith(prefix)), "")


def naming_of(names: Iterable[str]) -> str | None:
    """Return whose names the tensors of a Wan transformer have, "diffusers" or "original"; None if it is none."""
    stored = set(names)
    prefix = prefix_of(stored)
    return next((naming for naming, mark in MARKS.items() if prefix + mark in stored), None)


def _renamed(name: str, parts: dict[str, str]) -> str:
    """Replace whole parts of a name."""
    return re.sub(r"(?:(?<=\.)|^)(?:" + "|".join(map(re.escape, parts)) + ")", lambda found: parts[found[0]], name)
