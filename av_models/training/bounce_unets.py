"""The stages of Bounce's JointDiT: an image-to-video and a text-to-sound UNet, each alone, then both woven together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..bounce.captions import VOCABULARY
from ..checkpoint import half, load_checkpoint, load_into, save_checkpoint, sub_tensors
from ..conditioning import PictureConditioner, PictureEncoder
from ..contract import AVCondition, AVLatent, AVTime, CouplingKind, Prediction
from ..joint.jointdit import JointDiT
from ..loading import build_audioldm2, build_svd, expect
from ..parameterization import prediction_of, to_x0
from ..path import DDPM, EDM
from ..path import Path as NoisePath
from ..text import WordEncoder
from .bounce_experts import drop_text
from .coupled_rows import coupled_rows
from .flow import device_of, draws
from .latents import LatentSet

LOSSES = ("prediction", "x0")
SVD_EXPERT, AUDIOLDM2_EXPERT, JOINTDIT = "svd_expert", "audioldm2_expert", "jointdit"


def noised(x0: Tensor, t: Tensor, path: NoisePath) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """x_t, the noise in it, and α, σ shaped to multiply it."""
    alpha, sigma = (part.view(-1, *[1] * (x0.ndim - 1)) for part in path.at(t))
    noise = torch.randn_like(x0)
    return alpha * x0 + sigma * noise, noise, alpha, sigma


class UNetStage:
    """What the three stages have in common: a batch of clips, t_uni ~ U(0, 1), and the conditions."""

    rank = 0
    model: nn.ModuleDict

    def __init__(self, config: dict[str, Any], data: LatentSet, out: Path) -> None:
        self.config, self.data, self.out = config, data, out
        self.batch, self.drop = config["batch"], config["condition_dropout"]

    def rows(self, step: int, stream: int) -> Tensor:
        return torch.from_numpy(draws(step, stream, self.rank).integers(0, len(self.data), self.batch))

    def video(self, rows: Tensor) -> Tensor:
        return self.data.video[rows].to(device_of(self.model)).float()

    def audio(self, rows: Tensor) -> Tensor:
        return self.data.audio[rows].to(device_of(self.model)).float()

    def dropped(self) -> Tensor:
        """1 for rows that keep their condition, else 0, [B]."""
        return (torch.rand(self.batch) >= self.drop).float().to(device_of(self.model))


class SVDStage(UNetStage):
    """First frame to silent clip: the loss is that of v, which is EDM's own weighting (arXiv 2206.00364, table 1)."""

    def __init__(self, config: dict[str, Any], data: LatentSet, out: Path) -> None:
        super().__init__(config, data, out)
        expert = build_svd(config["model"])
        encoder = PictureEncoder(data.video.shape[1], config["model"]["cross_attention_dim"])
        self.conditioner = PictureConditioner(encoder, 1, config["fps"], config["motion_bucket"])
        self.path = EDM(**config["edm"])
        self.model = nn.ModuleDict({"expert": expert, "picture": encoder})

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        x0 = self.video(self.rows(step, 6))
        t = torch.rand(self.batch, device=x0.device)
        x_t, noise, alpha, sigma = noised(x0, t, self.path)
        cond = self.conditioner.of_latent(x0[:, :, :1], self.dropped()).video
        wanted = prediction_of(x0, noise, alpha, sigma, "v")
        loss = (self.model["expert"](x_t, self.path.network_time(t), cond) - wanted).square().mean()
        return loss, {"loss": loss.item()}

    def finish(self, model: nn.Module, run: dict[str, Any]) -> None:
        card = {
            "kind": SVD_EXPERT, "architecture": type(model["expert"].unet).__name__, "config": self.config["model"],
            "picture": model["picture"].config, "edm": self.config["edm"], "motion_bucket": self.config["motion_bucket"],
            "prediction": "v", "trained": True, "run": run, "licence": "Apache-2.0",
        }  # fmt: skip
        save_checkpoint(self.out, half(model.state_dict()), card)


class AudioLDM2Stage(UNetStage):
    """Words to sound alone: DDPM's simple loss (arXiv 2006.11239, eq. 14), on ε as AudioLDM2, or on v.

    Close to pure noise (ᾱ = 1.5e-4 at t = 1) a clean estimate from ε is off by 81 times what ε is, and what a sound is
    decided by hardly weighs in ε's loss; v there is the clean sound itself (Salimans & Ho, arXiv 2202.00512, section 4).
    """

    def __init__(self, config: dict[str, Any], data: LatentSet, out: Path) -> None:
        super().__init__(config, data, out)
        text = WordEncoder(list(VOCABULARY), **config["text"])
        of_levels = config["model"]["cross_attention_dim"]  # TOML has no null
        config["model"]["cross_attention_dim"] = [[width or None for width in level] for level in of_levels]
        self.words, self.path = text.indices(data.audio_captions), DDPM()
        self.model = nn.ModuleDict({"expert": build_audioldm2(config["model"], config["prediction"]), "text": text})

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        rows = self.rows(step, 6)
        x0 = self.audio(rows)
        t = torch.rand(self.batch, device=x0.device)
        x_t, noise, alpha, sigma = noised(x0, t, self.path)
        text = drop_text(self.model["text"].encode(self.words[rows].to(x0.device)), self.drop)
        expert = self.model["expert"]
        wanted = prediction_of(x0, noise, alpha, sigma, expert.prediction)
        loss = (expert(x_t, self.path.network_time(t), text) - wanted).square().mean()
        return loss, {"loss": loss.item()}

    def finish(self, model: nn.Module, run: dict[str, Any]) -> None:
        card = {
            "kind": AUDIOLDM2_EXPERT, "architecture": type(model["expert"].unet).__name__, "config": self.config["model"],
            "text": model["text"].config, "prediction": self.config["prediction"], "trained": True,
            "run": run, "licence": "Apache-2.0",
        }  # fmt: skip
        save_checkpoint(self.out, half(model.state_dict()), card)


class JointDiTStage(UNetStage):
    """One picture to a sounding clip: t_uni drives both worlds, L = λ1 L_v + λ2 L_a (JointDiT, eqs. 4–7).

    `loss`: "x0" is eq. 7 as printed, which weighs DDPM's noisiest steps hundreds of times more than its cleanest;
    "prediction" weighs each modality as its expert was trained. Some rows are trained `cut` and some `removed` (see
    `coupled_rows`).
    """

    def __init__(self, config: dict[str, Any], video: Path, audio: Path, data: LatentSet, out: Path) -> None:
        super().__init__(config, data, out)
        v_tensors, self.v_card = _load(video, SVD_EXPERT)
        a_tensors, self.a_card = _load(audio, AUDIOLDM2_EXPERT)
        if config["loss"] not in LOSSES:
            raise ValueError(f"stage_config.loss is {config['loss']!r}; give one of {', '.join(LOSSES)}")
        picture = PictureEncoder(**self.v_card["picture"])
        load_into(picture, sub_tensors(v_tensors, "picture"), video)
        expert_v = load_into(build_svd(self.v_card["config"]), sub_tensors(v_tensors, "expert"), video)
        expert_a = build_audioldm2(self.a_card["config"], self.a_card["prediction"], picture.config["width"])
        load_into(expert_a.unet, sub_tensors(a_tensors, "expert.unet"), audio)
        denoiser = JointDiT(expert_v, expert_a, **config["joint"], edm=EDM(**self.v_card["edm"]))
        self.text_width = self.a_card["text"]["width"]
        self.conditioner = PictureConditioner(picture, self.text_width, config["clip"]["fps"], self.v_card["motion_bucket"])
        self.model = nn.ModuleDict({"denoiser": denoiser, "encoder": picture}).train()
        self.kinds, self.null = coupled_rows(self.batch, config["cut_rows"], config["removed_rows"])

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        rows, denoiser = self.rows(step, 7), self.model["denoiser"]
        clean = AVLatent(self.video(rows), self.audio(rows))
        t = torch.rand(self.batch, device=clean.video.device)
        noisy = [noised(x, t, path) for x, path in zip((clean.video, clean.audio), denoiser.paths)]
        cond = self.condition(clean.video[:, :, :1])
        times = AVTime(*(path.network_time(t) for path in denoiser.paths))
        out = denoiser.predict(AVLatent(*(x_t for x_t, *_ in noisy)), times, cond, self.kinds)
        streams = zip((out.video, out.audio), (clean.video, clean.audio), noisy, denoiser.prediction)
        error_v, error_a = (self.error(*stream).flatten(1).mean(1) for stream in streams)
        loss = self.config["lambda_v"] * error_v.mean() + self.config["lambda_a"] * error_a.mean()
        coupled = self.kinds.count(CouplingKind.FULL)
        joint, apart = slice(0, coupled), slice(coupled, None)
        logged = {"video": error_v[joint], "audio": error_a[joint], "video_cut": error_v[apart], "audio_cut": error_a[apart]}
        parts = {"loss": loss} | {name: error.mean() for name, error in logged.items() if len(error)}
        return loss, {key: value.item() for key, value in parts.items()}

    def error(self, out: Tensor, x0: Tensor, noisy: tuple[Tensor, ...], kind: Prediction) -> Tensor:
        """Squared error of each value of a modality's prediction, or of its clean estimate."""
        x_t, noise, alpha, sigma = noisy
        if self.config["loss"] == "x0":
            return (to_x0(out, x_t, alpha, sigma, kind) - x0).square()
        return (out - prediction_of(x0, noise, alpha, sigma, kind)).square()

    def condition(self, first: Tensor) -> AVCondition:
        return self.conditioner.of_latent(first, self.dropped() * ~self.null.to(first.device))

    def finish(self, model: nn.Module, run: dict[str, Any]) -> None:
        card = {
            "kind": "joint", "architecture": "JointDiT", "name": "Bounce JointDiT", "trained": True,
            "prediction": ["v", self.a_card["prediction"]], "joint": self.config["joint"], "codecs": self.config["codecs"],
            "clip": self.config["clip"], "sample_rate": self.config["sample_rate"],
            "experts": {"video": self.v_card["architecture"], "audio": self.a_card["architecture"]},
            "video": {"config": self.v_card["config"]},
            "audio": {part: self.a_card[part] for part in ("config", "prediction")} | {"text_width": self.text_width},
            "picture": self.v_card["picture"], "edm": self.v_card["edm"], "motion_bucket": self.v_card["motion_bucket"],
            "data": self.config["data_card"], "run": run, "licence": "Apache-2.0",
        }  # fmt: skip
        save_checkpoint(self.out, half(model.state_dict()), card)


def _load(path: Path, kind: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    tensors, card = load_checkpoint(path)
    expect(card, "kind", (kind,), path)
    return tensors, card
