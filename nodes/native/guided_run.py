"""One sampling run of a ComfyUI guider with one of Duet's guidance strategies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import comfy.model_patcher
import comfy.sampler_helpers
import comfy.samplers
import comfy.utils
import torch
from comfy.model_patcher import ModelPatcher
from comfy.samplers import CFGGuider
from torch import Tensor

from ...av_models.contract import AVLatent, Coupling
from ...av_models.guidance import Branch, Guidance, Step, check_supported
from ...av_models.guidance.base import POSITIVE, USED, Used
from .bad_model import remove_step_cache
from .call_options import branch_options, call_options, is_plain, rename
from .input_checks import check_joined_prompts, check_latent, check_negative
from .models import native_model
from .rows import MIN_SIGMA, TEXTS, convert_streams, find_step, own_negative, place_rows, plan_steps, predict_branches, rows_of


class GuidedRun:
    """Predicts clean estimates of packed latents [B, 1, N], the video's values first.

    guider: ComfyUI's guider, which has the prompts and the model of the run.
    bad_patcher: the weaker model of autoguidance, or None. shapes: of both streams.
    """

    def __init__(
        self,
        guider: CFGGuider,
        strategy: Guidance,
        bad_patcher: ModelPatcher | None,
        sigmas: Tensor,
        shapes: Sequence,
    ) -> None:
        self.guider, self.bad_patcher, self.shapes = guider, bad_patcher, shapes
        self.models = {"main": native_model(guider.model_patcher)}
        self.name, self.strategy = strategy.name, self.models["main"].simplify(strategy)
        self.apart = {"main": self.models["main"].apart_by(guider.model_patcher)[0]}
        if bad_patcher is not None:
            self.models["bad"] = native_model(bad_patcher)
            self.apart["bad"] = self.models["bad"].apart_by(bad_patcher)[0]
        highest = float(guider.model_patcher.get_model_object("model_sampling").sigma_max)
        self.plan = plan_steps(sigmas.tolist(), self.times, highest)
        self.branches = {branch for step in self.plan for branch in strategy.branches(step)}
        self.check()
        self.for_bad: dict[str, Any] = {}
        self.bad_conds: dict[str, list] | None = None
        self.row_conds: dict[Branch, list] = {}
        self.step_index, self.state_before, self.state_after = None, None, None

    def check(self) -> None:
        """Checks that the models, the latent and the prompts suit the strategy."""
        if self.plan:
            whole = replace(self.strategy, interval_low=0.0, interval_high=1.0)  # another sampler may run the other steps
            check_supported(whole, self.plan, self.models)
        check_joined_prompts(self.models["main"], self.guider.original_conds)
        check_latent(self.shapes, self.models["main"], self.branches)
        check_negative(self.name, self.branches, self.guider.original_conds)

    @property
    def uses_bad_model(self) -> bool:
        """Whether a step of this run needs the bad model."""
        return any(branch.model == "bad" for branch in self.branches)

    def load_bad_model(self) -> None:
        """Has ComfyUI load the bad model too, if a step needs it."""
        self.for_bad = self.models["main"].add_bad_model(self.guider, self.bad_patcher if self.uses_bad_model else None)

    def prepare_bad_model(self, noise: Tensor, latent_image: Tensor | None, denoise_mask: Any, sigmas: Tensor, seed: Any) -> None:
        """Prepares the prompts and options of the bad model, once ComfyUI has prepared those of the main model."""
        bad = self.bad_patcher.model
        bad.latent_shapes = self.shapes
        if self.models["bad"].audio_scale() != self.models["main"].audio_scale():
            raise ValueError("bad_model has another noise schedule for the audio than model; give both the same shifts")
        if latent_image is not None and torch.count_nonzero(latent_image):
            latent_image = bad.process_latent_in(latent_image)
        conds = {text: [_without_hooks(each) for each in of] for text, of in self.guider.conds.items()}
        self.bad_conds = comfy.samplers.process_conds(
            bad, noise, conds, noise.device, latent_image, denoise_mask, seed, latent_shapes=self.shapes
        )
        self.bad_options = comfy.model_patcher.create_model_options_clone(self.bad_patcher.model_options)
        comfy.sampler_helpers.prepare_model_patcher(self.bad_patcher, {}, self.bad_options)  # adds the wrappers of the bad model
        remove_step_cache(self.bad_options)
        self.bad_options["transformer_options"] |= {"sample_sigmas": sigmas, **self.for_bad}
        self.bad_patcher.pre_run()

    def times(self, sigma: float) -> tuple[float, float]:
        """Returns the times of video and audio at the sampler's σ."""
        return self.models["main"].times(sigma, self.guider.model_options["transformer_options"])

    def predict(self, x: Tensor, timestep: Tensor, model_options: dict[str, Any] = {}, seed: int | None = None) -> Tensor:
        """Returns the guided clean estimate at the noisy latents `x`. It takes the place of a guider's `predict_noise`."""
        sigma = max(float(timestep[0]), MIN_SIGMA)
        step = find_step(self.times(sigma), self.plan)
        latent = self.unpack(x, step.t_video / sigma, step.t_audio / sigma)
        branches = self.strategy.branches(step)
        always = self.prompt_and_negative(step) if model_options.get("disable_cfg1_optimization") else ()
        needed = [*branches, *(branch for branch in always if branch not in branches)]
        check_negative(self.name, needed, self.guider.original_conds)
        calls: Counter[str] = Counter()
        used = self.strategy.used_streams(step) | dict.fromkeys(always, USED)

        def run(rows: Sequence[Branch]) -> dict[Branch, AVLatent]:
            calls[rows[0].model] += 1
            return self.run_call(rows, x, timestep, model_options, calls[rows[0].model] == 1, used)

        found = predict_branches(needed, self.models, run, self.apart)
        if not branches:  # the step is skipped: with velocity zero, the clean estimate is the latent itself
            guided = latent
        else:
            guided = self.combine({branch: found[branch] for branch in branches}, latent, step)
        packed = self.pack(guided)
        return self.apply_post_cfg(packed, found, step, x, timestep, model_options) if found else packed

    def combine(self, found: Mapping[Branch, AVLatent], latent: AVLatent, step: Step) -> AVLatent:
        """Combines the branches with the strategy. If a sampler evaluates a step twice, both use the same state."""
        if step.index != self.step_index:
            self.step_index, self.state_before = step.index, self.state_after
        space, times = self.strategy.space or "x0", (step.t_video, step.t_audio)
        predictions = {branch: convert_streams(x0, latent, times, "x0", space) for branch, x0 in found.items()}
        guided, self.state_after = self.strategy.combine(predictions, step, self.state_before)
        return convert_streams(guided, latent, times, space, "x0")

    def run_call(  # noqa: PLR0913
        self, rows: Sequence[Branch], x: Tensor, sigma: Tensor, options: dict[str, Any], is_first: bool, used: Mapping[Branch, Used]
    ) -> dict[Branch, AVLatent]:
        """Returns the clean estimate of each row. ComfyUI runs them in one network call if there is enough memory."""
        name, placed = rows[0].model, place_rows(rows)
        model, bad = self.models[name], name == "bad"
        changed = call_options(model, placed, self.bad_options if bad else options, is_first)
        conds = [None if row is None else self.limited(row, used) for row in placed]
        made = comfy.samplers.calc_cond_batch(self.bad_patcher.model if bad else self.guider.inner_model, conds, x, sigma, changed)
        return {row: self.unpack(each, 1.0, 1 / model.audio_scale()) for row, each in zip(placed, made) if row is not None}

    def limited(self, row: Branch, used: Mapping[Branch, Used]) -> Sequence[Mapping[str, Any]] | None:
        """Returns the prompts of a row, for the streams that have an effect."""
        conds = self.conditioning(row)
        return None if conds is None else self.models[row.model].limit(conds, *used.get(row, USED))

    def conditioning(self, row: Branch) -> list[dict[str, Any]] | None:
        """Returns the prompts of a row. Each kind of row has its own UUIDs, because caches of model outputs use them as keys.

        They stay the same while a curve changes the strengths of the coupling.
        """
        row = replace(row, coupling=Coupling(row.coupling.kinds[0]))
        conds = self.bad_conds if row.model == "bad" and self.bad_conds is not None else self.guider.conds
        if is_plain(row) or row.video not in conds:
            return conds.get(row.video)
        if row not in self.row_conds:
            text = conds[row.video]
            self.row_conds[row] = rename(
                text if row.video == row.audio else self.models[row.model].join_prompts(text, conds[row.audio])
            )
        return self.row_conds[row]

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
        row = rows_of(prompt, self.models["main"])[0]
        conds = {text: self.conditioning(replace(row, video=text, audio=text)) for text in TEXTS}
        own = branch_options(self.models["main"], prompt, options, self.shapes)
        for change in changes:
            guided = change({
                "denoised": guided, "cond": conds["positive"], "uncond": conds["negative"], "cond_scale": self.guider.cfg,
                "model": self.guider.inner_model, "uncond_denoised": guided if uncond is None else self.pack(uncond),
                "cond_denoised": guided if cond is None else self.pack(cond), "sigma": sigma, "model_options": own,
                "input": x,
            })  # fmt: skip
        return guided

    def unpack(self, x: Tensor, video_factor: float, audio_factor: float) -> AVLatent:
        """Splits a packed latent into both streams. The factors convert them from ComfyUI's scale to their own schedules."""
        video, *others = comfy.utils.unpack_latents(x, self.shapes)
        audio = others[0] if others else x.new_zeros(len(x), 1, 0)  # a latent of video alone
        return AVLatent(video if video_factor == 1 else video * video_factor, audio * audio_factor)

    def pack(self, latent: AVLatent) -> Tensor:
        """Packs a clean estimate, with the audio in ComfyUI's scale."""
        if not latent.audio.numel():
            return latent.video
        return comfy.utils.pack_latents([latent.video, latent.audio * self.models["main"].audio_scale()])[0]


def _without_hooks(cond: Mapping[str, Any]) -> dict[str, Any]:
    """Removes hooks, which belong to the main model: a hook schedule can only serve one model."""
    return {key: value for key, value in cond.items() if key != "hooks"}
