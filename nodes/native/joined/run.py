"""One sampling run of a joined MODEL: the wrappers that ComfyUI's guiders call.

Each model gets a guider of its own, with its own prompts, latent and σ. ComfyUI prepares it as for a run of that model alone: with
its hooks, wrappers, controls, caches and context windows. The guiders are nested, and in the innermost one the joint sampler runs:
where it asks for predictions, each model answers through its own guider.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from comfy.patcher_extension import WrappersMP
from torch import Tensor

from ..run_keys import GUIDANCE_KEY, RUN_KEY
from ..step_noise import with_two_streams
from .checks import check_added, check_latents, check_prompts, check_sampler, check_size, check_transformer, explain_stream
from .loading import StreamLoading
from .parts import Part, make_parts
from .preview import with_audio
from .sampling import rescale, uncarry, unscale
from .streams import JoinedStreams


def outer_sample(  # noqa: PLR0913
    sample: Any, noise: Tensor, latent: Tensor, sampler: Any, sigmas: Tensor, mask: Any = None, callback: Any = None,
    disable_pbar: bool = False, seed: int | None = None, latent_shapes: Any = None,
):  # fmt: skip
    """Wraps a guider's `outer_sample`: makes the run."""
    guider = sample.class_obj
    check_sampler(sampler)
    run = JoinedRun(guider, noise, latent, sigmas, mask, seed, latent_shapes)
    guider.model_options["transformer_options"][RUN_KEY] = run
    if not run.is_guided:  # guide_model.py does the same
        sampler = with_two_streams(sampler, seed, latent_shapes)
    callback = with_audio(callback, run.streams)
    made = sample(noise, latent, sampler, sigmas, mask, callback, disable_pbar, seed, latent_shapes=latent_shapes)
    return run.with_given(made)


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
    run: JoinedRun = model_options["transformer_options"][RUN_KEY]
    if getattr(model, "streams", None) is not run.streams:
        raise ValueError(
            "this guider runs a second model, which for joined models only Joint Guider with autoguidance can; use that"
        )
    check_transformer(model_options)
    return run.predict(conds, x, sigma)


class JoinedRun:
    """A run of a guider over a joined MODEL. Latents are packed, [B, 1, N]."""

    def __init__(  # noqa: PLR0913
        self, guider: Any, noise: Tensor, latent: Tensor, sigmas: Tensor, mask: Tensor | None, seed: int | None, shapes: Sequence
    ) -> None:
        self.streams: JoinedStreams = guider.model_patcher.model.streams
        self.is_guided = GUIDANCE_KEY in guider.model_options["transformer_options"]["wrappers"].get(WrappersMP.OUTER_SAMPLE, {})
        check_added(guider)
        check_latents(self.streams, shapes)
        self.streams.shapes, self.batch, self.sigmas = shapes, len(noise), sigmas
        self.parts = make_parts(self.streams, guider, noise, latent, mask, seed)
        for part in self.running:
            check_prompts(part.stream, part.guider)
        self.nested: list[Part] = []
        self.add_parts(self.running)

    def add_parts(self, parts: Sequence[Part]) -> None:
        """Adds models that are loaded together, each in a guider of its own."""
        self.nested += parts
        self.loading = StreamLoading([(part.guider, part.inputs[0].shape) for part in self.nested])

    @property
    def running(self) -> list[Part]:
        """The parts whose networks run."""
        return [part for part in self.parts if part.guider is not None]

    def nest(self, sample: Callable[[], Tensor]) -> Tensor:
        """Returns what `sample` returns, run inside the guiders of the models."""
        results: list[Tensor] = []

        def enter(parts: list[Part]) -> None:
            if not parts:
                results.append(sample())
                return
            guider = parts[0].guider
            assert guider is not None
            guider.model_options = self.loading.options_of(guider)
            parts[0].inside(self.sigmas, lambda: enter(parts[1:]))

        enter(self.nested)
        return results[0]

    def with_given(self, made: Tensor) -> Tensor:
        """Returns the packed result of a run, with a stream that was given whole exactly as it was given."""
        pairs = zip(self.parts, self.streams.split(made))
        parts = [own if part.guider is not None else part.inputs[1].to(own) for part, own in pairs]
        return made if len(self.running) == len(parts) else self.streams.pack(parts, self.batch)

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
        check_size(self.streams, x)
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
