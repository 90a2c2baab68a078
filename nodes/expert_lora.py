"""Adds a LoRA to an expert."""

from __future__ import annotations

from dataclasses import replace

from .expert_files import title
from .host import LORAS, files_of, io
from .lora_files import find_lora
from .model_cache import stamp
from .reports import report
from .sockets import AudioExpertSocket, ExpertFile, VideoExpertSocket


class _ExpertLora(io.ComfyNode):
    """Adds a LoRA file to the options that an expert is loaded with."""

    @classmethod
    def fingerprint_inputs(cls, lora: str, strength: float, **expert) -> tuple:
        return (*stamp(find_lora(lora)), strength)

    @classmethod
    def _add(cls, expert: ExpertFile, lora: str, strength: float) -> io.NodeOutput:
        from ..av_models.published.detect import detect, say_what

        path = find_lora(lora)
        found = detect(path)
        if found is None or found.kind != "lora":
            raise ValueError(f"{path} holds {say_what(path)}; choose a LoRA")
        if expert.options is None:
            raise ValueError(f"{title(expert.path)} takes no LoRA; use one of Wan or TangoFlux")
        loras = expert.options.loras if strength == 0 else (*expert.options.loras, (path, strength))
        line = f"{title(expert.path)} with {path.stem}, strength {strength:g}"
        return io.NodeOutput(
            replace(expert, options=replace(expert.options, loras=loras)), ui=report(line, lora=path.stem, strength=strength)
        )


class DuetVideoExpertLora(_ExpertLora):
    """Adds a LoRA to a video expert."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DuetVideoExpertLora",
            display_name="Load Video Expert LoRA",
            category="Duet/load",
            description="Adds a LoRA to a video model, such as Wan. Several nodes in a row add several.",
            search_aliases=["duet", "lora", "wan lora", "video lora"],
            inputs=[VideoExpertSocket.Input("video_expert", tooltip="From Load Video Expert."), *_lora_inputs()],
            outputs=[VideoExpertSocket.Output(display_name="video_expert", tooltip="Connect to Join Experts.")],
        )

    @classmethod
    def execute(cls, video_expert, lora: str, strength: float) -> io.NodeOutput:
        return cls._add(video_expert, lora, strength)


class DuetAudioExpertLora(_ExpertLora):
    """Adds a LoRA to an audio expert."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DuetAudioExpertLora",
            display_name="Load Audio Expert LoRA",
            category="Duet/load",
            description="Adds a LoRA to an audio model, such as TangoFlux. Several nodes in a row add several.",
            search_aliases=["duet", "lora", "tangoflux lora", "audio lora"],
            inputs=[AudioExpertSocket.Input("audio_expert", tooltip="From Load Audio Expert."), *_lora_inputs()],
            outputs=[AudioExpertSocket.Output(display_name="audio_expert", tooltip="Connect to Join Experts.")],
        )

    @classmethod
    def execute(cls, audio_expert, lora: str, strength: float) -> io.NodeOutput:
        return cls._add(audio_expert, lora, strength)


def _lora_inputs() -> list:
    return [
        io.Combo.Input("lora", options=list(files_of(LORAS)), tooltip="A LoRA in models/loras, of this model."),
        io.Float.Input(
            "strength", default=1.0, min=-20.0, max=20.0, step=0.01,
            tooltip="How strongly the LoRA changes the model. 0: not at all.",
        ),
    ]  # fmt: skip
