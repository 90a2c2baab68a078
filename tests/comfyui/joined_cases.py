"""What joined models are tried with: patches, prompts, masks and samplers. For ComfyUI's Python; see joined_runs.py."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import comfy.hooks
import comfy.samplers
import comfy.sd
import torch
from comfy.controlnet import ControlBase
from comfy_extras.nodes_cfg import CFGZeroStar
from comfy_extras.nodes_context_windows import WanContextWindowsManualNode
from comfy_extras.nodes_custom_sampler import Guider_Basic, Guider_DualCFG
from comfy_extras.nodes_differential_diffusion import DifferentialDiffusion
from comfy_extras.nodes_easycache import EasyCacheNode
from comfy_extras.nodes_model_advanced import ModelSamplingSD3, RescaleCFG
from comfy_extras.nodes_slg import SkipLayerGuidanceDiT
from torch.nn import functional

from duet_av.tests.comfyui.joined_runs import Case
from duet_av.tests.comfyui.native_pack import Compiled
from duet_av.tests.comfyui.native_pack.joined_models import latent, load, prompt

VIDEOS = ("wan21", "wan21_i2v", "wan22_5b", "hunyuan", "hunyuan15", "ltxv", "cosmos", "cogvideox", "svd")
AUDIOS = ("stable_audio", "stable_audio_3", "ace_step", "ace_step_15")
Change = Callable[[Any], Any]


def shift(of: float) -> Change:
    return lambda model: ModelSamplingSD3().patch(model, of)[0]


EQUAL_SHIFTS: Mapping[str, Change] = {"video": shift(2.0), "audio": shift(2.0)}


def lora(model: Any) -> Any:
    return comfy.sd.load_lora_for_models(model, None, lora_tensors(model), 1.0, 0.0)[0]


def lora_tensors(model: Any) -> dict[str, Any]:
    """Returns a LoRA as a file has it."""
    chance, tensors = torch.Generator().manual_seed(9), {}
    weights = {name: each for name, each in model.model.state_dict().items() if name.endswith(".weight") and each.ndim == 2}
    for name, weight in weights.items():
        if name.startswith("diffusion_model.") and ("block" in name or "layer" in name):
            layer = name.removesuffix(".weight")
            tensors[f"{layer}.lora_A.weight"] = 0.3 * torch.randn(4, weight.shape[1], generator=chance)
            tensors[f"{layer}.lora_B.weight"] = 0.3 * torch.randn(weight.shape[0], 4, generator=chance)
    return tensors


def quantise(model: Any) -> Any:
    """Weights of 8 bits that a layer dequantises where it runs, as those of a GGUF file."""
    for layer in model.model.diffusion_model.modules():
        if isinstance(layer, torch.nn.Linear):
            scale = layer.weight.abs().amax(1, keepdim=True).clamp_min(1e-9) / 127
            layer.forward = _Dequantising((layer.weight / scale).round().to(torch.int8), scale, layer.bias)
    return model


class _Dequantising:
    def __init__(self, values: Any, scale: Any, bias: Any) -> None:
        self.values, self.scale, self.bias = values, scale, bias

    def __call__(self, x: Any) -> Any:
        return functional.linear(x, (self.values * self.scale).to(x), self.bias)


def before_cfg(model: Any) -> Any:
    changed = model.clone()
    changed.set_model_sampler_pre_cfg_function(lambda of: [of["conds_out"][0], of["conds_out"][1] * 0.9 + 0.01 * of["input"]])
    return changed


def after_cfg(model: Any) -> Any:
    """Predicts once more after CFG, at half the noise."""

    def change(of: Mapping[str, Any]) -> Any:
        sigma, options = of["sigma"] / 2, of["model_options"]
        (again,) = comfy.samplers.calc_cond_batch(of["model"], [of["cond"]], of["input"], sigma, options)
        return of["denoised"] * 0.8 + again * 0.2

    changed = model.clone()
    changed.set_model_sampler_post_cfg_function(change)
    return changed


PATCHES: Mapping[str, Change] = {
    "LoRA": lora, "GGUF-like weights": quantise, "RescaleCFG": lambda model: RescaleCFG().patch(model, 0.7)[0],
    "CFGZeroStar": lambda model: CFGZeroStar.execute(model).result[0], "pre-CFG": before_cfg, "post-CFG": after_cfg,
    "EasyCache": lambda model: EasyCacheNode.execute(model, 1.5, 0.1, 0.95, False).result[0],
    "ModelSampling": shift(6.0),
}  # fmt: skip


def windowed(model: Any) -> Any:
    return WanContextWindowsManualNode.execute(model, 5, 1, "standard_static", 1, False, "pyramid", False).result[0]


def patched() -> dict[str, Case]:
    """Returns cases of patches, on the video's model, the audio's and both."""
    cases = {}
    for name, change in PATCHES.items():
        for streams in (("video",), ("audio",), ("video", "audio")):
            audio = "ace_step" if name == "EasyCache" else "stable_audio_3"  # the other audio models have no place for it
            cases[f"{name}: {' and '.join(streams)}"] = Case(audio=audio, change=dict.fromkeys(streams, change), steps=10)
    cases["LoRA: EDM"] = Case("cosmos", "stable_audio", change=dict.fromkeys(("video", "audio"), lora))
    cases["RescaleCFG: EDM"] = Case("svd", "stable_audio", change={"video": PATCHES["RescaleCFG"]})
    skip = lambda model: SkipLayerGuidanceDiT.execute(model, 2.0, 0.0, 1.0, "0").result[0]  # noqa: E731
    cases["SkipLayerGuidance: video"] = Case("hunyuan15", change={"video": skip})
    return cases


def unchanged() -> dict[str, Case]:
    """Returns cases in which a model alone gives the same as without the change."""
    compiled = lambda model: Compiled().make(model)[0]  # noqa: E731
    return {
        "TorchCompile: video": Case(change={"video": compiled}), "TorchCompile: audio": Case(change={"audio": compiled}),
        "fp8": Case(dtype="float8_e4m3fn"), "bfloat16": Case(dtype="bfloat16"), "CFG 1": Case(cfg=1.0), "CFG 7": Case(cfg=7.0),
        "batch 2": Case("hunyuan15", "ace_step", batch=2), "batch 2, CFG 1": Case(batch=2, cfg=1.0),
        "sound_ahead 3": Case(ahead=3.0), "sound_ahead 0.3: EDM": Case("svd", "stable_audio", ahead=0.3),
    }  # fmt: skip


# Prompts


def timed(kind: str, seed: int) -> dict[str, list]:
    """A prompt for the first half, and another for the second."""
    first, second = prompt(kind, seed), prompt(kind, seed + 20)
    return {"positive": [*between(first, 0.0, 0.5), *between(second, 0.5, 1.0)], "negative": prompt(kind, seed + 2)}


def between(conditioning: list, start: float, end: float) -> list:
    return [[tokens, others | {"start_percent": start, "end_percent": end}] for tokens, others in conditioning]


def combined(kind: str, seed: int) -> dict[str, list]:
    more = [[tokens, others | {"strength": 0.6}] for tokens, others in prompt(kind, seed + 20, words=9)]
    return {"positive": [*prompt(kind, seed), *more], "negative": [*prompt(kind, seed + 2), *prompt(kind, seed + 4)]}


def middle(kind: str, seed: int) -> dict[str, list]:
    return {name: prompt(kind, seed + 10 * index) for index, name in enumerate(("positive", "middle", "negative"))}


def in_an_area(kind: str, seed: int) -> dict[str, list]:
    """A prompt, and one for a corner of the video. ComfyUI adds one for the same corner to the negative."""
    if kind not in VIDEOS:
        return {"positive": [*prompt(kind, seed), *prompt(kind, seed + 20)], "negative": prompt(kind, seed + 2)}
    corner = [[tokens, others | {"area": (2, 2, 0, 0)}] for tokens, others in prompt(kind, seed + 20)]
    return {"positive": [*prompt(kind, seed), *corner], "negative": prompt(kind, seed + 2)}


def scheduled_lora(*kinds: str) -> Any:
    """Returns core's hooks of a LoRA whose strength changes with time."""
    tensors = {key: each for kind in kinds for key, each in lora_tensors(load(kind, 1)).items()}
    hooks, keyframes = comfy.hooks.create_hook_lora(tensors, 1.0, 1.0), comfy.hooks.HookKeyframeGroup()
    for start, strength in ((0.0, 1.0), (0.4, 0.2), (0.7, 0.0)):
        keyframes.add(comfy.hooks.HookKeyframe(strength=strength, start_percent=start))
    hooks.set_keyframes_on_hooks(keyframes)
    return hooks


def hooked(*, streams: tuple[str, ...] = ("video", "audio"), shared: bool = False) -> Callable:
    """shared: whether both models' prompts have the same hooks."""
    kinds = {"video": "wan21", "audio": "ace_step_15"}
    one = scheduled_lora(*kinds.values()) if shared else None
    own = {kind: one or scheduled_lora(kind) for stream, kind in kinds.items() if stream in streams}

    def prompts(kind: str, seed: int) -> dict[str, list]:
        plain = {"positive": prompt(kind, seed), "negative": prompt(kind, seed + 2)}
        return with_hooks(plain, own[kind]) if kind in own else plain

    return prompts


def with_hooks(prompts: Mapping[str, list], hooks: Any) -> dict[str, list]:
    return {name: comfy.hooks.set_hooks_for_conditioning(each, hooks) for name, each in prompts.items()}


class Control(ControlBase):
    """A control of HunyuanVideo: adds to its tokens. It needs memory of its own."""

    memory = 0

    def get_control(self, x_noisy: Any, t: Any, cond: Any, batched_number: int, transformer_options: Any) -> dict[str, list]:
        tokens = x_noisy.flatten(2).mean(1).unsqueeze(-1) * torch.linspace(-1, 1, 32)  # [B, tokens, width]
        return {"input": [tokens * t.reshape(-1, 1, 1)], "output": []}

    def inference_memory_requirements(self, dtype: Any) -> int:
        return self.memory

    def copy(self) -> Control:
        return self


def controlled(kind: str, seed: int) -> dict[str, list]:
    plain = {"positive": prompt(kind, seed), "negative": prompt(kind, seed + 2)}
    if kind not in VIDEOS:
        return plain
    control = {"control": Control(), "control_apply_to_uncond": True}
    return plain | {"positive": [[tokens, others | control] for tokens, others in plain["positive"]]}


def dual(nested: bool) -> Callable:
    def make(model: Any, prompts: Mapping[str, list]) -> Any:
        guider = Guider_DualCFG(model)
        guider.set_conds(prompts["positive"], prompts["middle"], prompts["negative"])
        guider.set_cfg(4.0, 2.0, nested=nested)
        return guider

    return make


def basic(model: Any, prompts: Mapping[str, list]) -> Any:
    guider = Guider_Basic(model)
    guider.set_conds(prompts["positive"])
    return guider


def prompted() -> dict[str, Case]:
    """Returns cases of prompts and guiders, which change what a model alone makes."""
    late = scheduled_lora("wan21", "ace_step_15")
    first = lambda prompts: prompts | {"positive": between(prompts["positive"], 0.0, 0.6)}  # noqa: E731
    return {
        "timed": Case(prompts=timed, steps=6), "timed: EDM": Case("svd", "stable_audio", prompts=timed, steps=6),
        "timed after joining": Case(of_all=first, steps=6), "combined": Case(prompts=combined), "area": Case(prompts=in_an_area),
        "no negative": Case(prompts=lambda kind, seed: {"positive": prompt(kind, seed)}),
        "no other values": Case("wan21_i2v", prompts=lambda kind, seed: {
            "positive": prompt(kind, seed, values=False), "negative": prompt(kind, seed + 2, values=False)
        }),
        "hooks": Case(audio="ace_step_15", prompts=hooked(), steps=6),
        "hooks: video": Case(audio="ace_step_15", prompts=hooked(streams=("video",)), steps=6),
        "hooks that both share": Case(audio="ace_step_15", prompts=hooked(shared=True), steps=8, ahead=3.0),
        "hooks after joining": Case(audio="ace_step_15", of_all=lambda each: with_hooks(each, late), steps=8, ahead=3.0),
        "ControlNet: video": Case("hunyuan", prompts=controlled),
        "DualCFGGuider": Case(prompts=middle, guider=dual(nested=False)),
        "DualCFGGuider, nested": Case(prompts=middle, guider=dual(nested=True)),
        "BasicGuider": Case(guider=basic),
    }  # fmt: skip


# Latents


def filled(kind: str, seed: int = 1) -> Any:
    return torch.randn(latent(kind).shape, generator=torch.Generator().manual_seed(seed))


def both(video: str, audio: str, make: Callable = filled) -> dict[str, Any]:
    return {"video": make(video), "audio": make(audio)}


def mask_of(kind: str, value: float = 0.0) -> Any:
    """Gives a video's first frame and the middle of an audio. value: how much of it is made anew."""
    mask = torch.ones_like(latent(kind))
    if kind == "svd":
        mask[:1] = value
    elif kind in VIDEOS:
        mask[:, :, :1] = value
    else:
        mask[..., 3:6] = value
    return mask


def partly_given() -> dict[str, Case]:
    """Returns partial runs, given parts and longer latents, which change what a model alone makes."""
    pairs = (
        ("wan22_5b", "stable_audio_3"), ("wan21", "ace_step"), ("hunyuan15", "stable_audio"), ("ltxv", "ace_step_15"),
        ("svd", "stable_audio"),
    )  # fmt: skip
    cases = {
        f"masks: {video} {audio}": Case(video, audio, masks=both(video, audio, mask_of), latents=both(video, audio))
        for video, audio in pairs
    }
    soft = lambda kind: mask_of(kind, 0.4)  # noqa: E731
    pair, given = ("wan22_5b", "stable_audio_3"), {"latents": both("wan22_5b", "stable_audio_3")}
    gradual = lambda model: DifferentialDiffusion.execute(model, 1.0).result[0]  # noqa: E731
    return cases | {
        "mask: audio": Case(*pair, masks={"audio": mask_of(pair[1])}, **given),
        "mask: video": Case(*pair, masks={"video": mask_of(pair[0])}, **given),
        "soft masks": Case(*pair, masks=both(*pair, soft), **given),
        "differential diffusion": Case(
            *pair, masks=both(*pair, soft), change={"video": gradual, "audio": gradual}, steps=8, **given
        ),
        "differential diffusion: video": Case(*pair, masks=both(*pair, soft), change={"video": gradual}, steps=8, **given),
        "steps 0 to 2": Case(span=(0, 2)), "denoise 0.5": Case(*pair, span=(2, None), **given),
        "steps 1 to 3": Case(*pair, span=(1, 3), **given),
        "steps 1 to 3: EDM": Case("svd", "stable_audio", span=(1, 3), latents=both("svd", "stable_audio")),
        "context windows: video": Case(change={"video": windowed}, latents={"video": torch.zeros(1, 16, 5, 4, 4)}),
    }  # fmt: skip


def of_pair(video: str, audio: str) -> dict[str, Case]:
    """Returns what every pair is tried with."""
    on_both = {name: dict.fromkeys(("video", "audio"), change) for name, change in PATCHES.items()}
    kinds = {"video": video, "audio": audio}
    cases = {
        "Euler, CFG 3": Case(**kinds), "LoRA": Case(**kinds, change=on_both["LoRA"]),
        "GGUF-like weights": Case(**kinds, change=on_both["GGUF-like weights"]),
        "post-CFG patch": Case(**kinds, change=on_both["post-CFG"]), "timed prompts": Case(**kinds, prompts=timed),
        "given parts": Case(**kinds, masks=both(video, audio, mask_of), latents=both(video, audio)),
        "`sound_ahead` 2": Case(**kinds, ahead=2.0),
    }  # fmt: skip
    return cases if video == "svd" else cases | {"batch 2": Case(**kinds, batch=2)}


# Samplers


def draws_noise(name: str) -> bool:
    """Whether one of ComfyUI's samplers draws noise, by its arguments. `res_multistep` has them for its ancestral form alone."""
    function = comfy.samplers.sampler_object(name).sampler_function
    return "noise_sampler" in inspect.signature(function).parameters and name not in ("res_multistep", "res_multistep_cfg_pp")


GLOBAL_STEPS = ("dpm_adaptive",)  # their step sizes depend on the whole latent
NOISELESS = [name for name in comfy.samplers.SAMPLER_NAMES if name not in GLOBAL_STEPS and not draws_noise(name)]
DRAWING = [name for name in comfy.samplers.SAMPLER_NAMES if draws_noise(name)]


class Carried(comfy.samplers.KSAMPLER):
    """A sampler that runs the audio's model alone in the form in which a joined run carries it, on the video's σ.

    It is no part of the pack. Its equations are those of carried.py's text: y = x σ / σ_audio, and c x_0.
    """

    def __init__(self, name: str, joined: Any, sigmas: Any) -> None:
        super().__init__(self.run)
        self.own, self.joined, self.sigmas = comfy.samplers.sampler_object(name), joined, sigmas
        self.carrying = joined.model.streams.audio.carrying

    def run(self, model: Any, x: Any, sigmas: Any, extra_args: Any = None, callback: Any = None, disable: Any = None) -> Any:
        factor, c = self.carrying.factor, self.carrying.scale
        guider = SimpleNamespace(inner_model=self.joined.model, model_patcher=self.joined)  # samplers read the model sampling there

        def predict(y: Any, sigma: Any, model_options: Any = None, seed: Any = None, **kwargs: Any) -> Any:
            options = _rescaled(model_options or {}, c)
            return c * model(y / factor(sigma[0]), sigma / factor(sigma), model_options=options, seed=seed, **kwargs)

        predict.inner_model = guider  # type: ignore[attr-defined]
        made = self.own.sampler_function(predict, x * factor(self.sigmas[0]), self.sigmas, extra_args, None, True)
        sigmas[-1] = self.carrying.audio_sigma(self.sigmas[-1])  # UniPC sets it to 0.001
        return made / factor(self.sigmas[-1])


def _rescaled(options: Mapping[str, Any], c: float) -> dict[str, Any]:
    """CFG++ samplers read the clean estimates of the negative in a post-CFG function."""
    scaled = lambda of: {**of, "uncond_denoised": c * of["uncond_denoised"], "denoised": of["denoised"]}  # noqa: E731
    found = [lambda of, read=read: read(scaled(of)) for read in options.get("sampler_post_cfg_function", ())]
    return {**options, "sampler_post_cfg_function": found} if found else dict(options)
