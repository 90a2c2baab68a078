"""The common part of the stages that train UNets (DDPM's and EDM's noise), and JointDiT's joint loss for any pair of experts."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import torch
from accelerate.utils import send_to_device
from torch import Tensor, nn

from ..contract import AVCondition, AVLatent, AVTime, CouplingKind, Prediction
from ..joint.jointdit import JointDiT
from ..parameterization import to_prediction, to_x0
from ..path import Path as NoisePath
from .coupled_rows import coupled_rows, null_rows
from .flow import batch_generator, device_of
from .latents import LatentSet

LOSSES = ("prediction", "x0")


class Noise(NamedTuple):
    """The noise of a batch of one modality: x_t = α x_0 + σ ε.

    epsilon: ε, shaped like the latents [B, …]. alpha, sigma: [B, 1, …]. time: [B], the network's timestep.
    """

    epsilon: Tensor
    alpha: Tensor
    sigma: Tensor
    time: Tensor

    @classmethod
    def draw(cls, shape: Sequence[int], t: Tensor, path: NoisePath) -> Noise:
        """Draw noise for latents of `shape` [B, …] at times t [B], on the CPU, so that it is equal on every device."""
        alpha, sigma = (part.view(-1, *[1] * (len(shape) - 1)) for part in path.at(t))
        return cls(torch.randn(shape), alpha, sigma, path.network_time(t))

    def add_to(self, x0: Tensor) -> Tensor:
        return self.alpha * x0 + self.sigma * self.epsilon

    def target(self, x0: Tensor, kind: Prediction) -> Tensor:
        """Return the training target of a network that predicts `kind`, for clean latents x0."""
        return to_prediction(x0, self.epsilon, self.alpha, self.sigma, kind)


class UNetStage(ABC):
    """Draws batches of clips, their noise at t ~ U(0, 1), and the rows that keep their condition. A `CapturableStage`."""

    rank = 0
    model: nn.ModuleDict

    def __init__(self, config: dict[str, Any], data: LatentSet, out: Path) -> None:
        self.config, self.data, self.out = config, data, out
        self.batch, self.drop = config["batch"], config["condition_dropout"]

    @abstractmethod
    def draw_batch(self, step: int) -> Any:
        """Draw the batch of a step, on the CPU. The order of the random draws must stay: another order changes every run."""

    @abstractmethod
    def compute_losses(self, batch: Any) -> tuple[Tensor, dict[str, Tensor]]:
        """Compute the loss and the values to log from a batch on the model's device, without random draws."""

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        loss, parts = self.compute_losses(send_to_device(self.draw_batch(step), device_of(self.model)))
        return loss, {name: value.item() for name, value in parts.items()}

    def draw_rows(self, step: int, stream: int) -> Tensor:
        """Draw the indices [B] of a step's clips."""
        return torch.from_numpy(batch_generator(step, stream, self.rank).integers(0, len(self.data), self.batch))

    def draw_kept_conditions(self) -> Tensor:
        """Draw which rows keep their condition: [B], 1 for those that do, 0 for the others."""
        return (torch.rand(self.batch) >= self.drop).float()


class JointBatch(NamedTuple):
    """The batch of a joint step.

    video, audio: clean latents in float16, as in the data set. keep_condition: [B], 1 for rows that keep their image,
    else 0. extra: further data of the same clips, from `gather_extra`.
    """

    video: Tensor
    audio: Tensor
    video_noise: Noise
    audio_noise: Noise
    keep_condition: Tensor
    extra: dict[str, Tensor]


class JointDiTStage(UNetStage):
    """Trains JointDiT, from one image to a clip with audio: L = λ1 L_v + λ2 L_a at one t for both modalities (eqs. 4–7).

    Settings of a config's [stage_config]:
    loss: "x0" is eq. 7 of the paper. It gives DDPM's noisiest steps hundreds of times the weight of the least noisy ones.
        "prediction" uses the weights of each expert's training.
    cut_rows, removed_rows: see `coupled_rows`.
    ahead: [n_video, n_audio]. In so many of the fully coupled rows the video, or the audio, has less noise than the other
        modality: its time is t · U(0, 1). This helps each modality to learn early to attend to the other.
    """

    denoiser: JointDiT

    def __init__(self, config: dict[str, Any], data: LatentSet, out: Path) -> None:
        super().__init__(config, data, out)
        if config["loss"] not in LOSSES:
            raise ValueError(f"stage_config.loss is {config['loss']!r}; use one of {', '.join(LOSSES)}")
        self.kinds = coupled_rows(self.batch, config["cut_rows"], config["removed_rows"])
        self.ahead, coupled = config.get("ahead", [0, 0]), self.kinds.count(CouplingKind.FULL)
        if len(self.ahead) != 2 or sum(self.ahead) > coupled or min(self.ahead) < 0:
            raise ValueError(f"stage_config.ahead is {self.ahead}; use [videos, audios] that fit {coupled} coupled rows")

    @abstractmethod
    def make_condition(self, clean_video: Tensor, keep: Tensor, extra: dict[str, Tensor]) -> AVCondition:
        """Make the condition of a batch from its clean video latents [B, C, T, H, W] and the clips' `extra` data.

        keep: [B], 1 for rows with an image, 0 for rows with the null condition.
        """

    def gather_extra(self, rows: Tensor) -> dict[str, Tensor]:
        """Return further data of the clips `rows`, on the CPU, for `make_condition` and `alignment_loss`."""
        return {}

    def draw_batch(self, step: int) -> JointBatch:
        rows, (t_video, t_audio) = self.draw_rows(step, 7), self.draw_times()
        clean_video, clean_audio = self.data.both()
        video, audio = clean_video[rows], clean_audio[rows]
        video_noise = Noise.draw(video.shape, t_video, self.denoiser.paths[0])
        audio_noise = Noise.draw(audio.shape, t_audio, self.denoiser.paths[1])
        keep = self.draw_kept_conditions() * ~null_rows(self.kinds, step)
        return JointBatch(video, audio, video_noise, audio_noise, keep, self.gather_extra(rows))

    def compute_losses(self, batch: JointBatch) -> tuple[Tensor, dict[str, Tensor]]:
        clean = AVLatent(batch.video.float(), batch.audio.float())
        noise = batch.video_noise, batch.audio_noise
        cond = self.make_condition(clean.video, batch.keep_condition, batch.extra)
        noisy = AVLatent(noise[0].add_to(clean.video), noise[1].add_to(clean.audio))
        out = self.denoiser.predict(noisy, AVTime(noise[0].time, noise[1].time), cond, self.kinds)
        kind_v, kind_a = cast(tuple[Prediction, Prediction], self.denoiser.prediction)
        error_v = self.squared_error(out.video, clean.video, noisy.video, noise[0], kind_v).flatten(1).mean(1)
        error_a = self.squared_error(out.audio, clean.audio, noisy.audio, noise[1], kind_a).flatten(1).mean(1)
        loss = self.config["lambda_v"] * error_v.mean() + self.config["lambda_a"] * error_a.mean()
        coupled = self.kinds.count(CouplingKind.FULL)
        full, rest = slice(0, coupled), slice(coupled, None)
        logged = {"video": error_v[full], "audio": error_a[full], "video_cut": error_v[rest], "audio_cut": error_a[rest]}
        parts = {"loss": loss} | {name: error.mean() for name, error in logged.items() if len(error)}
        if (alignment := self.alignment_loss(batch.extra)) is not None:
            parts["alignment"], loss = alignment, loss + alignment
        return loss, {name: part.detach() for name, part in parts.items()}

    def draw_times(self) -> tuple[Tensor, Tensor]:
        """Draw t [B] of video and audio: equal (eqs. 4–5), except in rows in which one modality is ahead."""
        t, (videos, audios) = torch.rand(self.batch), self.ahead
        share, video, audio = torch.rand(videos + audios), t.clone(), t.clone()
        video[:videos] *= share[:videos]
        audio[videos : videos + audios] *= share[videos:]
        return video, audio

    def alignment_loss(self, extra: dict[str, Tensor]) -> Tensor | None:
        """Return an additional loss on the features of the last forward pass, or None if the stage has none."""

    def squared_error(self, out: Tensor, x0: Tensor, x_t: Tensor, noise: Noise, kind: Prediction) -> Tensor:
        """Return the squared error of a modality's prediction, or of its estimate of x0 (see `loss`), shaped like the latents."""
        if self.config["loss"] == "x0":
            return (to_x0(out, x_t, noise.alpha, noise.sigma, kind) - x0).square()
        return (out - noise.target(x0, kind)).square()
