"""Training of a LoRA for a published joint model (Kandinsky 6, LTX-2) on a folder of sounding videos."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
from diffusers.pipelines.ltx2.pipeline_ltx2 import calculate_shift
from peft import LoraConfig
from torch import Tensor, nn

from ..checkpoint import format_keys, save_checkpoint
from ..contract import AVCondition, AVLatent, AVTime, CouplingKind, LatentShape
from ..joint_model import JointModel
from ..printable import printable
from ..published.folder import DiffusersFolder
from ..published.joint import LoadOptions, family_files, load_family
from ..published.joint.folder_card import config_of
from ..shapes import AVShape
from .clip_folder import list_clips, write_skipped
from .config import StageSetup
from .flow import batch_generator, device_of, draw_time
from .latent_shards import TrainingClips, prepare_clips

STREAM = 9  # number of this kind of stage, for its random batches
BLOCKS = {"Kandinsky6Transformer3DModel": "visual_transformer_blocks.", "LTX2VideoTransformer3DModel": "transformer_blocks."}
TARGETS = {
    "Kandinsky6Transformer3DModel": [f"attention.{name}" for name in ("to_query", "to_key", "to_value", "out_layer")],
    "LTX2VideoTransformer3DModel": ["to_q", "to_k", "to_v", "to_out.0"],
}
"""The ends of the names of the layers that get a LoRA, by the class of the network: all attentions, also those between video and
audio."""
PREFIXES = {"Kandinsky6Transformer3DModel": "transformer.", "LTX2VideoTransformer3DModel": "diffusion_model."}
"""Before the names of layers in the file. Diffusers takes both; ComfyUI the second one for LTX-2, whose blocks it names alike."""
PROMPT_PARTS = ("text_encoder", "tokenizer", "connectors")  # folders that encoded prompts depend on
ADAPTER = "default"


class Batch(NamedTuple):
    """Latents, noise and time [B] of a step, on the CPU; whether the first frame is given; the encoded prompts."""

    clean: AVLatent
    noise: AVLatent
    t: Tensor
    first_frame: bool
    cond: AVCondition


class Adapters(nn.Module):
    """The trained tensors of a LoRA, which are parameters of the network, too. Their names have `/` for `.`."""

    def __init__(self, tensors: Mapping[str, nn.Parameter]) -> None:
        super().__init__()
        for name, tensor in tensors.items():
            self.register_parameter(name.replace(".", "/"), tensor)


class JointLoraStage:
    """Trains a LoRA with the flow-matching loss of the model's own training: x_t = (1 − t) x_0 + t ε, target ε − x_0.

    Video and audio have the same t, drawn from a logit-normal distribution. The network itself is frozen.
    time: mean and standard deviation of logit t. card: what is known of the model and the clips.
    """

    rank = 0

    def __init__(
        self, config: dict[str, Any], model: JointModel, data: TrainingClips, shape: AVShape, time: tuple[float, float], out: Path,
        card: dict[str, Any],
    ) -> None:  # fmt: skip
        whole: Any = model.denoiser
        self.config, self.data, self.time, self.out, self.card = config, data, time, out, card
        self.given_tokens = model.known_mode == "frames"
        self.frozen_dtype = whole.transformer.dtype
        self.model = Adapters(add_lora(whole.transformer, config["lora"]))
        if config.get("gradient_checkpointing", True):
            whole.checkpoint_blocks()
        self.denoiser: Any = model.denoiser_for(shape)

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        """Compute the loss of this step's batch, and the values to log."""
        loss, parts = self.compute_losses(self.draw_batch(step))
        return loss, {name: float(part) for name, part in parts.items()}

    def draw_batch(self, step: int) -> Batch:
        """Draw clips, noise and times, on the CPU."""
        rows = torch.from_numpy(batch_generator(step, STREAM, self.rank).integers(len(self.data), size=self.config["batch"]))
        clean = self.data.latents(rows)
        null = torch.rand(len(rows)) < self.config["condition_dropout"]
        first_frame = bool(torch.rand(()) < self.config.get("first_frame", 0.0))
        t = draw_time(len(rows), *self.time, torch.device("cpu"))
        noise = AVLatent(torch.randn_like(clean.video), torch.randn_like(clean.audio))
        return Batch(clean, noise, t, first_frame, self.data.conditions(rows, null))

    def compute_losses(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute the loss and the values to log. A given first frame of the latents is no part of the loss."""
        device = device_of(self.model)
        self.denoiser.to(device)  # the loop moves only the trained tensors
        clean, noise, t = batch.clean.to(device), batch.noise.to(device), batch.t.to(device)
        noisy = AVLatent(mix(clean.video, noise.video, t), mix(clean.audio, noise.audio, t))
        cond, time, given = batch.cond.to(device), AVTime(t, t), 0
        if batch.first_frame and self.given_tokens:
            noisy, time, given = *with_first_frame(noisy, clean, t), 1
        elif batch.first_frame:
            cond = replace(cond, video=replace(cond.video, image=clean.video[:, :, :1]))
        out = self.denoiser.predict(noisy, time, cond, [CouplingKind.FULL] * len(t))
        target_v, target_a = noise.video - clean.video, noise.audio - clean.audio
        video = (out.video.float() - target_v)[:, :, given:].square().mean()
        audio = (out.audio.float() - target_a).square().mean()
        loss = video + self.config["lambda_a"] * audio
        return loss, {"loss": loss.detach(), "video": video.detach(), "audio": audio.detach()}

    def finish(self, model: nn.Module, run: dict[str, Any]) -> None:
        """Write the LoRA with names that diffusers takes. Its alpha is part of B, so that every program loads it alike."""
        prefix = PREFIXES[type(self.denoiser.transformer).__name__]
        lora = self.config["lora"]
        factor = lora.get("alpha", lora["rank"]) / lora["rank"]
        tensors = {}
        for key, tensor in model.state_dict().items():
            name = key.replace("/", ".").replace(f".{ADAPTER}.", ".")
            tensors[f"{prefix}{name}"] = (tensor * factor if ".lora_B." in name else tensor).to(self.frozen_dtype)
        save_checkpoint(self.out, tensors, self.card | {"run": run})


def mix(clean: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """Return x_t = (1 − t) x_0 + t ε."""
    t = t.view(-1, *[1] * (clean.ndim - 1))
    return (1 - t) * clean + t * noise


def with_first_frame(noisy: AVLatent, clean: AVLatent, t: Tensor) -> tuple[AVLatent, AVTime]:
    """Return the latents and the times [B, T] of their frames, with a first frame that has no noise."""
    video, times = noisy.video.clone(), t[:, None].repeat(1, noisy.video.shape[2])
    video[:, :, 0], times[:, 0] = clean.video[:, :, 0], 0
    return AVLatent(video, noisy.audio), AVTime(times, t)


def add_lora(network: Any, settings: Mapping[str, Any]) -> dict[str, nn.Parameter]:
    """Add a LoRA that changes nothing yet to the blocks of a network; return its tensors by name, in float32.

    Raises ValueError if an end of `targets` is that of no layer.
    """
    layers = find_layers(network, settings.get("targets", TARGETS[type(network).__name__]))
    rank = settings["rank"]
    network.add_adapter(LoraConfig(r=rank, lora_alpha=settings.get("alpha", rank), target_modules=layers), ADAPTER)
    found = {name: tensor for name, tensor in network.named_parameters() if f".{ADAPTER}." in name}
    for tensor in found.values():
        tensor.data = tensor.data.float()
        tensor.requires_grad_(True)
    return found


def find_layers(network: nn.Module, ends: Sequence[str]) -> list[str]:
    """Return the names of the linear layers in the network's blocks that end with one of `ends`."""
    what = type(network).__name__
    names = [name for name, module in network.named_modules() if isinstance(module, nn.Linear) and name.startswith(BLOCKS[what])]
    for end in ends:
        if not any(name.endswith(end) for name in names):
            known = sorted({name.removeprefix(BLOCKS[what]).partition(".")[2] for name in names})
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

    The frozen network is in bfloat16 if the schedule is. Raises ValueError or FileNotFoundError, in one line, for models that take
    no LoRA, and for clips that cannot be used.
    """
    path, config, of = setup.file("model"), setup.settings, setup.config["data"]
    clips = list_clips(setup.base / of["folder"], _captions(of, setup.base))
    model = load_family(path, LoadOptions(dtype="bfloat16" if setup.config["schedule"].get("bf16") else "float32"))
    _check_trainable(model, path)
    if config.get("first_frame") and not (model.known_mode == "frames" or getattr(model.denoiser, "takes_first_frame", False)):
        raise ValueError(f"stage_config.first_frame is {config['first_frame']}, but {model.name} takes no first frame; use 0")
    shape = model.shape(**config["clip"])
    prompt_files = [file for file in family_files(path) if file.parent.name.startswith(PROMPT_PARTS)]
    data = prepare_clips(model, clips, shape, setup.base / of["cache"], prompt_files, setup.on_clip)
    write_skipped(setup.out.parent, data.skipped)
    torch.manual_seed(setup.config["seed"])  # encoding uses random numbers, reading the cache does not
    given = config.get("time", {})
    time = given.get("loc", usual_time(DiffusersFolder(path), model.latent_shape(shape))), given.get("scale", 1.0)
    card = {
        "kind": "lora", "architecture": model.card["architecture"], "name": config.get("name", f"LoRA of {model.name}"),
        "trained": True, "model": model.name, "rank": config["lora"]["rank"], "clip": config["clip"], "data": {"videos": len(data)},
    }  # fmt: skip
    return JointLoraStage(config, model, data, shape, time, setup.out, card)


def _captions(of: Mapping[str, Any], base: Path) -> str | Path:
    captions = of.get("captions", "beside")
    return captions if captions in ("beside", "none") else base / captions


def _check_trainable(model: JointModel, path: Path) -> None:
    network = type(getattr(model.denoiser, "transformer", None)).__name__
    if network not in BLOCKS:
        raise ValueError(f"{path} holds {model.name}, for which no LoRA can be trained; use Kandinsky 6 or LTX-2")
    if reason := getattr(model.denoiser, "refuses_guidance", ""):
        raise ValueError(f"{path} holds {model.name}: {reason}; use the weights before distillation")
