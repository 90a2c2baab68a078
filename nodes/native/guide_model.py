"""Adds guidance to a MODEL: whatever samples it, KSampler or a guider, then predicts with one of Duet's strategies."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP
from torch import Tensor

from ...av_models.guidance import Guidance
from .bad_model import separate_weights
from .guided_run import GuidedRun
from .input_checks import check_same_widths, explain_failure
from .joined.bad_model import separate_joined_weights
from .joined.model import streams_of
from .models import native_model
from .run_keys import GUIDANCE_KEY
from .step_noise import shuffle_apart, with_two_streams


def guide_model(model: ModelPatcher, strategy: Guidance, bad_model: ModelPatcher | None = None) -> ModelPatcher:
    """Returns a copy of a MODEL that is sampled with `strategy`. It replaces the guidance of an earlier call.

    bad_model: the weaker model of autoguidance. Raises ValueError if a model does not fit.
    """
    kind = type(native_model(model))
    if bad_model is not None:
        if type(native_model(bad_model, "bad_model")) is not kind:
            raise ValueError("bad_model has another architecture than model; use a weaker version of the same model")
        bad_model = _own_bad_model(bad_model, model)
    guided, guidance = model.clone(), GuidedSampling(strategy, bad_model)
    for wrapper_type, wrapper in ((WrappersMP.OUTER_SAMPLE, guidance.outer_sample), (WrappersMP.SAMPLER_SAMPLE, guidance.sample)):
        guided.remove_wrappers_with_key(wrapper_type, GUIDANCE_KEY)
        guided.add_wrapper_with_key(wrapper_type, GUIDANCE_KEY, wrapper)
    return guided


def _own_bad_model(bad: ModelPatcher, model: ModelPatcher) -> ModelPatcher:
    if streams_of(model) is not None:
        return separate_joined_weights(bad, model)
    check_same_widths(native_model(model), native_model(bad))
    return separate_weights(bad, model)


def guidance_of(patcher: ModelPatcher) -> GuidedSampling | None:
    """Returns the guidance that a MODEL carries, from Joint Guider or Joint Guidance for KSampler; None for another MODEL."""
    wrappers = patcher.get_wrappers(WrappersMP.OUTER_SAMPLE, GUIDANCE_KEY)
    return wrappers[0].__self__ if wrappers else None


class GuidedSampling:
    """The wrappers of a guided MODEL. Copies of the MODEL share them, so a run's state is kept by the guider that samples."""

    def __init__(self, strategy: Guidance, bad_patcher: ModelPatcher | None) -> None:
        self.strategy, self.bad_patcher = strategy, bad_patcher
        self.runs: dict[int, GuidedRun] = {}

    def outer_sample(  # noqa: PLR0913
        self, sample: Any, noise: Tensor, latent: Tensor, sampler: Any, sigmas: Tensor, mask: Any = None, callback: Any = None,
        disable_pbar: bool = False, seed: int | None = None, latent_shapes: Any = None,
    ):  # fmt: skip
        """Wraps a guider's `outer_sample`: the guider predicts with the strategy until it ends."""
        guider = sample.class_obj
        run = GuidedRun(guider, self.strategy, self.bad_patcher, sigmas, latent_shapes)
        run.load_bad_model()
        guider.model_options = shuffle_apart(guider.model_options, seed, latent_shapes)
        sampler = with_two_streams(sampler, seed, latent_shapes)
        patched = {name: each for name, each in vars(guider).items() if name == "predict_noise"}  # by another pack
        self.runs[id(guider)], guider.predict_noise = run, run.predict
        try:
            return sample(noise, latent, sampler, sigmas, mask, callback, disable_pbar, seed, latent_shapes=latent_shapes)
        except (RuntimeError, ValueError) as error:
            if (reason := explain_failure(guider.original_conds, run.models)) is None:
                raise
            raise ValueError(reason) from error
        finally:
            self.runs.pop(id(guider), None)
            del guider.predict_noise
            vars(guider).update(patched)

    def sample(  # noqa: PLR0913
        self, sample: Callable, guider: Any, sigmas: Tensor, extra_args: dict, callback: Any, noise: Tensor, latent: Any, mask: Any,
        disable_pbar: bool,
    ):  # fmt: skip
        """Wraps a sampler's `sample`, which is called when the prompts are processed."""
        run = self.runs[id(guider)]
        if run.uses_bad_model:
            run.prepare_bad_model(noise, latent, mask, sigmas, extra_args["seed"])
        try:
            return sample(guider, sigmas, extra_args, callback, noise, latent, mask, disable_pbar)
        finally:
            if run.uses_bad_model:
                self.bad_patcher.cleanup()
