"""TangoFlux (declare-lab): text to audio, from its authors' files or parts of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import FluxTransformer2DModel
from diffusers.pipelines.stable_audio.modeling_stable_audio import StableAudioNumberConditioner
from torch import nn

from ...codecs.base import AudioCodec
from ...codecs.oobleck import OobleckCodec
from ...experts.tangoflux import TangoFluxExpert
from ...load_parts import AUDIO_EXPERT
from ..description import length_note
from ..expert_options import ExpertOptions, Found
from ..load_network import check_options, store_as_fp8
from ..loaded_expert import LoadedExpert
from ..lora import apply_loras
from ..named_tensors import ExactTensors, load_named
from ..oobleck_file import load_oobleck
from ..tensor_files import Shards, check_scales, tensor_paths
from .flow_schedulers import TangoFluxFlowMatchScheduler
from .prompts import PromptConditioner
from .tangoflux_files import FREQUENCIES, TangoFluxFiles, find_model, find_parts, transformer_config
from .tangoflux_text import TangoFluxText

NAME, FAMILY = "TangoFlux", "tangoflux"
SAMPLING = {"steps": 50, "scale": 4.5}
LICENCE = "research only (Stability AI Community License, and WavCaps' academic use)"
CAPABILITIES = ["text to audio", "stereo, 44100 Hz"]


def find(path: Path) -> Found | None:
    """Return what a file or folder is, if it is TangoFlux (see `ExpertFamily.find`)."""
    found = find_model(path)
    if found is None:
        return None
    _, header, prefixes = found
    return Found(NAME, AUDIO_EXPERT, FAMILY, prefixes.names, header.precision, header.parameters)


def describe(path: Path, options: ExpertOptions) -> dict[str, Any]:
    """Return the card (see `ExpertFamily.describe`)."""
    parts = find_parts(path, options)
    config, seconds = transformer_config(parts.header.shapes, parts.prefixes), parts.lengths[1]
    own = parts.network
    return {
        "kind": AUDIO_EXPERT, "architecture": NAME, "name": NAME, "licence": LICENCE, "parameters": own.parameters,
        "bytes": sum(file.stat().st_size for file in parts.all), "precision": own.precision, "names": parts.prefixes.names,
        "blocks": config["num_layers"] + config["num_single_layers"], "heads": config["num_attention_heads"],
        "head_size": config["attention_head_dim"], "capabilities": [*CAPABILITIES, f"clips of at most {seconds} s"],
        "needs": list(parts.missing(options.codec).values()), "notes": _notes(parts),
    }  # fmt: skip


def _notes(parts: TangoFluxFiles) -> list[str]:
    with_8_bits = ["fp8 without scales"] if parts.in_plain_8_bits else []
    return [
        length_note(parts.lengths[1]), *with_8_bits,
        "For research only: commercial use needs a licence of Stability AI. Powered by Stability AI.",
        "Not tried with published weights yet.",
    ]  # fmt: skip


def files(path: Path, options: ExpertOptions) -> list[Path]:
    """Return all files that the loaded expert depends on."""
    return find_parts(path, options).all


def network_files(path: Path) -> list[Path]:
    """Return the files of the network in a folder (see `content_hash`)."""
    found = find_model(path)
    return [] if found is None else tensor_paths(found[0])


def load(path: Path, options: ExpertOptions) -> LoadedExpert:
    """Load TangoFlux. The text encoder is loaded with the first prompt; only then an error is raised if it is missing.

    Raises FileNotFoundError or ValueError, in one line, for a missing VAE, missing tensors, other shapes and unknown options.
    """
    parts = find_parts(path, options)
    check_scales(parts.network, parts.model)
    codec, text = _load_codec(parts, options), TangoFluxText(parts)
    conditioner = PromptConditioner(text.encode, text.from_embedding, text.encoder_bytes)
    return LoadedExpert(
        "audio", load_expert(parts, options), codec, conditioner.eval(), card=describe(path, options),
        scheduler=TangoFluxFlowMatchScheduler(), sampling=SAMPLING,
    )  # fmt: skip


def load_expert(parts: TangoFluxFiles, options: ExpertOptions) -> TangoFluxExpert:
    """Load the transformer in the chosen precision, and its small layers for the prompt in float32."""
    dtype = check_options(options)
    if options.gguf is not None:
        raise ValueError(f"gguf is {options.gguf}, but TangoFlux is not loaded from GGUF files; leave it out")
    shapes, prefixes, tensors = parts.header.shapes, parts.prefixes, _open(parts)
    config = transformer_config(shapes, prefixes)
    with torch.device("meta"):
        transformer = FluxTransformer2DModel(**config)
        fc = nn.Linear(parts.text_width, config["pooled_projection_dim"])
        frequencies = shapes[prefixes.duration + FREQUENCIES][0]
        duration = StableAudioNumberConditioner(config["joint_attention_dim"], 0, parts.lengths[1], 2 * frequencies)
    compute = dtype or (tensors.compute() if options.keep_dtype else torch.float32)
    _fill(transformer, tensors, prefixes.transformer, compute)
    _fill(fc, tensors, prefixes.fc, torch.float32)
    _fill(duration, tensors, prefixes.duration, torch.float32)
    if options.quantize or (options.keep_dtype and dtype is None and parts.in_plain_8_bits):
        store_as_fp8(transformer)
    apply_loras(transformer, options.loras)
    return TangoFluxExpert(transformer, fc, duration, parts.lengths[1]).eval()


def _fill(network: nn.Module, tensors: ExactTensors, prefix: str, dtype: torch.dtype) -> None:
    load_named(network, tensors, {name: prefix + name for name in network.state_dict()}, lambda name, x: x.to(dtype))


def _load_codec(parts: TangoFluxFiles, options: ExpertOptions) -> AudioCodec:
    codec: Any = options.codec
    if codec is None:
        if parts.vae is None:
            raise FileNotFoundError(f"{parts.model} needs {parts.missing(None)['vae']}; download it to the folder of this file")
        codec = OobleckCodec.of(load_oobleck(parts.vae, None if options.keep_dtype else torch.float32)).eval()
    channels = transformer_config(parts.header.shapes, parts.prefixes)["in_channels"]
    if codec.stride.channels != channels or codec.stride.bands:
        what = f"{codec.stride.channels} channels" + (f" and {codec.stride.bands} bands" if codec.stride.bands else "")
        raise ValueError(f"the VAE has latents of {what}, but {NAME} needs {channels} channels; use the VAE of {NAME}")
    return codec.with_steps(parts.lengths[0])


def _open(parts: TangoFluxFiles) -> ExactTensors:
    return ExactTensors(Shards(tensor_paths(parts.model)), parts.model)
