"""Fine-tuning of an AVFullDiT of two experts on a folder of sounding videos (arXiv 2512.02457, section 3).

What is trained: the joint layers alone ("joint"), these and a LoRA of both experts ("lora"), or all weights ("full"), as in the
paper. The rest is frozen, in bfloat16 where the schedule has `bf16`. The result is a joint checkpoint.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, cast

import torch
from peft import LoraConfig, inject_adapter_in_model
from torch import Tensor, nn

from ..checkpoint import half
from ..joint.avfulldit import AVFullDiT
from ..joint_checkpoint import STREAMS, expert_entry, joint_tensors, save_joint_layers
from ..joint_model import JointModel
from ..load_streams import join_conditioners, load_streams
from ..pair_card import describe_pair
from ..published.build_pair import weave
from ..published.expert_options import ExpertOptions
from ..published.load_published import is_published, published_files
from ..recommended import sampling_field
from ..shapes import VideoShape
from .bf16 import has_bf16
from .clip_folder import BESIDE, LISTS, SKIPPED, list_clips, summarize, write_skipped
from .config import StageSetup
from .coupled_rows import coupled_rows
from .latent_shards import TrainingClips, natural_length, prepare_clips
from .pair_batch import BatchSettings, draw_batch
from .pair_layers import trained_layers
from .pair_objective import pair_loss
from .processes import processes

LORA_LAYERS = r".*blocks\.\d+\.(.*\.)?(to_q|to_k|to_v|to_out\.0|to_add_out|add_[qkv]_proj|proj_mlp|proj_out|net\.0\.proj|net\.2)"
"""The linear layers of both experts' blocks, by their names in diffusers."""
RANK = 32
"""Of a LoRA, unless the config has another."""


class PairStage:
    """Trains with L = L_v + λ_a L_a, one shared timestep and independent noise. A `PartStage` of the loop.

    joint: the pair. data: the clips. out: path of the checkpoint. card: further fields of its card.
    config: `stage_config`, with these keys among others:
        parts: "joint", "lora" or "full". lora {rank}: of the experts' LoRA.
        cut_rows, removed_rows: rows of each batch with the coupling `cut` and `removed`, for guidance (see `coupled_rows`).
        first_frame_rows: the first rows of each batch have a given first frame, for experts that take one.
        condition_dropout: the share of coupled rows without their prompts.
        gradient_checkpointing: computes each layer again in the backward pass, which needs less memory.
    """

    rank = 0

    def __init__(
        self, config: dict[str, Any], joint: JointModel, data: TrainingClips, seed: int, out: Path, card: dict[str, Any]
    ) -> None:
        self.config, self.data, self.seed, self.out, self.card = config, data, seed, out, card
        self.parts: Literal["joint", "lora", "full"] = config["parts"]
        self.batch = batch_settings(config, joint)
        denoiser = cast(AVFullDiT, joint.denoiser)
        self.model: nn.Module = denoiser
        choose_trained(denoiser, self.parts, config.get("lora", {}).get("rank", RANK))
        self.shard_units = trained_layers(denoiser, config.get("gradient_checkpointing", False))
        self.model.train()
        self.denoiser = joint.denoiser_for(joint.shape(**config["clip"]))

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        batch = draw_batch(self.data, self.batch, self.seed, step).to(processes().device)
        loss, parts = pair_loss(self.denoiser, batch, self.config["lambda_a"])
        return loss, {name: value.item() for name, value in parts.items()}

    def finish_trained(self, tensors: dict[str, Tensor], run: dict[str, Any]) -> None:
        """Write the joint checkpoint."""
        trained = {name.replace(".default", ""): value for name, value in tensors.items()}
        denoiser = cast(AVFullDiT, self.model)
        held = joint_tensors(denoiser, self.parts)
        card = self.card | {"run": run, "data": {"clips": len(self.data)}, "clip": self.config["clip"]}
        experts = card.pop("experts")
        kept = {name: trained.get(name, value) for name, value in held.items()}
        save_joint_layers(self.out, denoiser, experts["video"], experts["audio"], kind=self.parts, card=card, tensors=half(kept))


def batch_settings(config: dict[str, Any], joint: JointModel) -> BatchSettings:
    """Return the rows of a batch. Raises ValueError for first frames that the video expert does not take, or too many rows."""
    batch, cut, removed, first = (config.get(name, 0) for name in ("batch", "cut_rows", "removed_rows", "first_frame_rows"))
    if first and joint.known_mode == "renoised":
        raise ValueError(f"first_frame_rows is {first}, and this video expert takes no first frame; use 0")
    coupled_rows(batch, cut, removed)
    if removed == batch:
        raise ValueError(f"removed_rows is {removed}, all rows of the batch, which train no joint layers; use fewer")
    if first > batch - cut - removed:
        raise ValueError(f"first_frame_rows is {first}; give at most {max(0, batch - cut - removed)}, the coupled rows")
    return BatchSettings(batch, cut, removed, first, config["condition_dropout"], **config["time"], modes=joint.known_modes)


def choose_trained(denoiser: AVFullDiT, parts: str, rank: int = RANK) -> None:
    """Freeze what is not trained. What is trained is in float32."""
    denoiser.requires_grad_(parts == "full")
    denoiser.new_heads.requires_grad_(True)
    if parts == "lora":
        settings = LoraConfig(r=rank, lora_alpha=rank, target_modules=LORA_LAYERS)
        for stream in STREAMS:
            expert: Any = getattr(denoiser, stream)
            inject_adapter_in_model(settings, expert.transformer)
        for name, parameter in denoiser.named_parameters():
            parameter.requires_grad_(".lora_" in name or name.startswith("new_heads."))
    for parameter in denoiser.parameters():
        if parameter.requires_grad:
            parameter.data = parameter.data.float()


def make_pair_stage(setup: StageSetup) -> PairStage:
    """Load both experts, encode the clips, and make the stage. Raises FileNotFoundError or ValueError, in one line."""
    config, settings = setup.config, setup.settings
    of, paths = config["data"], (setup.file("video_expert"), setup.file("audio_expert"))
    folder = list_clips(setup.base / of["folder"], captions_of(setup))
    video, audio = _load_experts(setup, paths)
    clip, rope = VideoShape(**settings["clip"]), settings.get("rope", "avsync" if any(map(is_published, paths)) else "vanilla")
    torch.manual_seed(config["seed"])
    denoiser = weave(video, audio, settings.get("joint_blocks"), rope, clip, settings.get("attention", "full"))
    card = {"name": "the pair", "trained": False} | describe_pair(video, audio, [])
    codecs = video.codec, natural_length(audio.codec)
    joint = JointModel(card, denoiser, *codecs, join_conditioners(video, audio), clip=clip)
    options = dict(zip(paths, (_options(setup, stream) for stream in STREAMS)))
    prompt_files = [file for path in paths if is_published(path) for file in published_files(path, options[path])]
    data = prepare_clips(joint, folder, joint.shape(**settings["clip"]), setup.base / of["cache"], prompt_files, setup.on_clip)
    report_skipped(setup, data)
    torch.manual_seed(config["seed"])  # encoding uses random numbers, reading the cache does not
    return PairStage(settings, joint, data, config["seed"], setup.out, _card(setup, paths))


def report_skipped(setup: StageSetup, data: TrainingClips) -> None:
    """List what was skipped in the run's folder, and say it in one line."""
    if data.skipped and setup.folder and processes().is_main_process:
        write_skipped(setup.folder, data.skipped)
        setup.say(f"{summarize(data.skipped)}; see {setup.folder / SKIPPED}")


def captions_of(setup: StageSetup) -> str | Path:
    name = setup.config["data"].get("captions", BESIDE)
    return setup.base / name if Path(name).suffix.lower() in LISTS else name


def _options(setup: StageSetup, stream: str) -> ExpertOptions:
    """Return how an expert is loaded: in bfloat16 if it is frozen and the losses are computed so, else in float32."""
    files = {name: setup.base / path for name, path in setup.config.get(f"{stream}_options", {}).items()}
    halved = setup.config["schedule"].get("bf16", False) and setup.settings["parts"] != "full" and has_bf16(processes().device)
    return ExpertOptions(dtype="bfloat16" if halved else "float32", **files)


def _load_experts(setup: StageSetup, paths: tuple[Path, Path]) -> tuple[Any, Any]:
    of = setup.config["data"]
    video, audio = (setup.base / of[name] if name in of else Path("none") for name in ("video_codec", "audio_codec"))
    for path, name in zip(paths, ("video_codec", "audio_codec")):
        if path.is_file() and not is_published(path) and name not in of:
            raise ValueError(f"data.{name} is missing, which {path.name} was trained with; add it")
    return load_streams((*paths, video, audio), tuple(_options(setup, stream) for stream in STREAMS))


def _card(setup: StageSetup, paths: tuple[Path, Path]) -> dict[str, Any]:
    """Return the fields of the checkpoint's card that the config gives."""
    settings, of = setup.settings, setup.config["data"]
    sources = settings.get("sources", {})
    codecs = {stream: Path(of[f"{stream}_codec"]).name for stream in STREAMS if f"{stream}_codec" in of}
    return {
        "name": settings.get("name", setup.out.stem), **({"codecs": codecs} if codecs else {}), **sampling_field(settings),
        "experts": {stream: expert_entry(path, sources.get(stream, "")) for stream, path in zip(STREAMS, paths)},
    }  # fmt: skip
