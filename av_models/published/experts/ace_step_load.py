"""Loads the networks of ACE-Step 1.5, its VAE, and what encodes its prompts."""

from __future__ import annotations

import math
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from diffusers import AceStepConditionEncoder, AceStepPipeline, AceStepTransformer1DModel
from diffusers.pipelines.ace_step.pipeline_ace_step import DEFAULT_DIT_INSTRUCTION
from torch import Tensor, nn
from transformers import Qwen2TokenizerFast, Qwen3Model

from ...codecs.ace_step import AceStepCodec
from ...contract import Condition
from ...experts.ace_step import AceStepExpert
from ...shapes import AVShape
from ..expert_options import ExpertOptions
from ..folder import DiffusersFolder
from ..joint.comfyui_text import TextEmbedding
from ..joint.folder_card import component_bytes
from ..load_network import load_network
from ..loaded_expert import LoadedExpert, on_device_while_used
from ..oobleck_file import load_oobleck
from ..tensor_files import Shards
from ..text_files import TextFiles
from .audio_family import check_codec, small_dtype, text_dtype
from .flow_schedulers import AceStepFlowMatchScheduler
from .prompts import PromptConditioner

SAMPLING = {"steps": 50, "scale": 6.0}
DISTILLED_SAMPLING = {"steps": 8, "scale": 1.0}
TEXT_LENGTH, LYRICS_LENGTH = 256, 2048  # tokens, at most
TIMBRE_SECONDS = 30  # of silence, in place of a sound to take the timbre from
LYRICS, LANGUAGE = "[lyrics]", "en"
PROMPT_HELP = f"Words that are sung follow {LYRICS} at the end of the prompt"


def load_expert(path: Path, text: TextFiles, card: dict[str, Any], distilled: bool, options: ExpertOptions) -> LoadedExpert:
    """Load a folder. text: the files of the text encoder. card: what is known of it."""
    folder = DiffusersFolder(path, options.keep_dtype)
    transformer = load_network(folder, "transformer", AceStepTransformer1DModel, options)
    codec = options.codec or AceStepCodec.of(load_oobleck(options.vae or path, small_dtype(options))).eval()
    check_codec(codec, transformer.config.audio_acoustic_hidden_dim, path)
    expert = AceStepExpert(transformer, _read_silence(folder), distilled).eval().requires_grad_(False)
    prompts = AceStepText(folder, text, text_dtype(options), codec.sample_rate / codec.stride.samples)
    scheduler = AceStepFlowMatchScheduler(num_train_timesteps=1)
    sampling = dict(DISTILLED_SAMPLING if distilled else SAMPLING)
    return LoadedExpert("audio", expert, codec, AceStepConditioner(prompts), card=card, scheduler=scheduler, sampling=sampling)


def _read_silence(folder: DiffusersFolder) -> Tensor:
    name = "silence_latent"
    shards = Shards(folder.safetensors_files("condition_encoder"))
    if name not in shards.keys():
        raise ValueError(f"{folder.path / 'condition_encoder'} lacks {name}; download it again")
    return shards.get_tensor(name).float()


class AceStepText:
    """Encodes prompts as `AceStepPipeline` does for text to music: with Qwen3 and the condition encoder.

    steps_per_second: of the latents.
    """

    def __init__(self, folder: DiffusersFolder, files: TextFiles, dtype: torch.dtype, steps_per_second: float) -> None:
        self.folder, self.files, self.dtype, self.steps_per_second = folder, files, dtype, steps_per_second

    @property
    def encoder_bytes(self) -> int:
        """The size of the networks that encode prompts."""
        return self.files.encoder_bytes + component_bytes(self.folder, ("condition_encoder",))

    @cached_property
    def encoder(self) -> Qwen3Model:
        """Qwen3, loaded when first used."""
        encoder = self.files.load_encoder(Qwen3Model, self.dtype, _no_single_file)
        self.files.check_width(encoder.config.hidden_size, self.condition_encoder.config.text_hidden_dim)
        return encoder

    @cached_property
    def condition_encoder(self) -> AceStepConditionEncoder:
        """The network that joins the text, the lyrics and the timbre, loaded when first used."""
        return self.folder.load("condition_encoder", AceStepConditionEncoder, self.dtype)

    @cached_property
    def tokenizer(self) -> Qwen2TokenizerFast:
        """The tokenizer of Qwen3, loaded when first used."""
        return self.files.load_tokenizer(Qwen2TokenizerFast)

    @torch.no_grad()
    def encode(self, words: str, device: torch.device) -> Condition:
        """Return the condition of a formatted prompt (see `formatted`), with one row; "" gives ∅."""
        networks: list[nn.Module] = [self.condition_encoder, *([self.encoder] if words else [])]
        with on_device_while_used(networks, device):
            if not words:
                null = self.condition_encoder.null_condition_emb.float()
                return Condition(null, torch.ones(1, 1, dtype=torch.bool, device=null.device))
            text, _, lyrics = words.partition("\0")
            text_ids, lyrics_ids = self._tokens(text, TEXT_LENGTH, device), self._tokens(lyrics, LYRICS_LENGTH, device)
            steps = math.ceil(TIMBRE_SECONDS * self.steps_per_second)
            tokens, mask = self.condition_encoder(
                self.encoder(input_ids=text_ids).last_hidden_state, torch.ones_like(text_ids, dtype=torch.bool),
                self.encoder.get_input_embeddings()(lyrics_ids), torch.ones_like(lyrics_ids, dtype=torch.bool),
                self.condition_encoder.silence_latent[:, :steps], torch.zeros(1, dtype=torch.long, device=device),
            )  # fmt: skip
        return Condition(tokens.float(), mask)

    def _tokens(self, words: str, longest: int, device: torch.device) -> Tensor:
        return self.tokenizer(words, truncation=True, max_length=longest, return_tensors="pt").input_ids.to(device)

    @staticmethod
    def from_embedding(embedding: TextEmbedding) -> Condition:
        """Raise ValueError: a CONDITIONING lacks the lyrics and the timbre."""
        raise ValueError("ACE-Step takes no CONDITIONING of ComfyUI; write the prompt in Prompts for Video and Audio, without clip")


class AceStepConditioner(PromptConditioner):
    """Encodes prompts for ACE-Step, whose text says how long the clip is."""

    def __init__(self, text: AceStepText) -> None:
        super().__init__(text.encode, text.from_embedding, text.encoder_bytes, prompt_help=PROMPT_HELP)

    def condition(self, prompt: str, image: Tensor | None, shape: AVShape) -> Condition:
        """Return the condition of a prompt for a clip of `shape`, with one row; ∅ for an empty prompt."""
        words = formatted(prompt, shape.audio.samples / shape.audio.sample_rate) if prompt.strip() else ""
        return self.encode_prompt(words).to(self.device_marker.device)


def formatted(prompt: str, seconds: float) -> str:
    """Return the text and the lyrics of a prompt as the network was trained with them, with "\\0" between them."""
    caption, _, lyrics = prompt.replace("\0", " ").partition(LYRICS)
    words = caption.strip(), lyrics.strip(), LANGUAGE, seconds, DEFAULT_DIT_INSTRUCTION
    return "\0".join(AceStepPipeline._format_prompt(AceStepPipeline, *words))


def _no_single_file(path: Path, dtype: torch.dtype) -> nn.Module:
    raise ValueError(f"Qwen3 of ACE-Step is not loaded from one file, such as {path}; use its transformers folder")
