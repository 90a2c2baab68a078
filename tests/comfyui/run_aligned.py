"""Runs in ComfyUI's Python: Aligned Sampler on small models, in inference mode as ComfyUI runs nodes. Writes numbers as JSON.

run_aligned.py RESULT
"""

import json
import math
import sys
import weakref
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from unittest.mock import patch

import comfy.cli_args

comfy.cli_args.args.cpu = True
import comfy.latent_formats  # noqa: E402
import comfy.model_base  # noqa: E402
import comfy.model_management  # noqa: E402
import comfy.model_patcher  # noqa: E402
import comfy.samplers  # noqa: E402
import comfy.sd  # noqa: E402
import comfy.taesd.taehv  # noqa: E402
import comfy.utils  # noqa: E402
import comfy_api.latest  # noqa: E402, F401 - Duet then uses ComfyUI as its host
import torch  # noqa: E402
from comfy.ldm.minimax.model import time_shift_sigma  # noqa: E402
from comfy.nested_tensor import NestedTensor  # noqa: E402
from torch import Tensor, nn  # noqa: E402
from torch.nn.functional import normalize  # noqa: E402

from duet_av.av_models.contract import FULL, AVLatent, AVTime  # noqa: E402
from duet_av.av_models.guidance import make_guidance  # noqa: E402
from duet_av.av_models.latent_aligner import Aligner, Reference  # noqa: E402
from duet_av.av_models.noise import NoiseSource  # noqa: E402
from duet_av.nodes.native import aligned_sampler  # noqa: E402
from duet_av.nodes.native import vae_gradients as vae_gradients_module  # noqa: E402
from duet_av.nodes.native.aligned_sampler import AlignedSampling  # noqa: E402
from duet_av.nodes.native.joined.model import join_models, streams_of  # noqa: E402
from duet_av.nodes.native.joined.prompts import join_prompts  # noqa: E402
from duet_av.nodes.native.noise import SeedPair  # noqa: E402
from duet_av.nodes.native.vae_gradients import CAUSAL_WINDOW, GradientVAE  # noqa: E402
from duet_av.tests.comfyui import native_pack  # noqa: E402
from duet_av.tests.comfyui.native_pack import joined_models, vaes  # noqa: E402
from duet_av.tests.sample_with import sample_with  # noqa: E402
from duet_av.tests.tiny import tiny_model  # noqa: E402

CPU, STEPS = torch.device("cpu"), 5


class Colours:
    """Red against blue, low against high, and the words for either."""

    name, licence = "Colours", ""
    modalities = frozenset({"video", "image", "audio", "text"})

    def __init__(self, spoil: Callable[[], float] = lambda: 1.0) -> None:
        self.spoil, self.frames = spoil, []

    def embed_video(self, frames: Tensor, fps: float) -> Tensor:
        self.frames.append(frames.shape[1])
        return self.embed_image(frames.mean(1)) * self.spoil()

    def embed_image(self, image: Tensor) -> Tensor:
        return normalize(image.mean((1, 2))[:, [0, 2]], dim=-1)

    def embed_audio(self, waveform: Tensor, sample_rate: int) -> Tensor:
        levels = torch.stack([waveform.clamp_min(0).mean((1, 2)), (-waveform).clamp_min(0).mean((1, 2))], -1)
        return normalize(levels + 1e-6, dim=-1)

    def embed_text(self, texts: list[str]) -> Tensor:
        return torch.tensor([[1.0, 0.0] if "red" in text else [0.0, 1.0] for text in texts])


class ToyJoint(comfy.model_base.BaseModel):
    """Duet's toy joint model, as a model of ComfyUI."""

    def __init__(self, model, cond) -> None:
        nn.Module.__init__(self)
        self.toy, self.cond = model.denoiser, cond
        self.latent_format, self.latent_shapes, self.current_patcher = comfy.latent_formats.LatentFormat(), None, None
        self.model_type, self.device, self.concat_keys, self.adm_channels = comfy.model_base.ModelType.FLOW, CPU, (), 0
        self.manual_cast_dtype = None
        self.memory_usage_factor, self.memory_usage_factor_conds, self.memory_usage_shape_process = 1.0, (), {}
        self.model_config = type("Config", (), {"sampling_settings": {"shift": 1.0}, "optimizations": {}})()
        self.model_sampling = comfy.model_base.model_sampling(self.model_config, self.model_type)

    def get_dtype(self):
        return torch.float32

    def extra_conds(self, **kwargs):
        return {}

    def apply_model(self, x, t, **kwargs):
        latent = AVLatent(*comfy.utils.unpack_latents(x, self.latent_shapes))
        speed = self.toy.predict(latent, AVTime(t, t), self.cond, [FULL.kind])
        return x - t.view(-1, 1, 1) * comfy.utils.pack_latents([speed.video, speed.audio])[0]


class Decoder(nn.Module):
    """A codec of Duet, as the network of a VAE of ComfyUI. It counts what is decoded."""

    seen: list = []

    def __init__(self, codec, axis: int | None) -> None:
        super().__init__()
        self.codec, self.axis = codec, axis
        self.weight = nn.Parameter(torch.ones(1))

    def decode(self, latent: Tensor) -> Tensor:
        self.seen.append(tuple(latent.shape))
        decoded = self.codec.decode_with_grad(latent * self.weight)
        return decoded if self.axis is None else decoded.movedim(-1, self.axis)


def toy_vae(codec, channels: int, video: bool) -> comfy.sd.VAE:
    """A VAE object of ComfyUI around a codec."""
    vae = comfy.sd.VAE.__new__(comfy.sd.VAE)
    vae.first_stage_model = Decoder(codec, 1 if video else None)
    vae.latent_channels, vae.latent_dim, vae.output_channels = channels, 3 if video else 1, 3 if video else 1
    vae.upscale_ratio = (lambda n: 4 * n - 3, 8, 8) if video else 250
    vae.process_output, vae.audio_sample_rate = (lambda x: x), 8000
    vae.device, vae.vae_dtype, vae.memory_used_decode = CPU, torch.float32, lambda shape, dtype: 4 * math.prod(shape)
    vae.patcher = comfy.model_patcher.ModelPatcher(vae.first_stage_model, CPU, CPU)
    return vae


def setup(aligner: Aligner, vae=None, audio_vae=None, reference=Reference(), texts=("", ""), sampler="euler", **options):
    return AlignedSampling(aligner, reference, sampler, 1.0, 16.0, {"video": vae, "audio": audio_vae}, texts, **options)


def sampled(patcher, noise, latent, sampler, sigmas, mask=None, prompts=((), ()), seed=3):
    guider = comfy.samplers.CFGGuider(patcher)
    guider.set_conds(*(list(each) or [[torch.zeros(1, 1, 1), {}]] for each in prompts))
    guider.set_cfg(1.0)
    return [x.clone() for x in guider.sample(noise, latent, sampler, sigmas, mask, None, True, seed).unbind()]


def noise_like(parts, seed=7):
    return NestedTensor([torch.randn(x.shape, generator=torch.Generator().manual_seed(seed + i)) for i, x in enumerate(parts)])


class Toy:
    """The same toy pair in Duet's own loop and in ComfyUI."""

    def __init__(self) -> None:
        with torch.inference_mode(False):
            self.model = tiny_model(trained=False)
            self.shape = self.model.shape(frames=33)  # all frames of its latent
            self.cond = self.model.encode("a red ball", "metal")
            self.size = self.model.latent_shape(self.shape)
            self.noise = NoiseSource(self.size, 1, 2).initial(CPU)
        self.patcher = comfy.model_patcher.ModelPatcher(ToyJoint(self.model, self.cond), CPU, CPU)
        self.vae = toy_vae(self.model.video_codec, self.size.video[1], True)
        self.audio_vae = toy_vae(self.model.audio_codec, self.size.audio[1], False)
        self.sigmas = torch.linspace(1, 0, STEPS + 1)

    def latent(self, value=0.0, frames=None):
        video = (*self.size.video[:2], frames or self.size.video[2], *self.size.video[3:])
        return NestedTensor([torch.full(video, value), torch.full(tuple(self.size.audio), value)])

    def ours(self, aligner, texts, reference=Reference()):
        with torch.inference_mode(False):
            alignment = aligner.begin(self.model, self.shape, texts, reference)
            made = sample_with(
                self.model.denoiser, self.size, self.cond, self.cond, make_guidance("none"), steps=STEPS, video_seed=1,
                audio_seed=2, alignment=alignment,
            )  # fmt: skip
        return [made.latent.video, made.latent.audio], alignment

    def run(self, settings, latent=None, mask=None, noise=None):
        latent = latent or self.latent()
        noise = noise or (NestedTensor([self.noise.video, self.noise.audio]) if latent.unbind()[0].shape == self.noise.video.shape
                          else noise_like(latent.unbind()))  # fmt: skip
        return sampled(self.patcher, noise, latent, settings.make_sampler(), self.sigmas, mask)

    def settings(self, aligner, **options):
        return setup(aligner, self.vae, self.audio_vae, **options)


def apart(a, b) -> list[float]:
    return [float((x - y).abs().max()) for x, y in zip(a, b)]


def same(a, b) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a, b))


def strong(**options):
    return Aligner(**{"binder": Colours(), "video_rate": 30.0, "audio_rate": 30.0, "words": 0.0} | options)


BLUE = torch.tensor([0.0, 0.0, 1.0]).expand(1, 8, 16, 16, 3)


def equal_to_our_loop() -> dict:
    toy, found = Toy(), {}
    cases = {
        "joint": ({}, ("", ""), Reference()), "words": ({"words": 1.0}, ("red", "metal"), Reference()),
        "adam": ({"update": "adam", "keep": "rms", "video_rate": 0.3, "audio_rate": 0.3, "inner_steps": 2}, ("", ""), Reference()),
        "v2a": ({"task": "v2a"}, ("", ""), Reference(video=BLUE, fps=16.0)),
        "half": ({"first": 0.5, "last": 0.9, "save_memory": False}, ("", ""), Reference()),
    }  # fmt: skip
    for name, (options, texts, reference) in cases.items():
        (own, alignment), plain = toy.ours(strong(**options), texts, reference), toy.ours(strong(video_rate=0, audio_rate=0), texts)
        made = toy.run(toy.settings(strong(**options), texts=texts, reference=reference))
        found[name] = {"apart": apart(own, made), "moved": apart(own, plain[0]), "moves": len(alignment.losses)}
    return found


class Real:
    """Small random models of ComfyUI's classes, and VAEs of their latents."""

    def __init__(self, kind: str) -> None:
        if kind == "joined":
            video, audio = (joined_models.load(each, seed) for each, seed in (("wan21", 1), ("stable_audio_3", 2)))
            self.patcher = join_models(video, audio, 2.0)
            each = [(joined_models.prompt("wan21", s), joined_models.prompt("stable_audio_3", s + 1)) for s in (3, 5)]
            prompts = [join_prompts(*pair) for pair in each]
            self.parts = [torch.zeros(1, 16, 5, 2, 2), joined_models.latent("stable_audio_3")]
        else:
            self.patcher = native_pack.TinyModel.load(kind, 0)
            prompts = [native_pack.TinyPrompt().make(kind, seed, 6)[0] for seed in (3, 5)]
            self.parts = [torch.zeros(size) for size in native_pack.KINDS[kind][2]]
        self.prompts = prompts
        channels = [x.shape[1] for x in self.parts]
        self.vae, self.audio_vae = linear_vae(channels[0], self.parts[0].ndim), linear_vae(channels[1], self.parts[1].ndim)
        self.sigmas = comfy.samplers.calculate_sigmas(self.patcher.get_model_object("model_sampling"), "simple", 4)

    def run(self, sampler, mask=None, value=0.0, seed=3):
        latent = NestedTensor([torch.full_like(x, value) for x in self.parts])
        return sampled(self.patcher, noise_like(self.parts), latent, sampler, self.sigmas, mask, self.prompts, seed)

    def settings(self, aligner, **options):
        return setup(aligner, self.vae, self.audio_vae, **options)


class Linear(nn.Module):
    """A VAE's network for latents of any size: three colours, or two channels of sound."""

    seen: list = []

    def __init__(self, channels: int, ndim: int) -> None:
        super().__init__()
        self.ndim, chance = ndim, torch.Generator().manual_seed(0)
        self.mix = nn.Parameter(torch.randn(3 if ndim == 5 else 2, channels, generator=chance) / channels)

    def decode(self, latent: Tensor) -> Tensor:
        self.seen.append(tuple(latent.shape))
        mixed = torch.einsum("bc...,dc->bd...", latent, self.mix)
        return mixed.sigmoid() if self.ndim == 5 else mixed.flatten(2).tanh()


def linear_vae(channels: int, ndim: int) -> comfy.sd.VAE:
    vae = toy_vae(None, channels, ndim == 5)
    vae.first_stage_model = Linear(channels, ndim)
    vae.latent_dim, vae.output_channels, vae.upscale_ratio = ndim - 2, 3 if ndim == 5 else 2, 1
    vae.patcher = comfy.model_patcher.ModelPatcher(vae.first_stage_model, CPU, CPU)
    return vae


def plain_when_idle() -> dict:
    found = {}
    for kind in ("ltx", "h3", "joined"):
        real = Real(kind)
        for name in ("euler", "euler_ancestral"):
            plain = real.run(comfy.samplers.sampler_object(name))
            idle = strong(video_rate=0.0, audio_rate=0.0), strong(other=0.0), strong(task="v2a", audio_rate=0.0)
            found[f"{kind} {name}"] = [same(plain, real.run(setup(each, sampler=name).make_sampler())) for each in idle]
            never = real.settings(strong(first=0.98, last=0.99), sampler=name)  # the loop, without a move
            found[f"{kind} {name}"].append(same(plain, real.run(never.make_sampler())))
    return found


def distances() -> dict:
    """How far the aligned clips' video and audio are, and without the aligner; and that the same seed gives the same."""
    found = {}
    for kind in ("ltx", "h3", "joined"):
        real = Real(kind)
        for name in ("euler", "euler_ancestral"):
            aligner = strong(update="sign", video_rate=0.05, audio_rate=0.05, inner_steps=3, first=0.0)
            sampler = real.settings(aligner, sampler=name).make_sampler()
            made, again = real.run(sampler), real.run(sampler)
            plain = real.run(comfy.samplers.sampler_object(name))

            def distance(parts):
                video, audio = (vae.first_stage_model.decode(x) for vae, x in zip((real.vae, real.audio_vae), parts))
                binder = Colours()
                return float(1 - (binder.embed_video(video.movedim(1, -1), 16.0) * binder.embed_audio(audio, 8000)).sum())

            found[f"{kind} {name}"] = {"aligned": distance(made), "plain": distance(plain), "again": same(made, again)}
    return found


@contextmanager
def recorded(slopes: list):
    """The states before and after each move, and the clean estimates that are decoded. slopes: of the audio's estimates."""
    moves, estimates, real_move = [], [], aligned_sampler.Alignment.move_latents

    def move(self, latent, clean):
        estimates.append(clean(latent))
        slopes.append(float((clean(replace(latent, audio=latent.audio + 1)).audio - estimates[-1].audio).mean()))
        moved = real_move(self, latent, clean)
        moves.append((latent, moved))
        return moved

    with patch.object(aligned_sampler.Alignment, "move_latents", move):
        yield moves, estimates


def own_coordinates() -> dict:
    """That a move of 0.01 moves the audio model's own input by 0.01, and that estimates are what its sampler would return."""
    found = {}
    for kind in ("ltx", "h3", "joined"):
        real, inputs = Real(kind), []
        base = streams_of(real.patcher).audio.patcher if kind == "joined" else real.patcher
        network = base.model.diffusion_model

        def watch(module, args, kwargs, inputs=inputs):
            inputs.append(args[0][1].clone() if isinstance(args[0], list) else args[0].clone())

        still = real.settings(strong(update="sign", video_rate=0.0, audio_rate=1e-12, first=0.0))
        moved = real.settings(strong(update="sign", video_rate=0.0, audio_rate=0.01, first=0.0, last=0.3))
        slopes: list[float] = []
        with network.register_forward_pre_hook(watch, with_kwargs=True), recorded(slopes) as (_, estimates):
            previews = []
            guider_run(real, still.make_sampler(), previews)
            first, inputs[:] = list(inputs), []
            real.run(moved.make_sampler())
        step, sigma = (inputs[1] - first[1]).abs(), real.sigmas[1]
        audio_sigma = sigma
        if kind == "h3":  # its network takes the carried audio
            audio_sigma = time_shift_sigma(sigma, network.sigma_shift_video, network.sigma_shift_audio)
            step = step / (sigma / audio_sigma)
        if kind == "joined":
            audio_sigma = streams_of(real.patcher).audio.sigma(sigma)
        found[kind] = {
            "moved": [float(step.min()), float(step.max())], "inputs": len(first),
            "slope": slopes[0] * float(1 - audio_sigma),
            "estimates": max(apart((e.video, e.audio), p)[i] for e, p in zip(estimates, previews) for i in (0, 1)),
        }  # fmt: skip
    return found


def guider_run(real, sampler, previews: list) -> None:
    """Samples, and keeps the clean estimates of each step as ComfyUI hands them to nodes."""
    guider = comfy.samplers.CFGGuider(real.patcher)
    guider.set_conds(*real.prompts)
    guider.set_cfg(1.0)
    latent = NestedTensor([torch.zeros_like(x) for x in real.parts])

    def keep(step, x0, x, total):
        previews.append([each.clone() for each in guider.inner_model.process_latent_out(x0).unbind()])

    guider.sample(noise_like(real.parts), latent, sampler, real.sigmas, None, keep, True, 3)


def given_streams() -> dict:
    """A stream that is given whole is decoded once, and stays."""
    toy, found = Toy(), {}
    ones = [torch.ones(1, 1, *x.shape[2:]) for x in toy.latent().unbind()]
    for task, stream in (("v2a", 0), ("a2v", 1), ("i2a", 0)):
        mask = NestedTensor([x * (i != stream) for i, x in enumerate(ones)])
        Decoder.seen.clear()
        latent = toy.latent(0.4)
        made = toy.run(toy.settings(strong(task=task, keep="rms", update="sign", video_rate=0.1, audio_rate=0.1)), latent, mask)
        decoded = Decoder.seen.copy()
        plain = toy.run(toy.settings(strong(video_rate=0.0, audio_rate=0.0)), latent, mask)
        found[task] = {
            "stays": torch.equal(made[stream], plain[stream]), "is given": float((made[stream] - 0.4).abs().max()),
            "moved": apart(made, plain)[1 - stream], "decoded": sum(len(size) == (3 if stream else 5) for size in decoded),
        }  # fmt: skip
    half = ones[0].clone()
    half[:, :, :4] = 0  # the first frames are given
    mask, latent = NestedTensor([half, ones[1]]), toy.latent(0.4)
    made = toy.run(toy.settings(strong(keep="rms", update="sign", video_rate=0.1, audio_rate=0.1)), latent, mask)
    found["part"] = float((made[0][:, :, :4] - 0.4).abs().max())
    return found


def memory() -> dict:
    """The most latent frames that are decoded at once, for clips of two lengths, and how many frames the binder sees."""
    toy, found = Toy(), {}
    for frames in (9, 60):
        for chosen in (0, 2):
            binder = Colours()
            Decoder.seen.clear()
            aligner = strong(binder=binder, latent_frames=chosen, last=0.5)
            toy.run(toy.settings(aligner), toy.latent(frames=frames))
            found[f"{frames} {chosen}"] = {
                "at once": max(size[2] for size in Decoder.seen if len(size) == 5), "shown": sorted(set(binder.frames)),
            }  # fmt: skip
    return found


def left_over() -> dict:
    """What is loaded after a run that it did not find loaded, also if it fails; and whether copies of VAEs are gone."""
    toy, made, copy, unloaded = Toy(), [], vae_gradients_module._copy_network, []
    unload = GradientVAE.unload

    def remember(*args):
        network = copy(*args)
        made.append(weakref.ref(network))
        return network

    def loaded() -> list[str]:
        return [type(each.model.model).__name__ for each in comfy.model_management.current_loaded_models if each.model is not None]

    before = loaded()
    with (
        patch.object(vae_gradients_module, "_copy_network", remember),
        patch.object(GradientVAE, "unload", lambda self: unloaded.append(unload(self))),
    ):
        toy.run(toy.settings(strong()))
        after, alive = loaded(), sum(each() is not None for each in made)
        try:
            toy.run(toy.settings(strong(binder=Colours(lambda: 1 / 0))))
            failed = "no"
        except ZeroDivisionError:
            failed = "yes"
    names = {"Decoder", "Linear"}
    return {
        "loaded": [name for name in after if name in names and name not in before], "alive": alive, "copies": len(made),
        "unloaded": len(unloaded),
        "failed": failed, "loaded then": [name for name in loaded() if name in names and name not in before],
    }  # fmt: skip


def seeds() -> dict:
    """That two seeds give each stream's steps their own noise, as with the plain sampler; and a joined pair with a given video."""
    real, found = Real("joined"), {}
    never = real.settings(strong(first=0.98, last=0.99), sampler="euler_ancestral").make_sampler()
    plain = comfy.samplers.sampler_object("euler_ancestral")
    runs = {name: real.run(each, seed=SeedPair(3, 4)) for name, each in (("never", never), ("plain", plain))}
    found["same"] = same(runs["never"], runs["plain"])
    found["other audio seed"] = apart(runs["never"], real.run(never, seed=SeedPair(3, 5)))
    mask = NestedTensor([torch.zeros(1, 1, *real.parts[0].shape[2:]), torch.ones(1, 1, *real.parts[1].shape[2:])])
    aligner = strong(task="v2a", update="sign", audio_rate=0.05, first=0.0)
    made, still = (
        real.run(real.settings(aligner).make_sampler(), mask, 0.3),
        real.run(comfy.samplers.sampler_object("euler"), mask, 0.3),
    )
    found["given"] = {"video": same(made[:1], still[:1]), "audio": apart(made, still)[1]}
    return found


def nan() -> dict:
    toy, said, calls = Toy(), [], iter(range(99))
    binder = Colours(lambda: math.nan if next(calls) == 2 else 1.0)
    made = toy.run(toy.settings(strong(binder=binder, last=0.9), say=said.append))
    return {"finite": all(bool(x.isfinite().all()) for x in made), "said": said}


def interrupted() -> dict:
    """Evaluations after Cancel, which is pressed during the second."""
    toy, seen = Toy(), []

    def press() -> float:
        seen.append(1)
        if len(seen) == 2:
            comfy.model_management.interrupt_current_processing(True)
        return 1.0

    try:
        toy.run(toy.settings(strong(binder=Colours(press), inner_steps=9, first=0.0)))
        return {"ended": "no"}
    except comfy.model_management.InterruptProcessingException:
        return {"ended": "yes", "evaluations": len(seen)}


def tiny_vae(channels: int) -> comfy.sd.VAE:
    return comfy.sd.VAE(vaes._weights(comfy.taesd.taehv.TAEHV(channels), 0))


def vae_gradients() -> dict:
    """Real classes of VAEs: how far the frames are from the VAE's own, and whether each latent frame has a gradient."""
    cases = {
        "taew2_1": (tiny_vae(16), "video", (1, 16, 9, 2, 2)), "taeltx": (tiny_vae(128), "video", (1, 128, 9, 1, 1)),
        "taeh3": (tiny_vae(24), "video", (1, 24, 7, 1, 1)), "ltx": (vaes.ltx_video(0), "video", (1, 128, 3, 2, 2)),
        "ltx_audio": (vaes.ltx_audio(0), "audio", (1, 8, 9, 16)),
    }  # fmt: skip
    found = {}
    for name, (vae, stream, shape) in cases.items():
        latent = torch.randn(shape, generator=torch.Generator().manual_seed(1))
        host = vae.decode(latent)
        before = {key: x.clone() for key, x in vae.first_stage_model.state_dict().items()}
        with torch.inference_mode(False), torch.enable_grad():
            decoder = GradientVAE(vae, stream, shape)
            decoder.require_gradients(latent)
            x = latent.clone().requires_grad_()
            decoded = getattr(decoder, stream)(x)
            (gradient,) = torch.autograd.grad(decoded.square().sum(), x)
            (back,) = torch.autograd.grad(getattr(decoder, stream)(x).narrow(1, -1, 1).sum(), x)  # of the last frame
            shown = decoder.video(x, [1, shape[2] - 1]) if stream == "video" else decoded
        host = host if stream == "video" else host.movedim(-1, 1)
        norms = gradient.movedim(2, 0).flatten(1).norm(dim=1)
        found[name] = {
            "apart": float((decoded - host).square().mean().sqrt() / host.std()), "least": float(norms.min()),
            "untouched": all(torch.equal(x, before[key]) for key, x in vae.first_stage_model.state_dict().items()),
            "shown": shown.shape[1], "back": float(back[:, :, -2].abs().max()),
            "at once": decoder.windows.most if decoder.windows else None,
        }  # fmt: skip
    return found | {"causal": CAUSAL_WINDOW.most}


def refusals() -> dict:
    """What is said of bad input."""
    toy, ltx = Toy(), Real("ltx2")
    h3_video = vaes.h3_video(0)

    def said(run) -> str:
        try:
            run()
        except ValueError as error:
            return str(error)
        return "nothing"

    def alone():
        noise = torch.randn(1, 4, 9, 2, 2)
        guider = comfy.samplers.CFGGuider(toy.patcher)
        guider.set_conds([[torch.zeros(1, 1, 1), {}]], [[torch.zeros(1, 1, 1), {}]])
        guider.sample(noise, torch.zeros_like(noise), toy.settings(strong()).make_sampler(), toy.sigmas, None, None, True, 3)

    h3 = Real("h3")
    return {
        "another latent": said(lambda: ltx.run(setup(strong(), tiny_vae(16), ltx.audio_vae).make_sampler())),
        "audio as video": said(lambda: ltx.run(setup(strong(), ltx.audio_vae, ltx.audio_vae).make_sampler())),
        "no vae": said(lambda: toy.run(setup(strong(), None, toy.audio_vae))),
        "no audio vae": said(lambda: toy.run(setup(strong(), toy.vae))),
        "no audio": said(alone),
        "one frame": said(lambda: toy.run(toy.settings(strong()), toy.latent(frames=1))),
        "no gradients": said(lambda: h3.run(setup(strong(), h3_video, h3.audio_vae).make_sampler())),
        "no reference": said(lambda: toy.run(toy.settings(strong(task="v2a")))),
        "nothing to align": said(lambda: toy.run(toy.settings(strong(other=0.0, words=1.0)))),
        "through_denoiser": said(lambda: toy.settings(strong(through_denoiser=True))),
        "prompt_rate": said(lambda: toy.settings(strong(prompt_rate=0.1))),
        "one frame, audio alone": said(
            lambda: toy.run(toy.settings(strong(task="i2a"), reference=Reference(image=BLUE[:, 0])), toy.latent(frames=1))
        ),
    }


PARTS = (
    equal_to_our_loop, plain_when_idle, distances, own_coordinates, given_streams, memory, left_over, seeds, nan, interrupted,
    vae_gradients, refusals,
)  # fmt: skip

if __name__ == "__main__":
    with torch.inference_mode():
        chosen = [part for part in PARTS if len(sys.argv) < 3 or part.__name__ in sys.argv[2:]]
        found = {part.__name__: part() for part in chosen}
    Path(sys.argv[1]).write_text(json.dumps(found), encoding="utf-8")
