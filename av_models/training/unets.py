"""What the stages of UNets on DDPM's and EDM's noise have in common, and JointDiT's joint loss whatever its experts are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..contract import AVCondition, AVLatent, AVTime, CouplingKind, Prediction
from ..joint.jointdit import JointDiT
from ..parameterization import prediction_of, to_x0
from ..path import Path as NoisePath
from .coupled_rows import coupled_rows, null_rows
from .flow import device_of, draws
from .latents import LatentSet

LOSSES = ("prediction", "x0")


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


class JointDiTStage(UNetStage, ABC):
    """One picture to a sounding clip: t_uni drives both worlds, L = λ1 L_v + λ2 L_a (JointDiT, eqs. 4–7).

    `loss`: "x0" is eq. 7 as printed, which weighs DDPM's noisiest steps hundreds of times more than its cleanest;
    "prediction" weighs each modality as its expert was trained. Some rows are trained `cut` and some `removed` (see
    `coupled_rows`). `ahead` [pictures, sounds]: in so many of the coupled rows one modality has got further than the other,
    its clock at t_uni times U(0, 1), so that each learns early to look at the other: there is more to see.
    """

    denoiser: JointDiT

    def __init__(self, config: dict[str, Any], data: LatentSet, out: Path) -> None:
        super().__init__(config, data, out)
        if config["loss"] not in LOSSES:
            raise ValueError(f"stage_config.loss is {config['loss']!r}; give one of {', '.join(LOSSES)}")
        self.kinds = coupled_rows(self.batch, config["cut_rows"], config["removed_rows"])
        self.ahead, coupled = config.get("ahead", [0, 0]), self.kinds.count(CouplingKind.FULL)
        if len(self.ahead) != 2 or sum(self.ahead) > coupled or min(self.ahead) < 0:
            raise ValueError(f"stage_config.ahead is {self.ahead}; give [pictures, sounds] that fit {coupled} coupled rows")

    @abstractmethod
    def condition(self, rows: Tensor, clean: Tensor, given: Tensor) -> AVCondition:
        """Of clips `rows`, whose pictures are `clean`; where `given` [B] is 0 instead of 1, that of no picture."""

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        rows = self.rows(step, 7)
        clean = AVLatent(self.video(rows), self.audio(rows))
        clocks, device = self.clocks(), clean.video.device
        noisy = [noised(x, t.to(device), path) for x, t, path in zip((clean.video, clean.audio), clocks, self.denoiser.paths)]
        cond = self.condition(rows, clean.video, self.dropped() * ~null_rows(self.kinds, step).to(device))
        times = AVTime(*(path.network_time(t.to(device)) for t, path in zip(clocks, self.denoiser.paths)))
        out = self.denoiser.predict(AVLatent(*(x_t for x_t, *_ in noisy)), times, cond, self.kinds)
        streams = zip((out.video, out.audio), (clean.video, clean.audio), noisy, self.denoiser.prediction)
        error_v, error_a = (self.error(*stream).flatten(1).mean(1) for stream in streams)
        loss = self.config["lambda_v"] * error_v.mean() + self.config["lambda_a"] * error_a.mean()
        coupled = self.kinds.count(CouplingKind.FULL)
        joint, apart = slice(0, coupled), slice(coupled, None)
        logged = {"video": error_v[joint], "audio": error_a[joint], "video_cut": error_v[apart], "audio_cut": error_a[apart]}
        parts = {"loss": loss} | {name: error.mean() for name, error in logged.items() if len(error)}
        if (alignment := self.alignment(rows)) is not None:
            parts["alignment"], loss = alignment, loss + alignment
        return loss, {key: value.item() for key, value in parts.items()}

    def clocks(self) -> tuple[Tensor, Tensor]:
        """t of every row for picture and sound: t_uni for both (eqs. 4–5), but for the rows in which one is ahead."""
        t, (pictures, sounds) = torch.rand(self.batch), self.ahead
        share, video, audio = torch.rand(pictures + sounds), t.clone(), t.clone()
        video[:pictures] *= share[:pictures]
        audio[pictures : pictures + sounds] *= share[pictures:]
        return video, audio

    def alignment(self, rows: Tensor) -> Tensor | None:
        """What features of clips `rows` in the pass just made are off what they are drawn towards, where they are."""

    def error(self, out: Tensor, x0: Tensor, noisy: tuple[Tensor, ...], kind: Prediction) -> Tensor:
        """Squared error of each value of a modality's prediction, or of its clean estimate."""
        x_t, noise, alpha, sigma = noisy
        if self.config["loss"] == "x0":
            return (to_x0(out, x_t, alpha, sigma, kind) - x0).square()
        return (out - prediction_of(x0, noise, alpha, sigma, kind)).square()
