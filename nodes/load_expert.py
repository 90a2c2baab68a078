"""Loads an expert: a model that generates only video or only audio."""

from __future__ import annotations

from pathlib import Path

from ..av_models.card_fields import check_fields, require, whole
from ..av_models.checkpoint import read_card
from ..av_models.load_parts import AUDIO_EXPERT, VIDEO_EXPERT, expect
from ..av_models.published.load_published import is_published, published_card
from ..bounce.shipped import EXPERTS
from .expert_files import expert_names, title
from .host import DIFFUSERS, MODELS, io
from .model_cache import check_files, expert_path, stamp
from .reports import report
from .sockets import AudioExpertSocket, ExpertFile, VideoExpertSocket

SIZES = {name: whole(1, 10_000) for name in ("num_layers", "num_attention_heads", "attention_head_dim")}
SINGLE = {"num_single_layers": whole(0, 10_000)}
NOT_TRIED = "Not tried with published weights yet."


class _LoadExpert(io.ComfyNode):
    """Loads the Bounce expert that comes with the pack, or a file or folder of the user."""

    kind: str

    @classmethod
    def validate_inputs(cls, expert: str) -> bool | str:
        return check_files(expert, find=lambda name: expert_path(name, cls.kind))

    @classmethod
    def fingerprint_inputs(cls, expert: str) -> tuple:
        return stamp(expert_path(expert, cls.kind))

    @classmethod
    def execute(cls, expert: str) -> io.NodeOutput:
        path = expert_path(expert, cls.kind)
        published = is_published(path)
        card = published_card(path) if published else read_card(path)
        expect(card, "kind", (cls.kind,), path)
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
            search_aliases=["duet", "text to video model", "expert"],
            inputs=[_expert_input(VIDEO_EXPERT, "Stable Video Diffusion or AnimateDiff")],
            outputs=[VideoExpertSocket.Output(display_name="video_expert", tooltip="Connect to Join Experts.")],
        )


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
            search_aliases=["duet", "text to audio model", "expert"],
            inputs=[_expert_input(AUDIO_EXPERT, "AudioLDM2 or AudioLDM")],
            outputs=[AudioExpertSocket.Output(display_name="audio_expert", tooltip="Connect to Join Experts.")],
        )


def _expert_input(kind: str, published: str):
    where = f"Put other files in models/{MODELS}. Diffusers folders of {published} can also be in models/{DIFFUSERS}. {NOT_TRIED}"
    return io.Combo.Input(
        "expert", options=[*EXPERTS[kind], *expert_names()], tooltip=f"The Bounce expert comes with Duet. {where}"
    )


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
