"""Workflows in ComfyUI's API format: {key: {"class_type", "inputs", "_meta": {"title"}}}."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...av_models.limited_file import read_limited
from ...av_models.printable import printable, quoted
from .inputs import DYNAMIC, InputSpec, default_of, expand, is_link, nearest, parse

Catalogue = Mapping[str, type]
MOST_BYTES, MOST_LEVELS = 32 * 2**20, 100  # of a workflow file: its size, and how deep its values are nested

IN_COMFYUI = "duet run has few of ComfyUI's nodes; run a workflow with ComfyUI's own nodes in ComfyUI"


@dataclass(frozen=True)
class Node:
    """A node of a workflow. inputs: values, and links [node key, output index]. title: one line without control characters."""

    key: str
    class_type: str
    inputs: dict[str, Any]
    title: str

    @property
    def links(self) -> dict[str, tuple[str, int]]:
        return {name: tuple(value) for name, value in self.inputs.items() if is_link(value)}


@dataclass(frozen=True)
class Workflow:
    nodes: dict[str, Node]

    def prompt(self) -> dict[str, Any]:
        """Returns the workflow in API format."""
        return {
            key: {"class_type": node.class_type, "inputs": node.inputs, "_meta": {"title": node.title}}
            for key, node in self.nodes.items()
        }

    def find(self, name: str) -> Node:
        """Returns the node with this key or title. Raises ValueError if there is none, or more than one."""
        if name in self.nodes:
            return self.nodes[name]
        found = [node for node in self.nodes.values() if node.title == printable(name)]
        if len(found) > 1:
            keys = " or ".join(printable(node.key) for node in found[:10])
            raise ValueError(f"{len(found)} nodes have the title {quoted(name)}; use a key instead, {keys}")
        if not found:
            titles = (node.title for node in self.nodes.values())
            raise ValueError(f"no node has the key or title {quoted(name)}; {nearest(name, titles)}")
        return found[0]


def load_workflow(path: str | Path) -> Workflow:
    """Reads a workflow in API format. Raises FileNotFoundError, or ValueError if the file is not a valid workflow."""
    path = Path(path)
    data = _read_json(path)
    if not data:
        raise ValueError(f"{path} is an empty workflow; add nodes, including one that saves a file")
    if isinstance(data, dict) and isinstance(data.get("nodes"), list):
        raise ValueError(
            f"{path} is a workflow saved with Save, not with Export (API); export it with Export (API) and use that file"
        )
    if not isinstance(data, dict):
        raise ValueError(f"{path} is a JSON {type(data).__name__}, not a workflow; export it with Export (API)")
    return Workflow({key: _node(path, key, entry) for key, entry in data.items()})


def _read_json(path: Path) -> Any:
    """Return the data of a JSON file in any encoding of Unicode. Raises as `load_workflow`."""
    if not path.exists():
        raise FileNotFoundError(f"workflow file {path} was not found; check the name")
    content = read_limited(path, MOST_BYTES, "give a workflow that was exported with Export (API)")
    too_deep = f"{path} has values nested more than {MOST_LEVELS} deep; export the workflow again with Export (API)"
    try:
        data = json.loads(content)
    except RecursionError:
        raise ValueError(too_deep) from None
    except ValueError as error:  # also for bytes that are no text, and for numbers of thousands of digits
        raise ValueError(f"{path} is not valid JSON ({printable(error)}); export the workflow again with Export (API)") from error
    if _is_deeper(data, MOST_LEVELS):
        raise ValueError(too_deep)
    return data


def _is_deeper(data: Any, most: int) -> bool:
    """Return whether lists and objects are nested more than `most` deep."""
    level = [data]
    for _ in range(most + 1):
        inner = [each for each in level if isinstance(each, (dict, list))]
        level = [child for each in inner for child in (each.values() if isinstance(each, dict) else each)]
        if not inner:
            return False
    return True


def _node(path: Path, key: str, entry: Any) -> Node:
    if not isinstance(entry, dict) or not isinstance(entry.get("class_type"), str):
        raise ValueError(f"{path}: node {quoted(key)} has no class_type; export the workflow again with Export (API)")
    inputs = entry.get("inputs", {})
    if not isinstance(inputs, dict):
        raise ValueError(f"{path}: the inputs of node {quoted(key)} are a {type(inputs).__name__}; use an object")
    meta = entry.get("_meta")
    title = meta.get("title") if isinstance(meta, dict) else None
    shown = printable(title) if isinstance(title, str) else ""
    return Node(key, entry["class_type"], inputs, shown or f"node {printable(key)}")


def set_inputs(workflow: Workflow, settings: Sequence[str], catalogue: Catalogue) -> Workflow:
    """Returns `workflow` with each NODE.INPUT=VALUE of `settings` set, starting with the choices of dropdowns.

    The inputs of a new choice get their defaults, as in ComfyUI.
    """
    nodes = dict(workflow.nodes)
    targets = [_target(workflow, setting) for setting in settings]
    for dynamic in (True, False):
        for setting, node, name, text in targets:
            node = nodes[node.key]
            described = known_class(node, catalogue).GET_NODE_INFO_V1()["input"]
            specs = expand(described, node.inputs)
            if (name in specs and specs[name].io_type == DYNAMIC) is dynamic:
                nodes[node.key] = _set(node, _settable_input(setting, node, name, specs), setting, text, described)
    return Workflow(nodes)


def known_class(node: Node, catalogue: Catalogue) -> type:
    if node.class_type not in catalogue:
        unknown = f"{node.title} (key {printable(node.key)}) has the unknown class_type {quoted(node.class_type)}"
        remedy = nearest(node.class_type, catalogue) if node.class_type.startswith("Duet") else IN_COMFYUI
        raise ValueError(f"{unknown}; {remedy}")
    return catalogue[node.class_type]


def _target(workflow: Workflow, setting: str) -> tuple[str, Node, str, str]:
    target, equals, text = setting.partition("=")
    name, dot, input_name = target.partition(".")
    if not (equals and dot and name and input_name):
        raise ValueError(f"--set {printable(setting)}: use NODE.INPUT=VALUE, such as Sampler.steps=20")
    try:
        return setting, workflow.find(name), input_name, text
    except ValueError as error:
        raise ValueError(f"--set {printable(setting)}: {error}") from None


def _settable_input(setting: str, node: Node, name: str, specs: Mapping[str, InputSpec]) -> InputSpec:
    settable = [each.name for each in specs.values() if each.takes_value]
    if name not in specs:
        raise ValueError(f"--set {printable(setting)}: {node.title} has no input {quoted(name)}; {nearest(name, settable)}")
    if not specs[name].takes_value:
        raise ValueError(f"--set {printable(setting)}: {name} takes a link, not a value; {nearest(name, settable)}")
    return specs[name]


def _set(node: Node, spec: InputSpec, setting: str, text: str, described: Mapping) -> Node:
    try:
        value = parse(spec, text)
    except ValueError as error:
        raise ValueError(f"--set {printable(setting)}: {spec.name} {error}") from None
    inputs = node.inputs | {spec.name: value}
    if spec.io_type != DYNAMIC:
        return replace(node, inputs=inputs)
    inputs = {name: each for name, each in inputs.items() if not name.startswith(f"{spec.name}.")}
    specs = expand(described, inputs)
    while fresh := {n: default_of(s) for n, s in specs.items() if n.startswith(f"{spec.name}.") and n not in inputs}:
        inputs |= fresh
        specs = expand(described, inputs)
    return replace(node, inputs=inputs)
