"""Runs workflows without ComfyUI: reads a workflow, validates all of it, then runs it."""

from __future__ import annotations

from ..extension import NODES
from ..stand_in.core_nodes import CORE_NODES
from .execute import Progress, RunError, RunResult, run_workflow
from .validate import validate
from .workflow import Catalogue, Node, Workflow, load_workflow, set_inputs

__all__ = [
    "Catalogue",
    "Node",
    "Progress",
    "RunError",
    "RunResult",
    "Workflow",
    "catalogue",
    "load_workflow",
    "run_workflow",
    "set_inputs",
    "validate",
]


def catalogue() -> Catalogue:
    """Returns every node that a headless workflow can use, by node ID."""
    return {cls.GET_SCHEMA().node_id: cls for cls in (*NODES, *CORE_NODES)}
