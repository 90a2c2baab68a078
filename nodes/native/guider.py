"""A ComfyUI guider that runs any of Duet's guidance strategies on a native joint model."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import comfy.model_patcher
import comfy.sampler_helpers
import comfy.samplers
import comfy.utils
import torch
from comfy.model_patcher import ModelPatcher
from torch import Tensor

from ...av_models.contract import AVLatent
from ...av_models.guidance import Branch, Guidance, PromptKind, Step, check_supported, count_rows
from ...av_models.guidance.base import POSITIVE
from .branch_options import branch_options, rename
from .input_checks import check_latent, check_same_widths, explain_failure
from .models import native_model, pass_options, separate_weights
from .passes import (
    MIN_SIGMA,
    Pass,
    collect_passes,
    convert_streams,
    count_calls,
    find_step,
    own_negative,
    passes_of,
    plan_steps,
    predict_branches,
)
from .step_noise import shuffle_apart, with_two_streams

TEXTS: tuple[PromptKind, ...] = (
    "positive",
    "negative",
)  # in ComfyUI's order: patches of other nodes identify a prompt by its index
BAD_MODEL_KEY = "duet_bad_model"


class JointGuider(comfy.samplers.CFGGuider):
    """A guider for packed latents [B, 1, N], the video's values first. Predicts clean estimates."""

    def __init__(
        self, model: ModelPatcher, strategy: Guidance, positive: list, negative: list | None, bad_model: ModelPatcher | None = None
    ) -> None:
        kind = type(native_model(model))
        self.strategy, self.bad_patcher = strategy, None
        if bad_model is not None:
            if type(native_model(bad_model, "bad_model")) is not kind:
                raise ValueError("bad_model has another architecture than model; use a weaker version of the same model")
            check_same_widths(native_model(model), native_model(bad_model))
            model, self.bad_patcher = model.clone(), separate_weights(bad_model, model)
        super().__init__(model)
        self.raw_conds = (positive, positive if negative is None else negative)  # some samplers read what was connected
        self.set_conds(positive, negative)
        self.reset()

    def set_conds(self, positive: list, negative: list | None) -> None:
        self.original_conds = {}  # other packs copy a guider and change the prompts of the copy
        self.inner_set_conds({"positive": positive} if negative is None else {"positive": positive, "negative": negative})

    def reset(self) -> None:
        """Drops the state of a run. A copy may still have that of its original."""
        self.model_conds, self.renamed_conds = {}, {}
        self.step_index, self.state_before, self.state_after = None, None, None

    def sample(self, noise: Any, latent_image: Any, sampler: Any, sigmas: Tensor, *args: Any, **kwargs: Any) -> Any:
        self.reset()
        self.native_models = {"main": native_model(self.model_patcher)}
        if self.bad_patcher is not None:
            self.native_models["bad"] = native_model(self.bad_patcher)
        highest = float(self.model_patcher.get_model_object("model_sampling").sigma_max)
        self.plan = plan_steps(sigmas.tolist(), self.audio_time, highest)
        if self.plan:
            whole = replace(self.strategy, interval_low=0.0, interval_high=1.0)  # another sampler may run the other steps
            check_supported(whole, self.plan, self.native_models)
        branches = {branch for step in self.plan for branch in self.strategy.branches(step)}
        check_latent(latent_image, self.native_models["main"], branches)
        self.check_negative(branches)
        used = {branch.model for branch in branches}
        self.model_patcher.set_additional_models(BAD_MODEL_KEY, [self.bad_patcher] if "bad" in used else [])  # loaded together
        try:
            return super().sample(noise, latent_image, sampler, sigmas, *args, **kwargs)
        except (RuntimeError, ValueError) as error:
            if (reason := explain_failure(self.original_conds, self.native_models)) is None:
                raise
            raise ValueError(reason) from error
        finally:
            self.reset()

    def check_negative(self, branches: Collection[Branch]) -> None:
        """Checks that there is a negative prompt, if one of the branches needs it."""
        if "negative" not in self.original_conds and any("negative" in (each.video, each.audio) for each in branches):
            raise ValueError(
                f"negative is not connected, and {self.strategy.name} or the sampler needs it; connect a negative prompt"
            )

    def cost(self, steps: int = 1000) -> tuple[set[int], set[int]]:
        """Returns the numbers of branches and of network calls that the steps of a whole run have, if memory is not short."""
        model, options = native_model(self.model_patcher), self.model_options["transformer_options"]
        times = [(steps - i) / steps for i in range(steps)]
        planned = [self.strategy.branches(Step(i, steps, t, model.audio_time(t, options))) for i, t in enumerate(times)]

        def calls(texts: Sequence[PromptKind]) -> int:
            return model.count_calls([each for text in texts for each in self.original_conds[text]])

        kinds = set(planned)
        self.check_negative({branch for each in kinds for branch in each})
        return {count_rows(each) for each in kinds}, {count_calls(each, calls) for each in kinds}

    def inner_sample(  # noqa: PLR0913
        self, noise, latent_image, device, sampler, sigmas, denoise_mask, callback, disable_pbar, seed, latent_shapes=None
    ):
        self.shapes = self.inner_model.latent_shapes = latent_shapes
        bad = self.model_patcher.get_additional_models_with_key(BAD_MODEL_KEY)
        if bad:
            self.prepare_bad_model(noise, latent_image, device, sigmas, denoise_mask, seed)
        self.model_options = shuffle_apart(self.model_options, seed, latent_shapes)
        sampler = with_two_streams(sampler, seed, latent_shapes)
        inputs = (noise, latent_image, device, sampler, sigmas, denoise_mask, callback, disable_pbar, seed)
        try:
            return super().inner_sample(*inputs, latent_shapes=latent_shapes)
        finally:
            for each in bad:
                each.cleanup()

    def prepare_bad_model(
        self, noise: Tensor, latent_image: Tensor | None, device: torch.device, sigmas: Tensor, denoise_mask, seed
    ) -> None:
        """Prepares the prompts and options of the bad model for this run."""
        bad = self.bad_patcher.model
        bad.latent_shapes = self.shapes
        if self.native_models["bad"].audio_scale() != self.native_models["main"].audio_scale():
            raise ValueError("bad_model has another noise schedule for the audio than model; give both the same shifts")
        if latent_image is not None and torch.count_nonzero(latent_image):
            latent_image = bad.process_latent_in(latent_image)
        conds = {text: [_without_hooks(each) for each in of] for text, of in self.conds.items()}
        self.model_conds["bad"] = comfy.samplers.process_conds(
            bad, noise, conds, device, latent_image, denoise_mask, seed, latent_shapes=self.shapes
        )
        self.bad_options = comfy.model_patcher.create_model_options_clone(self.bad_patcher.model_options)
        comfy.sampler_helpers.prepare_model_patcher(self.bad_patcher, {}, self.bad_options)  # adds the wrappers of the bad model
        self.bad_options["transformer_options"]["sample_sigmas"] = sigmas
        self.bad_patcher.pre_run()

    def audio_time(self, sigma: float) -> float:
        """Returns the audio's σ at the video's `sigma`."""
        return self.native_models["main"].audio_time(sigma, self.model_options["transformer_options"])

    def predict_noise(self, x: Tensor, timestep: Tensor, model_options: dict[str, Any] = {}, seed: int | None = None) -> Tensor:
        step = find_step(max(float(timestep[0]), MIN_SIGMA), self.plan, self.audio_time)
        latent, sigmas = self.unpack(x, step.t_audio / step.t_video), (step.t_video, step.t_audio)
        branches = self.strategy.branches(step)
        always = self.prompt_and_negative(step) if model_options.get("disable_cfg1_optimization") else ()
        needed = [*branches, *(branch for branch in always if branch not in branches)]
        self.check_negative(needed)
        first = next(iter(collect_passes(needed)), None)
        found = predict_branches(needed, lambda one, texts: self.run_pass(one, texts, x, timestep, model_options, one == first))
        if not branches:  # the step is skipped: with velocity zero, the clean estimate is the latent itself
            guided = latent
        else:
            guided = self.combine({branch: found[branch] for branch in branches}, latent, sigmas, step)
        packed = self.pack(guided)
        return self.apply_post_cfg(packed, found, step, x, timestep, model_options) if found else packed

    def combine(self, found: Mapping[Branch, AVLatent], latent: AVLatent, sigmas: tuple[float, float], step: Step) -> AVLatent:
        """Combines the branches with the strategy. If a sampler evaluates a step twice, both use the same state."""
        if step.index != self.step_index:
            self.step_index, self.state_before = step.index, self.state_after
        space = self.strategy.space or "x0"
        predictions = {branch: convert_streams(x0, latent, sigmas, "x0", space) for branch, x0 in found.items()}
        guided, self.state_after = self.strategy.combine(predictions, step, self.state_before)
        return convert_streams(guided, latent, sigmas, space, "x0")

    def run_pass(
        self, one: Pass, texts: Sequence[PromptKind], x: Tensor, sigma: Tensor, options: dict[str, Any], is_first: bool
    ) -> list[AVLatent]:
        """Returns the clean estimates for each prompt of a pass. ComfyUI runs them in one call if there is enough memory."""
        model, bad = self.native_models[one.model], one.model == "bad"
        changed = pass_options(model, one, self.bad_options if bad else options, is_first)
        conds = [self.conditioning(one, text) if text in texts else None for text in TEXTS]
        made = comfy.samplers.calc_cond_batch(self.bad_patcher.model if bad else self.inner_model, conds, x, sigma, changed)
        return [self.unpack(made[TEXTS.index(text)], 1 / model.audio_scale()) for text in texts]

    def conditioning(self, one: Pass, text: PromptKind) -> list[dict[str, Any]] | None:
        """Returns the prompt for a pass. Each pass has its own UUIDs, because caches of model outputs use them as keys."""
        conds = self.model_conds.get(one.model, self.conds).get(text)
        if one == Pass() or conds is None:
            return conds
        if (one, text) not in self.renamed_conds:
            self.renamed_conds[one, text] = rename(conds)
        return self.renamed_conds[one, text]

    def prompt_and_negative(self, step: Step) -> tuple[Branch, Branch]:
        """Returns the branches that CFG++ samplers and post-CFG functions read."""
        return self.strategy.at_step(step).apply_coupling(POSITIVE), own_negative(self.strategy, step)

    def apply_post_cfg(
        self, guided: Tensor, found: Mapping, step: Step, x: Tensor, sigma: Tensor, options: dict[str, Any]
    ) -> Tensor:
        """Runs the post-CFG functions of other nodes and samplers, with the options under which the prompt was predicted."""
        changes = options.get("sampler_post_cfg_function", [])
        if not changes:
            return guided
        prompt, negative = self.prompt_and_negative(step)
        cond, uncond = found.get(prompt), found.get(negative)
        conds = {text: self.conditioning(passes_of(prompt)[0], text) for text in TEXTS}
        own = branch_options(self.native_models["main"], prompt, options, self.shapes)
        for change in changes:
            guided = change({
                "denoised": guided, "cond": conds["positive"], "uncond": conds["negative"], "cond_scale": self.cfg,
                "model": self.inner_model, "uncond_denoised": guided if uncond is None else self.pack(uncond),
                "cond_denoised": guided if cond is None else self.pack(cond), "sigma": sigma, "model_options": own,
                "input": x,
            })  # fmt: skip
        return guided

    def unpack(self, x: Tensor, audio_factor: float) -> AVLatent:
        """Splits a packed latent into both streams. audio_factor: converts the audio from ComfyUI's scale to its own schedule."""
        video, *others = comfy.utils.unpack_latents(x, self.shapes)
        audio = others[0] if others else x.new_zeros(len(x), 1, 0)  # a latent of video alone
        return AVLatent(video, audio * audio_factor)

    def pack(self, latent: AVLatent) -> Tensor:
        """Packs a clean estimate, with the audio in ComfyUI's scale."""
        if not latent.audio.numel():
            return latent.video
        return comfy.utils.pack_latents([latent.video, latent.audio * self.native_models["main"].audio_scale()])[0]


def _without_hooks(cond: Mapping[str, Any]) -> dict[str, Any]:
    """Removes hooks, which belong to the main model: a hook schedule can only serve one model."""
    return {key: value for key, value in cond.items() if key != "hooks"}
