"""What users put around a joint model: latents with masks, encoders, hooks, negatives by attention. Small, with random values."""

from copy import copy as shallow_copy
from functools import partial
from types import SimpleNamespace

import comfy.hooks
import comfy.ldm.lightricks.latent_upsampler
import comfy.model_patcher
import comfy.ops
import torch
from comfy.nested_tensor import NestedTensor

CPU = torch.device("cpu")
SIZES = {"ltx": ((8, 3, 2, 2), (8, 5, 16)), "ltx2": ((128, 3, 2, 2), (8, 5, 16)), "h3": ((24, 2, 4, 4), (32, 2, 5))}
SIZES["ltx23"] = SIZES["ltx"]
TEXT = {"ltx": 48, "ltx2": 48, "h3": 40, "ltx23": 48}
TIME = {"ltx": 1, "ltx2": 1, "h3": 2, "ltx23": 1}  # the time axis of an audio latent without its batch


def chance(seed):
    return torch.Generator().manual_seed(seed)


class AVLatent:
    """A latent of a joint model: its content by seed (-1: zeros), its length in latent frames, and what of it is kept."""

    RETURN_TYPES, FUNCTION, CATEGORY = ("LATENT", "LATENT", "LATENT"), "make", "tests"

    @classmethod
    def INPUT_TYPES(cls):
        of = {"kind": (list(SIZES),), "video_seed": ("INT", {"min": -1}), "audio_seed": ("INT", {"min": -1})}
        masks = {"video_mask": (["", "space", "time", "all"],), "audio_mask": (["", "time", "all"],)}
        sizes = {"batch": ("INT",), "frames": ("INT",), "audio_frames": ("INT",)}
        return {"required": of | masks | sizes, "optional": {"copy": ("INT",)}}  # made anew

    def make(self, kind, video_seed, audio_seed, video_mask, audio_mask, batch, frames, audio_frames, copy=0):
        sizes, axis = [list(size) for size in SIZES[kind]], TIME[kind]
        sizes[0][1], sizes[1][axis] = frames or sizes[0][1], audio_frames or sizes[1][axis]
        samples = [
            torch.zeros(batch, *size) if seed < 0 else torch.randn(batch, *size, generator=chance(seed))
            for size, seed in zip(sizes, (video_seed, audio_seed))
        ]
        video, audio = (torch.ones_like(each) for each in samples)
        if video_mask == "space":
            video[..., : video.shape[-1] // 2] = 0
        elif video_mask == "time":
            video[:, :, :1] = 0
        elif video_mask == "all":
            video[:] = 0
        if audio_mask == "time":
            audio.narrow(axis + 1, 0, 2)[:] = 0
        elif audio_mask == "all":
            audio[:] = 0
        both, *single = {"samples": NestedTensor(samples)}, *({"samples": each} for each in samples)
        if video_mask or audio_mask:
            video = video[:, :1]
            both["noise_mask"] = NestedTensor((video, audio))
            single[0]["noise_mask"], single[1]["noise_mask"] = video, audio
        return both, *single


class Encoder:
    """In place of a VAE: encodes to random values of the right shape that depend on the input's."""

    audio_sample_rate = 16000
    downscale_index_formula = (8, 32, 32)

    def __init__(self, kind):
        self.kind = kind
        same = SimpleNamespace(normalize=lambda x: x, un_normalize=lambda x: x)
        self.first_stage_model = SimpleNamespace(per_channel_statistics=same)

    def encode(self, x):
        h3 = self.kind == "h3"
        if x.ndim == 3:  # a waveform [B, time, channels]
            size = (len(x), 32, 2, 3) if h3 else (len(x), 8, 3, 16)
        else:  # images [time, height, width, 3]
            every = 16 if h3 else 32
            frames = (1 if len(x) < 5 else (len(x) - 5) // 17 * 5 + 2) if h3 else (len(x) - 1) // 8 + 1
            size = (1, SIZES[self.kind][0][0], frames, x.shape[1] // every, x.shape[2] // every)
        return torch.randn(size, generator=chance(7)) + x.float().mean()


class TinyEncoder:
    RETURN_TYPES, FUNCTION, CATEGORY = ("VAE",), "make", "tests"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"kind": (list(SIZES),)}}

    def make(self, kind):
        return (Encoder(kind),)


class TextEncoder:
    def __init__(self, kind):
        self.kind = kind

    def tokenize(self, text, images=None, **_):
        return f"{text} {len(images or [])}"

    def encode_from_tokens_scheduled(self, tokens):
        return [[torch.randn(1, 6, TEXT[self.kind], generator=chance(sum(map(ord, tokens)))), {}]]


class TinyTextEncoder:
    RETURN_TYPES, FUNCTION, CATEGORY = ("CLIP",), "make", "tests"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"kind": (list(SIZES),)}}

    def make(self, kind):
        return (TextEncoder(kind),)


class TinyHook:
    """A LoRA over the blocks of both towers, as Create Hook LoRA loads one."""

    RETURN_TYPES, FUNCTION, CATEGORY = ("HOOKS",), "make", "tests"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"model": ("MODEL",), "strength": ("FLOAT", {"default": 1.0})}}

    def make(self, model, strength):
        lora, random = {}, chance(21)
        for name, w in model.model.state_dict().items():
            if "blocks." in name and w.ndim == 2 and name.endswith(".weight") and name.startswith("diffusion_model."):
                key = name.removesuffix(".weight")
                lora[f"{key}.lora_A.weight"] = torch.randn(2, w.shape[1], generator=random) * 0.3
                lora[f"{key}.lora_B.weight"] = torch.randn(w.shape[0], 2, generator=random) * 0.3
        return (comfy.hooks.create_hook_lora(lora, strength, 0.0),)


class TinyUpsampler:
    RETURN_TYPES, FUNCTION, CATEGORY = ("LATENT_UPSCALE_MODEL",), "make", "tests"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {}}

    def make(self):
        network = comfy.ldm.lightricks.latent_upsampler.LatentUpsampler(
            comfy.ops.disable_weight_init, in_channels=8, mid_channels=32, num_blocks_per_stage=1
        ).eval()
        with torch.no_grad():
            for p in network.parameters():
                p.copy_(torch.randn(p.shape, generator=chance(p.numel())) * 0.05)
        return (comfy.model_patcher.ModelPatcher(network, CPU, CPU),)


class NegativeByAttention:
    """Normalised attention guidance of every row: each text attention runs a second time, with the negative's tokens."""

    RETURN_TYPES, FUNCTION, CATEGORY = ("MODEL",), "make", "tests"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"model": ("MODEL",)}}

    def make(self, model):
        patched = model.clone()
        for i, block in enumerate(model.model.diffusion_model.transformer_blocks):
            for name in ("attn2", "audio_attn2"):
                layer = getattr(block, name)
                tokens = torch.randn(1, 4, layer.to_k.in_features, generator=chance(31))
                patched.add_object_patch(f"diffusion_model.transformer_blocks.{i}.{name}.forward", self.guided(layer, tokens))
        return (patched,)

    @staticmethod
    def guided(layer, tokens):
        plain = partial(type(layer).forward, layer)  # not what another patch has put in its place

        def forward(x, context=None, mask=None, **kwargs):
            wanted = plain(x, context=context, mask=mask, **kwargs)
            unwanted = plain(x, context=tokens.to(x).expand(len(x), -1, -1), mask=None, **kwargs)
            guided = wanted * 3 - unwanted * 2
            ratio = guided.norm(p=1, dim=-1, keepdim=True) / wanted.norm(p=1, dim=-1, keepdim=True).clamp_min(1e-6)
            return 0.5 * guided * ratio.clamp(max=2.5) / ratio.clamp_min(1e-6) + 0.5 * wanted

        return forward


class AnswersWithNegative:
    """The model with a post-CFG function that answers with the negative's prediction."""

    RETURN_TYPES, FUNCTION, CATEGORY = ("MODEL",), "make", "tests"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"model": ("MODEL",)}}

    def make(self, model):
        patched = model.clone()
        patched.set_model_sampler_post_cfg_function(lambda args: args["uncond_denoised"], disable_cfg1_optimization=True)
        return (patched,)


class KeepsPrompts:
    """A guider of core's made anew, with the prompts where LTXVideo's samplers look for them, and change them."""

    RETURN_TYPES, FUNCTION, CATEGORY = ("GUIDER",), "make", "tests"

    @classmethod
    def INPUT_TYPES(cls):
        of = {"guider": ("GUIDER",), "positive": ("CONDITIONING",), "negative": ("CONDITIONING",), "copy": ("INT",)}
        return {"required": of}

    def make(self, guider, positive, negative, copy):
        anew = shallow_copy(guider)
        anew.original_conds, anew.raw_conds = dict(guider.original_conds), (positive, negative)
        return (anew,)


class ClipLength:
    """How many images there are, and how many seconds of audio."""

    RETURN_TYPES, FUNCTION, CATEGORY, OUTPUT_NODE = (), "tell", "tests", True

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"images": ("IMAGE",), "audio": ("AUDIO",)}}

    def tell(self, images, audio):
        return {"ui": {"text": [str(len(images)), str(audio["waveform"].shape[-1] / audio["sample_rate"])]}}


class Around:
    """The model with a patch that other packs set: around every network call, in every block, or in every attention."""

    RETURN_TYPES, FUNCTION, CATEGORY = ("MODEL",), "make", "tests"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"model": ("MODEL",), "what": (["call", "block", "attention"],)}}

    def make(self, model, what):
        patched = model.clone()
        if what == "call":
            patched.set_model_unet_function_wrapper(lambda run, given: run(given["input"], given["timestep"], **given["c"]) * 0.9)
        elif what == "attention":
            transformer = patched.model_options["transformer_options"] = dict(patched.model_options["transformer_options"])
            transformer["optimized_attention_override"] = lambda func, q, *args, **options: func(q * 0.1, *args, **options)
        else:
            network = model.model.diffusion_model
            for i in range(len(getattr(network, "transformer_blocks", ()) or network.blocks)):
                patched.set_model_patch_replace(self.weaker, "dit", "double_block", i)
        return (patched,)

    @staticmethod
    def weaker(args, extra):
        before = [each.clone() for each in args["img"]] if isinstance(args["img"], tuple) else args["img"].clone()
        after = extra["original_block"](args)["img"]
        if isinstance(after, tuple):
            return {"img": tuple(torch.lerp(a, b, 0.9) for a, b in zip(before, after))}
        return {"img": torch.lerp(before, after, 0.9)}


class Cramped:
    """The model on a device whose memory holds no more than some rows at a time."""

    RETURN_TYPES, FUNCTION, CATEGORY = ("MODEL",), "make", "tests"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"model": ("MODEL",), "rows": ("INT",)}}

    def make(self, model, rows):
        patched = model.clone()
        patched.add_object_patch("memory_required", lambda shape, *_, **__: 0.0 if shape[0] <= rows else 1e30)
        return (patched,)


NODES = (
    AVLatent, Around, Cramped, ClipLength, KeepsPrompts, TinyEncoder, TinyTextEncoder, TinyHook, TinyUpsampler,
    NegativeByAttention, AnswersWithNegative,
)  # fmt: skip
