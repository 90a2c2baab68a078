"""Separate prompts for video and audio: one conditioning from two. Each half of LTX-2's text context is read by one stream only."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

import comfy.model_base
import comfy.model_management
import torch
from comfy.conds import CONDRegular
from comfy.hooks import HookGroup
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from .ltx_text import ENCODE, RAW, LTXText
from .pair_prompts import Entry, Pair, check_same_times, pair_entries, percents, sigma_times

AUDIO_KEYS = ("ref_audio",)  # what belongs to the audio's stream alone


def join_conditionings(model: ModelPatcher, video: Sequence, audio: Sequence) -> list:
    """Returns a CONDITIONING with the video's prompt of one and the audio's prompt of another.

    The prompts are run through the model's connectors, as when sampling begins. All else is that of `video`; reference audio is
    that of `audio`, or else that of `video`. Raises ValueError if the model cannot have separate prompts, or these.
    """
    layout = _text_layout(model)
    video_entries, audio_entries = (_entries(given, name, layout) for given, name in ((video, "video"), (audio, "audio")))
    check_same_times(video_entries, audio_entries)
    shared = _audio_keys(*video_entries)
    pairs = pair_entries(video_entries, [shared | each for each in audio_entries], percents)
    prompts = {id(each["cross_attn"]): each for each in (*video_entries, *audio_entries)}
    if any(layout.is_raw(each) for each in prompts.values()):
        comfy.model_management.load_models_gpu([model])
    contexts = {key: _run_connectors(model, each) if layout.is_raw(each) else each["cross_attn"] for key, each in prompts.items()}
    return [
        _joined(pair, layout.join(*(contexts[id(each["cross_attn"])] for each in (pair.video, pair.audio))))
        for pair in pairs
    ]  # fmt: skip


def join_processed(video: Sequence[Entry], audio: Sequence[Entry], network: Any) -> list[dict[str, Any]]:
    """Returns a conditioning with the video's prompt of one and the audio's of another, as ComfyUI has processed them for LTX-2."""
    layout, joined = LTXText(network), []
    for pair in pair_entries(video, audio, sigma_times):
        v, a = pair.video["model_conds"], pair.audio["model_conds"]
        _check_masks(*(each["attention_mask"].cond if "attention_mask" in each else None for each in (v, a)))
        text = CONDRegular(layout.join(v["c_crossattn"].cond, a["c_crossattn"].cond))
        conds = _without_audio_keys(v) | _audio_keys(a) | {"c_crossattn": text}
        sigmas = dict(zip(("timestep_start", "timestep_end"), (-time for time in pair.times)))
        times = {key: sigma for key, sigma in sigmas.items() if math.isfinite(sigma)}
        joined.append({**_kept(pair), **times, "model_conds": conds, "uuid": uuid4()})
    return joined


def _text_layout(model: ModelPatcher) -> LTXText:
    if isinstance(model.model, comfy.model_base.MiniMaxH3):
        raise ValueError(
            "model is MiniMax-H3, whose video and audio both read every word of one prompt; "
            "encode one prompt for both and connect it to the guider"
        )
    if not isinstance(model.model, comfy.model_base.LTXAV):
        raise ValueError(
            f"model is a {type(model.model).__name__}, which has no separate prompts for video and audio; connect LTX-2"
        )
    return LTXText(model.model.diffusion_model)


def _entries(conditioning: Sequence, name: str, layout: LTXText) -> list[dict[str, Any]]:
    """Returns the entries of a CONDITIONING as ComfyUI's guiders have them. name: of the node's input."""
    entries = [{**others, "cross_attn": tokens} for tokens, others in conditioning]
    if not entries or any(each["cross_attn"] is None for each in entries):
        raise ValueError(f"{name} has no prompt; {ENCODE}")
    for each in entries:
        if not layout.fits(each):
            width, wanted = each["cross_attn"].shape[-1], " or ".join(map(str, sorted({layout.raw_width, layout.width})))
            raise ValueError(f"{name} has tokens of width {width}, and this LTX-2 model reads {wanted}; {ENCODE}")
    return entries


@torch.no_grad()
def _run_connectors(model: ModelPatcher, entry: Entry) -> Tensor:
    """Returns the text context of a prompt, as ComfyUI's `LTXAV.extra_conds` makes it."""
    tokens = entry["cross_attn"].to(device=model.load_device, dtype=model.model.get_dtype_inference())
    context = model.model.diffusion_model.preprocess_text_embeds(tokens, unprocessed=entry.get(RAW, False))
    return context.to(comfy.model_management.intermediate_device())


def _joined(pair: Pair, context: Tensor) -> list:
    _check_masks(pair.video.get("attention_mask"), pair.audio.get("attention_mask"))
    others = _without_audio_keys(_kept(pair)) | _audio_keys(pair.audio)
    if pair.times != percents(pair.video):
        others |= dict(zip(("start_percent", "end_percent"), pair.times))
    return [context, {key: value for key, value in others.items() if key not in ("cross_attn", RAW)}]


def _kept(pair: Pair) -> dict[str, Any]:
    """Returns the video's entry, with the hooks of both."""
    kept, hooks = dict(pair.video), _join_hooks(pair.video.get("hooks"), pair.audio.get("hooks"))
    if pair.strength != kept.get("strength", 1.0):
        kept["strength"] = pair.strength
    return kept if hooks is None else {**kept, "hooks": hooks}


def _join_hooks(video: HookGroup | None, audio: HookGroup | None) -> HookGroup | None:
    if video is None or audio is None:
        return video or audio
    return video if audio.is_subset_of(video) else video.clone_and_combine(audio)


def _audio_keys(*entries: Entry) -> dict[str, Any]:
    return {key: each[key] for each in entries for key in AUDIO_KEYS if key in each}


def _without_audio_keys(entry: Entry) -> dict[str, Any]:
    return {key: value for key, value in entry.items() if key not in AUDIO_KEYS}


def _check_masks(video: Tensor | None, audio: Tensor | None) -> None:
    if (video is None) != (audio is None) or (video is not None and not torch.equal(video, audio)):
        raise ValueError(f"video and audio have different attention masks, and LTX-2 takes one for both; {ENCODE}")
