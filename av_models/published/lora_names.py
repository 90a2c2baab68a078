"""The names that files of LoRAs have for the layers of published networks, beside the names of diffusers."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from functools import partial

from .experts.wan_names import original_name
from .joint.ovi_names import published_name

Rename = tuple[str, str]

LTX2: tuple[Rename, ...] = (
    (r"^(audio_)?proj_in\b", r"\1patchify_proj"),
    (r"^(audio_)?time_embed\b", r"\1adaln_single"),
    (r"^(audio_)?prompt_adaln\b", r"\1prompt_adaln_single"),
    (r"^av_cross_attn_(video|audio)_scale_shift\b", r"av_ca_\1_scale_shift_adaln_single"),
    (r"^av_cross_attn_video_a2v_gate\b", "av_ca_a2v_gate_adaln_single"),
    (r"^av_cross_attn_audio_v2a_gate\b", "av_ca_v2a_gate_adaln_single"),
    (r"\b(video|audio)_a2v_cross_attn_scale_shift_table\b", r"scale_shift_table_a2v_ca_\1"),
    (r"\bnorm_([qk])\b", r"\1_norm"),
)
LTX2_CONNECTORS: tuple[Rename, ...] = (
    (r"^(video_|audio_)?text_proj_in\b", r"text_embedding_projection.\1aggregate_embed"),
    (r"^(video|audio)_connector\.transformer_blocks\b", r"\1_embeddings_connector.transformer_1d_blocks"),
    (r"\bnorm_([qk])\b", r"\1_norm"),
)
FLUX: tuple[Rename, ...] = (
    (r"^transformer_blocks\.", "double_blocks."),
    (r"^single_transformer_blocks\.", "single_blocks."),
    (r"^(single_blocks\.\d+)\.(?:attn\.to_[qkv]|proj_mlp)\b", r"\1.linear1"),
    (r"^(single_blocks\.\d+)\.proj_out\b", r"\1.linear2"),
    (r"^(single_blocks\.\d+)\.norm\.linear\b", r"\1.modulation.lin"),
    (r"\.attn\.to_[qkv]\b", ".img_attn.qkv"),
    (r"\.attn\.add_[qkv]_proj\b", ".txt_attn.qkv"),
    (r"\.attn\.to_out\.0\b", ".img_attn.proj"),
    (r"\.attn\.to_add_out\b", ".txt_attn.proj"),
    (r"\.ff\.net\.0\.proj\b", ".img_mlp.0"),
    (r"\.ff\.net\.2\b", ".img_mlp.2"),
    (r"\.ff_context\.net\.0\.proj\b", ".txt_mlp.0"),
    (r"\.ff_context\.net\.2\b", ".txt_mlp.2"),
    (r"\.norm1\.linear\b", ".img_mod.lin"),
    (r"\.norm1_context\.linear\b", ".txt_mod.lin"),
)


def _of_layer(rename: Callable[[str], str], name: str) -> str:
    """Return the name of a layer, for a function that renames tensors."""
    return rename(f"{name}.").removesuffix(".")


def _renamed(renames: tuple[Rename, ...], name: str) -> str:
    for pattern, replacement in renames:
        name = re.sub(pattern, replacement, name)
    return name


AUTHORS: Mapping[str, Callable[[str], str]] = {
    "WanTransformer3DModel": partial(_of_layer, original_name),
    "Ovi": partial(_of_layer, published_name),
    "LTX2VideoTransformer3DModel": partial(_renamed, LTX2),
    "LTX2TextConnectors": partial(_renamed, LTX2_CONNECTORS),
    "FluxTransformer2DModel": partial(_renamed, FLUX),
}
"""How the authors' names are made of diffusers' names, by the class of the network. Others have diffusers' names only."""
OF_OTHER_PARTS = re.compile(r"^(lora_te\d*_|text_encoder|(.*\.)?(connectors|text_embedding_projection|\w+_embeddings_connector)\.)")
"""Keys that files have for networks beside the one that most of their keys are for: LTX-2's connectors, text encoders."""
FUSED_ORDER = ("q", "k", "v", "proj_mlp")  # of the layers whose rows one layer of the authors holds


def layer_names(network: str, own: Iterable[str]) -> dict[str, list[str]]:
    """Return the layers or parameters of a network by each name that a file may have for them, with dots or underscores.

    network: the name of its class. A name of the authors may stand for the rows of several layers, which come in their order.
    """
    found: dict[str, list[str]] = {}
    for name in sorted(own, key=_place):
        authors = AUTHORS.get(network, str)(name)
        for alias in {name, authors, name.replace(".", "_"), authors.replace(".", "_")}:
            found.setdefault(alias, []).append(name)
    return found


def _place(name: str) -> tuple[int, str]:
    last = re.sub(r"^(?:to|add)_([qkv])(?:_proj)?$", r"\1", name.rpartition(".")[2])
    return FUSED_ORDER.index(last) if last in FUSED_ORDER else 0, name
