"""The stages that train the two experts of Bounce, each on one modality with its own text encoder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ...av_models.checkpoint import half, save_checkpoint
from ...av_models.contract import Condition
from ...av_models.load_parts import add_prefix, build_audio_expert, build_video_expert
from ...av_models.recommended import sampling_field
from ...av_models.text import WordEncoder
from ...av_models.training.compiled import compile_blocks
from ...av_models.training.flow import add_noise, batch_generator, device_of, draw_time
from ...av_models.training.latents import LatentSet
from ..world.captions import JUST_BOUNCING, VOCABULARY


class ExpertStage:
    """Trains an expert with flow matching on one modality of `data`.

    Captions are dropped with probability `text_dropout`, and replaced by "bouncing" with probability `neutral`, so that the
    expert supports prompts without attributes.

    kind: "video_expert" or "audio_expert". config: `stage_config`. out: path of the checkpoint.
    """

    rank = 0

    def __init__(self, kind: str, config: dict[str, Any], data: LatentSet, out: Path) -> None:
        self.kind, self.config, self.out = kind, config, out
        self.batch, self.drop, self.time = config["batch"], config["text_dropout"], config["time"]
        self.neutral = config.get("neutral", 0.0)
        text = WordEncoder(list(VOCABULARY), **config["text"])
        if kind == "video_expert":
            expert = build_video_expert(config["model"], config.get("coordinates", False))
            self.data, captions = data.video, data.video_captions
        else:
            expert = build_audio_expert(config["model"], config["rope_scale"])
            self.data, captions = data.audio, data.audio_captions
        self.words, self.plain = text.tokenize(captions), text.tokenize([JUST_BOUNCING])
        self.model = nn.ModuleDict({"expert": expert, "text": text})
        if config.get("compile"):
            compile_blocks(expert.transformer, expert.transformer._repeated_blocks)

    def loss(self, step: int) -> tuple[Tensor, dict[str, float]]:
        device = device_of(self.model)
        rows = torch.from_numpy(batch_generator(step, 3, self.rank).integers(0, len(self.data), self.batch))
        text = self.model["text"].encode(self._replace_captions(self.words[rows]).to(device))
        t = draw_time(self.batch, **self.time, device=device)
        x_t, velocity = add_noise(self.data[rows].to(device).float(), t)
        loss = (self.model["expert"](x_t, t, drop_text(text, self.drop)) - velocity).square().mean()
        return loss, {"loss": loss.item()}

    def _replace_captions(self, words: Tensor) -> Tensor:
        """Replaces random captions by the neutral caption."""
        if not self.neutral:
            return words
        return torch.where(torch.rand(len(words), 1) < self.neutral, self.plain, words)

    def finish(self, model: nn.Module, run: dict[str, Any]) -> None:
        card = {
            "kind": self.kind, "architecture": type(model["expert"].transformer).__name__, "config": self.config["model"],
            "text": model["text"].config, "prediction": "flow", "trained": True, "run": run, "licence": "Apache-2.0",
            **sampling_field(self.config),
        }  # fmt: skip
        if self.kind == "audio_expert":
            card["rope_scale"] = self.config["rope_scale"]
        else:
            card["coordinates"] = self.config.get("coordinates", False)
        tensors = add_prefix("expert", model["expert"].state_dict()) | add_prefix("text", model["text"].state_dict())
        save_checkpoint(self.out, half(tensors), card)


def drop_text(text: Condition, chance: float) -> Condition:
    """Replaces each row by the null condition with probability `chance`."""
    kept = (torch.rand(len(text.tokens)) >= chance).to(text.tokens.device)
    return Condition(text.tokens * kept[:, None, None], text.mask & kept[:, None])
