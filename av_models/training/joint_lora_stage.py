"""Training of a LoRA for a published joint model (Kandinsky 6, LTX-2) on a folder of sounding videos."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.pipelines.ltx2.pipeline_ltx2 import calculate_shift
from peft import LoraConfig
from torch import Tensor, nn

from ..checkpoint import format_keys, save_checkpoint
from ..contract import LatentShape
from ..joint_model import JointModel
from ..printable import printable
from ..published.folder import DiffusersFolder
from ..published.joint import LoadOptions, family_files, find_family, load_family
from ..published.joint.folder_card import config_of
from ..shapes import AVShape
from .bf16 import has_bf16
from .clip_folder import list_clips
from .config import StageSetup
from .latent_shards import TrainingClips, prepare_clips
from .pair_batch import BatchSettings, PairBatch, draw_batch
from .pair_objective import pair_loss
from .pair_stage import captions_of, report_skipped
from .processes import processes

FAMILIES = ("Kandinsky6TI2VAPipeline", "LTX2Pipeline")
BLOCKS = {"Kandinsky6Transformer3DModel": "visual_transformer_blocks", "LTX2VideoTransformer3DModel": "transformer_blocks"}
TARGETS = {
    "Kandinsky6Transformer3DModel": [f"attention.{name}" for name in ("to_query", "to_key", "to_value", "out_layer")],
    "LTX2VideoTransformer3DModel": ["to_q", "to_k", "to_v", "to_out.0"],
}
"""The ends of the names of the layers that get a LoRA, by the class of the network: all attentions, also those between video and
audio."""
PREFIXES = {"Kandinsky6Transformer3DModel": "transformer.", "LTX2VideoTransformer3DModel": "diffusion_model."}
"""Before the names of layers in the file. Diffusers takes both; ComfyUI the second one for LTX-2, whose blocks it names alike."""
PROMPT_PARTS = ("text_encoder", "tokenizer", "connectors")  # folders that encoded prompts depend on
ADAPTER, NETWORK = "default", "transformer."
FIRST_FRAME = 0xF1  # number of the random draw of a step whether the first frame is given


class JointLoraStage:
    """Trains a LoRA with the flow-matching loss of the model's own training, and one t for video and audio. A `PartStage`.

    config: `stage_config`. time: mean and standard deviation of logit t. card: what is known of the model and the clips.
    """

    rank = 0

    def __init__(
        self, config: dict[str, Any], model: JointModel, data: TrainingClips, time: tuple[float, float], seed: int, out: Path,
        card: dict[str, Any],
    ) -> None:  # fmt: skip
        denoiser: Any = model.denoiser
        network = denoiser.transformer
        self.config, self.data, self.seed, self.out, self.card = config, data, seed, out, card
        self.batch = BatchSettings(
            config["batch"], dropout=config["condition_dropout"], loc=time[0], scale=time[1], modes=model.known_modes
        )
        self.frozen_dtype, self.model = network.dtype, denoiser
        add_lora(network, config["lora"])
        blocks = getattr(network, BLOCKS[type(network).__name__])
        self.shard_units = denoiser.training_units(blocks, config.get("gradient_checkpointing", True))
        self.denoiser: Any = model.denoiser_for(model.shape(**config["clip"]))

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        """Compute the loss of this step's batch, and the values to log."""
        batch = self.draw_batch(step).to(processes().device)
        loss, parts = pair_loss(self.denoiser, batch, self.config["lambda_a"])
        return loss, {name: value.item() for name, value in parts.items()}

    def draw_batch(self, step: int) -> PairBatch:
        """Draw a batch, on the CPU. In some steps the first frames are given, in all rows of all processes.

        Networks that take one as a condition have it so, and predict all frames; to others it is a known part.
        """
        shown = np.random.default_rng([self.seed, step, FIRST_FRAME]).random() < self.config.get("first_frame", 0.0)
        settings = replace(self.batch, first_frame=self.batch.batch if shown else 0)
        batch = draw_batch(self.data, settings, self.seed, step)
        if not (shown and getattr(self.denoiser, "takes_first_frame", False)):
            return batch
        video = replace(batch.cond.video, image=batch.clean.video[:, :, :1])
        return replace(batch, cond=replace(batch.cond, video=video), first=torch.zeros_like(batch.first))

    def finish_trained(self, tensors: dict[str, Tensor], run: dict[str, Any]) -> None:
        """Write the LoRA with names that diffusers takes. Its alpha is part of B, so that every program loads it alike."""
        lora, prefix = self.config["lora"], PREFIXES[type(self.denoiser.transformer).__name__]
        factor = lora.get("alpha", lora["rank"]) / lora["rank"]
        found = {}
        for key, tensor in tensors.items():
            name = prefix + key.removeprefix(NETWORK).replace(f".{ADAPTER}.", ".")
            found[name] = (tensor * factor if ".lora_B." in name else tensor).to(self.frozen_dtype)
        save_checkpoint(self.out, found, self.card | {"run": run})


def add_lora(network: Any, settings: Mapping[str, Any]) -> None:
    """Add a LoRA that changes nothing yet to the blocks of a frozen network, in float32.

    Raises ValueError if an end of `targets` is that of no layer.
    """
    layers = find_layers(network, settings.get("targets", TARGETS[type(network).__name__]))
    rank = settings["rank"]
    network.add_adapter(LoraConfig(r=rank, lora_alpha=settings.get("alpha", rank), target_modules=layers), ADAPTER)
    for name, parameter in network.named_parameters():
        if f".{ADAPTER}." in name:
            parameter.data = parameter.data.float()
            parameter.requires_grad_(True)


def find_layers(network: nn.Module, ends: Sequence[str]) -> list[str]:
    """Return the names of the linear layers in the network's blocks that end with one of `ends`."""
    what = type(network).__name__
    start = f"{BLOCKS[what]}."
    names = [name for name, module in network.named_modules() if isinstance(module, nn.Linear) and name.startswith(start)]
    for end in ends:
        if not any(name.endswith(end) for name in names):
            known = sorted({name.removeprefix(start).partition(".")[2] for name in names})
            raise ValueError(
                f"stage_config.lora.targets has {printable(end)}, which no layer of {what} ends with; use {format_keys(known, 8)}"
            )
    return [name for name in names if name.endswith(tuple(ends))]


def usual_time(folder: DiffusersFolder, latents: LatentShape) -> float:
    """Return the mean of logit t that fits the shift of a model's own noise schedule.

    A schedule shifted by s maps 1/2 to the level whose logit is log s. LTX-2's shift depends on the number of video tokens, in its
    training (ltx-trainer's shifted logit-normal times) as in its pipeline.
    """
    config = config_of(folder, "scheduler", "scheduler_config.json")
    if not config.get("use_dynamic_shifting"):
        return math.log(config.get("shift", 1.0))
    of = {"base_image_seq_len": 1024, "max_image_seq_len": 4096, "base_shift": 0.95, "max_shift": 2.05}
    return calculate_shift(math.prod(latents.video[2:]), *(config.get(name, usual) for name, usual in of.items()))


def make_joint_lora_stage(setup: StageSetup) -> JointLoraStage:
    """Make the stage of a config that names a diffusers folder of a joint model and a folder of videos.

    The frozen network is in bfloat16 if the losses are computed so. Raises ValueError or FileNotFoundError, in one line, for models
    that take no LoRA, and for clips that cannot be used.
    """
    path, config, of = setup.file("model"), setup.settings, setup.config["data"]
    if (family := find_family(path)) not in FAMILIES:
        raise ValueError(f"{path} holds {family or 'no joint model'}, for which no LoRA can be trained; use Kandinsky 6 or LTX-2")
    clips = list_clips(setup.base / of["folder"], captions_of(setup))
    halved = setup.config["schedule"].get("bf16", False) and has_bf16(processes().device)
    model = load_family(path, LoadOptions(dtype="bfloat16" if halved else "float32"))
    _check_trainable(model, path, config)
    shape = model.shape(**config["clip"])
    prompt_files = [file for file in family_files(path) if file.parent.name.startswith(PROMPT_PARTS)]
    data = prepare_clips(model, clips, shape, setup.base / of["cache"], prompt_files, setup.on_clip)
    report_skipped(setup, data)
    torch.manual_seed(setup.config["seed"])  # encoding uses random numbers, reading the cache does not
    card = {
        "kind": "lora", "architecture": model.card["architecture"], "name": config.get("name", f"LoRA of {model.name}"),
        "trained": True, "model": model.name, "rank": config["lora"]["rank"], "clip": config["clip"],
        "data": {"clips": len(data)},
    }  # fmt: skip
    return JointLoraStage(config, model, data, _time(path, model, shape, config), setup.config["seed"], setup.out, card)


def _time(path: Path, model: JointModel, shape: AVShape, config: Mapping[str, Any]) -> tuple[float, float]:
    given = config.get("time", {})
    usual = usual_time(DiffusersFolder(path), model.latent_shape(shape))
    return given.get("loc", usual), given.get("scale", 1.0)


def _check_trainable(model: JointModel, path: Path, config: Mapping[str, Any]) -> None:
    if reason := getattr(model.denoiser, "refuses_guidance", ""):
        raise ValueError(f"{path} holds {model.name}: {reason}; use the weights before distillation")
    if config.get("first_frame") and not (model.known_mode == "frames" or getattr(model.denoiser, "takes_first_frame", False)):
        raise ValueError(f"stage_config.first_frame is {config['first_frame']}, but {model.name} takes no first frame; use 0")
