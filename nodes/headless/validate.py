"""Validates a whole workflow before any node runs."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from graphlib import CycleError, TopologicalSorter
from typing import Any

from ...av_models.printable import printable, quoted
from .described import Described
from .inputs import DYNAMIC, InputSpec, check_value, expand, is_link, nearest
from .workflow import Catalogue, Node, Workflow, known_class

MOST_IN_CYCLE = 10  # nodes of a cycle that an error names


def validate(workflow: Workflow, catalogue: Catalogue) -> Workflow:
    """Returns `workflow` with every value converted for its node, and without values that its nodes have no input for.

    Raises ValueError, in one line, at the first error.
    """
    for node in workflow.nodes.values():
        known_class(node, catalogue)
    described = Described(catalogue)
    _require_output_node(workflow, described)
    titles, checked = Counter(node.title for node in workflow.nodes.values()), {}
    for key, node in workflow.nodes.items():
        try:
            checked[key] = _check_node(node, workflow, described)
        except ValueError as error:
            raise ValueError(f"{f'node {printable(key)}: ' * (titles[node.title] > 1)}{error}") from None
    order(Workflow(checked))
    return Workflow(checked)


def order(workflow: Workflow) -> list[str]:
    """Returns the keys in an order in which every node comes after the nodes it depends on."""
    before = {key: {source for source, _ in node.links.values()} for key, node in workflow.nodes.items()}
    try:
        return list(TopologicalSorter(before).static_order())
    except CycleError as error:
        titles = [workflow.nodes[key].title for key in error.args[1]]
        shown = titles if len(titles) <= MOST_IN_CYCLE else [*titles[: MOST_IN_CYCLE - 1], "…", titles[-1]]
        raise ValueError(f"the workflow contains a cycle: {' → '.join(shown)}; remove one of these links") from None


def ignored_inputs(workflow: Workflow, catalogue: Catalogue) -> list[str]:
    """Returns a warning for each value that its node has no input for. ComfyUI ignores these values too."""
    lines, described = [], Described(catalogue)
    for node in workflow.nodes.values():
        specs = expand(described.inputs(node.class_type), node.inputs)
        for name in node.inputs:
            if name not in specs:
                lines.append(f"{node.title} has no input {quoted(name)}, so it is ignored; {nearest(name, specs)}")
    return lines


def _require_output_node(workflow: Workflow, described: Described) -> None:
    if not any(described.is_output(node.class_type) for node in workflow.nodes.values()):
        names = [name for name in described.catalogue if described.is_output(name)]
        raise ValueError(f"the workflow saves nothing; add one of {', '.join(names)}")


def _check_node(node: Node, workflow: Workflow, described: Described) -> Node:
    cls, specs = described.catalogue[node.class_type], expand(described.inputs(node.class_type), node.inputs)
    custom = {name for name in _validated_by_node(cls) if name in specs and specs[name].io_type != DYNAMIC}
    values: dict[str, Any] = {}
    for name, spec in specs.items():
        if name not in node.inputs:
            if spec.required:
                what = "give it a value" if spec.takes_value else f"connect an output of type {spec.io_type}"
                raise ValueError(f"{node.title}.{name} is missing; {what}")
            continue
        values[name] = _check_input(node, spec, workflow, described, name in custom)
    _run_node_validation(node, cls, custom, values)
    return replace(node, inputs=values)


def _check_input(node: Node, spec: InputSpec, workflow: Workflow, described: Described, open_choice: bool) -> Any:
    value = node.inputs[spec.name]
    try:
        if is_link(value):
            return _check_link(value, spec, workflow, described)
        return check_value(spec, value, open_choice)
    except ValueError as error:
        raise ValueError(f"{node.title}.{spec.name} {error}") from None


def _check_link(link: list, spec: InputSpec, workflow: Workflow, described: Described) -> list:
    if len(link) != 2 or not isinstance(link[0], str) or isinstance(link[1], bool) or not isinstance(link[1], int):
        raise ValueError(f"is {quoted(link)}; a link is [node key, output index]")
    source, index = link
    if source not in workflow.nodes:
        raise ValueError(f"links to node {quoted(source)}, which is not in the workflow; {nearest(source, workflow.nodes)}")
    node = workflow.nodes[source]
    outputs = described.outputs(node.class_type)
    if not 0 <= index < len(outputs):
        there = ", ".join(f"{i} ({each.display_name})" for i, each in enumerate(outputs)) or "none"
        raise ValueError(f"links to output {quoted(index)} of {node.title}; available: {there}")
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
    named = ", ".join(f"{node.title}.{name}" for name in given)
    try:
        answer = cls.validate_inputs(**given)
    except (OSError, ValueError) as error:  # such as a file name that is too long for the system
        raise ValueError(f"{named}: {printable(getattr(error, 'strerror', None) or error)}; use another value") from None
    if answer is not True:
        raise ValueError(f"{named}: {answer or 'this value is not accepted'}")
