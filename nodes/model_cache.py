"""A weak cache of joint models and binders: no model is loaded twice, and each is freed when it is no longer used."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from weakref import WeakValueDictionary

import torch

from ..av_models.checkpoint import sidecar_file
from ..av_models.load_parts import codec_files
from ..av_models.loading import watch_loading
from ..av_models.paused_gc import paused_gc
from ..av_models.published.expert_options import ExpertOptions
from ..av_models.published.joint import LoadOptions, family_files, find_family
from ..av_models.published.load_published import published_files
from ..av_models.published.pe_av_folder import pe_av_files
from ..bounce.shipped import BINDERS, BOUNCE, EXPERTS, JOINT_MODELS, shipped
from .binder_files import binder_folders, find_binder
from .expert_files import find_expert, title
from .host import check_interrupt, clip_tokenizer, find_model, on_gpu, report_progress
from .joint_files import find_joint, is_joint_checkpoint
from .sockets import ExpertFile

COMES_WITH_DUET = (*JOINT_MODELS, *BINDERS)
MEGABYTE = 10**6
NONE = "none"  # the choice for no model
_loaded: WeakValueDictionary = WeakValueDictionary()


def load(name: str, options: LoadOptions = LoadOptions()):
    """Returns the joint model called `name`: one that comes with Duet, or a file or folder of the user.

    options: how a published model is loaded.
    """
    from ..bounce.shipped import load_joint_model  # imports diffusers: only when a model is loaded

    source, key = _source(name, find_joint), fingerprint(name)
    if not isinstance(source, str) and is_joint_checkpoint(source):
        return _load_pair(source, key, options)
    if isinstance(source, str) or not find_family(source):
        return _cached(key, lambda: load_joint_model(source))
    with watch_loading(_Progress(family_files(source))):
        return _cached((*key, options), lambda: load_joint_model(source, options))


def _load_pair(path: Path, key: tuple, options: LoadOptions):
    """Returns the pair of a joint checkpoint, with experts that are among the user's files."""
    from ..bounce.shipped import load_joint_model
    from .joint_experts import find_sources

    sources = find_sources(path, options)
    stamps = tuple(None if each is None else (*stamp(each.path, each.options), each.options) for each in sources.values())
    return _cached((*key, options, stamps), lambda: load_joint_model(path, options, lambda entry: sources[entry["stream"]]))


class _Progress:
    """Shows how much of a model's `files` has been loaded."""

    def __init__(self, files: Sequence[Path]) -> None:
        self.total, self.done = sum(file.stat().st_size for file in files), 0

    def __call__(self, count: int) -> None:
        check_interrupt()
        self.done += count
        report_progress(*(max(1, round(count / MEGABYTE)) for count in (min(self.done, self.total), self.total)))


def load_binder(name: str):
    """Returns the binder called `name`: one that comes with Duet, or a file or folder of the user."""
    from ..bounce import binder

    source = _source(name, find_binder)
    return _cached(("binder", *fingerprint(name)), lambda: binder.load_binder(source, clip_tokenizer()))


def join(video: ExpertFile, audio: ExpertFile, video_codec: Path, audio_codec: Path, joint_blocks: int, layers: Path | None):
    """Returns the joint model of two experts.

    video_codec, audio_codec: files of the codecs they were trained with; published experts include their own.
    layers: a file of trained joint layers, or None for an untrained pair.
    """
    with paused_gc():
        from ..av_models.joining import join_experts

    files = video.path, audio.path, video_codec, audio_codec
    name = f"{title(video.path)} + {title(audio.path)}"
    options = [replace(each.options or ExpertOptions(), keep_dtype=on_gpu()) for each in (video, audio)]
    stamps = stamp(video.path, options[0]), stamp(audio.path, options[1]), stamp(video_codec), stamp(audio_codec)
    key = (*stamps, *options, joint_blocks, layers and stamp(layers))
    settings = {"joint_blocks": joint_blocks or None, "name": name, "layers": layers}
    read = [file for path, each in zip(files, options) for file in published_files(path, each)]
    with watch_loading(_Progress(list(dict.fromkeys(read)))):
        return _cached(key, lambda: join_experts(*files, **settings, video_options=options[0], audio_options=options[1]))


def expert_path(name: str, kind: str) -> Path:
    """Returns the file or folder of an expert: one of that `kind` that comes with Duet, or the user's expert called `name`."""
    included = EXPERTS[kind]
    return shipped(included[name]) if name in included else find_expert(name)


def part_file(name: str, part: str) -> Path:
    """Returns the file of a `part`, such as "video_codec": Bounce's, or the user's file called `name`."""
    return shipped(part) if name == BOUNCE else Path(find_model(name))


def check_files(*names: str | None, find: Callable[[str], Path] = find_model) -> bool | str:
    """Returns True, or what is wrong with a file, for `validate_inputs`. None (connected to a node) and NONE are accepted."""
    try:
        for name in names:
            if name not in (None, NONE, *COMES_WITH_DUET):
                find(name)
    except (FileNotFoundError, ValueError) as error:
        return str(error)
    return True


def fingerprint(*names: str) -> tuple:
    """Returns a value that changes when one of the named files changes, or a codec file in its folder."""
    return tuple(each for name in names for each in _fingerprint(name))


def _fingerprint(name: str) -> tuple:
    if name in (NONE, *COMES_WITH_DUET):
        return (name,)
    if folder := binder_folders().get(name):
        return tuple((str(file), (stat := file.stat()).st_mtime_ns, stat.st_size) for file in pe_av_files(folder))
    path = find_joint(name)
    files = family_files(path) if find_family(path) else (path, *codec_files(path))
    return tuple(each for file in files for each in stamp(file))


def _source(name: str, find: Callable[[str], Path] = find_model) -> str | Path:
    return name if name in COMES_WITH_DUET else find(name)


def stamp(path: str | Path, options: ExpertOptions = ExpertOptions()) -> tuple:
    """Returns a value that changes when the file at `path`, its `.card.json`, or any file that it is loaded with changes.

    options: how a published expert is loaded.
    """
    sidecar = sidecar_file(Path(path))
    stats = [(file, file.stat()) for file in (*published_files(path, options), *([sidecar] if sidecar.is_file() else []))]
    return tuple((str(file.resolve()), stat.st_mtime_ns, stat.st_size) for file, stat in stats)


@torch.inference_mode(False)
def _cached(key: tuple, make: Callable):
    """Returns the cached model, or makes it. Not in ComfyUI's inference mode: the aligner needs gradients."""
    model = _loaded.get(key)
    if model is None:
        model = _loaded[key] = make()
    return model
