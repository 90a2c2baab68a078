"""A ComfyUI guider that asks a native joint model for the branches of any of our strategies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from uuid import uuid4

import comfy.model_patcher
import comfy.sampler_helpers
import comfy.samplers
import comfy.utils
import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ...av_models.contract import AVLatent
from ...av_models.guidance import Branch, Guidance, Text, require_able
from ...av_models.guidance.base import NEGATIVE, POSITIVE
from ..types import both_streams
from .models import native, options_of, worse
from .noise import NATIVE
from .passes import LEAST, Pass, converted, passes_of, plan_of, predictions_of, step_at

TEXTS: tuple[Text, ...] = ("positive", "negative")  # ComfyUI's order: nodes' patches know a prompt by its place
BAD = "duet_bad_model"


class JointGuider(comfy.samplers.CFGGuider):
    """Packed latents [B, 1, N], the picture's values first; clean estimates in, a clean estimate out."""

    def __init__(
        self, model: ModelPatcher, strategy: Guidance, positive: list, negative: list, bad_model: ModelPatcher | None = None
    ) -> None:
        kind = type(native(model))
        self.strategy, self.bad_patcher = strategy, None
        if bad_model is not None:
            if type(native(bad_model, "bad_model")) is not kind:
                raise ValueError("bad_model has another architecture than model; use a weaker version of the same model")
            model, self.bad_patcher = model.clone(), worse(bad_model, model)
        super().__init__(model)
        self.raw_conds = (positive, negative)  # some samplers ask for what was connected
        self.set_conds(positive, negative)
        self.forget()

    def forget(self) -> None:
        """Drops what belongs to one run."""
        self.conds_of, self.named, self.index, self.before, self.after = {}, {}, None, None, None

    def sample(self, noise: Any, latent_image: Any, sampler: Any, sigmas: Tensor, *args: Any, **kwargs: Any) -> Any:
        both_streams(latent_image, *NATIVE)
        self.natives = {"main": native(self.model_patcher)}
        if self.bad_patcher is not None:
            self.natives["bad"] = native(self.bad_patcher)
        highest = float(self.model_patcher.get_model_object("model_sampling").sigma_max)
        self.plan = plan_of(sigmas.tolist(), self.audio_time, highest)
        if self.plan:
            ever = replace(self.strategy, interval_low=0.0, interval_high=1.0)  # the rest of a run may be another sampler's
            require_able(ever, self.plan, self.natives)
        asked = {branch.model for step in self.plan for branch in self.strategy.branches(step)}
        self.model_patcher.set_additional_models(BAD, [self.bad_patcher] if "bad" in asked else [])  # loaded together
        try:
            return super().sample(noise, latent_image, sampler, sigmas, *args, **kwargs)
        finally:
            self.forget()

    def inner_sample(
        self, noise, latent_image, device, sampler, sigmas, denoise_mask, callback, disable_pbar, seed, latent_shapes=None
    ):
        self.shapes = self.inner_model.latent_shapes = latent_shapes
        bad = self.model_patcher.get_additional_models_with_key(BAD)
        if bad:
            self.prepare_bad(noise, latent_image, device, sigmas, denoise_mask, seed)
        try:
            return super().inner_sample(
                noise,
                latent_image,
                device,
                sampler,
                sigmas,
                denoise_mask,
                callback,
                disable_pbar,
                seed,
                latent_shapes=latent_shapes,
            )
        finally:
            for each in bad:
                each.cleanup()

    def prepare_bad(self, noise: Tensor, given: Tensor | None, device: torch.device, sigmas: Tensor, denoise_mask, seed) -> None:
        """The worse model's own prompts and options for this run."""
        bad = self.bad_patcher.model
        bad.latent_shapes = self.shapes
        if self.natives["bad"].audio_scale() != self.natives["main"].audio_scale():
            raise ValueError("bad_model has another noise schedule for the sound than model; give both the same shifts")
        if given is not None and torch.count_nonzero(given):
            given = bad.process_latent_in(given)
        plain = {text: [_without_hooks(each) for each in of] for text, of in self.conds.items()}
        self.conds_of["bad"] = comfy.samplers.process_conds(
            bad, noise, plain, device, given, denoise_mask, seed, latent_shapes=self.shapes
        )
        self.bad_options = comfy.model_patcher.create_model_options_clone(self.bad_patcher.model_options)
        comfy.sampler_helpers.prepare_model_patcher(self.bad_patcher, {}, self.bad_options)  # its own wrappers
        self.bad_options["transformer_options"]["sample_sigmas"] = sigmas
        self.bad_patcher.pre_run()

    def audio_time(self, sigma: float) -> float:
        return self.natives["main"].audio_time(sigma, self.model_options["transformer_options"])

    def predict_noise(self, x: Tensor, timestep: Tensor, model_options: dict[str, Any] = {}, seed: int | None = None) -> Tensor:
        step = step_at(max(float(timestep[0]), LEAST), self.plan, self.audio_time)
        now, sigmas = self.unpacked(x, step.t_audio / step.t_video), (step.t_video, step.t_audio)
        branches = self.strategy.branches(step)
        always = (POSITIVE, NEGATIVE) if model_options.get("disable_cfg1_optimization") else ()  # CFG++ samplers look at both
        wanted = [*branches, *(branch for branch in always if branch not in branches)]
        first = next(iter(passes_of(wanted)), None)
        found = predictions_of(wanted, lambda one, texts: self.run(one, texts, x, timestep, model_options, one == first))
        guided = self.guided({b: found[b] for b in branches}, now, sigmas, step) if branches else now  # velocity zero: all is clean
        return self.post_processed(self.packed(guided), found, step, x, timestep, model_options) if found else self.packed(guided)

    def guided(self, found: Mapping[Branch, AVLatent], now: AVLatent, sigmas: tuple[float, float], step) -> AVLatent:
        """The strategy's combination. A sampler that asks twice at one step gets it from the same state twice."""
        if step.index != self.index:
            self.index, self.before = step.index, self.after
        space = self.strategy.space or "x0"
        given = {branch: converted(x0, now, sigmas, "x0", space) for branch, x0 in found.items()}
        guided, self.after = self.strategy.combine(given, step, self.before)
        return converted(guided, now, sigmas, space, "x0")

    def run(
        self, one: Pass, texts: Sequence[Text], x: Tensor, sigma: Tensor, options: dict[str, Any], begins: bool
    ) -> list[AVLatent]:
        """Clean estimates for each prompt of a pass: in one call where memory allows, as ComfyUI has it."""
        model, bad = self.natives[one.model], one.model == "bad"
        changed = options_of(model, one, self.bad_options if bad else options, begins)
        conds = [self.conditioning(one, text) if text in texts else None for text in TEXTS]
        made = comfy.samplers.calc_cond_batch(self.bad_patcher.model if bad else self.inner_model, conds, x, sigma, changed)
        return [self.unpacked(made[TEXTS.index(text)], 1 / model.audio_scale()) for text in texts]

    def conditioning(self, one: Pass, text: Text) -> list[dict[str, Any]]:
        """The prompt for a pass, under a name of its own: caches of a model's answers go by it."""
        conds = self.conds_of.get(one.model, self.conds)[text]
        if one == Pass():
            return conds
        if (one, text) not in self.named:
            self.named[one, text] = [{**each, "uuid": uuid4()} for each in conds]
        return self.named[one, text]

    def post_processed(self, guided: Tensor, found: Mapping, step, x: Tensor, sigma: Tensor, options: dict[str, Any]) -> Tensor:
        """What other nodes and samplers have hung on the model to see or change a guided estimate."""
        now = self.strategy.at(step)
        cond, uncond = (found.get(now.coupled(branch), found.get(branch)) for branch in (POSITIVE, NEGATIVE))
        for change in options.get("sampler_post_cfg_function", []):
            guided = change({
                "denoised": guided, "cond": self.conds["positive"], "uncond": self.conds["negative"], "cond_scale": self.cfg,
                "model": self.inner_model, "uncond_denoised": guided if uncond is None else self.packed(uncond),
                "cond_denoised": guided if cond is None else self.packed(cond), "sigma": sigma, "model_options": options,
                "input": x,
            })  # fmt: skip
        return guided

    def unpacked(self, x: Tensor, factor: float) -> AVLatent:
        """Both streams, each as its own noise world has it; `factor`: of the sound, which is carried scaled."""
        video, audio = comfy.utils.unpack_latents(x, self.shapes)
        return AVLatent(video, audio * factor)

    def packed(self, latent: AVLatent) -> Tensor:
        """As clean estimates are carried."""
        return comfy.utils.pack_latents([latent.video, latent.audio * self.natives["main"].audio_scale()])[0]


def _without_hooks(cond: Mapping[str, Any]) -> dict[str, Any]:
    """Hooks are the main model's: one schedule serves one model."""
    return {key: value for key, value in cond.items() if key != "hooks"}
