"""Joint models in use: the same file is never in memory twice, and no longer than something holds it."""

from __future__ import annotations

from pathlib import Path
from weakref import WeakValueDictionary

from .host import find_model

_loaded: WeakValueDictionary = WeakValueDictionary()
BOUNCE = "Bounce"


def load(name: str):
    """The joint model called `name`: `Bounce`, or a file of the user's."""
    from ..av_models.joint_model import load_joint_model  # diffusers: only once a model is wanted

    source = name if name == BOUNCE else find_model(name)
    key = fingerprint(name)
    model = _loaded.get(key)
    if model is None:
        model = _loaded[key] = load_joint_model(source)
    return model


def fingerprint(name: str) -> tuple:
    """Changes when the file called `name` does."""
    if name == BOUNCE:
        return (BOUNCE,)
    path = Path(find_model(name))
    stat = path.stat()
    return str(path.resolve()), stat.st_mtime_ns, stat.st_size
