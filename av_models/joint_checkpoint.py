"""Joint checkpoints: what a trained pair has beyond its two experts, with the names of the experts it belongs to.

A file holds the joint layers alone ("joint"), these and a LoRA of each expert ("lora"), or all weights ("full"). Tensors have the
names of `AVFullDiT`; those of a LoRA follow diffusers, such as `video.transformer.blocks.0.attn1.to_q.lora_A.weight`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast

import torch
from torch import Tensor

from .build_from_card import one_line
from .card_fields import JOINT_CHECKPOINT, check_fields, require
from .checkpoint import check_fit, copy_tensors, open_tensors, read_card, read_shapes, real_tensor, save_checkpoint
from .content_hash import content_hash
from .contract import StreamName
from .joint.avfulldit import AVFullDiT
from .joint_model import JointModel
from .load_parts import JOINT_LAYERS, expect
from .load_streams import join_conditioners, load_streams
from .pair_card import describe_pair, pair_sampling
from .printable import printable
from .published.build_pair import ROPES, weave
from .published.description import without_length_note
from .published.expert_options import ExpertOptions
from .published.experts import find_expert
from .published.joint import LoadOptions
from .published.loaded_expert import LoadedExpert
from .shapes import VideoShape

Contents = Literal["joint", "lora", "full"]
CONTENTS = ("joint", "lora", "full")
NEW, TOWERS = "new_heads.", ("video.", "audio.")
LORA, BASE, ADAPTER = ".lora_", ".base_layer", "default"  # of peft's names of a LoRA, of what it changes, and of one in training
ENDS = (f"A.{ADAPTER}.weight", f"B.{ADAPTER}.weight", "A.weight", "B.weight")
STREAMS: tuple[StreamName, StreamName] = ("video", "audio")
TOGETHER = "text to video with audio"
CLIP = ("frames", "height", "width", "fps")


@dataclass(frozen=True)
class ExpertSource:
    """An expert that was found for a joint checkpoint. options: how it is loaded, and the files of its other parts."""

    path: Path
    options: ExpertOptions | None = None


Find = Callable[[dict[str, str]], "Path | ExpertSource | None"]
"""Finds an expert by its entry in the card, {"stream", "model", "hash", "source"}; None if the user does not have it."""


def expert_entry(path: str | Path, source: str = "") -> dict[str, str]:
    """Return how a card names an expert: {"model", "hash", "source"}.

    source: where it comes from, such as the name of a repository; "": the name of the file or folder.
    """
    found, path = find_expert(path), Path(path)
    return {"model": found.model if found else path.stem, "hash": content_hash(path), "source": source or path.name}


def joint_tensors(denoiser: AVFullDiT, kind: Contents = "joint") -> dict[str, Tensor]:
    """Return the tensors that a file of this kind holds, by their names in it."""
    if kind == "full":
        return {name.replace(BASE, ""): value for name, value in denoiser.state_dict().items() if LORA not in name}
    heads = {NEW + name: value for name, value in denoiser.new_heads.state_dict().items()}
    return heads | (_named_lora(denoiser.state_dict(), denoiser) if kind == "lora" else {})


def save_joint_layers(  # noqa: PLR0913 (the pair, and what is said of it)
    path: str | Path,
    denoiser: AVFullDiT,
    video: str | Path | Mapping[str, str],
    audio: str | Path | Mapping[str, str],
    *,
    kind: Contents = "joint",
    card: Mapping[str, Any],
    tensors: Mapping[str, Tensor] | None = None,
) -> None:
    """Write what a trained AVFullDiT has beyond its experts.

    video, audio: the files or folders of the experts, or their entries (`expert_entry`).
    card: at least `clip` {"frames", "height", "width", "fps"}; further fields, such as `name` and `sampling`, are kept.
    tensors: in place of the denoiser's own, by the names in the denoiser or in the file (see `joint_tensors`).
    """
    held = joint_tensors(denoiser, kind) if tensors is None else dict(tensors)
    if tensors is not None and kind == "lora":
        held = {name: value for name, value in held.items() if LORA not in name} | _named_lora(held, denoiser)
    entries = {s: dict(of) if isinstance(of, Mapping) else expert_entry(of) for s, of in zip(STREAMS, (video, audio))}
    own: dict[str, Any] = {
        "kind": JOINT_LAYERS, "architecture": "AVFullDiT", "name": "AVFullDiT", "trained": True, "contains": kind,
        "joint_blocks": denoiser.joint_blocks, "attention": denoiser.attention,
        "rope": "vanilla" if denoiser.sync is None else "avsync", "experts": entries,
    }  # fmt: skip
    save_checkpoint(path, held, own | dict(card))


def load_joint_layers(path: str | Path, find: Find | None = None, options: LoadOptions = LoadOptions()) -> JointModel:
    """Load a trained pair from its joint checkpoint.

    find: finds the experts (see `Find`); None: among the files and folders beside the checkpoint, by their contents.
    options: how both experts are loaded, unless `find` says so.
    Raises FileNotFoundError, in one line, that says which experts are missing and where they come from.
    """
    path = Path(path)
    card = read_joint_card(path)
    find = find or find_in(path.parent)
    entries = {stream: {"stream": stream} | card["experts"][stream] for stream in STREAMS}
    found = {stream: find(entry) for stream, entry in entries.items()}
    missing = [_missing(entries[stream]) for stream in STREAMS if found[stream] is None]
    if missing:
        them = "it" if len(missing) == 1 else "them"
        raise FileNotFoundError(f"{path} needs {' and '.join(missing)}; download {them}, or choose the experts with Join Experts")
    sources = [_source(cast("Path | ExpertSource", found[stream]), options) for stream in STREAMS]
    codecs = [_codec_beside(path, card, stream) for stream in STREAMS]
    files = sources[0].path, sources[1].path, codecs[0], codecs[1]
    experts = load_streams(files, tuple(cast(ExpertOptions, source.options) for source in sources))
    return join_with_layers(path, card, experts, card["name"], files[:2])


def join_with_layers(
    path: str | Path, card: dict[str, Any], experts: tuple[LoadedExpert, LoadedExpert], name: str, files: tuple[str | Path, ...]
) -> JointModel:
    """Join two loaded experts by the joint layers of a checkpoint.

    files: of the experts. A line of the card's `notes` says if they are not the ones that the checkpoint names.
    Raises ValueError, in one line and with the numbers, for experts that do not fit each other or the checkpoint.
    """
    check_joint_card(card, path)
    video, audio = experts
    with one_line(path, "AVFullDiT"):
        clip = VideoShape(**card["clip"])
    try:
        denoiser = weave(video, audio, card["joint_blocks"], card["rope"], clip, card.get("attention", "full"))
    except ValueError as error:
        raise ValueError(f"{path} does not fit these experts: {error}") from error
    _load_tensors(denoiser, card, path)
    audio_codec = audio.codec.with_steps(card.get("audio_steps", 0)) if hasattr(audio.codec, "with_steps") else audio.codec
    described = describe_pair(video, audio, _other_experts(card, files))
    if "capabilities" in described:
        described["capabilities"] = [TOGETHER, *described["capabilities"]]
        described["parameters"] += sum(parameter.numel() for parameter in denoiser.new_heads.parameters())
    notes = described["notes"] if audio_codec.stride.steps else without_length_note(described["notes"])
    sampling = pair_sampling(video, audio, trained=True) | card.get("sampling", {})
    own = {"kind": "joint", "name": name, "notes": notes, **({"sampling": sampling} if sampling else {})}
    joined = described | card | own
    return JointModel(
        joined, denoiser.eval().requires_grad_(False), video.codec, audio_codec, join_conditioners(video, audio), clip=clip
    )


def is_joint_checkpoint(path: str | Path) -> bool:
    """Return whether a file is a joint checkpoint of an AVFullDiT. A damaged file is none."""
    try:
        card = read_card(path)
    except (ValueError, OSError):
        return False
    return (card.get("kind"), card.get("architecture")) == (JOINT_LAYERS, "AVFullDiT")


def read_joint_card(path: str | Path) -> dict[str, Any]:
    """Read the card of a joint checkpoint. Raises ValueError or FileNotFoundError, in one line, if it is none."""
    card = read_card(path)
    check_joint_card(card, path)
    return card


def check_joint_card(card: dict[str, Any], path: str | Path) -> None:
    """Raise ValueError, in one line, unless a card describes a joint checkpoint of an AVFullDiT."""
    expect(card, "kind", (JOINT_LAYERS,), path)
    expect(card, "architecture", ("AVFullDiT",), path)
    expect(card, "contains", CONTENTS, path)
    expect(card, "rope", ROPES, path)
    require(card, path, "name", "trained", "joint_blocks", *(f"clip.{field}" for field in CLIP))
    check_fields(card, JOINT_CHECKPOINT, path)
    require(card, path, *(f"experts.{stream}.{field}" for stream in STREAMS for field in ("model", "hash", "source")))


def match_hash(entry: Mapping[str, str], paths: Iterable[Path]) -> Path | None:
    """Return the first of these files and folders with the contents of an entry's expert. Unreadable ones are left out."""
    return next((path for path in paths if _matches(entry, path)), None)


def find_in(folder: Path) -> Find:
    """Return a function that finds experts among the files and folders in `folder`, by their contents."""
    paths = sorted(path for path in folder.iterdir() if path.is_dir() or path.suffix in (".safetensors", ".gguf"))
    return lambda entry: match_hash(entry, paths)


def _matches(entry: Mapping[str, str], path: Path) -> bool:
    try:
        found = find_expert(path)
        if found is not None and found.model != entry["model"]:
            return False
        return content_hash(path) == entry["hash"]
    except (ValueError, OSError):
        return False


def _missing(entry: Mapping[str, str]) -> str:
    source = f" ({printable(entry['source'])})" if entry["source"] else ""
    return f"the {entry['stream']} expert {printable(entry['model'])}{source}"


def _source(found: Path | ExpertSource, options: LoadOptions) -> ExpertSource:
    source = found if isinstance(found, ExpertSource) else ExpertSource(found)
    return source if source.options else replace(source, options=ExpertOptions(**vars(options)))


def _codec_beside(path: Path, card: Mapping[str, Any], stream: StreamName) -> Path:
    """Return the codec file that experts in Duet's format need, which the card may name."""
    return path.parent / str(card.get("codecs", {}).get(stream, "none"))


def _other_experts(card: Mapping[str, Any], files: tuple[str | Path, ...]) -> list[str]:
    lines = []
    for stream, file in zip(STREAMS, files):
        entry = card["experts"][stream]
        if content_hash(file) != entry["hash"]:
            lines.append(f"the {stream} expert {Path(file).name} is not the file that the joint layers were trained with, "
                         f"{printable(entry['model'])}: results may differ")  # fmt: skip
    return lines


def _load_tensors(denoiser: AVFullDiT, card: Mapping[str, Any], path: str | Path) -> None:
    """Copy the tensors of a checkpoint into the denoiser, or add its LoRA."""
    shapes, kind = read_shapes(path), card["contains"]
    if kind == "full" and any(hasattr(parameter, "quant_type") for parameter in denoiser.parameters()):
        raise ValueError(f"{path} has all weights of the experts, which a GGUF file does not take; load the experts without gguf")
    network, prefix = (denoiser, "") if kind == "full" else (denoiser.new_heads, NEW)
    own = {name: value for name, value in network.state_dict().items() if LORA not in name}
    names = {name: prefix + name.replace(BASE, "") for name in own}
    extra = [name for name in shapes if name not in names.values() and not (kind == "lora" and name.startswith(TOWERS))]
    needed = {names[name]: tuple(value.shape) for name, value in own.items()}
    found = {name: shape for name, shape in shapes.items() if name in needed or name in extra}
    check_fit(needed, found, "AVFullDiT of these experts", path)
    copy_tensors(network, path, names)
    if kind == "lora":
        _add_lora(denoiser, path)


def _named_lora(tensors: Mapping[str, Tensor], denoiser: AVFullDiT) -> dict[str, Tensor]:
    """Return the LoRA in training among these tensors, by its names in a file, with its alphas; no LoRA file that was loaded."""
    found = {}
    for name, value in tensors.items():
        layer, _, end = name.partition(LORA)
        if end in ENDS:
            found[f"{layer}{LORA}{end[0]}.weight"] = value
    layers = [name.removesuffix(f"{LORA}A.weight") for name in found if name.endswith(f"{LORA}A.weight")]
    return found | {f"{layer}.alpha": torch.tensor(float(_alpha(denoiser, layer))) for layer in layers}


def _alpha(denoiser: AVFullDiT, layer: str) -> float:
    """Return the alpha of a LoRA layer of peft: the strength of its change times its rank."""
    module: Any = denoiser.get_submodule(layer)
    return module.scaling[ADAPTER] * module.r[ADAPTER]


def _add_lora(denoiser: AVFullDiT, path: str | Path) -> None:
    from .published.lora import apply_lora_tensors

    with open_tensors(Path(path)) as file:
        for stream in STREAMS:
            start = f"{stream}."
            tensors = {key.removeprefix(start): real_tensor(file, key, path) for key in file.keys() if key.startswith(start)}
            if tensors:
                expert: Any = getattr(denoiser, stream)
                apply_lora_tensors(expert.transformer, tensors, source=path)
