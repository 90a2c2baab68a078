"""The CFG patches of both models, such as RescaleCFG: each changes the part of its own model only."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import comfy.samplers
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ..run_keys import RUN_KEY
from .streams import JoinedStreams

CFG, PRE, POST, MASK = "sampler_cfg_function", "sampler_pre_cfg_function", "sampler_post_cfg_function", "denoise_mask_function"
AT_SCALE_1 = "disable_cfg1_optimization"


def set_cfg_patches(joined: ModelPatcher, streams: JoinedStreams) -> None:
    """Gives a joined MODEL what runs the CFG patches that its models have, and nothing if they have none."""
    options = [stream.patcher.model_options for stream in streams]
    if any(each.get(AT_SCALE_1) for each in options):
        joined.model_options[AT_SCALE_1] = True
    if any(each.get(PRE) for each in options):
        joined.model_options[PRE] = [_before_cfg]
    if any(CFG in each or each.get(POST) for each in options):
        joined.model_options[POST] = [_after_cfg]
    if any(MASK in each for each in options):
        joined.model_options[MASK] = _mask_function(streams)


def _before_cfg(args: dict[str, Any]) -> list[Tensor]:
    run = args["model_options"]["transformer_options"][RUN_KEY]
    parts = [list(each) for each in zip(*(run.own_parts(out) for out in args["conds_out"]))]  # of each model, one per conditioning
    for index, (part, x) in enumerate(zip(run.parts, run.own_noisy(args["input"], args["sigma"]))):
        if part.guider is None:
            continue
        sigma = part.stream.rows(args["sigma"], x)
        for change in part.options.get(PRE, ()):
            parts[index] = change({
                **args, "conds": [part.own_conds(each) for each in args["conds"]], "conds_out": parts[index], "timestep": sigma,
                "sigma": sigma, "input": x, "model": part.model, "model_options": part.options,
            })  # fmt: skip
    return [run.pack_clean(each) for each in zip(*parts)]


def _after_cfg(args: dict[str, Any]) -> Tensor:
    """Runs the CFG and post-CFG functions. With Duet's guidance, which replaces CFG, the post-CFG functions alone."""
    run = args["model_options"]["transformer_options"][RUN_KEY]
    guided, conds, unconds = (run.own_parts(args[key]) for key in ("denoised", "cond_denoised", "uncond_denoised"))
    noisy = run.own_noisy(args["input"], args["sigma"])
    made = [
        part_guided if part.guider is None else _one_part(run, part, part_guided, cond, uncond, x, args)
        for part, part_guided, cond, uncond, x in zip(run.parts, guided, conds, unconds, noisy)
    ]
    return run.pack_clean(made)


def _one_part(run: Any, part: Any, guided: Tensor, cond: Tensor, uncond: Tensor, x: Tensor, args: dict[str, Any]) -> Tensor:  # noqa: PLR0913
    options, sigma = part.options, part.stream.rows(args["sigma"], x)
    if CFG not in options and not options.get(POST):
        return guided
    conds = part.own_conds(args["cond"]), part.own_conds(args["uncond"])
    if not run.is_guided:
        return comfy.samplers.cfg_function(part.model, cond, uncond, args["cond_scale"], x, sigma, options, *conds)
    for change in options.get(POST, ()):
        guided = change({
            **args, "denoised": guided, "cond": conds[0], "uncond": conds[1], "model": part.model, "uncond_denoised": uncond,
            "cond_denoised": cond, "sigma": sigma, "model_options": options, "input": x,
        })  # fmt: skip
    return guided


def _mask_function(streams: JoinedStreams) -> Callable:
    def change(sigma: Tensor, mask: Tensor, extra_options: dict[str, Any]) -> Tensor:
        run, sigmas = extra_options["model"].model_options["transformer_options"][RUN_KEY], extra_options["sigmas"]
        parts = streams.split(mask)
        for index, (part, own) in enumerate(zip(run.parts, list(parts))):
            function = part.stream.patcher.model_options.get(MASK)
            if function is not None and part.guider is not None:
                of = {**extra_options, "model": part.guider, "sigmas": part.stream.sigma(sigmas)}
                parts[index] = function(part.stream.rows(sigma, own), own, extra_options=of)
        return streams.pack(parts, len(mask))

    return change
