"""Loading an expert: a network that makes pictures or sound alone."""

from __future__ import annotations

from ..av_models.checkpoint import read_card
from ..av_models.loading import AUDIO_EXPERT, VIDEO_EXPERT, expect
from .host import MODELS, io
from .load_joint_model import file_input
from .model_cache import part_file, present, stamp
from .types import CATEGORY, AudioExpertSocket, ExpertFile, VideoExpertSocket, report


class _LoadExpert(io.ComfyNode):
    """Bounce's expert, which comes with the pack, or a file in models/duet."""

    kind: str

    @classmethod
    def validate_inputs(cls, expert: str) -> bool | str:
        return present(expert)

    @classmethod
    def fingerprint_inputs(cls, expert: str) -> tuple:
        return stamp(part_file(expert, cls.kind))

    @classmethod
    def execute(cls, expert: str) -> io.NodeOutput:
        path = part_file(expert, cls.kind)
        card = read_card(path)
        expect(card, "kind", (cls.kind,), path)
        size = _size(card["config"])
        line = f"{path.stem}: {size['blocks']} blocks of {size['heads']} heads × {size['head_size']}"
        return io.NodeOutput(ExpertFile(path, card), ui=report(line, expert=path.stem, **size))


class DuetLoadVideoExpert(_LoadExpert):
    """Makes pictures; joined with an audio expert it hears."""

    kind = VIDEO_EXPERT

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DuetLoadVideoExpert",
            display_name="Load Video Expert",
            category=CATEGORY,
            description="Loads a model that makes pictures, to be joined with one that makes sound.",
            search_aliases=["duet", "text to video model", "expert"],
            inputs=[file_input("expert", f"Bounce's comes with Duet. Put other files in models/{MODELS}.")],
            outputs=[VideoExpertSocket.Output(display_name="video_expert", tooltip="To Join Experts.")],
        )


class DuetLoadAudioExpert(_LoadExpert):
    """Makes sound; joined with a video expert it sees."""

    kind = AUDIO_EXPERT

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DuetLoadAudioExpert",
            display_name="Load Audio Expert",
            category=CATEGORY,
            description="Loads a model that makes sound, to be joined with one that makes pictures.",
            search_aliases=["duet", "text to audio model", "expert"],
            inputs=[file_input("expert", f"Bounce's comes with Duet. Put other files in models/{MODELS}.")],
            outputs=[AudioExpertSocket.Output(display_name="audio_expert", tooltip="To Join Experts.")],
        )


def _size(config: dict) -> dict[str, int]:
    """What decides whether two experts fit."""
    return {
        "blocks": config["num_layers"] + config.get("num_single_layers", 0),
        "heads": config["num_attention_heads"],
        "head_size": config["attention_head_dim"],
    }
