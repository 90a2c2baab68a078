"""One sampling run of a joined MODEL: the wrappers that ComfyUI's guiders call.

Each model gets a guider of its own, with its own prompts, latent and σ. ComfyUI prepares it as for a run of that model alone: with
its hooks, wrappers, controls, caches and context windows. The guiders are nested, and in the innermost one the joint sampler runs:
where it asks for predictions, each model answers through its own guider.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import comfy.model_patcher
import comfy.samplers
import comfy.utils
import torch
from comfy.patcher_extension import WrappersMP
from torch import Tensor

from ..run_keys import GUIDANCE_KEY, RUN_KEY
from ..step_noise import with_two_streams
from .checks import check_added, check_latents, explain_stream
from .loading import StreamLoading
from .prompts import entries_of, split_prompts
from .sampling import rescale, uncarry, unscale
from .streams import JoinedStreams, Stream


def outer_sample(  # noqa: PLR0913
    sample: Any, noise: Tensor, latent: Tensor, sampler: Any, sigmas: Tensor, mask: Any = None, callback: Any = None,
    disable_pbar: bool = False, seed: int | None = None, latent_shapes: Any = None,
):  # fmt: skip
    """Wraps a guider's `outer_sample`: makes the run."""
    guider = sample.class_obj
    run = JoinedRun(guider, noise, latent, sigmas, mask, seed, latent_shapes)
    guider.model_options["transformer_options"][RUN_KEY] = run
    if not run.is_guided:  # guide_model.py does the same
        sampler = with_two_streams(sampler, seed, latent_shapes)
    return sample(noise, latent, sampler, sigmas, mask, callback, disable_pbar, seed, latent_shapes=latent_shapes)


def prepare_sampling(prepare: Callable, model: Any, noise_shape: Any, conds: Any, model_options: Any = None, **kwargs: Any):
    """Wraps ComfyUI's `prepare_sampling`: loads both models together."""
    run: JoinedRun | None = (model_options or {}).get("transformer_options", {}).get(RUN_KEY)
    if run is None:
        return prepare(model, noise_shape, conds, model_options=model_options, **kwargs)
    return model.model, conds, run.loading.load()


def sampler_sample(  # noqa: PLR0913
    sample: Callable, guider: Any, sigmas: Tensor, extra_args: dict, callback: Any, noise: Tensor, latent: Any = None,
    mask: Any = None, disable_pbar: bool = False,
):  # fmt: skip
    """Wraps a sampler's `sample`: runs it inside the guiders of both models."""
    run: JoinedRun = extra_args["model_options"]["transformer_options"][RUN_KEY]

    def sample_jointly() -> Tensor:
        return sample(guider, sigmas, extra_args, callback, *run.prepared(noise, latent), mask, disable_pbar)

    return run.nest(sample_jointly)


def calc_cond_batch(calc: Callable, model: Any, conds: Sequence, x: Tensor, sigma: Tensor, model_options: Mapping) -> list[Tensor]:
    """Wraps ComfyUI's `calc_cond_batch`: each model predicts its part."""
    return model_options["transformer_options"][RUN_KEY].predict(conds, x, sigma)


class _Relay(comfy.samplers.Sampler):
    """A sampler that hands on what ComfyUI has prepared for one model, and leaves its latent as it is."""

    def __init__(self, part: Part, then: Callable[[], None]) -> None:
        self.part, self.then = part, then

    def sample(  # noqa: PLR0913
        self, guider: Any, sigmas: Tensor, extra_args: dict, callback: Any, noise: Tensor, latent: Any = None, mask: Any = None,
        disable_pbar: bool = False,
    ) -> Tensor:  # fmt: skip
        self.part.options, self.part.noise, self.part.latent = extra_args["model_options"], noise, latent
        self.part.conds = guider.conds
        self.then()
        return noise


@dataclass
class Part:
    """A model in a run. options, conds, noise, latent: as ComfyUI has prepared them for the model, once the run is nested.

    guider: None for a stream that is given whole: its network does not run.
    """

    stream: Stream
    guider: comfy.samplers.CFGGuider | None
    inputs: tuple[Tensor, Tensor, Tensor | None]  # noise, latent and mask
    seed: int | None
    options: dict[str, Any] | None = None
    conds: dict[str, list] | None = None
    noise: Tensor | None = None
    latent: Tensor | None = None

    def own_conds(self, conds: Sequence[Mapping] | None) -> list | None:
        """Returns the processed entries of this model for those of a joined conditioning."""
        assert self.conds is not None
        return entries_of(conds, self.conds, self.stream.kind.stream)

    def predict(self, conds: Sequence, x: Tensor, sigma: Tensor) -> list[Tensor]:
        """Returns the model's clean estimates at its own noisy latent, one for each conditioning."""
        assert self.guider is not None and self.options is not None
        model, device = self.stream.model, self.stream.patcher.load_device
        x, sigma = x.to(device), sigma.to(device)
        own = [self.own_conds(each) for each in conds]
        calc = self.options.get("sampler_calc_cond_batch_function")
        if calc is not None:
            return calc({"conds": own, "input": x, "sigma": sigma, "model": model, "model_options": self.options})
        return comfy.samplers.calc_cond_batch(model, own, x, sigma, self.options)


class JoinedRun:
    """A run of a guider over a joined MODEL. Latents are packed, [B, 1, N]."""

    def __init__(  # noqa: PLR0913
        self, guider: Any, noise: Tensor, latent: Tensor, sigmas: Tensor, mask: Tensor | None, seed: int | None, shapes: Sequence
    ) -> None:
        self.streams: JoinedStreams = guider.model_patcher.model.streams
        self.is_guided = GUIDANCE_KEY in guider.model_options["transformer_options"]["wrappers"].get(WrappersMP.OUTER_SAMPLE, {})
        check_added(guider)
        check_latents(self.streams, shapes)
        self.streams.shapes, self.batch, self.sigmas, self.result = shapes, len(noise), sigmas, None
        masks: Sequence[Tensor | None] = [None, None] if mask is None else self.streams.split(mask)
        running = [
            stream.kind.stream for stream, part in zip(self.streams, masks) if part is None or bool(torch.count_nonzero(part))
        ]  # fmt: skip
        prompts = {name: split_prompts(entries, name, running) for name, entries in guider.conds.items()}
        seeds = (seed, getattr(seed, "audio", seed))
        inputs = zip(self.streams.split(noise), self.streams.split(latent), map(_as_given, masks))
        self.parts = [
            Part(stream, _make_guider(stream, prompts, guider) if stream.kind.stream in running else None, given, own_seed)
            for stream, given, own_seed in zip(self.streams, inputs, seeds)
        ]
        self.loading = StreamLoading([(part.guider, part.inputs[0].shape) for part in self.running])

    @property
    def running(self) -> list[Part]:
        """The parts whose networks run."""
        return [part for part in self.parts if part.guider is not None]

    def nest(self, sample: Callable[[], Tensor]) -> Tensor:
        """Returns what `sample` returns, run inside the guiders of the models."""
        results: list[Tensor] = []
        then: Callable[[], None] = lambda: results.append(sample())  # noqa: E731
        for part in reversed(self.running):
            then = self._inside(part, then)
        then()
        return results[0]

    def _inside(self, part: Part, then: Callable[[], None]) -> Callable[[], None]:
        def run() -> None:
            guider, (noise, latent, mask) = part.guider, part.inputs
            assert guider is not None
            guider.model_options = self.loading.options_of(guider)
            sigmas = part.stream.sigma(self.sigmas)
            guider.sample(noise, latent, _Relay(part, then), sigmas, mask, None, True, part.seed)

        return run

    def prepared(self, noise: Tensor, latent: Tensor | None) -> tuple[Tensor, Tensor | None]:
        """Returns the packed noise and latent, with what the models' own wrappers have made of them."""
        device = noise.device
        noises = [own if part.noise is None else part.noise.to(device) for part, own in zip(self.parts, self.streams.split(noise))]
        packed = self.streams.pack(noises, self.batch)
        if latent is None:
            return packed, None
        latents = [
            own if part.latent is None else rescale(part.latent.to(device), part.stream.scale)
            for part, own in zip(self.parts, self.streams.split(latent))
        ]
        return packed, self.streams.pack(latents, self.batch)

    def predict(self, conds: Sequence, x: Tensor, sigma: Tensor) -> list[Tensor]:
        """Returns clean estimates at the packed noisy latent `x`, one for each conditioning; zeros for None, as ComfyUI does."""
        found = []
        for part, own in zip(self.parts, self.streams.split(x)):
            if part.guider is None:  # the sampler puts the given latent in its place
                found.append([torch.zeros_like(own)] * len(conds))
                continue
            own = uncarry(own, part.stream.factor(sigma))
            with explain_stream(part.stream):
                made = part.predict(conds, own, part.stream.rows(sigma, own))
            found.append([rescale(each.to(x.device), part.stream.scale) for each in made])
        return [self.streams.pack(parts, self.batch) for parts in zip(*found)]

    def own_parts(self, packed: Tensor) -> list[Tensor]:
        """Splits packed clean estimates into those of the models."""
        return [unscale(part, stream.scale) for stream, part in zip(self.streams, self.streams.split(packed))]

    def own_noisy(self, packed: Tensor, sigma: Tensor) -> list[Tensor]:
        """Splits a packed noisy latent into those of the models."""
        return [uncarry(part, stream.factor(sigma)) for stream, part in zip(self.streams, self.streams.split(packed))]

    def pack_clean(self, parts: Sequence[Tensor]) -> Tensor:
        """The inverse of `own_parts`."""
        return self.streams.pack([rescale(part, stream.scale) for stream, part in zip(self.streams, parts)], self.batch)


def _make_guider(stream: Stream, prompts: Mapping[str, Mapping[str, list]], joined: Any) -> comfy.samplers.CFGGuider:
    guider = comfy.samplers.CFGGuider(stream.patcher)
    guider.inner_set_conds({name: of[stream.kind.stream] for name, of in prompts.items()})
    guider.set_cfg(getattr(joined, "cfg", 1.0))
    return guider


def _as_given(mask: Tensor | None) -> Tensor | None:
    """Returns a mask in the form in which ComfyUI prepares one for a latent of four dimensions: with a single channel."""
    return mask[:, :1] if mask is not None and mask.ndim == 4 else mask
