"""The stages of Bounce's JointDiT: an image-to-video UNet and a text-to-audio UNet, then the joint model of both."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ...av_models.checkpoint import half, load_checkpoint, load_into, save_checkpoint, sub_tensors
from ...av_models.conditioning import ImageEncoder, JointImageConditioner
from ...av_models.contract import AVCondition, Condition
from ...av_models.experts.unet import UNetState
from ...av_models.joint.jointdit import JointDiT
from ...av_models.load_parts import build_audioldm2, build_svd, expect
from ...av_models.path import DDPM
from ...av_models.recommended import sampling_field
from ...av_models.text import WordEncoder
from ...av_models.training.compiled import UNET_BLOCKS, compile_blocks
from ...av_models.training.latents import LatentSet
from ...av_models.training.unet_stages import JointDiTStage, Noise, UNetStage
from ..world.captions import VOCABULARY
from .feature_alignment import ALIGNMENT, PathAlignment, StrikeAlignment, drop_heads, path_targets, strike_targets

SVD_EXPERT, AUDIOLDM2_EXPERT = "svd_expert", "audioldm2_expert"


class SVDStage(UNetStage):
    """Trains the image-to-video expert, with the loss on v, which is the loss weighting of EDM (arXiv 2206.00364, table 1).

    config: `stage_config`. out: path of the checkpoint.
    """

    def __init__(self, config: dict[str, Any], data: LatentSet, out: Path) -> None:
        super().__init__(config, data, out)
        expert = build_svd(config["model"], config["edm"])
        encoder = ImageEncoder(data.video.shape[1], config["model"]["cross_attention_dim"])
        self.conditioner = JointImageConditioner(encoder, 1, config["fps"], config["motion_bucket"])
        self.path = expert.path
        self.model = nn.ModuleDict({"expert": expert, "picture": encoder})
        if config.get("compile"):
            compile_blocks(expert, UNET_BLOCKS)

    def draw_batch(self, step: int) -> tuple[Tensor, Noise, Tensor]:
        x0 = self.data.video[self.draw_rows(step, 6)]
        return x0, Noise.draw(x0.shape, torch.rand(self.batch), self.path), self.draw_kept_conditions()

    def compute_losses(self, batch: tuple[Tensor, Noise, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        x0, noise, keep = batch[0].float(), *batch[1:]
        cond = self.conditioner.to(x0.device).condition_from_latent(x0[:, :, :1], keep).video
        out = self.model["expert"](noise.add_to(x0), noise.time, cond)
        loss = (out - noise.target(x0, "v")).square().mean()
        return loss, {"loss": loss.detach()}

    def finish(self, model: nn.Module, run: dict[str, Any]) -> None:
        card = {
            "kind": SVD_EXPERT, "architecture": type(model["expert"].unet).__name__, "config": self.config["model"],
            "picture": model["picture"].config, "edm": self.config["edm"], "motion_bucket": self.config["motion_bucket"],
            "prediction": "v", "trained": True, "run": run, "licence": "Apache-2.0",
        }  # fmt: skip
        save_checkpoint(self.out, half(model.state_dict()), card)


class AudioLDM2Stage(UNetStage):
    """Trains the text-to-audio expert with the simple loss of DDPM (arXiv 2006.11239, eq. 14), on ε as in AudioLDM2, or on v.

    Near pure noise (ᾱ = 1.5e-4 at t = 1), the error of a clean estimate from ε is 81 times the error of ε, so the loss on ε
    has little weight where the content of the sound is determined. There, v is the clean latent (Salimans & Ho,
    arXiv 2202.00512, section 4).

    config: `stage_config`. out: path of the checkpoint.
    """

    def __init__(self, config: dict[str, Any], data: LatentSet, out: Path) -> None:
        super().__init__(config, data, out)
        text = WordEncoder(list(VOCABULARY), **config["text"])
        of_levels = config["model"]["cross_attention_dim"]  # TOML has no null
        config["model"]["cross_attention_dim"] = [[width or None for width in level] for level in of_levels]
        self.words, self.path = text.tokenize(data.audio_captions), DDPM()
        self.model = nn.ModuleDict({"expert": build_audioldm2(config["model"], config["prediction"]), "text": text})

    def draw_batch(self, step: int) -> tuple[Tensor, Noise, Tensor, Tensor]:
        rows = self.draw_rows(step, 6)
        x0 = self.data.audio[rows]
        noise = Noise.draw(x0.shape, torch.rand(self.batch), self.path)
        return x0, noise, self.words[rows], self.draw_kept_conditions()

    def compute_losses(self, batch: tuple[Tensor, Noise, Tensor, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        x0, noise, words, keep = batch[0].float(), *batch[1:]
        text, expert = self.model["text"].encode(words), self.model["expert"]
        text = Condition(text.tokens * keep[:, None, None], text.mask & keep[:, None].bool())
        loss = (expert(noise.add_to(x0), noise.time, text) - noise.target(x0, expert.prediction)).square().mean()
        return loss, {"loss": loss.detach()}

    def finish(self, model: nn.Module, run: dict[str, Any]) -> None:
        card = {
            "kind": AUDIOLDM2_EXPERT, "architecture": type(model["expert"].unet).__name__, "config": self.config["model"],
            "text": model["text"].config, "prediction": self.config["prediction"], "trained": True,
            "run": run, "licence": "Apache-2.0",
        }  # fmt: skip
        save_checkpoint(self.out, half(model.state_dict()), card)


class BounceJointDiTStage(JointDiTStage):
    """Trains a JointDiT from the two UNet experts of Bounce. All parameters are trained.

    video, audio: files of the experts. config: `stage_config`. out: path of the checkpoint.
    """

    def __init__(self, config: dict[str, Any], video: Path, audio: Path, data: LatentSet, out: Path) -> None:
        super().__init__(config, data, out)
        v_tensors, self.v_card = _load(video, SVD_EXPERT)
        a_tensors, self.a_card = _load(audio, AUDIOLDM2_EXPERT)
        picture = ImageEncoder(**self.v_card["picture"])
        load_into(picture, sub_tensors(v_tensors, "picture"), video)
        expert_v = load_into(build_svd(self.v_card["config"], self.v_card["edm"]), sub_tensors(v_tensors, "expert"), video)
        expert_a = build_audioldm2(self.a_card["config"], self.a_card["prediction"], picture.config["width"])
        load_into(expert_a.unet, sub_tensors(a_tensors, "expert.unet"), audio)
        self.denoiser = JointDiT(expert_v, expert_a, **config["joint"])
        self.text_width = self.a_card["text"]["width"]
        self.conditioner = JointImageConditioner(picture, self.text_width, config["clip"]["fps"], self.v_card["motion_bucket"])
        self.model = nn.ModuleDict({"denoiser": self.denoiser, "encoder": picture}).train()
        if config.get("compile"):
            compile_blocks(self.denoiser, UNET_BLOCKS)
        if "align" in config:
            self.add_alignment(**config["align"])

    def add_alignment(self, path: int, strike: int, weight: float, **weights: float) -> None:
        """Adds a `PathAlignment` head after Joint Block `path` and a `StrikeAlignment` head after Joint Block `strike`.

        weight: of the strike loss. weights: as for `PathAlignment`. Raises ValueError if the data has no simulated worlds, or
        if there is no such block.
        """
        if self.data.truth is None:
            raise ValueError("stage_config.align needs simulated clips, the data is a folder of videos; leave align out")
        blocks = len(self.denoiser.blocks)
        if not 0 <= min(path, strike) <= max(path, strike) < blocks:
            given = f"stage_config.align names Joint Blocks {path} and {strike}, the model has {blocks}"
            raise ValueError(f"{given}; use 0 to {blocks - 1}, or leave align out")
        widths = [e.widths[first:] for e, first in zip((self.denoiser.video, self.denoiser.audio), self.denoiser.inputs)]
        self.model[ALIGNMENT] = nn.ModuleDict(
            {"path": PathAlignment(widths[0][path], **weights), "strike": StrikeAlignment(widths[1][strike])}
        )
        self.weight, self.paths, self.features = weight, path_targets(self.data.truth), {}
        self.strikes = strike_targets(self.data.truth, self.data.audio.shape[-1])
        for block, name, stream in ((path, "path", 0), (strike, "strike", 1)):
            self.denoiser.blocks[block].register_forward_hook(partial(self._store_features, name, stream))

    def _store_features(self, name: str, stream: int, _block: nn.Module, _args: Any, out: tuple[UNetState, UNetState]) -> None:
        self.features[name] = out[stream]

    def gather_extra(self, rows: Tensor) -> dict[str, Tensor]:
        """Gathers the targets of the alignment heads for the clips `rows`."""
        if ALIGNMENT not in self.model:
            return {}
        targets = dict(zip(("places", "kinds", "exists"), self.paths)) | {"strikes": self.strikes}
        return {name: part[rows] for name, part in targets.items()}

    def alignment_loss(self, extra: dict[str, Tensor]) -> Tensor | None:
        """Computes the loss of the heads on the features of the last forward pass; None without heads."""
        if ALIGNMENT not in self.model:
            return None
        path, strike, heads = self.features.pop("path"), self.features.pop("strike"), self.model[ALIGNMENT]
        path_loss = heads["path"](path.tokens, path.frames, (extra["places"], extra["kinds"], extra["exists"]))
        return path_loss + self.weight * heads["strike"](strike.tokens, extra["strikes"])

    def make_condition(self, clean_video: Tensor, keep: Tensor, extra: dict[str, Tensor]) -> AVCondition:
        """Encodes the first latent frame of `clean_video`; rows whose `keep` [B] is 0 get the null condition."""
        return self.conditioner.to(clean_video.device).condition_from_latent(clean_video[:, :, :1], keep)

    def finish(self, model: nn.Module, run: dict[str, Any]) -> None:
        card = {
            "kind": "joint", "architecture": "JointDiT", "name": "Bounce JointDiT", "trained": True,
            "prediction": ["v", self.a_card["prediction"]], "joint": self.config["joint"], "codecs": self.config["codecs"],
            "clip": self.config["clip"], "sample_rate": self.config["sample_rate"],
            "experts": {"video": self.v_card["architecture"], "audio": self.a_card["architecture"]},
            "video": {"config": self.v_card["config"]},
            "audio": {part: self.a_card[part] for part in ("config", "prediction")} | {"text_width": self.text_width},
            "picture": self.v_card["picture"], "edm": self.v_card["edm"], "motion_bucket": self.v_card["motion_bucket"],
            "data": self.config["data_card"], "run": run, "licence": "Apache-2.0", **sampling_field(self.config),
        }  # fmt: skip
        save_checkpoint(self.out, half(drop_heads(model.state_dict())), card)


def _load(path: Path, kind: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    tensors, card = load_checkpoint(path)
    expect(card, "kind", (kind,), path)
    return tensors, card
