"""Guidance and noise with two seeds for LTX-2 and MiniMax-H3, which ComfyUI runs itself, and for models from Join Models."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .host import io, require_comfyui
from .load_expert import NOT_TRIED
from .native.noise import TwoSeedNoise
from .own_settings import scales_in_words
from .reports import cost_in_words, report
from .run_sampler import seed_input
from .sockets import GuidanceInput, GuidanceSocket

MODEL = f"LTX-2 or MiniMax-H3 from ComfyUI's own loaders, or the model from Join Models. {NOT_TRIED}"
NO_EFFECT = "the model has a patch that replaces or changes CFG, such as RescaleCFG; it has no effect with this guidance"


class DuetJointGuider(io.ComfyNode):
    """Creates a GUIDER for ComfyUI's SamplerCustomAdvanced."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DuetJointGuider",
            display_name="Joint Guider (LTX-2, MiniMax-H3, joined models)",
            category="Duet/guidance",
            description="Uses any of Duet's guidance methods with LTX-2, MiniMax-H3 or a model from Join Models, in "
            "SamplerCustomAdvanced. Video and audio have separate scales.",
            search_aliases=[
                "duet", "guider", "ltx", "ltx2", "ltxv", "lightricks", "minimax", "h3", "cfg", "joint cfg", "modality cfg",
                "multimodal guider", "audio video guider", "join models", "joined models",
            ],
            inputs=[
                io.Model.Input("model", tooltip=MODEL),
                io.Conditioning.Input("positive", tooltip="The positive prompt."),
                GuidanceSocket.Input("guidance", tooltip="From Guidance or Guidance Modifiers."),
                io.Conditioning.Input(
                    "negative", optional=True, tooltip="The negative prompt. Not needed if the guidance has none."
                ),
            ],
            outputs=[io.Guider.Output(display_name="guider", tooltip="Connect to SamplerCustomAdvanced.")],
        )  # fmt: skip

    @classmethod
    def execute(cls, model: Any, positive: list, guidance: GuidanceInput, negative: list | None = None) -> io.NodeOutput:
        require_comfyui("Joint Guider")
        from .native.guider import JointGuider

        check_bad_model(guidance)
        made = JointGuider(model, guidance.strategy, positive, negative, guidance.bad_model)
        return io.NodeOutput(made, ui=_report(model, guidance, made.original_conds))


class DuetModelGuidance(io.ComfyNode):
    """Adds guidance to a MODEL, for graphs with KSampler."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DuetModelGuidance",
            display_name="Joint Guidance for KSampler (LTX-2, MiniMax-H3, joined models)",
            category="Duet/guidance",
            description="Adds any of Duet's guidance methods to LTX-2, MiniMax-H3 or a model from Join Models, for graphs without "
            "SamplerCustomAdvanced. The sampler's own cfg then has no effect.",
            search_aliases=[
                "duet", "ksampler", "ltx", "ltxv", "minimax", "joint cfg", "cfg patch", "model patch", "ic-lora", "join models",
                "joined models",
            ],
            inputs=[
                io.Model.Input("model", tooltip=MODEL),
                GuidanceSocket.Input("guidance", tooltip="From Guidance or Guidance Modifiers."),
            ],
            outputs=[io.Model.Output(display_name="model", tooltip="Connect to KSampler, or to any other sampler or guider.")],
        )  # fmt: skip

    @classmethod
    def execute(cls, model: Any, guidance: GuidanceInput) -> io.NodeOutput:
        require_comfyui("Joint Guidance for KSampler")
        from .native.guide_model import guide_model

        check_bad_model(guidance)
        made = guide_model(model, guidance.strategy, guidance.bad_model)
        one_each = {"positive": [{}], "negative": [{}]}
        return io.NodeOutput(made, ui=_report(model, guidance, one_each, "the sampler's cfg has no effect"))


def check_bad_model(guidance: GuidanceInput) -> None:
    """Checks that the bad model is one of ComfyUI's."""
    if guidance.bad_model is not None and guidance.has_duet_bad_model:
        raise ValueError("the guidance's bad_model is a Duet model; connect a MODEL, a weaker version of this one")


def _report(model: Any, guidance: GuidanceInput, prompts: Mapping[str, list], *notes: str) -> dict[str, list]:
    """Returns the report of what a step costs. prompts: the entries of each conditioning."""
    from .native.call_options import has_cfg_patches
    from .native.cost import count_rows_and_calls
    from .native.models import native_model

    strategy = guidance.strategy
    branches, calls = count_rows_and_calls(model, strategy, prompts)
    defaults = [name for name in strategy.scales if name in guidance.open_scales]
    adapter = native_model(model)
    lines = [f"Duet's defaults: {scales_in_words(strategy, defaults)}"] if defaults else []
    lines += adapter.describe_changes(strategy)
    fields, reason = adapter.apart_by(model)
    if max(calls) > 1 and ("coupling" in fields or ("skip_block" in fields and hasattr(strategy, "skip_block"))):
        lines.append(f"several network calls, because {reason}")
    warnings = [NO_EFFECT] if has_cfg_patches(model) else []
    facts = {"branches_per_step": max(branches), "forwards_per_step": max(calls), "scales": strategy.scales}
    cost = f"{strategy.name}: {cost_in_words(branches, calls)}"
    return report(cost, *lines, *notes, warnings=warnings, guidance=strategy.name, **facts)


class DuetJointNoise(io.ComfyNode):
    """Creates a NOISE for ComfyUI's SamplerCustomAdvanced."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="DuetJointNoise",
            display_name="Joint Noise (LTX-2, MiniMax-H3, joined models)",
            category="Duet/make",
            description="Noise with separate seeds for video and audio, for LTX-2, MiniMax-H3 and models from Join Models.",
            search_aliases=[
                "duet", "random noise", "seed", "ltx", "ltx2", "ltxv", "lightricks", "minimax", "h3", "audio video noise",
                "join models", "joined models",
            ],
            inputs=[
                seed_input("video_seed", "Random seed for the video. Changing it does not change the noise of the audio."),
                seed_input("audio_seed", "Random seed for the audio. Changing it does not change the noise of the video."),
            ],
            outputs=[io.Noise.Output(display_name="noise", tooltip="Connect to SamplerCustomAdvanced.")],
        )  # fmt: skip

    @classmethod
    def execute(cls, video_seed: int, audio_seed: int) -> io.NodeOutput:
        return io.NodeOutput(TwoSeedNoise(video_seed, audio_seed))
