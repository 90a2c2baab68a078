"""The stage that weaves Bounce's two experts into AVFullDiT and fine-tunes them jointly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..checkpoint import half, save_checkpoint
from ..contract import AVCondition, AVLatent, AVTime, CouplingKind
from ..joint.avfulldit import AVFullDiT
from ..loading import load_expert, prefixed
from .bounce_experts import compile_blocks, drop_text
from .flow import device_of, draw_time, draws, noised
from .latents import LatentSet


class JointStage:
    """L = L_v + λ_a L_a with one shared t and independent noise (AVFullDiT, section 3).

    Some rows of every batch are trained `cut` and some `removed`, so that JointCFG's and JointCFG*'s negatives are
    predictions the model has learned; both texts are dropped for half of those. Text encoders stay frozen.
    """

    rank = 0

    def __init__(self, config: dict[str, Any], video: Path, audio: Path, data: LatentSet, out: Path) -> None:
        self.config, self.data, self.out = config, data, out
        self.batch, self.drop, self.time, self.weight = (
            config["batch"], config["text_dropout"], config["time"], config["lambda_a"]
        )  # fmt: skip
        v, self.video_text, v_card = load_expert(video)
        a, self.audio_text, a_card = load_expert(audio)
        self.cards = {"video": v_card, "audio": a_card}
        self.model = AVFullDiT(v, a, config["joint_blocks"]).train()
        if config.get("compile"):
            compile_blocks(v.transformer)
            compile_blocks(a.transformer)
            self.model.joint_block = torch.compile(self.model.joint_block)
        self.video_words = self.video_text.indices(data.video_captions)
        self.audio_words = self.audio_text.indices(data.audio_captions)
        cut, removed = config["cut_rows"], config["removed_rows"]
        full = self.batch - cut - removed
        self.kinds = [CouplingKind.FULL] * full + [CouplingKind.CUT] * cut + [CouplingKind.REMOVED] * removed
        self.null = torch.zeros(self.batch, dtype=torch.bool)
        self.null[full : full + cut // 2] = True
        self.null[full + cut : full + cut + removed // 2] = True

    def condition(self, rows: Tensor) -> AVCondition:
        device = device_of(self.model)
        with torch.no_grad():
            video = self.video_text.to(device).encode((self.video_words[rows] * ~self.null[:, None]).to(device))
            audio = self.audio_text.to(device).encode((self.audio_words[rows] * ~self.null[:, None]).to(device))
        return AVCondition(drop_text(video, self.drop), drop_text(audio, self.drop))

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        device = device_of(self.model)
        rows = torch.from_numpy(draws(step, 4, self.rank).integers(0, len(self.data), self.batch))
        t = draw_time(self.batch, **self.time, device=device)
        x_v, velocity_v = noised(self.data.video[rows].to(device).float(), t)
        x_a, velocity_a = noised(self.data.audio[rows].to(device).float(), t)
        out = self.model.predict(AVLatent(x_v, x_a), AVTime(t, t), self.condition(rows), self.kinds)
        full = self.kinds.count(CouplingKind.FULL)
        error_v = (out.video - velocity_v).square().mean((1, 2, 3, 4))
        error_a = (out.audio - velocity_a).square().mean((1, 2))
        loss = error_v.mean() + self.weight * error_a.mean()
        parts = {"loss": loss, "video": error_v[:full].mean(), "audio": error_a[:full].mean()}
        parts |= {"video_cut": error_v[full:].mean(), "audio_cut": error_a[full:].mean()}
        return loss, {key: value.item() for key, value in parts.items()}

    def finish(self, model: nn.Module, run: dict[str, Any]) -> None:
        card = {
            "kind": "joint", "architecture": "AVFullDiT", "name": "Bounce", "prediction": "flow", "trained": True,
            "joint_blocks": self.config["joint_blocks"], "codecs": self.config["codecs"], "clip": self.config["clip"],
            "sample_rate": self.config["sample_rate"],
            "experts": {modality: card["architecture"] for modality, card in self.cards.items()},
            "video": {k: self.cards["video"][k] for k in ("config", "text", "coordinates")},
            "audio": {k: self.cards["audio"][k] for k in ("config", "text", "rope_scale")},
            "data": self.config["data_card"], "run": run, "licence": "Apache-2.0",
        }  # fmt: skip
        tensors = prefixed("denoiser", model.state_dict())
        tensors |= prefixed("video_text", self.video_text.state_dict())
        tensors |= prefixed("audio_text", self.audio_text.state_dict())
        save_checkpoint(self.out, half(tensors), card)
