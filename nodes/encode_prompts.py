"""Words into conditions: one prompt for the picture, one for the sound, and what to keep away from."""

from __future__ import annotations

from .host import io, on_device
from .types import CATEGORY, JointModelSocket, Prompts, PromptsSocket, report


class DuetEncodePrompts(io.ComfyNode):
    """Unknown words are named, with the nearest known ones, and left out."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DuetEncodePrompts",
            display_name="Prompts for Picture and Sound",
            category=CATEGORY,
            description="Says what to see and what to hear. Words that the model does not know are named and left out.",
            search_aliases=["duet", "text encode", "prompt"],
            inputs=[
                JointModelSocket.Input("model", tooltip="The model whose words these are."),
                _text("video_prompt", "What to see. Empty: anything."),
                _text("audio_prompt", "What to hear. Empty: anything."),
                _text("video_negative", "What to keep out of the picture. Usually empty."),
                _text("audio_negative", "What to keep out of the sound. Usually empty."),
            ],
            outputs=[PromptsSocket.Output(display_name="prompts", tooltip="To the sampler.")],
        )

    @classmethod
    def execute(cls, model, video_prompt: str, audio_prompt: str, video_negative: str, audio_negative: str) -> io.NodeOutput:
        on_device(model)
        unknown = model.unknown_words(video_prompt, audio_prompt)
        unknown += [line.replace("_prompt", "_negative", 1) for line in model.unknown_words(video_negative, audio_negative)]
        empty = [
            f"{name} is empty: the {part} may be anything"
            for name, part, text in (("video_prompt", "picture", video_prompt), ("audio_prompt", "sound", audio_prompt))
            if not text.strip()
        ]
        words = (video_prompt, audio_prompt), (video_negative, audio_negative)
        prompts = Prompts(*(model.encode(*pair) for pair in words), words)
        return io.NodeOutput(prompts, ui=report(*unknown, *empty, unknown_words=unknown, empty=empty))


def _text(name: str, tooltip: str):
    return io.String.Input(name, default="", multiline=True, tooltip=tooltip)
