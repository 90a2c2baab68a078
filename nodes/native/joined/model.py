"""A joined MODEL: two of ComfyUI's models, one for the video and one for the audio, as one."""

from __future__ import annotations

from typing import Any

import torch
from comfy.model_base import BaseModel
from comfy.model_patcher import ModelPatcher
from comfy.nested_tensor import NestedTensor
from comfy.patcher_extension import WrappersMP
from torch import Tensor

from ..run_keys import JOINED_KEY
from . import run
from .cfg_patches import set_cfg_patches
from .checks import BEFORE, check_joinable
from .kinds import kind_of
from .sampling import carry, join_samplings, rescale, uncarry, unscale
from .streams import JoinedStreams, Stream, make_carrying


class JoinedModel(BaseModel):
    """A model without weights. Its two models are loaded beside it, and `run.py` calls them.

    Its latents are packed from a video and an audio as ComfyUI packs nested ones. Clean audio is carried times c (carried.py).
    """

    def __init__(self, streams: JoinedStreams) -> None:
        torch.nn.Module.__init__(self)  # the constructor of BaseModel would build a network
        video = streams.video.model
        self.streams = streams
        self.latent_format, self.model_config, self.model_type = video.latent_format, video.model_config, video.model_type
        self.manual_cast_dtype, self.device, self.current_patcher = video.manual_cast_dtype, video.device, None
        self.memory_usage_factor, self.adm_channels, self.concat_keys = video.memory_usage_factor, 0, ()
        self.memory_usage_factor_conds: tuple = ()
        self.memory_usage_shape_process: dict = {}
        self.model_sampling = join_samplings(streams)

    def __getattr__(self, name: str) -> Any:
        if name == "diffusion_model":
            raise AttributeError(f"a joined model has no network of its own; {BEFORE}")
        return super().__getattr__(name)

    @property
    def latent_shapes(self) -> Any:
        """The sizes of both parts of the latent. ComfyUI sets them when a run begins."""
        return self.streams.shapes

    @latent_shapes.setter
    def latent_shapes(self, shapes: Any) -> None:
        self.streams.shapes = shapes

    def get_dtype(self) -> torch.dtype:
        return self.streams.video.model.get_dtype()

    def get_dtype_inference(self) -> torch.dtype:
        return self.streams.video.model.get_dtype_inference()

    def extra_conds(self, **kwargs: Any) -> dict[str, Any]:
        """Returns nothing: each model processes its own prompts."""
        return {}

    def process_latent_in(self, latent: Tensor) -> Tensor:
        """Scales both clean latents as their models do. One of zeros is kept, as ComfyUI's samplers keep it."""
        parts = [
            rescale(stream.model.process_latent_in(part) if torch.count_nonzero(part) else part, stream.scale)
            for stream, part in zip(self.streams, self.streams.split(latent))
        ]
        return self.streams.pack(parts, len(latent))

    def process_latent_out(self, latent: Any) -> Any:
        """The inverse of `process_latent_in`. latent: packed, or nested as samplers hand on their clean estimates."""
        parts = [
            stream.model.process_latent_out(unscale(part, stream.scale))
            for stream, part in zip(self.streams, self.streams.split(latent))
        ]  # fmt: skip
        if not getattr(latent, "is_nested", False):
            return self.streams.pack(parts, len(latent))
        batch = len(latent.unbind()[0])
        return NestedTensor([stream.from_model(part, batch) for stream, part in zip(self.streams, parts)])

    def scale_latent_inpaint(
        self, sigma: Tensor, noise: Tensor, latent_image: Tensor, x: Tensor | None = None, denoise_mask: Tensor | None = None,
        **kwargs: Any,
    ) -> Tensor:  # fmt: skip
        """Returns the given parts of both latents at their noise levels, as they are carried."""
        split, parts = self.streams.split, []
        optional = [(None, None) if each is None else split(each) for each in (x, denoise_mask)]
        for stream, own, clean, noisy, mask in zip(self.streams, split(noise), split(latent_image), *optional):
            factor = stream.factor(sigma)
            given = stream.model.scale_latent_inpaint(
                sigma=stream.rows(sigma, own), noise=own, latent_image=unscale(clean, stream.scale),
                x=None if noisy is None else uncarry(noisy, factor), denoise_mask=mask,
            )  # fmt: skip
            parts.append(carry(given, factor))
        return self.streams.pack(parts, len(noise))


class JoinedPatcher(ModelPatcher):
    """ComfyUI's patcher of a `JoinedModel`. It refuses what would have no effect on a model without weights."""

    def add_patches(self, patches: Any, strength_patch: float = 1.0, strength_model: float = 1.0) -> list:
        raise ValueError(f"a LoRA or merge has no effect on a joined model; {BEFORE}")

    def state_dict_for_saving(self, *args: Any, **kwargs: Any) -> dict:
        raise ValueError("a joined model has no weights to save; save the video's and the audio's model")


def join_models(video: ModelPatcher, audio: ModelPatcher, sound_ahead: float = 1.0) -> ModelPatcher:
    """Returns a MODEL that denoises the latents of both, each with the patches that it has.

    sound_ahead: see `make_carrying`. Raises ValueError if one is not a model of its stream.
    """
    kinds = [kind_of(patcher, name) for patcher, name in ((video, "video"), (audio, "audio"))]
    for kind, patcher in zip(kinds, (video, audio)):
        check_joinable(patcher, kind.stream)
    samplings = [patcher.get_model_object("model_sampling") for patcher in (video, audio)]
    carrying = make_carrying(*samplings, sound_ahead)
    return join_streams(JoinedStreams(Stream(kinds[0], video), Stream(kinds[1], audio, carrying)))


def join_streams(streams: JoinedStreams) -> ModelPatcher:
    """Returns the MODEL of two streams."""
    video, audio = (stream.patcher for stream in streams)
    joined = JoinedPatcher(JoinedModel(streams), video.load_device, video.offload_device, size=1)
    joined.set_additional_models(JOINED_KEY, [video, audio])
    for kind, wrapper in (
        (WrappersMP.OUTER_SAMPLE, run.outer_sample),
        (WrappersMP.PREPARE_SAMPLING, run.prepare_sampling),
        (WrappersMP.SAMPLER_SAMPLE, run.sampler_sample),
        (WrappersMP.CALC_COND_BATCH, run.calc_cond_batch),
    ):
        joined.add_wrapper_with_key(kind, JOINED_KEY, wrapper)
    set_cfg_patches(joined, streams)
    return joined


def streams_of(patcher: Any) -> JoinedStreams | None:
    """Returns both models of a joined MODEL; None for another one."""
    return patcher.model.streams if isinstance(patcher.model, JoinedModel) else None
