"""Loads the networks of Stable Audio 3, its VAE and its text encoder."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from diffusers import StableAudio3DiTModel
from diffusers.pipelines.stable_audio_3.modeling_stable_audio_3 import StableAudio3DurationEmbedder
from torch import Tensor, nn
from transformers import GemmaTokenizerFast, T5GemmaEncoderModel

from ...codecs.same import SAMECodec
from ...contract import Condition
from ...experts.stable_audio_3 import TEXT_LENGTH, StableAudio3Expert
from ..expert_options import ExpertOptions
from ..folder import DiffusersFolder, is_diffusers_folder
from ..joint.comfyui_text import ComfyUIText, TextEmbedding
from ..load_network import check_options, load_network, store_as_fp8
from ..loaded_expert import LoadedExpert, on_device_while_used
from ..lora import apply_loras
from ..named_tensors import ExactTensors, load_named
from ..same_file import in_order, load_same
from ..tensor_files import Shards, check_scales, read_header, tensor_paths
from ..text_files import TextFiles
from .audio_family import check_codec, small_dtype, text_dtype
from .flow_schedulers import StableAudio3FlowMatchScheduler
from .prompts import PromptConditioner
from .stable_audio_3_file import SECONDS, Checkpoint

SAMPLING = {"steps": 100, "scale": 7.0}
DISTILLED_SAMPLING = {"steps": 8, "scale": 1.0}
CLIP_LOADER = "Load CLIP with T5Gemma of Stable Audio 3"
CLIP_TEXT = ComfyUIText("Stable Audio 3", CLIP_LOADER, ("t5gemma",), TEXT_LENGTH)


def load_expert(path: Path, text: TextFiles, card: dict[str, Any], distilled: bool, options: ExpertOptions) -> LoadedExpert:
    """Load a folder or a checkpoint. text: the files of the text encoder. card: what is known of it."""
    transformer, duration = _load_folder(path, options) if is_diffusers_folder(path) else _load_checkpoint(path, options)
    codec = options.codec or SAMECodec.of(load_same(options.vae or path, small_dtype(options))).eval()
    check_codec(codec, transformer.config.io_channels, path)
    expert = StableAudio3Expert(transformer, duration, distilled).eval().requires_grad_(False)
    words = StableAudio3Text(text, text_dtype(options), transformer.config.cond_token_dim)
    conditioner = PromptConditioner(words.encode, words.from_embedding, text.encoder_bytes, comfyui_text=CLIP_TEXT)
    scheduler = StableAudio3FlowMatchScheduler(num_train_timesteps=1, stochastic_sampling=distilled)
    sampling = dict(DISTILLED_SAMPLING if distilled else SAMPLING)
    return LoadedExpert("audio", expert, codec, conditioner, card=card, scheduler=scheduler, sampling=sampling)


def _load_folder(path: Path, options: ExpertOptions) -> tuple[StableAudio3DiTModel, StableAudio3DurationEmbedder]:
    folder = DiffusersFolder(path, options.keep_dtype)
    transformer = load_network(folder, "transformer", StableAudio3DiTModel, options)
    return transformer, folder.load("duration_embedder", StableAudio3DurationEmbedder, small_dtype(options))


def _load_checkpoint(path: Path, options: ExpertOptions) -> tuple[StableAudio3DiTModel, StableAudio3DurationEmbedder]:
    if options.gguf is not None:
        raise ValueError(f"gguf is {options.gguf}, but Stable Audio 3 is not loaded from GGUF files; leave it out")
    check_scales(read_header(path), path)
    checkpoint, tensors = Checkpoint(path), ExactTensors(Shards(tensor_paths(path)), path)
    compute = check_options(options) or (tensors.half() if options.keep_dtype else torch.float32)
    with torch.device("meta"):
        network = StableAudio3DiTModel(**checkpoint.config)
    names = {own: checkpoint.stored_name(own) for own in network.state_dict()}
    shapes = {own: tuple(x.shape) for own, x in network.state_dict().items()}

    def convert(own: str, tensor: Tensor) -> Tensor:
        flat = own == "prompt_padding_embedding"  # stored as one row
        return in_order(own, tensor.reshape(shapes[own]) if flat and tensor.numel() == shapes[own][0] else tensor).to(compute)

    load_named(network, tensors, names, convert)
    if options.quantize:
        store_as_fp8(network)
    apply_loras(network, options.loras)
    width, features = checkpoint.shapes[f"{SECONDS}weight"]
    duration = StableAudio3DurationEmbedder(width, features)
    linear = {f"linear.{part}": f"{SECONDS}{part}" for part in ("weight", "bias")}
    return network, load_named(duration, tensors, linear, lambda name, x: x.to(compute))


class StableAudio3Text:
    """Encodes prompts with T5Gemma, as `StableAudio3Pipeline` does: always 256 tokens. width: of its embeddings."""

    def __init__(self, files: TextFiles, dtype: torch.dtype, width: int) -> None:
        self.files, self.dtype, self.width = files, dtype, width

    @cached_property
    def encoder(self) -> T5GemmaEncoderModel:
        """T5Gemma, loaded when first used."""
        encoder = self.files.load_encoder(T5GemmaEncoderModel, self.dtype, _no_single_file)
        self.files.check_width(encoder.config.encoder.hidden_size, self.width)
        return encoder

    @cached_property
    def tokenizer(self) -> GemmaTokenizerFast:
        """Its tokenizer, loaded when first used."""
        return self.files.load_tokenizer(GemmaTokenizerFast)

    @torch.no_grad()
    def encode(self, prompt: str, device: torch.device) -> Condition:
        """Return the condition of a prompt, with one row. ∅ is the encoding of the empty prompt, as in the pipeline."""
        words = self.tokenizer(prompt, padding="max_length", max_length=TEXT_LENGTH, truncation=True, return_tensors="pt")
        with on_device_while_used([self.encoder], device):
            tokens = self.encoder(words.input_ids.to(device), attention_mask=words.attention_mask.to(device))[0]
        return Condition(tokens.float(), words.attention_mask.to(device).bool())

    def from_embedding(self, embedding: TextEmbedding) -> Condition:
        """Return the condition of T5Gemma's embedding."""
        tokens, width = embedding.tokens, embedding.tokens.shape[-1]
        if width != self.width:
            raise ValueError(f"the embeddings are {width} wide, and Stable Audio 3 needs {self.width}; use {CLIP_LOADER}")
        return Condition(tokens[:, :TEXT_LENGTH].float(), embedding.mask[:, :TEXT_LENGTH])


def _no_single_file(path: Path, dtype: torch.dtype) -> nn.Module:
    raise ValueError(
        f"T5Gemma is not loaded from one file, such as {path}; use its transformers folder, or connect clip of Prompts for Video "
        "and Audio"
    )
