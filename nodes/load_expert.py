"""Loads an expert: a model that generates only video or only audio."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..av_models.card_fields import check_fields, require, whole
from ..av_models.checkpoint import has_card, read_card
from ..av_models.load_parts import AUDIO_EXPERT, JOINT_LAYERS, VIDEO_EXPERT, expect
from ..av_models.published.description import description_lines
from ..av_models.published.expert_options import ExpertOptions, Found
from ..av_models.published.experts import find_expert
from ..av_models.published.load_published import is_published, published_card
from ..bounce.shipped import EXPERTS
from .expert_files import expert_names, text_encoders, title, vaes
from .expert_parts import complete
from .host import DIFFUSERS, DIFFUSION_MODELS, MODELS, io
from .model_cache import NONE, check_files, expert_path, stamp
from .precisions import AS_STORED, PRECISIONS
from .reports import report
from .sockets import AudioExpertSocket, ExpertFile, VideoExpertSocket

if TYPE_CHECKING:
    from ..av_models.published.expert_parts import Parts

SIZES = {name: whole(1, 10_000) for name in ("num_layers", "num_attention_heads", "attention_head_dim")}
SINGLE = {"num_single_layers": whole(0, 10_000)}
NOT_TRIED = "Not tried with published weights yet."
AUTOMATIC = "automatic"
LOADED_BY = {
    VIDEO_EXPERT: "a video model; use Load Video Expert",
    AUDIO_EXPERT: "an audio model; use Load Audio Expert",
    JOINT_LAYERS: "joint layers; use Load Joint Model, or joint_layers of Join Experts",
}
LABELS = {"text_encoder": "text encoder", "tokenizer": "tokenizer", "vae": "VAE"}


class _LoadExpert(io.ComfyNode):
    """Loads the Bounce expert that comes with the pack, or a file or folder of the user."""

    kind: str

    @classmethod
    def validate_inputs(cls, expert: str) -> bool | str:
        return check_files(expert, find=lambda name: expert_path(name, cls.kind))

    @classmethod
    def fingerprint_inputs(cls, expert: str, **options: str) -> tuple:
        path = expert_path(expert, cls.kind)
        parts = _parts(path, cls.kind, **options)
        return (*stamp(path, ExpertOptions() if parts is None else parts.options), options.get("precision", AS_STORED))

    @classmethod
    def _load(cls, expert: str, **options: str) -> io.NodeOutput:
        path = expert_path(expert, cls.kind)
        _check_known(path)
        parts = _parts(path, cls.kind, **options)
        if parts is not None:
            _check_kind(parts.card, cls.kind, path)
            return io.NodeOutput(
                ExpertFile(path, dict(parts.card), parts.options), ui=_family_report(path, parts, options["precision"])
            )
        published = is_published(path)
        card = published_card(path) if published else read_card(path)
        _check_kind(card, cls.kind, path)
        if not published:
            require(card, path, *(f"config.{name}" for name in SIZES))
            check_fields(card["config"], SIZES | SINGLE, path, "config.")
        return io.NodeOutput(ExpertFile(path, card), ui=_published_report(path, card) if published else _report(path, card))


class DuetLoadVideoExpert(_LoadExpert):
    """Loads a video expert."""

    kind = VIDEO_EXPERT

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DuetLoadVideoExpert",
            display_name="Load Video Expert",
            category="Duet/load",
            description="Loads a video model, to be joined with an audio model.",
            search_aliases=["duet", "text to video model", "expert", "wan", "gguf"],
            inputs=[
                _expert_input(VIDEO_EXPERT, "Wan 2.1, Wan 2.2, Stable Video Diffusion and AnimateDiff"),
                *_part_inputs(),
                io.Combo.Input(
                    "low_noise", advanced=True, options=[NONE, *expert_names()], default=NONE, optional=True,
                    tooltip="For Wan 2.2 A14B: its model for low noise. expert is then its model for high noise.",
                ),
            ],
            outputs=[VideoExpertSocket.Output(display_name="video_expert", tooltip="Connect to Join Experts.")],
        )  # fmt: skip

    @classmethod
    def execute(
        cls, expert: str, text_encoder: str = AUTOMATIC, vae: str = AUTOMATIC, precision: str = AS_STORED, low_noise: str = NONE
    ) -> io.NodeOutput:
        return cls._load(expert, text_encoder=text_encoder, vae=vae, precision=precision, low_noise=low_noise)


class DuetLoadAudioExpert(_LoadExpert):
    """Loads an audio expert."""

    kind = AUDIO_EXPERT

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DuetLoadAudioExpert",
            display_name="Load Audio Expert",
            category="Duet/load",
            description="Loads an audio model, to be joined with a video model.",
            search_aliases=["duet", "text to audio model", "expert", "tangoflux", "stable audio", "ace step"],
            inputs=[_expert_input(AUDIO_EXPERT, "TangoFlux, Stable Audio, ACE-Step, AudioLDM2 and AudioLDM"), *_part_inputs()],
            outputs=[AudioExpertSocket.Output(display_name="audio_expert", tooltip="Connect to Join Experts.")],
        )

    @classmethod
    def execute(cls, expert: str, text_encoder: str = AUTOMATIC, vae: str = AUTOMATIC, precision: str = AS_STORED) -> io.NodeOutput:
        return cls._load(expert, text_encoder=text_encoder, vae=vae, precision=precision)


def _expert_input(kind: str, published: str):
    where = (
        f"Others: {published}. Put single files in models/{DIFFUSION_MODELS} or models/checkpoints, folders in models/{MODELS} or "
        f"models/{DIFFUSERS}. {NOT_TRIED}"
    )
    return io.Combo.Input(
        "expert", options=[*EXPERTS[kind], *expert_names()], tooltip=f"The Bounce expert comes with Duet. {where}"
    )


def _part_inputs() -> list:
    return [
        io.Combo.Input(
            "text_encoder", advanced=True, options=[AUTOMATIC, *text_encoders()], default=AUTOMATIC, optional=True,
            tooltip="Encodes the prompt. automatic: the one beside the model, or a fitting one in models/text_encoders.",
        ),
        io.Combo.Input(
            "vae", advanced=True, options=[AUTOMATIC, *vaes()], default=AUTOMATIC, optional=True,
            tooltip="Encodes and decodes the clip. automatic: the one beside the model, or a fitting one in models/vae.",
        ),
        io.Combo.Input(
            "precision", advanced=True, options=list(PRECISIONS), default=AS_STORED, optional=True,
            tooltip="Precision of the model. fp8 takes half the memory of bf16, at some loss of quality.",
        ),
    ]  # fmt: skip


def _check_known(path: Path) -> None:
    """Raises ValueError, with what the file is, for a file that is no expert."""
    if is_published(path) or (path.is_file() and has_card(path)):
        return
    from ..av_models.published.detect import say_what

    raise ValueError(f"{path} holds {say_what(path)}; choose a video or audio model")


def _check_kind(card: Mapping[str, Any], kind: str, path: Path) -> None:
    """Raises ValueError, with the node that loads it, for a model of another kind."""
    other = card.get("kind")
    if other != kind and other in LOADED_BY:
        raise ValueError(f"{path} holds {LOADED_BY[other]}")
    expect(card, "kind", (kind,), path)


def _parts(
    path: Path, kind: str, text_encoder: str = AUTOMATIC, vae: str = AUTOMATIC, precision: str = AS_STORED, low_noise: str = NONE
) -> Parts | None:
    """Returns the options and parts of an expert; None for one of a family without options.

    Raises ValueError for options that the expert does not have.
    """
    given = {"text_encoder": text_encoder, "vae": vae, "precision": precision, "low_noise": low_noise}
    found = find_expert(path)
    if found is None:
        _require_defaults(path, given)
        return None
    options = ExpertOptions(
        **PRECISIONS[precision],
        text_encoder=None if text_encoder == AUTOMATIC else _chosen("text_encoder", text_encoder, text_encoders(), found),
        vae=None if vae == AUTOMATIC else _chosen("vae", vae, vaes(), found),
        low_noise=None if low_noise == NONE else expert_path(low_noise, kind),
    )
    return complete(path, found, options)


def _require_defaults(path: Path, given: Mapping[str, str]) -> None:
    for name, value in given.items():
        if value not in (AUTOMATIC, NONE, AS_STORED):
            default = {"precision": AS_STORED, "low_noise": NONE}.get(name, AUTOMATIC)
            raise ValueError(f"{name} is {value}, which {title(path)} does not have; set {name} to {default}")


def _chosen(part: str, name: str, files: Mapping[str, Path], found: Found) -> Path:
    """Returns a chosen file or folder. Raises FileNotFoundError if it is gone, and ValueError if it is of another model."""
    from ..av_models.published.expert_parts import check_part

    if name not in files:
        raise FileNotFoundError(f"{part} {name!r} was not found; choose another, or {AUTOMATIC}")
    check_part(part, files[name], found)
    return files[name]


def _family_report(path: Path, parts: Parts, precision: str) -> dict:
    card = parts.card
    loaded = "" if precision == AS_STORED else f", loaded as {precision}"
    lines = [*description_lines(card), f"precision: {card['precision']}{loaded}"]
    lines += [f"{LABELS[part]}: {name}" for part, name in parts.chosen.items()]
    facts = {
        name: card[name]
        for name in ("architecture", "licence", "parameters", "bytes", "precision", "capabilities", "needs", "notes")
    }
    warnings = parts.missing(find_expert(path))
    return report(*lines, warnings=warnings, expert=title(path), parts=dict(parts.chosen), **facts)


def _published_report(path: Path, card: dict) -> dict:
    return report(f"{title(path)}: {card['architecture']}", expert=title(path), architecture=card["architecture"])


def _report(path: Path, card: dict) -> dict:
    size = _size(card["config"])
    line = f"{path.stem}: {size['blocks']} blocks, {size['heads']} heads of size {size['head_size']}"
    return report(line, expert=path.stem, **size)


def _size(config: dict) -> dict[str, int]:
    """Returns the sizes that decide whether two experts fit together."""
    return {
        "blocks": config["num_layers"] + config.get("num_single_layers", 0),
        "heads": config["num_attention_heads"],
        "head_size": config["attention_head_dim"],
    }
