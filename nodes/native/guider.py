"""A ComfyUI guider that asks a native joint model for the branches of any of our strategies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import uuid4

import comfy.sampler_helpers
import comfy.samplers
import comfy.utils
import torch
from torch import Tensor

from ...av_models.contract import AVLatent
from ...av_models.guidance import Guidance, Text, require_able
from ...av_models.guidance.base import NEGATIVE, POSITIVE
from .models import native, options_of
from .noise import both_streams
from .passes import Pass, as_flow, from_flow, plan_of, predictions_of, step_at

Conditioning = Mapping[Text, list]


class JointGuider(comfy.samplers.CFGGuider):
    """Packed latents [B, 1, N], the picture's values first; clean estimates in, a clean estimate out."""

    def __init__(self, model: Any, strategy: Guidance, positive: list, negative: list, bad_model: Any = None) -> None:
        super().__init__(model)
        self.strategy, self.bad_patcher = strategy, bad_model
        self.natives = {"main": native(model)} | ({} if bad_model is None else {"bad": native(bad_model, "bad_model")})
        if bad_model is not None and type(self.natives["bad"]) is not type(self.natives["main"]):
            raise ValueError("bad_model is a model of another kind; give a worse version of the same")
        self.inner_set_conds({"positive": positive, "negative": negative})

    def sample(self, noise: Any, latent_image: Any, sampler: Any, sigmas: Tensor, *args: Any, **kwargs: Any) -> Any:
        both_streams(latent_image)
        self.plan = plan_of(sigmas.tolist(), self.natives["main"].audio_time)
        if self.plan:
            require_able(self.strategy, self.plan, self.natives)
        self.state = None
        return super().sample(noise, latent_image, sampler, sigmas, *args, **kwargs)

    def outer_sample(self, noise: Tensor, *args: Any, **kwargs: Any) -> Any:
        self.inner, self.own, self.asked = {}, {}, {}
        if self.bad_patcher is None:
            return super().outer_sample(noise, *args, **kwargs)
        conds = {text: [each.copy() for each in of] for text, of in self.conds.items()}
        options = self.bad_patcher.model_options
        self.inner["bad"], self.own["bad"], loaded = comfy.sampler_helpers.prepare_sampling(
            self.bad_patcher, noise.shape, conds, options
        )
        self.bad_patcher.pre_run()
        try:
            return super().outer_sample(noise, *args, **kwargs)
        finally:
            self.bad_patcher.cleanup()
            comfy.sampler_helpers.cleanup_models(self.own["bad"], loaded)
            self.inner = {}

    def inner_sample(self, noise, latent_image, device, sampler, sigmas, denoise_mask, *args, latent_shapes=None, **kwargs):
        bad = self.inner.get("bad")
        if bad is not None:
            bad.latent_shapes = latent_shapes
            given = latent_image
            if given is not None and torch.count_nonzero(given):
                given = bad.process_latent_in(given)
            seed = args[2] if len(args) > 2 else kwargs.get("seed")
            self.own["bad"] = comfy.samplers.process_conds(
                bad, noise, self.own["bad"], device, given, denoise_mask, seed, latent_shapes=latent_shapes
            )
        self.shapes = latent_shapes
        return super().inner_sample(
            noise, latent_image, device, sampler, sigmas, denoise_mask, *args, latent_shapes=latent_shapes, **kwargs
        )

    def predict_noise(self, x: Tensor, timestep: Tensor, model_options: dict[str, Any] = {}, seed: int | None = None) -> Tensor:
        main, sigma = self.natives["main"], float(timestep[0])
        step = step_at(sigma, self.plan, main.audio_time)
        branches, sigmas = self.strategy.branches(step), (step.t_video, step.t_audio)
        now = self.unpacked(x, step.t_audio / step.t_video)
        if not branches:
            return self.packed(now)  # where the velocity is zero, all is clean
        found = predictions_of(branches, lambda one, texts: self.run(one, texts, x, timestep, model_options))
        flow = self.strategy.space == "flow"
        given = {branch: as_flow(x0, now, sigmas) for branch, x0 in found.items()} if flow else found
        guided, self.state = self.strategy.combine(given, step, self.state)
        guided = self.packed(from_flow(guided, now, sigmas) if flow else guided)
        return self.post_processed(guided, found, x, timestep, model_options)

    def run(self, one: Pass, texts: Sequence[Text], x: Tensor, sigma: Tensor, options: dict[str, Any]) -> list[AVLatent]:
        """Clean estimates for each prompt of a pass: in one call where memory allows, as ComfyUI has it."""
        bad = one.model == "bad"
        if bad:  # its own patches, and one device
            options = {**self.bad_patcher.model_options, "transformer_options": {
                **options.get("transformer_options", {}), **self.bad_patcher.model_options.get("transformer_options", {})}}  # fmt: skip
        inner = self.inner["bad"] if bad else self.inner_model
        conds = [self.conditioning(one, text) for text in texts]
        changed = options_of(self.natives[one.model], one, options)
        return [self.unpacked(x0, 1 / self.natives[one.model].audio_scale()) for x0 in comfy.samplers.calc_cond_batch(inner, conds, x, sigma, changed)]

    def conditioning(self, one: Pass, text: Text) -> list[dict[str, Any]]:
        """The prompt for a pass, under an identity of its own: caches of a model's answers go by it."""
        conds = (self.own["bad"] if one.model == "bad" else self.conds)[text]
        if one == Pass():
            return conds
        key = (one, text)
        if key not in self.asked:
            self.asked[key] = [{**each, "uuid": uuid4()} for each in conds]
        return self.asked[key]

    def post_processed(self, guided: Tensor, found: Mapping, x: Tensor, sigma: Tensor, options: dict[str, Any]) -> Tensor:
        """What other nodes have hung on the model to change a guided estimate."""
        cond, uncond = (found.get(self.strategy.coupled(branch)) for branch in (POSITIVE, NEGATIVE))
        for change in options.get("sampler_post_cfg_function", []):
            guided = change({
                "denoised": guided, "cond": self.conds["positive"], "uncond": self.conds["negative"], "cond_scale": 1.0,
                "model": self.inner_model, "uncond_denoised": guided if uncond is None else self.packed(uncond),
                "cond_denoised": guided if cond is None else self.packed(cond), "sigma": sigma, "model_options": options, "input": x,
            })  # fmt: skip
        return guided

    def unpacked(self, x: Tensor, factor: float) -> AVLatent:
        """Both streams, each as its own noise world has it; `factor`: of the sound, which is carried scaled."""
        video, audio = comfy.utils.unpack_latents(x, self.shapes)
        return AVLatent(video, audio * factor)

    def packed(self, latent: AVLatent) -> Tensor:
        """As clean estimates are carried."""
        return comfy.utils.pack_latents([latent.video, latent.audio * self.natives["main"].audio_scale()])[0]
