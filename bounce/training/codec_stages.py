"""The stages that train the two codecs of Bounce."""

from __future__ import annotations

import math
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ...av_models.checkpoint import half, save_checkpoint
from ...av_models.codecs.patch_video import GROUP, SPACE, PatchVideoCodec
from ...av_models.codecs.spectrogram import SpectrogramCodec
from ...av_models.load_parts import load_codec
from ...av_models.training.flow import batch_generator, device_of
from ..world.render import render
from ..world.sound import render_sound
from ..world.world import Worlds, simulate

VIDEO_NOTE = "Not diffusers' AutoencoderKLWan, whose 3-D convolutions two CPU cores do not train in minutes; same geometry."
AUDIO_NOTE = "Not diffusers' AutoencoderOobleck, which two CPU cores do not train in minutes; phases by Griffin-Lim."
LATENT_NOISE = 0.05  # noise on the latents during training, which makes the decoder smooth; `latent_noise` in the config
LATENT_PENALTY = 1e-3


class VideoCodecStage:
    """Trains the video codec to reconstruct groups of four frames.

    Trains on crops around balls first, and on whole frames for the last share `whole` of the steps. With `decoder_of`, only
    the decoder of a trained codec is trained further, so that existing latents remain valid.

    config: `stage_config`. steps: number of training steps. out: path of the checkpoint.
    """

    rank = 0

    def __init__(self, config: dict[str, Any], steps: int, out: Path) -> None:
        self.size, self.batch, self.crop = config["size"], config["batch"], config["crop"]
        self.clips, self.reuse = config["clips_per_pool"], config["steps_per_pool"]
        self.whole_from = round(steps * (1 - config["whole"]))
        self.out = out
        self.noise = config.get("latent_noise", LATENT_NOISE)
        self.start = config.get("decoder_of")
        codec = load_codec(out.parent / self.start) if self.start else PatchVideoCodec(**config["model"])
        self.model = codec.train().requires_grad_(True)
        if self.start:
            self.model.frame_encoder.requires_grad_(False)
            self.model.group_encoder.requires_grad_(False)

    @lru_cache(maxsize=1)
    def pool(self, index: int) -> tuple[Worlds, np.ndarray]:
        """Simulates and renders the clips of a pool."""
        worlds = simulate(self.clips, "train", seed=index)
        return worlds, render(worlds, self.size)

    def groups(self, step: int) -> Tensor:
        """Draws a batch [B, 4, 3, h, w] in −1..1."""
        worlds, frames = self.pool(step // self.reuse)
        whole = step >= self.whole_from
        batch = self.batch // 3 if whole else self.batch
        rng = batch_generator(step, 1, self.rank)
        out = []
        for row, group in zip(rng.integers(0, len(worlds), batch), rng.integers(0, 9, batch)):
            shown = np.clip(np.arange(GROUP * group - GROUP + 1, GROUP * group + 1), 0, None)
            picture = frames[row, shown]
            out.append(picture if whole else self._crop(picture, worlds, row, shown[1], rng))
        return torch.from_numpy(np.stack(out)).permute(0, 1, 4, 2, 3).float() / 127.5 - 1

    def _crop(self, picture: np.ndarray, worlds: Worlds, row: int, frame: int, rng: np.random.Generator) -> np.ndarray:
        """Crops a square on the latent grid around a ball, or at a random position in one of five cases."""
        ball = rng.integers(0, worlds.count[row])
        x, y = worlds.position[row, ball, frame] * self.size + rng.uniform(-SPACE, SPACE, 2)
        if rng.random() < 0.2:
            x, y = rng.uniform(0, self.size, 2)
        left, top = (int(np.clip(round((c - self.crop / 2) / SPACE) * SPACE, 0, self.size - self.crop)) for c in (x, y))
        return picture[:, top : top + self.crop, left : left + self.crop]

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        x = self.groups(step).to(device_of(self.model))
        z = self.model.encode_groups(x)
        y = self.model.decode_groups(z + self.noise * torch.randn_like(z))
        error = y - x
        mse = error.square().mean()
        loss = mse + 0.05 * error.abs().mean() + LATENT_PENALTY * z.square().mean()
        psnr = -10 * math.log10(mse.item() / 4)
        return loss, {"loss": loss.item(), "psnr_db": psnr, "latent_rms": z.square().mean().sqrt().item()}

    @torch.no_grad()
    def finish(self, model: nn.Module, run: dict[str, Any]) -> None:
        if not self.start:
            z = model.encode(torch.from_numpy(self.pool(10_000)[1][:256]).float() / 255)
            model.latent_mean.copy_(z.mean((0, 2, 3, 4)))
            model.latent_std.copy_(z.std((0, 2, 3, 4)))
        _save_codec(self.out, model, "video_codec", VIDEO_NOTE, run)


class AudioCodecStage:
    """Trains the audio codec to reconstruct log-magnitude spectrograms.

    config: `stage_config`. steps: not used. out: path of the checkpoint.
    """

    rank = 0

    def __init__(self, config: dict[str, Any], steps: int, out: Path) -> None:
        self.batch, self.clips, self.reuse = config["batch"], config["clips_per_pool"], config["steps_per_pool"]
        self.out = out
        self.model = SpectrogramCodec(**config["model"])

    @lru_cache(maxsize=1)
    def pool(self, index: int) -> Tensor:
        """Renders the waveforms of a pool, [clips, samples]."""
        return torch.from_numpy(render_sound(simulate(self.clips, "train", seed=index)))

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        pool = self.pool(step // self.reuse)
        rows = torch.from_numpy(batch_generator(step, 2, self.rank).integers(0, len(pool), self.batch))
        x = self.model.spectrogram(pool[rows].to(device_of(self.model)))
        z = self.model.encoder(x)
        y = self.model.decoder(z + LATENT_NOISE * torch.randn_like(z))
        error = y - x
        mse = error.square().mean()
        loss = mse + 0.2 * error.abs().mean() + LATENT_PENALTY * z.square().mean()
        return loss, {"loss": loss.item(), "mse": mse.item(), "latent_rms": z.square().mean().sqrt().item()}

    @torch.no_grad()
    def finish(self, model: nn.Module, run: dict[str, Any]) -> None:
        z = model.encode(self.pool(10_000)[:512, None])
        model.latent_mean.copy_(z.mean((0, 2)))
        model.latent_std.copy_(z.std((0, 2)))
        _save_codec(self.out, model, "audio_codec", AUDIO_NOTE, run)


def _save_codec(path: Path, model: nn.Module, kind: str, note: str, run: dict[str, Any]) -> None:
    card = {"kind": kind, "architecture": type(model).__name__, "config": model.config, "trained": True, "run": run,
            "note": note, "licence": "Apache-2.0"}  # fmt: skip
    save_checkpoint(path, half(model.state_dict()), card)
