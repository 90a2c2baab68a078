"""What the stages of UNets on DDPM's and EDM's noise have in common, and JointDiT's joint loss whatever its experts are."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..contract import AVCondition, AVLatent, AVTime, CouplingKind, Prediction
from ..joint.jointdit import JointDiT
from ..parameterization import prediction_of, to_x0
from ..path import Path as NoisePath
from .coupled_rows import coupled_rows, null_rows
from .flow import batch_generator, device_of
from .latents import LatentSet

LOSSES = ("prediction", "x0")


@dataclass(frozen=True)
class Noise:
    """What one modality's clean latents become: x_t = α x_0 + σ ε, of which the network is told `time`.

    Drawn on the CPU, so that it is the same on every device. ε: as the latents; α, σ: shaped to multiply them; time: [rows].
    """

    epsilon: Tensor
    alpha: Tensor
    sigma: Tensor
    time: Tensor

    @classmethod
    def drawn(cls, shape: Sequence[int], t: Tensor, path: NoisePath) -> Noise:
        """Of latents of `shape` [rows, …], each at its t of `t`, on the CPU."""
        alpha, sigma = (part.view(-1, *[1] * (len(shape) - 1)) for part in path.at(t))
        return cls(torch.randn(shape), alpha, sigma, path.network_time(t))

    def to(self, device: torch.device) -> Noise:
        return Noise(*(part.to(device) for part in (self.epsilon, self.alpha, self.sigma, self.time)))

    def on(self, x0: Tensor) -> Tensor:
        return self.alpha * x0 + self.sigma * self.epsilon

    def wanted(self, x0: Tensor, kind: Prediction) -> Tensor:
        """What of `x0` a network that predicts `kind` should say."""
        return prediction_of(x0, self.epsilon, self.alpha, self.sigma, kind)


class UNetStage:
    """What the three stages have in common: a batch of clips, t_uni ~ U(0, 1), and the conditions."""

    rank = 0
    model: nn.ModuleDict

    def __init__(self, config: dict[str, Any], data: LatentSet, out: Path) -> None:
        self.config, self.data, self.out = config, data, out
        self.batch, self.drop = config["batch"], config["condition_dropout"]

    def rows(self, step: int, stream: int) -> Tensor:
        return torch.from_numpy(batch_generator(step, stream, self.rank).integers(0, len(self.data), self.batch))

    def video(self, rows: Tensor) -> Tensor:
        return self.data.video[rows].to(device_of(self.model)).float()

    def audio(self, rows: Tensor) -> Tensor:
        return self.data.audio[rows].to(device_of(self.model)).float()

    def dropped(self) -> Tensor:
        """1 for rows that keep their condition, else 0, [B], on the CPU."""
        return (torch.rand(self.batch) >= self.drop).float()


@dataclass(frozen=True)
class Batch:
    """All that is drawn or decided for a joint step: which clips, their noise, and which keep their picture (1, else 0)."""

    rows: Tensor
    video: Noise
    audio: Noise
    given: Tensor


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
        loss, parts = self.losses(self.drawn(step))
        return loss, {key: value.item() for key, value in parts.items()}

    def drawn(self, step: int) -> Batch:
        """The batch of a step. The order of its draws is kept: another would change every run."""
        rows, (t_video, t_audio) = self.rows(step, 7), self.clocks()
        video = Noise.drawn((self.batch, *self.data.video.shape[1:]), t_video, self.denoiser.paths[0])
        audio = Noise.drawn((self.batch, *self.data.audio.shape[1:]), t_audio, self.denoiser.paths[1])
        return Batch(rows, video, audio, self.dropped() * ~null_rows(self.kinds, step))

    def losses(self, batch: Batch) -> tuple[Tensor, dict[str, Tensor]]:
        """What is trained on, and the parts to log; of a batch alone, with nothing left to chance."""
        clean, device = AVLatent(self.video(batch.rows), self.audio(batch.rows)), device_of(self.model)
        noise = batch.video.to(device), batch.audio.to(device)
        cond = self.condition(batch.rows, clean.video, batch.given.to(device))
        noisy = AVLatent(noise[0].on(clean.video), noise[1].on(clean.audio))
        out = self.denoiser.predict(noisy, AVTime(*(part.time for part in noise)), cond, self.kinds)
        each = zip((out.video, out.audio), (clean.video, clean.audio), (noisy.video, noisy.audio), noise, self.denoiser.prediction)
        error_v, error_a = (self.error(*stream).flatten(1).mean(1) for stream in each)
        loss = self.config["lambda_v"] * error_v.mean() + self.config["lambda_a"] * error_a.mean()
        coupled = self.kinds.count(CouplingKind.FULL)
        joint, apart = slice(0, coupled), slice(coupled, None)
        logged = {"video": error_v[joint], "audio": error_a[joint], "video_cut": error_v[apart], "audio_cut": error_a[apart]}
        parts = {"loss": loss} | {name: error.mean() for name, error in logged.items() if len(error)}
        if (alignment := self.alignment(batch.rows)) is not None:
            parts["alignment"], loss = alignment, loss + alignment
        return loss, {name: part.detach() for name, part in parts.items()}

    def clocks(self) -> tuple[Tensor, Tensor]:
        """t of every row for picture and sound: t_uni for both (eqs. 4–5), but for the rows in which one is ahead."""
        t, (pictures, sounds) = torch.rand(self.batch), self.ahead
        share, video, audio = torch.rand(pictures + sounds), t.clone(), t.clone()
        video[:pictures] *= share[:pictures]
        audio[pictures : pictures + sounds] *= share[pictures:]
        return video, audio

    def alignment(self, rows: Tensor) -> Tensor | None:
        """What features of clips `rows` in the pass just made are off what they are drawn towards, where they are."""

    def error(self, out: Tensor, x0: Tensor, x_t: Tensor, noise: Noise, kind: Prediction) -> Tensor:
        """Squared error of each value of a modality's prediction, or of its clean estimate."""
        if self.config["loss"] == "x0":
            return (to_x0(out, x_t, noise.alpha, noise.sigma, kind) - x0).square()
        return (out - noise.wanted(x0, kind)).square()
