"""Replaces values in the names of saved files, as ComfyUI's page does when a workflow is queued.

`%date:yyyy-MM-dd%` becomes the date, and `%Sampler.steps%` the value of an input, by the node's class or title.
"""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime
from typing import Any

from .described import Described
from .inputs import is_link
from .workflow import Catalogue, Node, Workflow

FILE_NAME = "filename_prefix"
TOKEN = re.compile("%([^%]+)%")
DATE_PART = re.compile("dd?|MM?|hh?|mm?|ss?|yyy?y?")
FORBIDDEN = re.compile(r'[/?<>\\:*|"\x00-\x1F\x7F]')  # in file names
DATE_FIELDS = {"d": "day", "M": "month", "h": "hour", "m": "minute", "s": "second"}


def replace_in_file_names(workflow: Workflow, catalogue: Catalogue) -> Workflow:
    """Returns `workflow` with the values replaced in the file names of its output nodes. Unknown ones stay as they are."""
    nodes, now, described = dict(workflow.nodes), datetime.now(), Described(catalogue)
    for key, node in workflow.nodes.items():
        name = node.inputs.get(FILE_NAME)
        if isinstance(name, str) and described.is_output(node.class_type):
            nodes[key] = replace(node, inputs=node.inputs | {FILE_NAME: _replaced(name, list(workflow.nodes.values()), now)})
    return Workflow(nodes)


def format_date(text: str, date: datetime) -> str:
    """Formats a date as ComfyUI's page does: d, dd, M, MM, h, hh, m, mm, s, ss, yy and yyyy."""

    def part(match: re.Match[str]) -> str:
        token = match[0]
        if token[0] == "y":
            return {"yy": f"{date.year}"[2:], "yyyy": f"{date.year}"}.get(token, token)
        return f"{getattr(date, DATE_FIELDS[token[0]])}".rjust(len(token), "0")

    return DATE_PART.sub(part, text)


def _replaced(name: str, nodes: list[Node], now: datetime) -> str:
    def value(match: re.Match[str]) -> str:
        first, *rest = match[1].split(".")
        if len(rest) != 1 and first.startswith("date:"):
            return format_date(first[len("date:") :], now)
        node = next((each for each in nodes if each.class_type == first), None)
        node = node or next((each for each in nodes if each.title == first), None)
        found = node.inputs.get(".".join(rest)) if node else None
        return match[0] if found is None or is_link(found) else FORBIDDEN.sub("_", _text(found))

    return TOKEN.sub(value, name)


def _text(value: Any) -> str:
    """Returns a value as JavaScript writes it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
