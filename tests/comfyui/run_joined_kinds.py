"""Runs in ComfyUI's Python: writes what `nodes/native/joined/kinds.py` says of models of all classes of ComfyUI, as JSON.

run_joined_kinds.py RESULT
"""

import json
import sys
from dataclasses import asdict
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace

import comfy.cli_args

comfy.cli_args.args.cpu = True
import comfy.supported_models  # noqa: E402

from duet_av.nodes.native.joined.kinds import kind_of  # noqa: E402
from duet_av.tests.comfyui.native_pack import joined_models  # noqa: E402


def of_small_model(kind: str) -> dict:
    found = kind_of(joined_models.load(kind, 1), joined_models.KINDS[kind].stream)
    if found.stream == "video":
        more = {"size": found.size(9, 96, 160, 2), "frames": found.frames(found.latent_frames(10))}
    else:
        more = {"size": found.size(Fraction(81, 16), 2), "seconds": float(found.seconds(found.steps(Fraction(81, 16))))}
    values = asdict(found) | {"stream": found.stream, "in_batch": found.frames_in_batch} | more
    return {key: sorted(value) if isinstance(value, frozenset) else value for key, value in values.items()}


def answers(model) -> list[str]:
    def answer(name: str) -> str:
        try:
            return kind_of(SimpleNamespace(model=model), name).name
        except ValueError as error:
            return str(error)

    return [answer(name) for name in ("video", "audio")]


def of_every_class() -> dict:
    """What both inputs say of a model of each of ComfyUI's classes, without its network."""
    said = {}
    for known in comfy.supported_models.models:
        try:
            model = known({"in_channels": 4, **known.unet_config, "disable_unet_model_creation": True}).get_model({}, "")
        except (KeyError, RuntimeError):  # it needs its weights
            continue
        said[known.__name__] = answers(model)
    return said


class JoinedModel:
    """As Join Models calls the class of its MODELs."""


small = {kind: of_small_model(kind) for kind in joined_models.KINDS}
found = {"small": small, "said": of_every_class(), "joined": answers(JoinedModel())}
Path(sys.argv[1]).write_text(json.dumps(found, default=float), encoding="utf-8")
