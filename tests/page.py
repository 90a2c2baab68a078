"""Workflows as ComfyUI's page saves them: where they are, and how the page puts them into API format."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from duet_av.nodes.headless.inputs import expand

FOLDER = Path(__file__).parent.parent / "workflows"
NOTE = "MarkdownNote"  # the page's own: no node of the graph
PAGES_OWN = ("control_after_generate", "upload", "video-preview", "audioUI", "fixed")  # widgets that are no inputs
NATIVE = tuple(
    sorted(path.stem for path in (FOLDER / "api").glob("*.json") if path.stem.startswith(("ltx23", "ltx25", "minimax")))
)  # in ComfyUI alone
ALIGNED = ("stable_audio_v2a_aligned", "wan_stable_audio_aligned")  # the same as two of JOINED, with the aligner
JOINED = ("wan_stable_audio", "hunyuan_ace_step", "stable_audio_v2a", *ALIGNED)  # in ComfyUI, with two of its models
SMALL_JOINED = "small_joined_pair"  # the same with two small models
JOINT = ("kandinsky6_t2av", "kandinsky6_i2av", "ltx2_diffusers", "ovi_t2av")  # with joint models that people can download
PAIRS = ("wan_tangoflux_t2av", "wan_tangoflux_i2av")  # with two experts that people can download


@cache
def templates() -> dict[str, Path]:
    """The templates, by the name of the workflow in API format that they show."""
    return {json.loads(path.read_text(encoding="utf-8"))["extra"]["api"]: path for path in sorted(FOLDER.glob("*.json"))}


def template(api: str) -> dict[str, Any]:
    return json.loads(templates()[api].read_text(encoding="utf-8"))


def to_api(graph: dict[str, Any], catalogue) -> dict[str, Any]:
    links = {link[0]: [str(link[1]), link[2]] for link in graph["links"]}
    return {
        str(node["id"]): {
            "class_type": node["type"],
            "inputs": _inputs(node, links, catalogue[node["type"]].GET_NODE_INFO_V1()["input"]),
            "_meta": {"title": node["title"]},
        }
        for node in graph["nodes"]
        if node["type"] != NOTE
    }


def named_to_api(graph: dict[str, Any]) -> dict[str, Any]:
    """The same by the names of widgets that the page saves, without a catalogue of nodes."""
    links = {link[0]: [str(link[1]), link[2]] for link in graph["links"]}
    return {
        str(node["id"]): {
            "class_type": node["type"],
            "inputs": {name: value for name, value in node.get("widgets_values_named", {}).items() if name not in PAGES_OWN}
            | {each["name"]: links[each["link"]] for each in node["inputs"] if each["link"] is not None},
            "_meta": {"title": node["title"]},
        }
        for node in graph["nodes"]
        if node["type"] != NOTE
    }


def _inputs(node: dict, links: dict, described: dict) -> dict[str, Any]:
    values = _widgets(list(node["widgets_values"]), described)
    return values | {each["name"]: links[each["link"]] for each in node["inputs"] if each["link"] is not None}


def _widgets(given: list, described: dict) -> dict[str, Any]:
    """Widgets take their values in order; a seed is followed by what happens to it after a run."""
    values: dict[str, Any] = {}
    while True:
        waiting = [spec for name, spec in expand(described, values).items() if spec.takes_value and name not in values]
        if not waiting:
            assert not given, f"left over: {given}"
            return values
        values[waiting[0].name] = given.pop(0)
        if waiting[0].options.get("control_after_generate"):
            assert given.pop(0) in ("fixed", "increment", "decrement", "randomize")
        if waiting[0].options.get("image_upload") and given == ["image"]:
            given.pop()  # the button
