"""The part of `benchmarks/native.py` that runs in ComfyUI's own Python: random models of its classes, guiders, and their times."""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import comfy.cli_args

comfy.cli_args.args.cpu = True
comfy.cli_args.args.use_pytorch_cross_attention = True  # as on a GPU

import comfy.samplers  # noqa: E402
import comfy.supported_models  # noqa: E402
import torch  # noqa: E402
from comfy.model_patcher import ModelPatcher  # noqa: E402
from comfy.nested_tensor import NestedTensor  # noqa: E402
from comfy.patcher_extension import WrappersMP  # noqa: E402
from comfy_extras.nodes_lt import (  # noqa: E402
    LTXVDualCFGGuider,
    LTXVModalityGuidance,
    LTXVSpatioTemporalGuidance,
)
from tqdm import tqdm  # noqa: E402

from ..av_models.guidance import make_guidance  # noqa: E402
from ..nodes.native.guider import JointGuider  # noqa: E402
from ..tests.comfyui.native_pack import KINDS, TinyModel, TinyPrompt  # noqa: E402
from .native_dense import attend_with_mask  # noqa: E402

TOLERANCE = 1e-4  # of what computes the same, relative to the largest value
VIDEO_CFG, AUDIO_CFG, MODALITY, STG = 3.0, 7.0, 3.0, 1.0


@dataclass(frozen=True)
class Size:
    """A model of ComfyUI's class, its network, and the sizes of its latents and texts."""

    known: type
    network: Mapping[str, Any]
    latents: tuple[tuple[int, ...], tuple[int, ...]]
    text_width: int
    texts: tuple[int, int]  # tokens of the positive and of the negative prompt


def ltx(layers: int, video_width: int, video: tuple[int, int, int], audio: int, tokens: int) -> Size:
    """LTX-2 with an audio stream of half the width."""
    network = {
        "image_model": "ltxav", "in_channels": 128, "out_channels": 128, "audio_in_channels": 128, "num_layers": layers,
        "cross_attention_dim": video_width, "audio_cross_attention_dim": video_width // 2, "caption_channels": video_width,
        "attention_head_dim": video_width // 8, "audio_attention_head_dim": video_width // 16, "num_attention_heads": 8,
        "audio_num_attention_heads": 8, "connector_num_layers": 1, "connector_num_attention_heads": 4,
        "connector_attention_head_dim": video_width // 4,
    }  # fmt: skip
    latents = (1, 128, *video), (1, 8, audio, 16)
    return Size(comfy.supported_models.LTXAV, network, latents, 2 * video_width, (tokens, tokens))


def h3(layers: int, width: int, video: tuple[int, int, int], audio: int, tokens: int) -> Size:
    """MiniMax-H3. It reads 2×2 values of a video frame as a token, and two audio channels."""
    network = {
        "image_model": "minimax_h3", "hidden_size": width, "num_layers": layers, "token_refiner_num_layers": 1,
        "num_attention_heads": width // 64, "attention_head_dim": 64, "ffn_hidden_size": 3 * width, "latents_dim": 24,
        "audio_latents_dim": 32, "text_dim": width // 2, "timestep_input_dim": 64, "time_embed_hidden_size": 128,
        "time_embed_dim": 64, "rope_inv_freq_len": 8,
    }  # fmt: skip
    return Size(comfy.supported_models.MiniMaxH3, network, ((1, 24, *video), (1, 32, 2, audio)), width // 2, (tokens, tokens))


SIZES = {
    "large": ltx(layers=6, video_width=256, video=(6, 12, 15), audio=60, tokens=128),
    "small": ltx(layers=8, video_width=128, video=(3, 4, 6), audio=24, tokens=32),
    "h3": h3(layers=1, width=256, video=(40, 32, 48), audio=227, tokens=300),
}


@dataclass(frozen=True)
class Case:
    """A guider to be timed, and the sampler that runs it."""

    guider: Any
    sampler: str = "euler"


class Bench:
    """A model with random weights, its prompts, and one noise."""

    def __init__(self, size: Size, steps: int) -> None:
        KINDS["benchmark"] = size.known, dict(size.network), size.latents, size.text_width
        self.model, self.latent = TinyModel().make("benchmark", seed=1)
        ((self.positive,), (self.negative,)) = (
            TinyPrompt().make("benchmark", seed, words) for seed, words in zip((11, 12), size.texts)
        )
        self.layers, self.tokens = size.network["num_layers"], size.texts
        chance = torch.Generator().manual_seed(1)
        self.noise = NestedTensor(tuple(torch.randn(each, generator=chance) for each in size.latents))
        sampling = self.model.get_model_object("model_sampling")
        self.sigmas = comfy.samplers.calculate_sigmas(sampling, "simple", steps)

    def sample(self, case: Case) -> tuple[torch.Tensor, ...]:
        """Returns the video and the audio that a guider makes."""
        sampler = comfy.samplers.sampler_object(case.sampler)
        made = case.guider.sample(self.noise, self.latent["samples"], sampler, self.sigmas, seed=1, disable_pbar=True)
        return made.unbind()

    def ours(self, name: str, model: ModelPatcher | None = None, **settings: Any) -> JointGuider:
        return JointGuider(model or self.model, make_guidance(name, **settings), self.positive, self.negative)


def count(bench: Bench, case: Case) -> tuple[float, float]:
    """Returns the numbers of network calls and of rows per step, counted at the network."""
    rows: list[int] = []

    def watch(run: Callable, x: list[torch.Tensor], *args: Any, **kwargs: Any) -> Any:
        rows.append(len(x[0]))
        return run(x, *args, **kwargs)

    options = case.guider.model_options  # of this guider alone
    case.guider.model_options = comfy.model_patcher.create_model_options_clone(options)
    comfy.patcher_extension.add_wrapper(WrappersMP.DIFFUSION_MODEL, watch, case.guider.model_options["transformer_options"])
    try:
        bench.sample(case)
    finally:
        case.guider.model_options = options
    steps = len(bench.sigmas) - 1
    return len(rows) / steps, sum(rows) / steps


def measure(bench: Bench, cases: Mapping[str, Case], runs: int, label: str) -> dict[str, dict[str, Any]]:
    """Runs all cases in turn, each round in a random order, after one that warms up. Returns counts and seconds by case."""
    found: dict[str, dict[str, Any]] = {}
    for name, case in cases.items():
        calls, rows = count(bench, case)
        found[name] = {"calls": calls, "rows": rows, "cpu": [], "wall": []}
    names, chance = list(cases), random.Random(1)
    for index in tqdm(range(runs + 1), desc=label):
        chance.shuffle(names)  # what a case costs depends on what ran before it
        for name in names:
            began = time.process_time(), time.perf_counter()
            bench.sample(cases[name])
            took = time.process_time() - began[0], time.perf_counter() - began[1]
            if index:
                found[name]["cpu"].append(took[0])
                found[name]["wall"].append(took[1])
    return found


def check_equal(bench: Bench, cases: Mapping[str, Case], pairs: list[tuple[str, str]]) -> None:
    """Checks that guiders that compute the same give the same video and audio."""
    made = {name: bench.sample(cases[name]) for name in {each for pair in pairs for each in pair}}
    for ours, theirs in pairs:
        for a, b in zip(made[ours], made[theirs]):
            apart = (a - b).abs().max().item() / b.abs().max().item()
            assert apart < TOLERANCE, f"{ours} and {theirs} are {apart:.1e} apart"


def ltx_cases(bench: Bench) -> dict[str, Case]:
    """Returns our guidances, and the guiders of ComfyUI and ComfyUI-LTXVideo with equal settings."""
    prompts, model = {"positive": bench.positive, "negative": bench.negative}, bench.model
    block = bench.layers - 2
    scales = {"video_scale": VIDEO_CFG, "audio_scale": AUDIO_CFG}
    cross = scales | {"video_cross_scale": MODALITY, "audio_cross_scale": MODALITY}
    skip = cross | {"video_skip_scale": 1 + STG, "audio_skip_scale": 1 + STG, "skip_block": block}
    matched = LTXVModalityGuidance.execute(model, MODALITY, 0.0, 1.0).result[0]
    skipping = LTXVSpatioTemporalGuidance.execute(matched, STG, str(block), 0.0, 1.0).result[0]

    def dual(of: ModelPatcher) -> Any:
        return LTXVDualCFGGuider.execute(of, **prompts, video_cfg=VIDEO_CFG, audio_cfg=AUDIO_CFG).result[0]

    basic = comfy.samplers.CFGGuider(model)
    basic.set_conds(**prompts)
    basic.set_cfg(1.0)
    return {
        "basic": Case(basic), "dual": Case(dual(model)), "modality": Case(dual(matched)), "modality_stg": Case(dual(skipping)),
        "peer": Case(peer(bench, 0.0, block)), "peer_stg": Case(peer(bench, STG, block)),
        "dual_pp": Case(dual(model), "euler_cfg_pp"),
        "none": Case(bench.ours("none")), "cfg": Case(bench.ours("cfg", **scales)),
        "joint_cfg": Case(bench.ours("joint_cfg", **scales)),
        "dual_cfg": Case(bench.ours("dual_cfg", **cross)), "modality_cfg": Case(bench.ours("modality_cfg", **cross)),
        "modality_cfg_skip": Case(bench.ours("modality_cfg", **skip)),
        "half": Case(bench.ours("none", a_to_v=0.5)), "one_way": Case(bench.ours("none", v_to_a=0.0)),
        "joint_cfg_half": Case(bench.ours("joint_cfg", **scales, a_to_v=0.5)),
        "cfg_pp": Case(bench.ours("cfg", **scales), "euler_cfg_pp"),
        "joint_cfg_pp": Case(bench.ours("joint_cfg", **scales), "euler_cfg_pp"),
    }  # fmt: skip


def peer(bench: Bench, stg: float, block: int) -> Any:
    """Returns the Multimodal Guider of ComfyUI-LTXVideo."""
    from ltxvideo.guiders.multimodal_guider import MultimodalGuiderNode
    from ltxvideo.guiders.parameters import GuiderParameters

    parameters = {
        name: GuiderParameters(cfg_scale=cfg, stg_scale=stg, modality_scale=MODALITY)
        for name, cfg in (("VIDEO", VIDEO_CFG), ("AUDIO", AUDIO_CFG))
    }
    return MultimodalGuiderNode().get_guider(bench.model, bench.positive, bench.negative, parameters, str(block))[0]


EQUAL = [
    ("none", "basic"), ("cfg", "dual"), ("modality_cfg", "modality"), ("modality_cfg", "peer"),
    ("modality_cfg_skip", "modality_stg"), ("modality_cfg_skip", "peer_stg"),
]  # fmt: skip


def h3_cases(bench: Bench) -> dict[str, Case]:
    """Returns one pass of MiniMax-H3 coupled, cut, and cut by a dense mask."""
    masked = bench.model.clone()
    masked.add_wrapper(WrappersMP.DIFFUSION_MODEL, attend_with_mask)
    return {
        "coupled": Case(bench.ours("none")), "cut": Case(bench.ours("none", a_to_v=0.0, v_to_a=0.0)),
        "masked": Case(bench.ours("none", model=masked)),
    }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("size", choices=SIZES)
    parser.add_argument("--runs", type=int, required=True)
    parser.add_argument("--steps", type=int, required=True)
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    torch.set_num_threads(1)
    size, bench = SIZES[args.size], Bench(SIZES[args.size], args.steps)
    cases = (h3_cases if args.size == "h3" else ltx_cases)(bench)
    check_equal(bench, cases, [("masked", "cut")] if args.size == "h3" else EQUAL)
    found = measure(bench, cases, args.runs, args.size)
    facts = {"network": size.network, "latents": size.latents, "texts": size.texts, "steps": args.steps}
    args.output.write_text(json.dumps({"facts": facts, "cases": found}), encoding="utf-8")


if __name__ == "__main__":
    with torch.inference_mode():
        sys.exit(main())
