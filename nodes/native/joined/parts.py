"""The models of a joined run, each in a guider of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import comfy.samplers
import torch
from torch import Tensor

from .checks import explain_stream
from .hooks import OwnHooks
from .prompts import entries_of, split_prompts
from .streams import JoinedStreams, Stream


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

    @property
    def model(self) -> Any:
        """ComfyUI's `BaseModel`, as the guider has loaded it."""
        assert self.guider is not None
        return self.guider.inner_model

    def own_conds(self, conds: Sequence[Mapping] | None) -> list | None:
        """Returns the processed entries of this model for those of a joined conditioning."""
        assert self.conds is not None
        return entries_of(conds, self.conds, self.stream.kind.stream)

    def predict(self, conds: Sequence, x: Tensor, sigma: Tensor) -> list[Tensor]:
        """Returns the model's clean estimates at its own noisy latent, one for each conditioning."""
        assert self.guider is not None and self.options is not None
        device = self.guider.model_patcher.load_device
        x, sigma = x.to(device), sigma.to(device)
        own = [self.own_conds(each) for each in conds]
        keys = [None if each is None else tuple(map(id, each)) for each in own]
        each_once = dict(zip(keys, own))  # conditionings that differ in the other stream alone
        found = dict(zip(each_once, self._predict(list(each_once.values()), x, sigma)))
        return [found[key] for key in keys]

    def _predict(self, conds: list, x: Tensor, sigma: Tensor) -> list[Tensor]:
        assert self.options is not None
        calc = self.options.get("sampler_calc_cond_batch_function")
        if calc is not None:
            return calc({"conds": conds, "input": x, "sigma": sigma, "model": self.model, "model_options": self.options})
        return comfy.samplers.calc_cond_batch(self.model, conds, x, sigma, self.options)

    def inside(self, sigmas: Tensor, then: Callable[[], None]) -> None:
        """Calls `then` inside the guider, once ComfyUI has prepared the model for a run. sigmas: of the joint sampler."""
        assert self.guider is not None
        noise, latent, mask = self.inputs
        self.options = None
        with explain_stream(self.stream, lambda: self.options is None):  # until ComfyUI has prepared it
            self.guider.sample(noise, latent, _Relay(self, then), self.stream.sigma(sigmas), mask, None, True, self.seed)


class _Relay(comfy.samplers.Sampler):
    """A sampler that keeps what ComfyUI has prepared for one model, and leaves its latent as it is."""

    def __init__(self, part: Part, then: Callable[[], None]) -> None:
        self.part, self.then = part, then

    def sample(  # noqa: PLR0913
        self, guider: Any, sigmas: Tensor, extra_args: dict, callback: Any, noise: Tensor, latent: Any = None, mask: Any = None,
        disable_pbar: bool = False,
    ) -> Tensor:  # fmt: skip
        part = self.part
        part.options, part.conds, part.noise, part.latent = extra_args["model_options"], guider.conds, noise, latent
        self.then()
        return noise


def make_parts(
    streams: JoinedStreams, joined: Any, noise: Tensor, latent: Tensor, mask: Tensor | None, seed: int | None
) -> list[Part]:
    """Returns both models of a run. joined: the guider of the joined MODEL. noise, latent, mask: packed.

    Raises ValueError if a prompt does not fit.
    """
    masks: Sequence[Tensor | None] = (None, None) if mask is None else streams.split(mask)
    runs = [part is None or bool(torch.count_nonzero(part)) for part in masks]
    hooks = {stream.kind.stream: OwnHooks() for stream, running in zip(streams, runs) if running}
    prompts = {name: split_prompts(entries, name, hooks) for name, entries in joined.conds.items()}
    seeds = (seed, getattr(seed, "audio", seed))
    inputs = zip(streams.split(noise), streams.split(latent), map(_own_mask, masks))
    return [
        Part(stream, _make_guider(stream, prompts, joined) if running else None, given, own_seed)
        for stream, running, given, own_seed in zip(streams, runs, inputs, seeds)
    ]


def _make_guider(stream: Stream, prompts: Mapping[str, Mapping[str, list]], joined: Any) -> comfy.samplers.CFGGuider:
    guider = comfy.samplers.CFGGuider(stream.patcher)
    guider.inner_set_conds({name: of[stream.kind.stream] for name, of in prompts.items()})
    guider.set_cfg(getattr(joined, "cfg", 1.0))
    return guider


def _own_mask(mask: Tensor | None) -> Tensor | None:
    """Returns a mask in the form in which ComfyUI prepares one for a latent of four dimensions: with a single channel.

    None if nothing is given, as for the stream that has no mask where the other one has.
    """
    if mask is None or bool((mask == 1).all()):
        return None
    return mask[:, :1] if mask.ndim == 4 else mask
