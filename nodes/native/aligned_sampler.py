"""A SAMPLER that moves the latents after each step, so that the decoded video and audio match better.

Seeing and Hearing (CVPR 2024, arXiv 2402.17723) for whatever ComfyUI runs: the steps are those of ComfyUI's own Euler samplers, and
the moves those of `av_models/alignment.py`. Each stream moves in its own coordinates, also where the audio is carried on the
schedule of the video.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import comfy.samplers
import comfy.utils
import torch
from comfy.k_diffusion import sampling
from comfy.model_management import load_models_gpu
from comfy.model_sampling import CONST
from comfy.nested_tensor import NestedTensor
from torch import Tensor
from tqdm.auto import trange

from ...av_models.aligner_settings import GENERATED, PAIRS
from ...av_models.alignment import Alignment
from ...av_models.binders.ensemble import list_binders
from ...av_models.contract import AVLatent
from ...av_models.guidance import Step
from ...av_models.latent_aligner import Aligner, Reference, reference_modalities
from ..host import check_interrupt, patcher_of
from .carried_audio import carried_audio
from .joined.model import streams_of
from .vae_gradients import GradientVAE

STEPS = {"euler": sampling.sample_euler, "euler_ancestral": sampling.sample_euler_ancestral}
STREAMS = ("video", "audio")
INPUTS = {"video": "vae, best a tiny one", "audio": "audio_vae"}


@dataclass(frozen=True)
class AlignedSampling:
    """The settings of an aligned SAMPLER.

    sampler: one of `STEPS`. eta: how much new noise the ancestral one adds. fps: of the video.
    vaes: ComfyUI's VAE of each stream, or None. texts: what the binder compares video and audio with; "": nothing.
    say: shows a line on the node while the sampler runs.
    """

    aligner: Aligner
    reference: Reference
    sampler: str
    eta: float
    fps: float
    vaes: Mapping[str, Any]
    texts: tuple[str, str]
    say: Callable[[str], None] = lambda text: None

    def __post_init__(self) -> None:
        for name, value in (("through_denoiser", self.aligner.through_denoiser), ("prompt_rate", self.aligner.prompt_rate)):
            if value:
                raise ValueError(
                    f"{name} needs gradients through the network, which ComfyUI's models do not give; turn it off in Aligner"
                )

    @property
    def is_idle(self) -> bool:
        """Whether nothing is moved: the result is then that of the plain sampler."""
        weights = (
            self.aligner.other,
            self.aligner.timing,
            *(self.aligner.prompt_weight(name) for name in GENERATED[self.aligner.task]),
        )
        return not any(self.aligner.rates.values()) or not any(weights)

    def make_sampler(self) -> comfy.samplers.KSAMPLER:
        return comfy.samplers.KSAMPLER(partial(sample_aligned, setup=self))


def sample_aligned(  # noqa: PLR0913
    model: Any, x: Tensor, sigmas: Tensor, extra_args: dict[str, Any] | None = None, callback: Any = None, disable: Any = None,
    noise_sampler: Any = None, *, setup: AlignedSampling,
) -> Tensor:  # fmt: skip
    """Samples as ComfyUI's function of this name does, with moves after the steps."""
    function, extra_args = STEPS[setup.sampler], extra_args or {}
    options: dict[str, Any] = {}
    if setup.sampler == "euler_ancestral":
        options = {"eta": setup.eta, "noise_sampler": noise_sampler}
    if setup.is_idle or len(sigmas) < 2:
        return function(model, x, sigmas, extra_args, callback, disable, **options)
    if options and noise_sampler is None:  # one for all steps
        options["noise_sampler"] = sampling.default_noise_sampler(x, seed=extra_args.get("seed"))
    with ExitStack() as closing:
        run = AlignedRun(setup, model, x, sigmas, extra_args, closing)
        for index in trange(len(sigmas) - 1, disable=disable):
            watch = _Watch(callback, index)
            stepped = function(model, x, sigmas[index : index + 2], extra_args, watch, True, **options)
            x = run.move(index, stepped, watch.denoised)
        run.tell()
    return x


@dataclass
class _Watch:
    """A sampler's callback in a run of single steps. It keeps the clean estimate."""

    callback: Callable[[dict[str, Any]], None] | None
    index: int
    denoised: Any = None

    def __call__(self, state: dict[str, Any]) -> None:
        self.denoised = state["denoised"]
        if self.callback is not None:
            self.callback({**state, "i": self.index})


class AlignedRun:
    """The moves of one sampling run. Latents are packed, [B, 1, N], the video first.

    model: what a sampler function gets: ComfyUI's `KSamplerX0Inpaint` around a guider. closing: unloads the VAEs when the run ends.
    """

    def __init__(  # noqa: PLR0913
        self, setup: AlignedSampling, model: Any, x: Tensor, sigmas: Tensor, extra_args: Mapping[str, Any], closing: ExitStack
    ) -> None:
        self.setup, self.sigmas, self.closing = setup, [float(sigma) for sigma in sigmas], closing
        self.guider = model.inner_model
        self.base, self.is_flow = self.guider.inner_model, isinstance(self.guider.inner_model.model_sampling, CONST)
        self.shapes: Sequence[Sequence[int]] = self.base.latent_shapes
        self.check_shapes()
        options = extra_args.get("model_options", {}).get("transformer_options", {})
        self.carried = carried_audio(self.guider.model_patcher, options)
        mask = extra_args.get("denoise_mask")
        self.masks = None if mask is None else self.unpack(_plain(mask.expand_as(x)))
        with torch.inference_mode(False):
            self.alignment = self.begin(x, model.latent_image)

    def check_shapes(self) -> None:
        """Checks that there are a video and an audio to align. Raises ValueError."""
        if self.shapes is None or len(self.shapes) != 2 or len(self.shapes[0]) != 5:
            raise ValueError("the latent has no audio beside its video, so nothing can be aligned; connect a latent with both")
        if any("video" in pair for pair in PAIRS[self.setup.aligner.task]) and self.shapes[0][2] < 2:
            raise ValueError(
                f"the video has one frame, and the task {self.setup.aligner.task} matches a video; make a longer clip, or use i2a"
            )

    def begin(self, x: Tensor, given: Tensor | None) -> Alignment:
        """Loads the VAEs and the binder beside the model, and embeds the prompts and the reference."""
        clean = self.split(_plain(x if given is None else given), 1.0, self.carried.scale)
        self.scaling = self.find_scaling(clean)
        latent = self.decodable(clean)
        task = self.setup.aligner.task
        references = {name for name in reference_modalities(task) if self.is_given(name)}
        needed = {*GENERATED[task], *("video" if name == "image" else name for name in references)}
        decoders = {name: self.make_decoder(name, getattr(latent, name).shape) for name in STREAMS if name in needed}
        self.load(decoders, latent, x)
        for name in GENERATED[task]:
            decoders[name].require_gradients(getattr(latent, name))
        decoding = ClipDecoder(decoders, self.setup.fps)
        return self.setup.aligner.begin_with(decoding, self.setup.texts, self.find_reference(references, decoding, latent))

    def is_given(self, modality: str) -> bool:
        """Whether the latent keeps a whole stream, and the aligner has no reference of its own."""
        stream = STREAMS.index("audio" if modality == "audio" else "video")
        return getattr(self.setup.reference, modality) is None and self.masks is not None and not bool(self.masks[stream].any())

    def make_decoder(self, stream: str, shape: Sequence[int]) -> GradientVAE:
        vae = self.setup.vaes[stream]
        if vae is None:
            raise ValueError(f"the task {self.setup.aligner.task} decodes the {stream}; connect {INPUTS[stream]}")
        return GradientVAE(vae, stream, shape, self.setup.aligner.save_memory)

    def load(self, decoders: Mapping[str, GradientVAE], latent: AVLatent, x: Tensor) -> None:
        """Loads what an alignment needs, and keeps what ComfyUI has loaded for the run."""
        memory = sum(each.memory(getattr(latent, name).shape) for name, each in decoders.items())
        sampled = self.sampling_memory(x)  # a step and a move do not run at once
        binders = [patcher_of(each) for each in list_binders(self.setup.aligner.binder) if isinstance(each, torch.nn.Module)]
        loaded = [self.guider.model_patcher, *getattr(self.guider, "loaded_models", [])]
        ours = [each.patcher for each in decoders.values()]
        for each in decoders.values():
            self.closing.callback(each.unload)
        load_models_gpu([*loaded, *binders, *ours], memory_required=max(memory, sampled))

    def sampling_memory(self, x: Tensor) -> float:
        """Returns the bytes that a step needs, as ComfyUI estimates them."""
        streams = streams_of(self.guider.model_patcher)
        if streams is None:
            return self.base.memory_required([2 * len(x), *x.shape[1:]])
        sizes = zip(streams, self.shapes)
        return max(stream.model.memory_required([2 * shape[0], *shape[1:]]) for stream, shape in sizes)

    def find_reference(self, given: set, decoding: ClipDecoder, latent: AVLatent) -> Reference:
        """Returns the aligner's reference, with streams that the latent keeps whole, decoded once."""
        reference = self.setup.reference
        with torch.no_grad():
            if "video" in given:
                reference = replace(reference, video=decoding.video(latent.video), fps=self.setup.fps)
            if "image" in given:
                reference = replace(reference, image=decoding.video(latent.video, [0])[:, 0])
            if "audio" in given:
                reference = replace(reference, audio=decoding.audio(latent.audio), sample_rate=decoding.sample_rate)
        return reference

    def move(self, index: int, x: Tensor, denoised: Tensor) -> Tensor:
        """Returns the sampler's latent after a step, moved. denoised: the clean estimate of the step.

        With σ and α after the step, x = α x̂_0 + σ ε. The estimate of a moved x, with the same ε, is x̂_0 + (x − x_before) / α.
        """
        if not self.alignment.moves_latents(Step(index, len(self.sigmas) - 1, 0.0, 0.0)):
            return x
        sigma = self.sigmas[index + 1]
        factor, alpha = self.carried.factor(sigma), 1 - sigma if self.is_flow else 1.0
        if alpha <= 0:  # still noise alone
            return x
        with torch.inference_mode(False):
            now, estimate = self.split(_plain(x), 1.0, factor), self.split(_plain(denoised), 1.0, self.carried.scale)
            gains = 1 / alpha, factor / (alpha * self.carried.scale)

            def clean(latent: AVLatent) -> AVLatent:
                check_interrupt()
                changes = latent.video - now.video, latent.audio - now.audio
                changed = [self.masked(stream, gain * change) for stream, (gain, change) in enumerate(zip(gains, changes))]
                return self.decodable(AVLatent(estimate.video + changed[0], estimate.audio + changed[1]))

            moved = self.alignment.move_latents(now, clean)
            return self.join(x, now, moved, factor)

    def join(self, x: Tensor, now: AVLatent, moved: AVLatent, factor: float) -> Tensor:
        """Returns the packed latent after a move. What was not moved, or is given, is that of `x` bit for bit."""
        parts = self.unpack(_plain(x))
        for stream, (name, scale) in enumerate(zip(STREAMS, (1.0, factor))):
            before, after = getattr(now, name), getattr(moved, name)
            if after is not before:
                new = after * scale
                parts[stream] = new if self.masks is None else torch.where(self.masks[stream] == 0, parts[stream], new)
        return comfy.utils.pack_latents(parts)[0]

    def masked(self, stream: int, change: Tensor) -> Tensor:
        return change if self.masks is None else change * self.masks[stream]

    def unpack(self, packed: Tensor) -> list[Tensor]:
        return list(comfy.utils.unpack_latents(packed, self.shapes))

    def split(self, packed: Tensor, video: float, audio: float) -> AVLatent:
        """Splits a packed latent into streams, and divides them by the factors by which they are carried."""
        parts = self.unpack(packed)
        return AVLatent(parts[0] if video == 1 else parts[0] / video, parts[1] if audio == 1 else parts[1] / audio)

    def find_scaling(self, clean: AVLatent) -> list[tuple[Tensor, Tensor]]:
        """Returns the factor and the offset by which each stream's clean latents become those of its VAE.

        ComfyUI's latent formats scale and shift each channel, by tensors of inference mode, which autograd refuses.
        """

        def process(value: float) -> list[Tensor]:
            audio = torch.full_like(clean.audio, value * self.carried.scale)
            made = self.base.process_latent_out(NestedTensor((torch.full_like(clean.video, value), audio)))
            return [_plain(part) for part in made.unbind()]

        with torch.no_grad():
            return [(one - zero, zero) for zero, one in zip(process(0.0), process(1.0))]

    def decodable(self, clean: AVLatent) -> AVLatent:
        """Returns clean latents as VAEs take them."""
        streams = zip((clean.video, clean.audio), self.scaling)
        return AVLatent(*(part * factor + offset for part, (factor, offset) in streams))

    def tell(self) -> None:
        """Shows on the node what the alignment did."""
        losses, skipped, lines = self.alignment.losses, self.alignment.skipped, []
        if losses:
            lines.append(f"{len(losses)} moves, distance {losses[0]:.3f} before the first and {losses[-1]:.3f} before the last")
        if skipped:
            lines.append(f"{skipped} of the moves had NaN in their gradient and were skipped; lower the rates")
            logging.warning("Aligned Sampler: %s", lines[-1])
        self.setup.say("; ".join(lines))


@dataclass(frozen=True)
class ClipDecoder:
    """Decodes clips with VAEs of ComfyUI; see `ClipDecoding`."""

    decoders: Mapping[str, GradientVAE]
    fps: float
    saves_memory: bool = True

    @property
    def sample_rate(self) -> int:
        return self.decoders["audio"].sample_rate

    def video(self, latent: Tensor, chosen: Sequence[int] | None = None) -> Tensor:
        return self.decoders["video"].video(latent, chosen)

    def audio(self, latent: Tensor) -> Tensor:
        return self.decoders["audio"].audio(latent)


def _plain(x: Tensor) -> Tensor:
    """Returns a copy that autograd takes, of a tensor of inference mode."""
    with torch.inference_mode(False):
        return x.clone()
