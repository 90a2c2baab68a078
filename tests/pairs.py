"""Small experts of published classes, as a family of their own: pairs of any size, without files of weights."""

from __future__ import annotations

from typing import Any

import torch
from diffusers import FlowMatchEulerDiscreteScheduler, FluxTransformer2DModel, UniPCMultistepScheduler, WanTransformer3DModel
from diffusers.pipelines.stable_audio.modeling_stable_audio import StableAudioNumberConditioner
from torch import nn

from duet_av.av_models.contract import Condition
from duet_av.av_models.experts.tangoflux import TangoFluxExpert
from duet_av.av_models.experts.wan import WanExpert
from duet_av.av_models.joining import join_loaded
from duet_av.av_models.joint_model import JointModel
from duet_av.av_models.published.experts.prompts import PromptConditioner
from duet_av.av_models.published.joint.comfyui_text import TextEmbedding
from duet_av.av_models.published.loaded_expert import LoadedExpert
from duet_av.tests import small

CLIP = {"frames": 9, "height": 32, "width": 32, "fps": 16}
DESCRIBED = {"licence": "MIT", "capabilities": ["text to video"], "needs": [], "notes": ["-"], "bytes": 10, "parameters": 5}


def seeded(seed: int, make: Any) -> Any:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()


def wan(**changes: Any) -> WanExpert:
    return seeded(20, lambda: WanExpert(WanTransformer3DModel(**small.video_config(**changes)).eval().requires_grad_(False)))


def flux(**changes: Any) -> TangoFluxExpert:
    """A TangoFlux of any size."""

    def make() -> TangoFluxExpert:
        transformer = FluxTransformer2DModel(**small.audio_config(**changes))
        pooled, text = transformer.config.pooled_projection_dim, transformer.config.joint_attention_dim
        return TangoFluxExpert(transformer, nn.Linear(text, pooled), StableAudioNumberConditioner(text, 1, 30, 8))

    return seeded(21, make).eval().requires_grad_(False)


def conditioner(negative: str) -> PromptConditioner:
    """Encodes a prompt to random tokens that only the words decide."""

    def encode(words: str, device: torch.device) -> Condition:
        return small.text(1, seed=sum(map(ord, words)))

    return PromptConditioner(encode, from_embedding, default_negative=negative)


def from_embedding(embedding: TextEmbedding) -> Condition:
    if embedding.tokens.shape[-1] != small.TEXT:
        raise ValueError(f"the embedding has width {embedding.tokens.shape[-1]}, but {small.TEXT} is needed; use another encoder")
    return Condition(embedding.tokens, embedding.mask)


def video(expert: Any = None, **card: Any) -> LoadedExpert:
    scheduler = UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=5.0)
    return LoadedExpert(
        "video", expert or wan(), small.video_codec(), conditioner("blurry"), CLIP, {"name": "Small Wan"} | DESCRIBED | card,
        scheduler, {"steps": 5, "scale": 5.0}, "blurry",
    )  # fmt: skip


def audio(expert: Any = None, **card: Any) -> LoadedExpert:
    return LoadedExpert(
        "audio", expert or flux(), small.audio_codec(), conditioner(""), None, {"name": "Small TangoFlux"} | DESCRIBED | card,
        FlowMatchEulerDiscreteScheduler(), {"steps": 4, "scale": 4.5},
    )  # fmt: skip


def pair(v: LoadedExpert | None = None, a: LoadedExpert | None = None, **options: Any) -> JointModel:
    """An untrained pair."""
    return join_loaded(v or video(), a or audio(), **{"name": "Pair"} | options)


def with_heads(model: JointModel, seed: int = 2) -> JointModel:
    """The pair with new heads that are anything but zero."""
    small.randomised(model.denoiser.new_heads, seed)
    return model


def to_gguf(transformer: Any) -> Any:
    """Stores the weights of linear layers as Q8_0, as the blocks of a GGUF file; computes in float32."""
    import gguf
    from diffusers.quantizers.gguf.utils import GGUFLinear, GGUFParameter

    for module in list(transformer.modules()):
        for name, layer in module.named_children():
            if isinstance(layer, nn.Linear) and layer.in_features % 32 == 0 and "time" not in name and "linear" not in name:
                linear = GGUFLinear(layer.in_features, layer.out_features, layer.bias is not None, torch.float32)
                stored = gguf.quants.quantize(layer.weight.numpy(), gguf.GGMLQuantizationType.Q8_0)
                linear.weight = GGUFParameter(torch.from_numpy(stored), quant_type=gguf.GGMLQuantizationType.Q8_0)
                linear.bias = layer.bias
                setattr(module, name, linear)
    return transformer.requires_grad_(False)
