"""VAEs that ComfyUI has loaded, with gradients: for an aligner, which looks at decoded frames and sounds.

ComfyUI runs nodes in inference mode, whose weights autograd refuses. So a run has its own copy of a VAE's network, which ComfyUI
loads and unloads as any other model. The VAE itself is not touched.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Sequence
from types import MethodType
from typing import Any

import torch
from comfy.ldm.audio.autoencoder import AudioOobleckVAE
from comfy.ldm.lightricks.vae.audio_vae import AudioVAE
from comfy.ldm.wan.vae import WanVAE
from comfy.ldm.wan.vae2_2 import WanVAE as WanVAE22
from comfy.model_management import unload_model_and_clones
from comfy.model_patcher import ModelPatcher
from comfy.sd import VAE
from comfy.taesd.taehv import TAEHV
from torch import Tensor, nn

from ...av_models.decode_windows import Window, WindowSize, decode_windows

CAUSAL = (TAEHV, WanVAE, WanVAE22)  # decoders to which later frames are of no matter
CAUSAL_WINDOW, VIDEO_WINDOW = WindowSize(kept=2, before=3, after=0), WindowSize(kept=2, before=2, after=2)
AUDIO_WINDOW = WindowSize(kept=64, before=16, after=16)  # Oobleck's decoder sees about 10 latent steps to each side
PROBED = 4  # latent steps in each direction of the small clip by which gradients are tested
GRADIENT_MEMORY = 4  # memory of decoding with a gradient, in that of decoding without one
TINY_MEMORY = 600  # values of a tiny VAE for each pixel before its last upsampling, with a gradient
LOADED = (  # what ComfyUI's ModelPatcher keeps in a network that it has loaded
    "device", "model_loaded_weight_memory", "model_lowvram", "lowvram_patch_counter", "current_weight_patches_uuid",
    "model_offload_buffer_memory", "dynamic_patchers", "dynamic_pins", "dynamic_vbars",
)  # fmt: skip


class GradientVAE:
    """A VAE of one stream, from whose decoded clips gradients flow back. Decoding is the same at each call.

    stream: "video" or "audio". save_memory: decode again in the backward pass instead of storing activations.
    Raises ValueError, in one line, for a VAE of another latent. shape: of the stream's latent, as the VAE takes it.
    """

    def __init__(self, vae: VAE, stream: str, shape: Sequence[int], save_memory: bool = True) -> None:
        self.stream, self.save_memory, self.vae = stream, save_memory, vae
        self.name = type(vae.first_stage_model).__name__
        _check_latent(vae, stream, shape, self.name)
        self.dtype = torch.float32 if vae.vae_dtype == torch.float16 else vae.vae_dtype  # gradients are below its smallest value
        network = _copy_network(vae, self.dtype)
        self.patcher = ModelPatcher(network, vae.device, torch.device("cpu"))
        self.windows = self._window_size()
        self.time_axis = 2 if stream == "video" or isinstance(network, AudioVAE) else len(shape) - 1

    @property
    def sample_rate(self) -> int:
        return int(getattr(self.vae, "audio_sample_rate_output", self.vae.audio_sample_rate))

    def memory(self, shape: Sequence[int]) -> float:
        """Returns the bytes that decoding with gradients needs for latents of `shape`."""
        shown = list(shape)
        if self.windows is not None:
            shown[self.time_axis] = min(shown[self.time_axis], self.windows.most)
        if isinstance(self.vae.first_stage_model, TAEHV):
            frames = shown[2] * self.vae.first_stage_model.t_upscale
            return TINY_MEMORY * shown[0] * frames * 8 * shown[3] * 8 * shown[4] * self.dtype.itemsize
        if self.vae.latent_dim == 2 and self.stream == "video":
            shown = [shown[0] * shown[2], shown[1], *shown[3:]]
        return GRADIENT_MEMORY * self.vae.memory_used_decode(shown, self.dtype)

    def video(self, latent: Tensor, chosen: Sequence[int] | None = None) -> Tensor:
        """Returns frames [B, frames, H, W, 3] in 0..1. chosen: the latent frames that are looked at; None: all.

        As in a whole clip, the first latent frame has one frame, and each other one k.
        """
        if self.windows is None:  # the decoder does not have as many frames for each latent frame
            latent = latent if chosen is None else latent[:, :, list(chosen)]
            whole = [Window(0, 0, latent.shape[2], latent.shape[2])]
            return decode_windows(latent, whole, self._frames, lambda _, length: slice(0, length), (2, 1), self.save_memory)
        windows = self.windows.divide(latent.shape[2], chosen)
        frames = decode_windows(latent, windows, self._frames, Window.keep_causal, (2, 1), self.save_memory)
        return frames if chosen is None or chosen[0] == 0 else frames[:, frames.shape[1] // len(chosen) - 1 :]

    def audio(self, latent: Tensor) -> Tensor:
        """Returns a waveform [B, channels, samples]."""
        steps = latent.shape[self.time_axis]
        windows = [Window(0, 0, steps, steps)] if self.windows is None else self.windows.divide(steps)
        return decode_windows(latent, windows, self._decode, Window.keep_even, (self.time_axis, 2), self.save_memory)

    def unload(self) -> None:
        """Gives the device's memory back."""
        unload_model_and_clones(self.patcher)

    def _window_size(self) -> WindowSize | None:
        network = self.vae.first_stage_model
        if self.stream == "audio":
            return AUDIO_WINDOW if isinstance(network, AudioOobleckVAE) else None
        if not _is_regular(self.vae):
            return None
        return CAUSAL_WINDOW if isinstance(network, CAUSAL) else VIDEO_WINDOW

    def require_gradients(self, latent: Tensor) -> None:
        """Decodes a small part of a latent, once the network is loaded. Raises ValueError if no gradient comes back."""
        part = latent[:1]
        for axis in range(2, latent.ndim) if self.stream == "video" else [self.time_axis]:
            part = part.narrow(axis, 0, min(PROBED, part.shape[axis]))
        part = part.detach().clone().requires_grad_()
        try:
            with torch.enable_grad():
                decoded = self.video(part) if self.stream == "video" else self.audio(part)
                torch.autograd.grad(decoded.sum(), part)
        except RuntimeError as error:
            if "out of memory" in str(error).lower():
                raise
            problem = str(error).splitlines()[0].rstrip(".")
            raise ValueError(
                f"the {self.stream}'s VAE ({self.name}) gives no gradients ({problem}); connect another one, such as a tiny VAE"
            ) from error

    def _frames(self, latent: Tensor) -> Tensor:
        if self.vae.latent_dim == 2:
            rows = self._decode(latent.movedim(2, 1).flatten(0, 1))
            frames = rows.unflatten(0, (len(latent), -1)).movedim(2, -1)
        else:
            frames = self._decode(latent).movedim(1, -1)
        return frames[..., :3]

    def _decode(self, latent: Tensor) -> Tensor:
        device, network = self.vae.device, self.patcher.model
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
            torch.manual_seed(0)  # some decoders add noise
            decoded = network.decode(latent.to(device, self.dtype))
        return self.vae.process_output(decoded.float()).to(latent.device)


def _check_latent(vae: VAE, stream: str, shape: Sequence[int], name: str) -> None:
    """Checks that a VAE takes a stream's latent."""
    makes_pictures = vae.output_channels == 3 or vae.latent_dim == 3
    ranks = {2: 4, 1: 3, 3: 5}
    fits = makes_pictures if stream == "video" else not makes_pictures and ranks.get(vae.latent_dim) == len(shape)
    if not fits or vae.latent_channels != shape[1]:
        found = "×".join(map(str, shape[1:]))
        tiny = ", or a tiny one of the same latent" if stream == "video" else ""
        raise ValueError(
            f"the {stream}'s latent is {found}, and the VAE ({name}) takes {vae.latent_channels} channels of "
            f"{'video' if makes_pictures else 'audio'}; connect the VAE of the model's {stream}{tiny}"
        )


def _is_regular(vae: VAE) -> bool:
    """Whether each latent frame after the first has as many frames."""
    formula = vae.upscale_ratio[0] if isinstance(vae.upscale_ratio, tuple) else None
    if not callable(formula):
        return True
    steps = {formula(n + 1) - formula(n) for n in range(1, 12)}
    return len(steps) == 1


def _copy_network(vae: VAE, dtype: torch.dtype) -> Any:
    """Returns a copy of a VAE's network in main memory, with weights that autograd takes."""
    source = vae.first_stage_model
    with torch.inference_mode(False), torch.no_grad():
        if vae.patcher.is_dynamic():
            source = _without_dynamic_loading(vae.patcher)
        tensors = [*source.parameters(), *source.buffers()]
        copied = copy.deepcopy(source, {id(tensor): _plain(tensor) for tensor in tensors})
        _forget_loading(copied)
        copied.requires_grad_(False).to(dtype)
    _allow_gradients(copied)
    return copied


def _without_dynamic_loading(patcher: Any) -> nn.Module:
    """Returns the network of a VAE with whole weights, which ComfyUI's dynamic loading does not have."""
    try:
        return patcher.get_non_dynamic_delegate().model
    except RuntimeError as error:
        raise ValueError(f"the VAE cannot be copied for gradients ({error}); load it with Load VAE") from error


def _plain(tensor: Tensor) -> Tensor:
    """Returns a copy of a weight in main memory, made outside inference mode."""
    made = tensor.detach().to("cpu", copy=True)
    return nn.Parameter(made, requires_grad=False) if isinstance(tensor, nn.Parameter) else made


def _forget_loading(network: nn.Module) -> None:
    """Removes what ComfyUI keeps in the network that was copied, about where its weights are."""
    for name in LOADED:
        network.__dict__.pop(name, None)
    for module in network.modules():
        kept = module.__dict__
        kept.pop("comfy_patched_weights", None)
        if "prev_comfy_cast_weights" in kept:
            kept["comfy_cast_weights"] = kept.pop("prev_comfy_cast_weights")


def _allow_gradients(network: nn.Module) -> None:
    """Lets gradients through decoders that ComfyUI runs without."""
    for module in network.modules():
        if isinstance(module, TAEHV):
            module.parallel = True  # one frame at a time, it detaches earlier ones
        for name in ("decode", "_pretransform_decode"):
            method = getattr(type(module), name, None)
            if hasattr(method, "__wrapped__"):  # decorated with no_grad
                module.__dict__[name] = MethodType(inspect.unwrap(method), module)
