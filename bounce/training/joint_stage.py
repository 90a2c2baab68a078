"""The stage that joins the two experts of Bounce as an AVFullDiT and fine-tunes them."""

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
from ...av_models.load_parts import build_expert, load_expert
from ...av_models.recommended import sampling_field
from ...av_models.training.compiled import compile_blocks
from ...av_models.training.coupled_rows import coupled_rows, null_rows
from ...av_models.training.flow import add_noise, batch_generator, device_of, draw_time
from ...av_models.training.latents import LatentSet
from ...av_models.training.random_masks import MODES, draw_known_masks, mean_unknown_error
from .expert_stages import drop_text
from .feature_alignment import ALIGNMENT, PathAlignment, drop_heads, path_targets

ROPES = ("avsync", "vanilla", "expand_video")


def rope_strides(kind: str, rope_scale: float) -> tuple[int, float]:
    """Returns the RoPE distance of successive video frames and of successive audio steps (AVFullDiT, table of ablations).

    avsync: 1 and 1/τ, where 1/τ is the `rope_scale` of the experts. vanilla: 1 and 1. expand_video: τ and 1.
    Raises ValueError if `kind` is unknown.
    """
    if kind not in ROPES:
        raise ValueError(f"stage_config.rope is {kind!r}; use one of {', '.join(ROPES)}")
    tau = round(1 / rope_scale)
    return {"avsync": (1, rope_scale), "vanilla": (1, 1.0), "expand_video": (tau, 1.0)}[kind]


class JointStage:
    """Trains with L = L_v + λ_a L_a, one shared timestep and independent noise (AVFullDiT, section 3).

    video, audio: files of the experts. out: path of the checkpoint. start: a checkpoint of this stage to continue from.
    config: `stage_config`, with these keys among others:
        cut_rows, removed_rows: rows of each batch with the coupling `cut` and `removed` (see `coupled_rows`).
        given_rows: the first rows of each batch have a known part, clean, drawn from `modes`.
        frozen_text: does not train the text encoders.
        align {block, place, kind}: adds the loss of `PathAlignment` on the video features of a block.
        attention, rope: the ablations of the paper (see `AVFullDiT` and `rope_strides`).
    If all rows are `removed` and `lambda_a` is 0, the audio expert does not run: the T2V-only counterpart of the paper.
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
        for card in self.cards.values():
            build_expert(card)  # draws random numbers, as loading once did: the joint layers' initial values follow them
        v.time_stride, a.rope_scale = rope_strides(config.get("rope", "avsync"), a_card["rope_scale"])
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
        self.video_words = video_text.tokenize(data.video_captions)
        self.audio_words = audio_text.tokenize(data.audio_captions)
        self.modes = config.get("modes", MODES)
        if align := config.get("align"):
            self.add_alignment(denoiser, **align)
        self.given_rows = config["given_rows"]
        self.kinds = coupled_rows(self.batch, config["cut_rows"], config["removed_rows"])
        self.video_only = not self.weight and config["removed_rows"] == self.batch

    def add_alignment(self, denoiser: AVFullDiT, block: int, **weights: float) -> None:
        """Adds a `PathAlignment` head that reads the video features after `block`."""
        self.model[ALIGNMENT] = PathAlignment(denoiser.video.width, **weights)
        self.targets, self.features = path_targets(self.data.truth), []

        def watch(number: int, stream: ExpertState) -> None:
            if number == block:
                self.features.append(stream)

        denoiser.watch = watch

    def condition(self, rows: Tensor, step: int) -> AVCondition:
        """Encodes the captions of `rows`, with random dropout."""
        device, kept = device_of(self.model), ~null_rows(self.kinds, step)[:, None]
        video = self.model["video_text"].encode((self.video_words[rows] * kept).to(device))
        audio = self.model["audio_text"].encode((self.audio_words[rows] * kept).to(device))
        return AVCondition(drop_text(video, self.drop), drop_text(audio, self.drop))

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        device = device_of(self.model)
        rows = torch.from_numpy(batch_generator(step, 4, self.rank).integers(0, len(self.data), self.batch))
        t = draw_time(self.batch, **self.time, device=device)
        clean = AVLatent(self.data.video[rows].to(device).float(), self.data.audio[rows].to(device).float())
        x_v, velocity_v = add_noise(clean.video, t)
        x_a, velocity_a = add_noise(clean.audio, t)
        given = KnownParts(clean, self.draw_masks(step), "clean")
        noisy, times = given.restore(AVLatent(x_v, x_a)), given.times(AVTime(t, t))
        network = SingleStream(self.model["denoiser"], "video") if self.video_only else self.model["denoiser"]
        out = network.predict(noisy, times, self.condition(rows, step), self.kinds)
        error_v = mean_unknown_error((out.video - velocity_v).square(), given.known.video)
        error_a = mean_unknown_error((out.audio - velocity_a).square(), given.known.audio)
        loss = error_v.mean() + self.weight * error_a.mean() if self.weight else error_v.mean()
        joint = slice(self.given_rows, self.kinds.count(CouplingKind.FULL))
        apart = slice(joint.stop, None)
        logged = {"video": error_v[joint], "audio": error_a[joint], "video_cut": error_v[apart], "audio_cut": error_a[apart]}
        if self.video_only:
            logged = {"video": error_v}
        parts = {"loss": loss} | {name: error.mean() for name, error in logged.items() if len(error)}
        if ALIGNMENT in self.model:
            targets, features = tuple(part[rows].to(device) for part in self.targets), self.features.pop()
            parts["alignment"] = self.model[ALIGNMENT](features.hidden, features.shape[2], targets)
            loss = loss + parts["alignment"]
        return loss, {key: value.item() for key, value in parts.items()}

    def draw_masks(self, step: int) -> AVLatent:
        """Draws the masks of the known parts of a batch."""
        frames, steps = self.data.video.shape[2], self.data.audio.shape[2]
        drawn = draw_known_masks(batch_generator(step, 5, self.rank), self.given_rows, frames, steps, self.modes)
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
            "data": self.config["data_card"], "run": run, "licence": "Apache-2.0", **sampling_field(self.config),
        }  # fmt: skip
        save_checkpoint(self.out, half(drop_heads(model.state_dict())), card)
