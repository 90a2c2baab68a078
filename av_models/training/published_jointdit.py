"""Training of JointDiT's joint layers between the published Stable Video Diffusion and AudioLDM2, which stay frozen."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from ..checkpoint import half, save_checkpoint
from ..codecs.base import AudioCodec
from ..conditioning import condition_audio_on_image
from ..contract import AVCondition, Condition
from ..joint.jointdit import JointDiT
from ..load_parts import JOINT_LAYERS
from ..published.build_pair import build_jointdit, joint_layers
from ..published.load_published import load_published
from ..published.loaded_expert import LoadedExpert
from ..recommended import sampling_field
from ..shapes import AVShape, VideoShape
from .config import StageSetup
from .flow import device_of
from .folder import Encoders, read_folder
from .latents import LatentSet
from .unet_stages import JointBatch, JointDiTStage


class PublishedJointDiTStage(JointDiTStage):
    """Trains the joint layers only. The checkpoint holds `joint_layers`, which *Join Experts* puts between the same two experts."""

    def __init__(self, config: dict[str, Any], video: LoadedExpert, audio: LoadedExpert, data: LatentSet, out: Path) -> None:
        super().__init__(config, data, out)
        denoiser, codec = build_jointdit(video, audio, VideoShape(**config["clip"]), config["joint"]), cast(AudioCodec, audio.codec)
        assert isinstance(denoiser, JointDiT)
        self.denoiser = denoiser
        shape = AVShape.of_frames(**config["clip"], sample_rate=codec.sample_rate, channels=codec.channels)
        self.empty_prompt = audio.conditioner.condition("", None, shape)
        self.model = joint_layers(self.denoiser.requires_grad_(False)).requires_grad_(True).train()

    def compute_losses(self, batch: JointBatch) -> tuple[Tensor, dict[str, Tensor]]:
        device = device_of(self.model)
        self.denoiser.to(device)  # the loop moves only the trained layers
        self.empty_prompt = self.empty_prompt.to(device)
        return super().compute_losses(batch)

    def gather_extra(self, rows: Tensor) -> dict[str, Tensor]:
        """Return the condition of the clips' first frames, by the names of `Condition`."""
        pictures = self.data.pictures
        assert pictures is not None and pictures.vector is not None and pictures.image is not None
        parts = {"tokens": pictures.tokens, "mask": pictures.mask, "vector": pictures.vector, "image": pictures.image}
        return {name: part[rows] for name, part in parts.items()}

    def make_condition(self, clean_video: Tensor, keep: Tensor, extra: dict[str, Tensor]) -> AVCondition:
        tokens, image = (part.float() * keep.view(-1, *[1] * (part.ndim - 1)) for part in (extra["tokens"], extra["image"]))
        video = Condition(tokens, extra["mask"], extra["vector"].float(), image)
        return condition_audio_on_image(video, self.empty_prompt.expand(self.batch))

    def finish(self, model: torch.nn.Module, run: dict[str, Any]) -> None:
        card = {
            "kind": JOINT_LAYERS, "architecture": "JointDiT", "name": "JointDiT", "trained": True, "joint": self.config["joint"],
            "clip": self.config["clip"], "data": self.config["data_card"], "run": run, **sampling_field(self.config),
        }  # fmt: skip
        save_checkpoint(self.out, half(model.state_dict()), card)


def make_published_stage(setup: StageSetup) -> PublishedJointDiTStage:
    """Make the stage of a config that names Stable Video Diffusion, AudioLDM2 and a folder of videos.

    The videos are encoded by the experts' own codecs. Raises ValueError if the config's [data] has no `folder`.
    """
    of, paths = setup.config["data"], (setup.file("video_expert"), setup.file("audio_expert"))
    if "folder" not in of:
        raise ValueError("published experts are trained on a folder of videos; add data.folder")
    video, audio = load_published(paths[0], "video"), load_published(paths[1], "audio")
    data = read_folder(setup, Encoders.from_experts(video, audio, *paths))
    torch.manual_seed(setup.config["seed"])
    setup.settings["data_card"] = {"videos": len(data)}
    return PublishedJointDiTStage(setup.settings, video, audio, data, setup.out)
