"""Running workflows without ComfyUI: read, check everything, then run."""

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
    """Every node that a headless workflow may use, by its id."""
    return {cls.GET_SCHEMA().node_id: cls for cls in (*NODES, *CORE_NODES)}
