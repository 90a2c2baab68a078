"""`duet nodes`: list the nodes of this pack with their inputs and outputs."""

from __future__ import annotations

import argparse
import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from . import Subparsers


def register(commands: Subparsers) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser("nodes", help="list the nodes and their inputs", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print the schemas as JSON, in the format of ComfyUI's object_info")
    parser.set_defaults(command=nodes)


def nodes(args: argparse.Namespace) -> int:
    """Run `duet nodes`."""
    from ..nodes.extension import NODES

    described = [cls.GET_NODE_INFO_V1() for cls in NODES]
    if args.json:
        print(json.dumps({info["name"]: info for info in described}, indent=2, ensure_ascii=False))
        return 0
    for info in described:
        outputs = ", ".join(f"{name} ({kind})" for name, kind in zip(info["output_name"], info["output"]))
        print(f"{info['name']}: {info['display_name']}\n  {info['description']}\n  outputs: {outputs}")
        for group in ("required", "optional"):
            for name, (kind, options) in info["input"].get(group, {}).items():
                for line in _lines(name, kind, options):
                    print(f"  {line}")
    return 0


def _lines(name: str, kind: str, options: dict[str, Any]) -> list[str]:
    """Describe an input and, indented, the further inputs of each of its options."""
    choices = options.get("options", [])
    if not choices or isinstance(choices[0], str):
        allowed = f" of {', '.join(choices)}" if choices else ""
        default = f" = {options['default']!r}" if "default" in options else ""
        return [f"{name} ({kind}{allowed}){default}"]
    lines = [f"{name} (one of {', '.join(choice['key'] for choice in choices)})"]
    for choice in choices:
        inputs = {inner: spec for group in choice["inputs"].values() for inner, spec in group.items()}
        lines += [f"  {choice['key']}: {line}" for inner, spec in inputs.items() for line in _lines(f"{name}.{inner}", *spec)]
    return lines
