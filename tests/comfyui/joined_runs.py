"""Runs joined models in ComfyUI's Python, and beside them each model alone, with the same noise on the schedule that it has there.

Call `start` before anything else: it makes ComfyUI and `duet_av` importable.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

PACK = Path(__file__).resolve().parents[2]
STREAMS = ("video", "audio")


def start(checkout: str) -> None:
    """Makes ComfyUI and this pack importable, without a server, on one thread of the CPU."""
    sys.path.insert(0, checkout)
    os.chdir(checkout)
    sys.argv[1:] = ["--cpu"]
    import comfy.options

    comfy.options.enable_args_parsing()
    spec = spec_from_file_location("duet_av", PACK / "__init__.py", submodule_search_locations=[str(PACK)])
    assert spec is not None
    sys.modules["duet_av"] = module_from_spec(spec)  # its nodes are not registered
    import torch

    torch.set_num_threads(1)
    torch.set_grad_enabled(False)


def same(x: Any) -> Any:
    return x


@dataclass(frozen=True)
class Case:
    """A pair, and how it is sampled. Mappings are by stream.

    change: what is done to a model before it is joined. after: what is done to the joined model. prompts: makes the CONDITIONINGs
    of a kind with a seed, by name. of_all: changes the CONDITIONINGs, joined and alone. span: first and last step of a partial run.
    masks, latents: as the models take them alone. guider: makes a guider of a model and CONDITIONINGs.
    """

    video: str = "wan21"
    audio: str = "stable_audio_3"
    sampler: Any = "euler"
    steps: int = 4
    cfg: float = 3.0
    ahead: float = 1.0
    batch: int = 1
    dtype: str = "float32"
    seed: Any = 5
    change: Mapping[str, Callable] = field(default_factory=dict)
    after: Callable = same
    prompts: Callable | None = None
    of_all: Callable = same
    span: tuple[int, int | None] = (0, None)
    masks: Mapping[str, Any] = field(default_factory=dict)
    latents: Mapping[str, Any] = field(default_factory=dict)
    guider: Callable | None = None
    noise: tuple[int, int] = (7, 8)  # seeds

    def kind(self, stream: str) -> str:
        return self.video if stream == "video" else self.audio


def model_of(case: Case, stream: str) -> Any:
    """Returns the MODEL of a stream as it is joined."""
    from duet_av.tests.comfyui.native_pack.joined_models import load

    patcher = load(case.kind(stream), 1 + STREAMS.index(stream), case.dtype)
    return case.change.get(stream, same)(patcher)


def prompts_of(case: Case, stream: str) -> dict[str, list]:
    from duet_av.tests.comfyui.native_pack.joined_models import prompt

    kind, seed = case.kind(stream), 3 + STREAMS.index(stream)
    if case.prompts is not None:
        return case.prompts(kind, seed)
    return {"positive": prompt(kind, seed), "negative": prompt(kind, seed + 2)}


def joined_prompts(case: Case) -> dict[str, list]:
    from duet_av.nodes.native.joined.prompts import join_prompts

    video, audio = (prompts_of(case, stream) for stream in STREAMS)
    return case.of_all({name: join_prompts(video[name], audio[name]) for name in video})


def latent_of(case: Case, stream: str) -> Any:
    from duet_av.tests.comfyui.native_pack.joined_models import latent

    return case.latents.get(stream, latent(case.kind(stream), case.batch))


def noise_of(case: Case, stream: str) -> Any:
    import torch

    chance = torch.Generator().manual_seed(case.noise[STREAMS.index(stream)])
    return torch.randn(latent_of(case, stream).shape, generator=chance)


def nested(case: Case, parts: Sequence[Any]) -> Any:
    """Returns latents of both models as one. Stable Video Diffusion's has the frames in place of the batch."""
    from comfy.nested_tensor import NestedTensor

    video, audio = parts
    return NestedTensor([video.unflatten(0, (1, -1)).movedim(1, 2) if case.video == "svd" else video, audio])


def split(case: Case, joint: Any) -> list[Any]:
    """The inverse of `nested`."""
    video, audio = joint.unbind()
    return [video.movedim(2, 1).flatten(0, 1) if case.video == "svd" else video, audio]


def joined_model(case: Case) -> Any:
    from duet_av.nodes.native.joined.model import join_models

    return case.after(join_models(*(model_of(case, stream) for stream in STREAMS), case.ahead))


def sigmas_of(case: Case, joined: Any) -> Any:
    import comfy.samplers

    sigmas = comfy.samplers.calculate_sigmas(joined.get_model_object("model_sampling"), "simple", case.steps)
    first, last = case.span
    return sigmas[first : None if last is None else last + 1]


def sample(case: Case, model: Any, prompts: Mapping[str, list], inputs: Sequence[Any], sigmas: Any, seed: Any) -> Any:
    """inputs: noise, latent and mask."""
    import comfy.samplers

    if case.guider is not None:
        guider = case.guider(model, prompts)
    else:
        guider = comfy.samplers.CFGGuider(model)
        guider.inner_set_conds(prompts)
        guider.set_cfg(case.cfg)
    sampler = comfy.samplers.sampler_object(case.sampler) if isinstance(case.sampler, str) else case.sampler
    noise, latent, mask = inputs
    return guider.sample(noise, latent, sampler, sigmas, mask, None, True, seed)


def run_joined(case: Case, joined: Any = None) -> list[Any]:
    """Returns the video and the audio of a joined run, in the form of the models."""
    import torch

    joined = joined_model(case) if joined is None else joined
    noise, latent = ([of(case, stream) for stream in STREAMS] for of in (noise_of, latent_of))
    masks = [case.masks.get(stream, torch.ones_like(each)) for stream, each in zip(STREAMS, latent)] if case.masks else None
    inputs = [each if each is None else nested(case, each) for each in (noise, latent, masks)]
    return split(case, sample(case, joined, joined_prompts(case), inputs, sigmas_of(case, joined), case.seed))


def run_alone(case: Case, stream: str, joined: Any = None) -> Any:
    from duet_av.nodes.native.joined.model import streams_of

    joined = joined_model(case) if joined is None else joined
    own = getattr(streams_of(joined), stream)
    mask = case.masks.get(stream)
    if mask is not None and mask.ndim == 4:
        mask = mask[:, :1]  # as ComfyUI takes one for a latent of four dimensions
    inputs = noise_of(case, stream), latent_of(case, stream), mask
    prompts = case.of_all(prompts_of(case, stream))
    return sample(case, model_of(case, stream), prompts, inputs, own.sigma(sigmas_of(case, joined)), case.seed)


def apart(a: Any, b: Any) -> float:
    """Returns the largest difference, in parts of the spread; infinity for values that are not finite."""
    difference = float((a - b).abs().max() / b.std())
    return difference if difference == difference else float("inf")


def compare(case: Case) -> list[float]:
    """Returns how far the video and the audio of a joined run are from those of the models alone."""
    joined = joined_model(case)
    made = run_joined(case, joined)
    return [apart(each, run_alone(case, stream, joined)) for each, stream in zip(made, STREAMS)]
