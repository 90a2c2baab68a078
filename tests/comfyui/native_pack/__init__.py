"""A pack for tests: LTX-2 and MiniMax-H3 as ComfyUI builds them, small and with random weights, and what compares latents."""

import copy
import json
from dataclasses import fields

import comfy.model_patcher
import comfy.ops
import comfy.samplers
import comfy.supported_models
import torch
from comfy.nested_tensor import NestedTensor
from comfy.patcher_extension import WrappersMP
from comfy_api.torch_helpers import set_torch_compile_wrapper
from comfy_extras.nodes_custom_sampler import Noise_RandomNoise
from comfy_extras.nodes_torch_compile import skip_torch_compile_dict

from . import comparisons, joined_models, naive, patches, prompts, scenes, step_noise, text_encoders
from .upscaler import TinyUpscaler
from .vaes import TinyAudioVAE, TinyVAE

LTX = {
    "image_model": "ltxav", "in_channels": 8, "out_channels": 8, "audio_in_channels": 128, "cross_attention_dim": 32,
    "audio_cross_attention_dim": 32, "attention_head_dim": 16, "audio_attention_head_dim": 16, "num_attention_heads": 2,
    "audio_num_attention_heads": 2, "caption_channels": 24, "num_layers": 3, "connector_num_layers": 1,
    "connector_num_attention_heads": 2, "connector_attention_head_dim": 12,
}  # fmt: skip
H3 = {
    "image_model": "minimax_h3", "hidden_size": 48, "num_layers": 3, "token_refiner_num_layers": 1, "num_attention_heads": 2,
    "attention_head_dim": 32, "ffn_hidden_size": 64, "latents_dim": 24, "audio_latents_dim": 32, "text_dim": 40,
    "timestep_input_dim": 16, "time_embed_hidden_size": 32, "time_embed_dim": 24, "rope_inv_freq_len": 4,
}  # fmt: skip
LTX23 = LTX | {  # as LTX-2.3: halves of their own widths, projected by the text encoder
    "audio_cross_attention_dim": 16, "audio_attention_head_dim": 8, "caption_channels": 40, "connector_attention_head_dim": 16,
    "audio_connector_attention_head_dim": 8, "caption_proj_before_connector": True, "caption_projection_first_linear": False,
    "cross_attention_adaln": True, "apply_gated_attention": True, "connector_apply_gated_attention": True,
}  # fmt: skip
SILENT = {key: value for key, value in LTX.items() if "audio" not in key} | {"image_model": "ltxv", "attention_head_dim": 16}
KINDS = {  # class, network, and the sizes of its latents and of a token of its text
    "ltx": (comfy.supported_models.LTXAV, LTX, ((1, 8, 3, 2, 2), (1, 8, 5, 16)), 48),
    "h3": (comfy.supported_models.MiniMaxH3, H3, ((1, 24, 2, 4, 4), (1, 32, 2, 5)), 40),
    "ltx23": (comfy.supported_models.LTXAV, LTX23, ((1, 8, 3, 2, 2), (1, 8, 5, 16)), 48),
    "wide": (comfy.supported_models.LTXAV, LTX | {"caption_channels": 36}, ((1, 8, 3, 2, 2), (1, 8, 5, 16)), 72),
    "silent": (comfy.supported_models.LTXV, SILENT, ((1, 8, 3, 2, 2), (1, 8, 5, 16)), 24),
    "ltx2": (  # with latents of the real sizes, those of TinyVAE
        comfy.supported_models.LTXAV, LTX | {"in_channels": 128, "out_channels": 128}, ((1, 128, 3, 2, 3), (1, 8, 17, 16)), 48
    ),
}  # fmt: skip


class TinyModel:
    RETURN_TYPES, FUNCTION, CATEGORY = ("MODEL", "LATENT"), "make", "tests"

    @classmethod
    def INPUT_TYPES(cls):
        of = {"kind": (list(KINDS),), "seed": ("INT", {"default": 0})}
        copied = {"copy": ("INT", {"default": 0})}  # loads the same anew
        return {"required": of, "optional": copied | {"dtype": (["float32", "bfloat16"],)}}

    def make(self, kind, seed, copy=0, dtype="float32"):
        latent = NestedTensor(tuple(torch.zeros(size) for size in KINDS[kind][2]))
        return self.load(kind, seed, dtype), {"samples": latent}

    @classmethod
    def load(cls, kind, seed, dtype="float32", disable_dynamic=False):
        known, network, *_ = KINDS[kind]
        config = known(dict(network))
        config.set_inference_dtype(getattr(torch, dtype), None)
        config.custom_operations = comfy.ops.disable_weight_init
        model = config.get_model({}, "").eval()
        chance = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for p in (*model.diffusion_model.parameters(), *model.diffusion_model.buffers()):
                p.copy_(torch.randn(p.shape, generator=chance) * (0.5 / p.shape[-1] ** 0.5 if p.ndim > 1 else 0.3))
        cpu = torch.device("cpu")
        patcher = comfy.model_patcher.ModelPatcher(model, cpu, cpu)
        patcher.cached_patcher_init = (cls.load, (kind, seed, dtype))  # as core's loaders leave it: how it is loaded again
        return patcher


class TinyPrompt:
    RETURN_TYPES, FUNCTION, CATEGORY = ("CONDITIONING",), "make", "tests"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"kind": (list(KINDS),), "seed": ("INT", {"default": 0}), "words": ("INT", {"default": 6})}}

    def make(self, kind, seed, words):
        tokens = torch.randn(1, words, KINDS[kind][3], generator=torch.Generator().manual_seed(seed))
        return ([[tokens, {}]],)


class Patched:
    """The model with other weights laid over its own, as a LoRA does."""

    RETURN_TYPES, FUNCTION, CATEGORY = ("MODEL",), "make", "tests"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"model": ("MODEL",)}}

    def make(self, model):
        patched, chance = model.clone(), torch.Generator().manual_seed(9)
        weights = {name: w for name, w in model.model.state_dict().items() if "blocks" in name and w.ndim == 2}
        patched.add_patches({name: ("diff", (0.1 * torch.randn(w.shape, generator=chance),)) for name, w in weights.items()})
        return (patched,)


class Compiled:
    """The model compiled as core's TorchCompileModel does it, without a compiler of machine code."""

    RETURN_TYPES, FUNCTION, CATEGORY = ("MODEL",), "make", "tests"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"model": ("MODEL",)}, "optional": {"fresh": ("BOOLEAN", {"default": False})}}

    def make(self, model, fresh=False):
        if fresh:
            torch._dynamo.reset()  # no graph of another test answers
        compiled = model.clone(disable_dynamic=True)
        set_torch_compile_wrapper(model=compiled, backend="eager", options={"guard_filter_fn": skip_torch_compile_dict})
        return (compiled,)


class PredictsAgain:
    """The model with a post-CFG function that predicts the prompt once more, and answers with that."""

    RETURN_TYPES, FUNCTION, CATEGORY = ("MODEL",), "make", "tests"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"model": ("MODEL",)}}

    def make(self, model):
        def again(args):
            return comfy.samplers.calc_cond_batch(
                args["model"], [args["cond"]], args["input"], args["sigma"], args["model_options"]
            )[0]

        patched = model.clone()
        patched.set_model_sampler_post_cfg_function(again)
        return (patched,)


class SoundSpeed:
    """How far the sound's velocity that a strategy is given is from the network's own, at the worst step: a share of it."""

    RETURN_TYPES, FUNCTION, CATEGORY, OUTPUT_NODE = (), "tell", "tests", True

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"guider": ("GUIDER",), "latent": ("LATENT",), "noise": ("NOISE",), "sigmas": ("SIGMAS",)}}

    def tell(self, guider, latent, noise, sigmas):
        own, given, strategy = [], [], guider.strategy

        def watch(run, *args, **kwargs):
            out = run(*args, **kwargs)
            own.append(out[1].clone())
            return out

        class Spy(type(strategy)):
            def combine(self, predictions, step, state=None):
                given.append([each.audio.clone() for each in predictions.values()])
                return super().combine(predictions, step, state)

        spy = Spy(**{field.name: getattr(strategy, field.name) for field in fields(strategy)})
        patcher = guider.model_patcher.clone()
        patcher.add_wrapper(WrappersMP.DIFFUSION_MODEL, watch)
        guider = type(guider)(patcher, spy, *guider.raw_conds)
        euler = comfy.samplers.sampler_object("euler")
        guider.sample(noise.generate_noise(latent), latent["samples"], euler, sigmas, seed=1, disable_pbar=True)
        calls = len(own) // len(given)
        worst = max(
            min((speed - each).abs().max().item() / each.abs().max().item() for each in own[calls * i : calls * (i + 1)])
            for i, speeds in enumerate(given) for speed in speeds
        )  # fmt: skip
        return {"ui": {"text": [repr(worst)]}}


class CopiedGuiders:
    """Samples with a guider and then with copies that have prompts of their own, as looping and tiling samplers do."""

    RETURN_TYPES, FUNCTION, CATEGORY = ("LATENT", "LATENT", "LATENT"), "make", "tests"

    @classmethod
    def INPUT_TYPES(cls):
        of = {"guider": ("GUIDER",), "other": ("CONDITIONING",), "latent": ("LATENT",), "noise": ("NOISE",), "sigmas": ("SIGMAS",)}
        return {"required": of}

    def make(self, guider, other, latent, noise, sigmas):
        def sampled(each):
            euler = comfy.samplers.sampler_object("euler")
            made = each.sample(noise.generate_noise(latent), latent["samples"], euler, sigmas, seed=1, disable_pbar=True)
            return {"samples": made}

        first, second = copy.copy(guider), copy.copy(guider)
        second.set_conds(other, other)
        return sampled(first), sampled(second), sampled(guider)


class OneStream:
    RETURN_TYPES, FUNCTION, CATEGORY = ("LATENT",), "make", "tests"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"latent": ("LATENT",)}}

    def make(self, latent):
        return ({"samples": latent["samples"].unbind()[0]},)


class ShapedLatent:
    """A latent with these sizes, as JSON: one for each stream."""

    RETURN_TYPES, FUNCTION, CATEGORY = ("LATENT", "NOISE"), "make", "tests"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"sizes": ("STRING",)}}

    def make(self, sizes):
        video, *audio = (torch.full(size, 0.01) for size in json.loads(sizes))  # core changes an empty one
        samples = NestedTensor((video, *audio)) if audio else video
        return {"samples": samples}, Noise_RandomNoise(3)


class HowFarApart:
    """The largest difference of two pictures and of two sounds, and their spread."""

    RETURN_TYPES, FUNCTION, CATEGORY, OUTPUT_NODE = (), "tell", "tests", True

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"a": ("LATENT",), "b": ("LATENT",)}}

    def tell(self, a, b):
        a, b = (each["samples"].unbind() if each["samples"].is_nested else (each["samples"],) for each in (a, b))
        pairs = list(zip(a, b))
        numbers = [(x - y).abs().max().item() for x, y in pairs] + [x.std().item() for x, _ in pairs]
        return {"ui": {"text": [repr(number) for number in numbers]}}


class Watched:
    """The same model, which remembers by what name each prompt was run, coupled or not, and how many rows each call had."""

    RETURN_TYPES, FUNCTION, CATEGORY = ("MODEL",), "make", "tests"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"model": ("MODEL",)}, "optional": {"copy": ("INT", {"default": 0})}}  # counts apart

    def make(self, model, copy=0):
        watched, seen, calls = model.clone(), {True: set(), False: set()}, []

        def remember(run, *args, **kwargs):
            options = next(each for each in (*args, *kwargs.values()) if isinstance(each, dict) and "uuids" in each)
            gates = getattr(options.get("duet_rows"), "a_to_v", None)
            coupled = [options.get("a2v_cross_attn", True)] * len(options["uuids"])
            if gates is not None:
                coupled = gates.flatten().bool().tolist()
            for row, uuid in zip(coupled, options["uuids"]):
                seen[row].add(uuid)
            calls.append(len(options["uuids"]))
            return run(*args, **kwargs)

        watched.add_wrapper(WrappersMP.DIFFUSION_MODEL, remember)
        watched.seen, watched.calls = seen, calls
        return (watched,)


class TellCalls:
    """How many names there were of coupled prompts and of cut ones, and of both; the rows and the calls of the whole run."""

    RETURN_TYPES, FUNCTION, CATEGORY, OUTPUT_NODE = (), "tell", "tests", True

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"model": ("MODEL",), "after": ("LATENT",)}, "optional": {"bad_model": ("MODEL",)}}

    def tell(self, model, after, bad_model=None):
        coupled, cut = model.seen[True], model.seen[False]
        calls = [rows for each in (model, bad_model) if each for rows in each.calls]
        for each in (model, bad_model):
            if each:
                each.calls.clear()  # ComfyUI keeps the node for the next graph
        numbers = [*(len(names) for names in (coupled, cut, coupled & cut)), sum(calls), len(calls)]
        return {"ui": {"text": [str(number) for number in numbers]}}


NODES = (
    TinyModel, TinyPrompt, Patched, Compiled, PredictsAgain, CopiedGuiders, SoundSpeed, OneStream, ShapedLatent, HowFarApart,
    Watched, TellCalls, TinyVAE, TinyAudioVAE, TinyUpscaler, *scenes.NODES, *naive.NODES, *prompts.NODES, *comparisons.NODES,
    *step_noise.NODES, *patches.NODES, *text_encoders.NODES, *joined_models.NODES,
)  # fmt: skip
NODE_CLASS_MAPPINGS = {each.__name__: each for each in NODES}
