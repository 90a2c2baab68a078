"""The stage that weaves Bounce's two experts into AVFullDiT and fine-tunes them jointly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ...av_models.checkpoint import half, load_checkpoint, load_into, save_checkpoint
from ...av_models.contract import AVCondition, AVLatent, AVTime, CouplingKind
from ...av_models.experts.base import ExpertState
from ...av_models.joint.avfulldit import AVFullDiT
from ...av_models.joint.single_stream import SingleStream
from ...av_models.known_parts import KnownParts
from ...av_models.load_parts import load_expert
from ...av_models.training.compiled import compile_blocks
from ...av_models.training.coupled_rows import coupled_rows, null_rows
from ...av_models.training.flow import batch_generator, device_of, draw_time, noised
from ...av_models.training.latents import LatentSet
from ...av_models.training.random_masks import MODES, draw_known, error_of_rest
from .expert_stages import drop_text
from .feature_alignment import ALIGNMENT, PathAlignment, truth_of, without_heads

ROPES = ("avsync", "vanilla", "expand_video")


def rope_of(kind: str, rope_scale: float) -> tuple[int, float]:
    """How far apart neighbouring video frames and sound steps lie on the time axis (AVFullDiT, table of ablations).

    avsync: 1 and 1/τ, the experts' own `rope_scale`; vanilla: 1 and 1; expand_video: τ and 1.
    """
    if kind not in ROPES:
        raise ValueError(f"stage_config.rope is {kind!r}; give one of {', '.join(ROPES)}")
    tau = round(1 / rope_scale)
    return {"avsync": (1, rope_scale), "vanilla": (1, 1.0), "expand_video": (tau, 1.0)}[kind]


class JointStage:
    """L = L_v + λ_a L_a with one shared t and independent noise (AVFullDiT, section 3).

    Some rows of every batch are trained `cut` and some `removed` (see `coupled_rows`). The first `given_rows` rows are given a
    part of the clip clean, drawn from `modes`. Text encoders are trained too, unless `frozen_text`. `start`: a checkpoint
    of this stage to go on from, instead of from the experts alone. `align` {block, place, kind}: that block's video
    features are also aligned with the balls' true paths; the head that reads them is not part of the checkpoint.
    `attention` and `rope`: the paper's ablations (see `AVFullDiT` and `ROPES`). Where every row is `removed` and
    `lambda_a` is 0, the sound's tower does not run: the paper's T2V-only counterpart.
    """

    rank = 0

    def __init__(
        self, config: dict[str, Any], video: Path, audio: Path, data: LatentSet, out: Path, start: Path | None = None
    ) -> None:
        self.config, self.data, self.out = config, data, out
        self.batch, self.drop, self.time, self.weight = (
            config["batch"], config["text_dropout"], config["time"], config["lambda_a"]
        )  # fmt: skip
        v, video_text, v_card = load_expert(video)
        a, audio_text, a_card = load_expert(audio)
        self.cards = {"video": v_card, "audio": a_card}
        v.time_stride, a.rope_scale = rope_of(config.get("rope", "avsync"), a_card["rope_scale"])
        denoiser = AVFullDiT(v, a, config["joint_blocks"], config.get("attention", "full"))
        self.model = nn.ModuleDict({"denoiser": denoiser, "video_text": video_text, "audio_text": audio_text}).train()
        if start:
            load_into(self.model, load_checkpoint(start)[0], start)
        if config.get("frozen_text"):
            video_text.requires_grad_(False)
            audio_text.requires_grad_(False)
        if config.get("compile"):
            for transformer in (v.transformer, a.transformer):
                compile_blocks(transformer, transformer._repeated_blocks)
            denoiser.joint_block = torch.compile(denoiser.joint_block)
        self.video_words = video_text.indices(data.video_captions)
        self.audio_words = audio_text.indices(data.audio_captions)
        self.modes = config.get("modes", MODES)
        if align := config.get("align"):
            self.align_with_paths(denoiser, **align)
        self.given_rows = config["given_rows"]
        self.kinds = coupled_rows(self.batch, config["cut_rows"], config["removed_rows"])
        self.deaf = not self.weight and config["removed_rows"] == self.batch

    def align_with_paths(self, denoiser: AVFullDiT, block: int, **weights: float) -> None:
        self.model[ALIGNMENT] = PathAlignment(denoiser.video.width, **weights)
        self.truth, self.seen = truth_of(self.data.truth), []

        def watch(number: int, stream: ExpertState) -> None:
            if number == block:
                self.seen.append(stream)

        denoiser.watch = watch

    def condition(self, rows: Tensor, step: int) -> AVCondition:
        device, told = device_of(self.model), ~null_rows(self.kinds, step)[:, None]
        video = self.model["video_text"].encode((self.video_words[rows] * told).to(device))
        audio = self.model["audio_text"].encode((self.audio_words[rows] * told).to(device))
        return AVCondition(drop_text(video, self.drop), drop_text(audio, self.drop))

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        device = device_of(self.model)
        rows = torch.from_numpy(batch_generator(step, 4, self.rank).integers(0, len(self.data), self.batch))
        t = draw_time(self.batch, **self.time, device=device)
        clean = AVLatent(self.data.video[rows].to(device).float(), self.data.audio[rows].to(device).float())
        x_v, velocity_v = noised(clean.video, t)
        x_a, velocity_a = noised(clean.audio, t)
        given = KnownParts(clean, self.known(step), "clean")
        noisy, times = given.restored(AVLatent(x_v, x_a)), given.times(AVTime(t, t))
        network = SingleStream(self.model["denoiser"], "video") if self.deaf else self.model["denoiser"]
        out = network.predict(noisy, times, self.condition(rows, step), self.kinds)
        error_v = error_of_rest((out.video - velocity_v).square(), given.known.video)
        error_a = error_of_rest((out.audio - velocity_a).square(), given.known.audio)
        loss = error_v.mean() + self.weight * error_a.mean() if self.weight else error_v.mean()
        joint = slice(self.given_rows, self.kinds.count(CouplingKind.FULL))
        apart = slice(joint.stop, None)
        logged = {"video": error_v[joint], "audio": error_a[joint], "video_cut": error_v[apart], "audio_cut": error_a[apart]}
        if self.deaf:
            logged = {"video": error_v}
        parts = {"loss": loss} | {name: error.mean() for name, error in logged.items() if len(error)}
        if ALIGNMENT in self.model:
            truth = tuple(part[rows].to(device) for part in self.truth)
            seen = self.seen.pop()
            parts["alignment"] = self.model[ALIGNMENT](seen.hidden, seen.shape[2], truth)
            loss = loss + parts["alignment"]
        return loss, {key: value.item() for key, value in parts.items()}

    def known(self, step: int) -> AVLatent:
        """What each row of the batch is given clean."""
        frames, steps = self.data.video.shape[2], self.data.audio.shape[2]
        drawn = draw_known(batch_generator(step, 5, self.rank), self.given_rows, frames, steps, self.modes)
        rest = self.batch - self.given_rows
        masks = (torch.cat([d, d.new_zeros(rest, *d.shape[1:])]) for d in (drawn.video, drawn.audio))
        return AVLatent(*(mask.to(device_of(self.model)) for mask in masks))

    def finish(self, model: nn.Module, run: dict[str, Any]) -> None:
        card = {
            "kind": "joint", "architecture": "AVFullDiT", "name": self.config.get("name", self.out.stem),
            "prediction": "flow", "trained": True, "given": "clean", "joint_blocks": self.config["joint_blocks"],
            "codecs": self.config["codecs"], "clip": self.config["clip"],
            "sample_rate": self.config["sample_rate"],
            "experts": {modality: card["architecture"] for modality, card in self.cards.items()},
            "attention": self.config.get("attention", "full"),
            "video": {k: self.cards["video"][k] for k in ("config", "text", "coordinates")}
            | {"time_stride": model["denoiser"].video.time_stride},
            "audio": {k: self.cards["audio"][k] for k in ("config", "text")} | {"rope_scale": model["denoiser"].audio.rope_scale},
            "data": self.config["data_card"], "run": run, "licence": "Apache-2.0",
        }  # fmt: skip
        save_checkpoint(self.out, half(without_heads(model.state_dict())), card)
