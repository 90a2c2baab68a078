"""Loads the networks of Stable Audio Open 1.0, its VAE and its text encoder."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from diffusers import StableAudioDiTModel, StableAudioProjectionModel
from diffusers.utils import is_torchsde_available
from torch import Tensor, nn
from transformers import T5EncoderModel, T5TokenizerFast

from ...codecs.oobleck import OobleckCodec
from ...contract import Condition
from ...experts.stable_audio import TEXT_LENGTH, StableAudioExpert
from ..expert_options import ExpertOptions
from ..folder import DiffusersFolder, is_diffusers_folder
from ..joint.comfyui_text import ComfyUIText, TextEmbedding
from ..load_network import check_options, load_network, store_as_fp8
from ..loaded_expert import LoadedExpert, on_device_while_used
from ..lora import apply_loras
from ..named_tensors import ExactTensors, load_named
from ..oobleck_file import load_oobleck
from ..t5_file import load_t5
from ..tensor_files import Shards, check_scales, read_header, tensor_paths
from ..text_files import TextFiles
from .audio_family import check_codec, small_dtype, text_dtype
from .prompts import PromptConditioner
from .stable_audio_file import LONGEST_SECONDS, SECONDS, Checkpoint, published_name, seconds_name, split

SAMPLING = {"steps": 100, "scale": 7.0}
CLIP_LOADER = "Load CLIP with type stable_audio and T5-base"
CLIP_TEXT = ComfyUIText("Stable Audio Open", CLIP_LOADER, ("t5base",), TEXT_LENGTH, keeps_end=True)


def load_expert(path: Path, text: TextFiles, card: dict[str, Any], options: ExpertOptions) -> LoadedExpert:
    """Load a folder or a checkpoint. text: the files of the text encoder. card: what is known of it."""
    transformer, projection = _load_folder(path, options) if is_diffusers_folder(path) else _load_checkpoint(path, options)
    codec = options.codec or OobleckCodec.of(load_oobleck(options.vae or path, small_dtype(options))).eval()
    check_codec(codec, transformer.config.in_channels, path)
    codec = codec.with_steps(transformer.config.sample_size)
    seconds = codec.stride.steps * codec.stride.samples / codec.sample_rate
    expert = StableAudioExpert(transformer, projection, seconds).eval().requires_grad_(False)
    words = StableAudioText(text, text_dtype(options), projection.config.text_encoder_dim)
    conditioner = PromptConditioner(words.encode, words.from_embedding, text.encoder_bytes, comfyui_text=CLIP_TEXT)
    scheduler = make_scheduler(path)
    return LoadedExpert("audio", expert, codec, conditioner, card=card, scheduler=scheduler, sampling=dict(SAMPLING))


def make_scheduler(path: Path) -> Any:
    """Return the scheduler of the model's own pipeline; None without the package torchsde, which it needs."""
    if not is_torchsde_available():
        return None
    from diffusers import CosineDPMSolverMultistepScheduler

    if not (path / "scheduler").is_dir():
        return CosineDPMSolverMultistepScheduler(sigma_min=0.3, sigma_max=500)
    return DiffusersFolder(path).load_processor("scheduler", CosineDPMSolverMultistepScheduler)


def _load_folder(path: Path, options: ExpertOptions) -> tuple[StableAudioDiTModel, StableAudioProjectionModel]:
    folder = DiffusersFolder(path, options.keep_dtype)
    transformer = load_network(folder, "transformer", StableAudioDiTModel, options)
    return transformer, folder.load("projection_model", StableAudioProjectionModel, check_options(options))


def _load_checkpoint(path: Path, options: ExpertOptions) -> tuple[StableAudioDiTModel, StableAudioProjectionModel]:
    if options.gguf is not None:
        raise ValueError(f"gguf is {options.gguf}, but Stable Audio is not loaded from GGUF files; leave it out")
    check_scales(read_header(path), path)
    checkpoint, tensors = Checkpoint(path), ExactTensors(Shards(tensor_paths(path)), path)
    compute = check_options(options) or (tensors.half() if options.keep_dtype else torch.float32)
    with torch.device("meta"):
        network = StableAudioDiTModel(**checkpoint.config)
        width = checkpoint.shapes[f"{SECONDS.format('seconds_start')}1.weight"][0]
        projection = StableAudioProjectionModel(checkpoint.config["cross_attention_input_dim"], width, 0, LONGEST_SECONDS)
    names = {own: checkpoint.prefix + published_name(own) for own in network.state_dict()}
    names = {own: name for own, name in names.items() if not name.endswith(".beta") or tensors.has(name)}
    load_named(network, tensors, names, lambda own, x: split(own, x).to(compute))
    _fill_biases(network, compute)
    if options.quantize:
        store_as_fp8(network)
    apply_loras(network, options.loras)
    seconds = {own: seconds_name(own) for own in projection.state_dict()}
    return network, load_named(projection, tensors, seconds, lambda name, x: x.to(compute))


def _fill_biases(network: nn.Module, dtype: torch.dtype) -> None:
    """Fill the biases of norms that are not stored with zeros, which they always are."""
    missing = {name: torch.zeros(x.shape, dtype=dtype) for name, x in network.state_dict().items() if x.is_meta}
    network.load_state_dict(missing, strict=False, assign=True)
    network.requires_grad_(False)


class StableAudioText:
    """Encodes prompts with T5-base, as `StableAudioPipeline` does: always 128 tokens, with zeros at padding.

    width: of the embeddings that the network takes.
    """

    def __init__(self, files: TextFiles, dtype: torch.dtype, width: int) -> None:
        self.files, self.dtype, self.width = files, dtype, width

    @cached_property
    def encoder(self) -> T5EncoderModel:
        """T5, loaded when first used."""
        encoder = self.files.load_encoder(T5EncoderModel, self.dtype, load_t5)
        self.files.check_width(encoder.config.d_model, self.width)
        return encoder

    @cached_property
    def tokenizer(self) -> T5TokenizerFast:
        """Its tokenizer, loaded when first used."""
        return self.files.load_tokenizer(T5TokenizerFast)

    @torch.no_grad()
    def encode(self, prompt: str, device: torch.device) -> Condition:
        """Return the condition of a prompt, with one row; ∅ for an empty one."""
        if not prompt:
            return self._null()
        words = self.tokenizer(prompt, padding="max_length", max_length=TEXT_LENGTH, truncation=True, return_tensors="pt")
        with on_device_while_used([self.encoder], device):
            tokens = self.encoder(words.input_ids.to(device), attention_mask=words.attention_mask.to(device))[0]
        return self._condition(tokens, words.attention_mask.to(device).bool())

    def from_embedding(self, embedding: TextEmbedding) -> Condition:
        """Return the condition of T5's embedding. That of an empty prompt, which has its end alone, gives ∅."""
        tokens = embedding.tokens
        if tokens.shape[-1] != self.width:
            raise ValueError(
                f"the embeddings are {tokens.shape[-1]} wide, and Stable Audio Open needs {self.width}; use {CLIP_LOADER}"
            )
        mask = embedding.mask & tokens.ne(0).any(-1)
        return self._condition(tokens[:, :TEXT_LENGTH], mask[:, :TEXT_LENGTH]) if int(mask.sum()) > 1 else self._null()

    def _null(self) -> Condition:
        return Condition(torch.zeros(1, TEXT_LENGTH, self.width), torch.zeros(1, TEXT_LENGTH, dtype=torch.bool))

    @staticmethod
    def _condition(tokens: Tensor, mask: Tensor) -> Condition:
        return Condition(tokens.float() * mask[..., None], mask)
