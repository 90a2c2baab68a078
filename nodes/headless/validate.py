"""Validates a whole workflow before any node runs."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from dataclasses import replace
from graphlib import CycleError, TopologicalSorter
from typing import Any

from .inputs import DYNAMIC, InputSpec, check_value, expand, is_link, nearest
from .workflow import Catalogue, Node, Workflow, known_class


def validate(workflow: Workflow, catalogue: Catalogue) -> Workflow:
    """Returns `workflow` with every value converted for its node. Raises ValueError, in one line, at the first error."""
    for node in workflow.nodes.values():
        known_class(node, catalogue)
    _require_output_node(workflow, catalogue)
    checked_nodes = {key: _check_node(node, workflow, catalogue) for key, node in workflow.nodes.items()}
    order(workflow)
    return Workflow(checked_nodes)


def order(workflow: Workflow) -> list[str]:
    """Returns the keys in an order in which every node comes after the nodes it depends on."""
    before = {key: {source for source, _ in node.links.values()} for key, node in workflow.nodes.items()}
    try:
        return list(TopologicalSorter(before).static_order())
    except CycleError as error:
        titles = " → ".join(workflow.nodes[key].title for key in error.args[1])
        raise ValueError(f"the workflow contains a cycle: {titles}; remove one of these links") from None


def ignored_inputs(workflow: Workflow, catalogue: Catalogue) -> list[str]:
    """Returns a warning for each value that its node has no input for. ComfyUI ignores these values too."""
    lines = []
    for node in workflow.nodes.values():
        specs = _specs(node, catalogue)
        for name in node.inputs:
            if name not in specs:
                lines.append(f"{node.title} has no input {name!r}, so it is ignored; {nearest(name, specs)}")
    return lines


def _require_output_node(workflow: Workflow, catalogue: Catalogue) -> None:
    output_nodes = [name for name, cls in catalogue.items() if cls.GET_SCHEMA().is_output_node]
    if not any(node.class_type in output_nodes for node in workflow.nodes.values()):
        raise ValueError(f"the workflow saves nothing; add one of {', '.join(output_nodes)}")


def _specs(node: Node, catalogue: Catalogue) -> dict[str, InputSpec]:
    return expand(catalogue[node.class_type].GET_NODE_INFO_V1()["input"], node.inputs)


def _check_node(node: Node, workflow: Workflow, catalogue: Catalogue) -> Node:
    cls, specs = catalogue[node.class_type], _specs(node, catalogue)
    custom = {name for name in _validated_by_node(cls) if name in specs and specs[name].io_type != DYNAMIC}
    values: dict[str, Any] = {}
    for name, spec in specs.items():
        if name not in node.inputs:
            if spec.required:
                what = "give it a value" if spec.takes_value else f"connect an output of type {spec.io_type}"
                raise ValueError(f"{node.title}.{name} is missing; {what}")
            continue
        values[name] = _check_input(node, spec, workflow, catalogue, name in custom)
    _run_node_validation(node, cls, custom, values)
    return replace(node, inputs=values)


def _check_input(node: Node, spec: InputSpec, workflow: Workflow, catalogue: Catalogue, open_choice: bool) -> Any:
    value = node.inputs[spec.name]
    try:
        if is_link(value):
            return _check_link(value, spec, workflow, catalogue)
        return check_value(spec, value, open_choice)
    except ValueError as error:
        raise ValueError(f"{node.title}.{spec.name} {error}") from None


def _check_link(link: list, spec: InputSpec, workflow: Workflow, catalogue: Catalogue) -> list:
    if len(link) != 2 or not isinstance(link[0], str) or isinstance(link[1], bool) or not isinstance(link[1], int):
        raise ValueError(f"is {link}; a link is [node key, output index]")
    source, index = link
    if source not in workflow.nodes:
        raise ValueError(f"links to node {source!r}, which is not in the workflow; {nearest(source, workflow.nodes)}")
    node = workflow.nodes[source]
    outputs = catalogue[node.class_type].GET_SCHEMA().outputs
    if not 0 <= index < len(outputs):
        there = ", ".join(f"{i} ({each.display_name})" for i, each in enumerate(outputs)) or "none"
        raise ValueError(f"links to output {index} of {node.title}; available: {there}")
    if not set(outputs[index].io_type.split(",")) & set(spec.io_type.split(",")):
        given = outputs[index].io_type
        raise ValueError(f"links to output {index} of {node.title}, of type {given}; connect one of type {spec.io_type}")
    return link


def _validated_by_node(cls: type) -> Mapping[str, inspect.Parameter]:
    """Returns the inputs that a node validates itself."""
    if not hasattr(cls, "validate_inputs"):
        return {}
    parameters = inspect.signature(cls.validate_inputs).parameters
    if any(each.kind is inspect.Parameter.VAR_KEYWORD for each in parameters.values()):
        return {each.id: None for each in cls.GET_SCHEMA().inputs}
    return parameters


def _run_node_validation(node: Node, cls: type, custom, values: Mapping[str, Any]) -> None:
    given = {name: values[name] for name in custom if name in values and not is_link(values[name])}
    if not given:
        return
    answer = cls.validate_inputs(**given)
    if answer is not True:
        named = ", ".join(f"{node.title}.{name}" for name in given)
        raise ValueError(f"{named}: {answer or 'this value is not accepted'}")
