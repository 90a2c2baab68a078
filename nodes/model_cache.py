"""Joint models in use: the same model is never in memory twice, and no longer than something holds it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from weakref import WeakValueDictionary

from ..av_models.loading import BOUNCE, shipped
from .host import find_model
from .types import ExpertFile

_loaded: WeakValueDictionary = WeakValueDictionary()


def load(name: str):
    """The joint model called `name`: `Bounce`, or a file of the user's."""
    from ..av_models.joint_model import load_joint_model  # diffusers: only once a model is wanted

    source = name if name == BOUNCE else find_model(name)
    return _once(fingerprint(name), lambda: load_joint_model(source))


def join(video: ExpertFile, audio: ExpertFile, video_codec: Path, audio_codec: Path, joint_blocks: int):
    """The joint model of two experts and the codecs they were trained with."""
    from ..av_models.joint_model import join_experts

    files = video.path, audio.path, video_codec, audio_codec
    name = f"{video.path.stem} + {audio.path.stem}"
    key = (*map(stamp, files), joint_blocks)
    return _once(key, lambda: join_experts(*files, joint_blocks=joint_blocks, name=name))


def part_file(name: str, part: str) -> Path:
    """The file of a `part`, as `video_expert`: Bounce's own, or the user's called `name`."""
    return shipped(part) if name == BOUNCE else Path(find_model(name))


def present(*names: str | None) -> bool | str:
    """True, or which file there is not; for `validate_inputs`. None: it comes from another node."""
    try:
        for name in names:
            if name not in (None, BOUNCE):
                find_model(name)
    except FileNotFoundError as error:
        return str(error)
    return True


def fingerprint(name: str) -> tuple:
    """Changes when the file called `name` does."""
    return (BOUNCE,) if name == BOUNCE else stamp(find_model(name))


def stamp(path: str | Path) -> tuple:
    """Changes when the file does."""
    stat = Path(path).stat()
    return str(Path(path).resolve()), stat.st_mtime_ns, stat.st_size


def _once(key: tuple, make: Callable):
    model = _loaded.get(key)
    if model is None:
        model = _loaded[key] = make()
    return model
