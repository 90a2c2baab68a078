"""Joint models and binders in use: the same model is never in memory twice, and no longer than something holds it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from weakref import WeakValueDictionary

import torch

from ..av_models.load_parts import codec_files
from ..av_models.published.load_published import published_files
from ..bounce.shipped import BINDERS, BOUNCE, EXPERTS, JOINT_MODELS, shipped
from .expert_files import find_expert, title
from .host import clip_tokenizer, find_model, on_gpu
from .types import ExpertFile

COMES_WITH_DUET = (*JOINT_MODELS, *BINDERS)
NONE = "none"
"""What a widget says whose model may be left out."""
_loaded: WeakValueDictionary = WeakValueDictionary()


def load(name: str):
    """The joint model called `name`: one that comes with Duet, or a file of the user's."""
    from ..bounce.shipped import load_joint_model  # diffusers: only once a model is wanted

    source = _source(name)
    return _once(fingerprint(name), lambda: load_joint_model(source))


def binder(name: str):
    """The binder called `name`: a Bounce-Bind, or a file of the user's."""
    from ..bounce.binder import load_binder

    source = _source(name)
    return _once(("binder", *fingerprint(name)), lambda: load_binder(source, clip_tokenizer()))


def join(video: ExpertFile, audio: ExpertFile, video_codec: Path, audio_codec: Path, joint_blocks: int, layers: Path | None):
    """The joint model of two experts and the codecs they were trained with; published experts bring their own. `layers`:
    what was trained to go between the two."""
    from ..av_models.joining import join_experts

    files = video.path, audio.path, video_codec, audio_codec
    name = f"{title(video.path)} + {title(audio.path)}"
    key = (*map(stamp, files), joint_blocks, layers and stamp(layers))
    options = {"joint_blocks": joint_blocks, "name": name, "own_precision": on_gpu(), "layers": layers}
    return _once(key, lambda: join_experts(*files, **options))


def expert_path(name: str, kind: str) -> Path:
    """An expert's file or folder: one of that `kind` that comes with Duet, or the user's called `name`."""
    ours = EXPERTS[kind]
    return shipped(ours[name]) if name in ours else find_expert(name)


def part_file(name: str, part: str) -> Path:
    """The file of a `part`, as `video_expert`: Bounce's own, or the user's called `name`."""
    return shipped(part) if name == BOUNCE else Path(find_model(name))


def present(*names: str | None, find: Callable[[str], Path] = find_model) -> bool | str:
    """True, or which file there is not; for `validate_inputs`. None: it comes from another node; NONE: it is left out."""
    try:
        for name in names:
            if name not in (None, NONE, *COMES_WITH_DUET):
                find(name)
    except FileNotFoundError as error:
        return str(error)
    return True


def fingerprint(*names: str) -> tuple:
    """Changes when a file called so does, or a codec beside it."""
    return tuple(each for name in names for each in _fingerprint(name))


def _fingerprint(name: str) -> tuple:
    if name in (NONE, *COMES_WITH_DUET):
        return (name,)
    path = Path(find_model(name))
    return tuple(each for file in (path, *codec_files(path)) for each in stamp(file))


def _source(name: str) -> str | Path:
    return name if name in COMES_WITH_DUET else find_model(name)


def stamp(path: str | Path) -> tuple:
    """Changes when the file, or one in the diffusers folder, does."""
    stats = [(file, file.stat()) for file in published_files(path)]
    return tuple((str(file.resolve()), stat.st_mtime_ns, stat.st_size) for file, stat in stats)


@torch.inference_mode(False)
def _once(key: tuple, make: Callable):
    """Made once, and out of the inference mode in which ComfyUI runs nodes: an aligner wants gradients."""
    model = _loaded.get(key)
    if model is None:
        model = _loaded[key] = make()
    return model
