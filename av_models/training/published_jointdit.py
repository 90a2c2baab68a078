"""JointDiT from its experts as published: what joins Stable Video Diffusion and AudioLDM2 is trained, and they stay as they are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..checkpoint import half, save_checkpoint
from ..conditioning import condition_audio_on_image
from ..contract import AVCondition
from ..load_parts import JOINT_LAYERS
from ..published.build_pair import build_jointdit, joint_layers
from ..published.load_published import load_published
from ..published.loaded_expert import LoadedExpert
from ..shapes import AVShape, VideoShape
from .config import StageSetup
from .flow import device_of
from .folder import Encoders, read_folder
from .latents import LatentSet
from .unet_stages import Batch, JointDiTStage


class PublishedJointDiTStage(JointDiTStage):
    """The checkpoint holds `joint_layers` alone, for *Join Experts* to put between the same two experts."""

    def __init__(self, config: dict[str, Any], video: LoadedExpert, audio: LoadedExpert, data: LatentSet, out: Path) -> None:
        super().__init__(config, data, out)
        self.denoiser = build_jointdit(video, audio, VideoShape(**config["clip"]), config["joint"])
        shape = AVShape.of_frames(**config["clip"], sample_rate=audio.codec.sample_rate, channels=audio.codec.channels)
        self.silent = audio.conditioner.condition("", None, shape)
        self.model = joint_layers(self.denoiser.requires_grad_(False)).requires_grad_(True).train()

    def losses(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        self.denoiser.to(device_of(self.model))  # the loop moves what it trains
        return super().losses(batch)

    def condition(self, rows: Tensor, clean: Tensor, given: Tensor) -> AVCondition:
        seen = self.data.pictures.each(lambda part: part[rows]).to(clean.device)
        tokens, image = (part.float() * given.view(-1, *[1] * (part.ndim - 1)) for part in (seen.tokens, seen.image))
        seen = replace(seen, tokens=tokens, image=image, vector=seen.vector.float())
        return condition_audio_on_image(seen, self.silent.to(clean.device).spread(self.batch))

    def finish(self, model: torch.nn.Module, run: dict[str, Any]) -> None:
        card = {
            "kind": JOINT_LAYERS, "architecture": "JointDiT", "name": "JointDiT", "trained": True, "joint": self.config["joint"],
            "clip": self.config["clip"], "data": self.config["data_card"], "run": run,
        }  # fmt: skip
        save_checkpoint(self.out, half(model.state_dict()), card)


def published_jointdit(setup: StageSetup) -> PublishedJointDiTStage:
    """The stage of a config that names Stable Video Diffusion, AudioLDM2 and a folder of videos, encoded by their own codecs."""
    of, paths = setup.config["data"], (setup.file("video_expert"), setup.file("audio_expert"))
    if "folder" not in of:
        raise ValueError("published experts are trained on a folder of videos; give data.folder")
    video, audio = load_published(paths[0], "video"), load_published(paths[1], "audio")
    data = read_folder(setup, Encoders.of_published(video, audio, *paths))
    torch.manual_seed(setup.config["seed"])
    setup.settings["data_card"] = {"videos": len(data)}
    return PublishedJointDiTStage(setup.settings, video, audio, data, setup.out)
