"""Finds the text encoder, tokenizer and VAE of an expert among the user's files."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .detect import detect, tokenizer_class
from .downloads import PARTS
from .expert_options import ExpertOptions, Found
from .folder import has_vocabulary
from .load_published import published_card

TEXT_ENCODER, VAE, TOKENIZER = "text_encoder", "vae", "tokenizer"


@dataclass(frozen=True)
class Wanted:
    """The parts that an expert of a family takes.

    text_encoder, vae: how `Found.model` of one begins; the first that is found is used. tokenizer: how its class begins.
    """

    text_encoder: tuple[str, ...] = ()
    vae: tuple[str, ...] = ()
    tokenizer: str = ""


UMT5, OOBLECK = ("UMT5",), ("Oobleck",)
WANTED = {
    "wan": Wanted(UMT5, ("the VAE of Wan 2.1",), "T5"),
    "tangoflux": Wanted(("T5 v1.1 or FLAN-T5 large",), OOBLECK, "T5"),
    "stable_audio": Wanted(("T5-base", "T5"), OOBLECK, "T5"),
}
"""By family; what is not listed here is beside the expert."""
WAN_SECOND = ("the VAE of Wan 2.2",)


def wanted_parts(found: Found) -> Wanted:
    """Return which parts an expert takes."""
    wanted = WANTED.get(found.family, Wanted())
    return replace(wanted, vae=WAN_SECOND) if found.family == "wan" and "5B" in found.model else wanted
