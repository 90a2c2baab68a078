"""Nodes that make and change prompts of the small models."""

import json
from dataclasses import fields, replace

import torch
from comfy.nested_tensor import NestedTensor

RAW_WIDTHS = {"ltx": 24, "ltx23": 48}


class RawPrompt:
    """What a text encoder gives: tokens that the model's connectors have not read. One prompt for each clip of a batch."""

    RETURN_TYPES, FUNCTION, CATEGORY = ("CONDITIONING",), "make", "tests"

    @classmethod
    def INPUT_TYPES(cls):
        of = {"kind": (list(RAW_WIDTHS),), "seed": ("INT", {"default": 0}), "words": ("INT", {"default": 6, "max": 4096})}
        return {"required": of, "optional": {"batch": ("INT", {"default": 1}), "masked": ("BOOLEAN", {"default": False})}}

    def make(self, kind, seed, words, batch=1, masked=False):
        tokens = torch.randn(batch, words, RAW_WIDTHS[kind], generator=torch.Generator().manual_seed(seed))
        mask = {"attention_mask": torch.ones(batch, words)} if masked else {}
        return ([[tokens, {"unprocessed_ltxav_embeds": True} | mask]],)


class WithValues:
    """A prompt that carries other values too, as JSON."""

    RETURN_TYPES, FUNCTION, CATEGORY = ("CONDITIONING",), "make", "tests"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"prompt": ("CONDITIONING",), "values": ("STRING",)}}

    def make(self, prompt, values):
        return ([[tokens, others | json.loads(values)] for tokens, others in prompt],)


class ReferenceAudio:
    """A prompt with reference audio, as core's LTXVReferenceAudio leaves it."""

    RETURN_TYPES, FUNCTION, CATEGORY = ("CONDITIONING",), "make", "tests"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"prompt": ("CONDITIONING",), "seed": ("INT", {"default": 0})}}

    def make(self, prompt, seed):
        heard = {"tokens": torch.randn(1, 4, 128, generator=torch.Generator().manual_seed(seed))}
        return ([[tokens, others | {"ref_audio": heard}] for tokens, others in prompt],)


class SplitPrompts:
    """A guidance whose branches have the other prompt for the audio than for the video."""

    RETURN_TYPES, FUNCTION, CATEGORY = ("DUET_GUIDANCE",), "make", "tests"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"guidance": ("DUET_GUIDANCE",)}}

    def make(self, guidance):
        strategy, other = guidance.strategy, {"positive": "negative", "negative": "positive"}

        class Split(type(strategy)):
            def weights(self):
                return [(replace(branch, audio=other[branch.audio]), weight) for branch, weight in super().weights()]

        split = Split(**{field.name: getattr(strategy, field.name) for field in fields(strategy)})
        return (replace(guidance, strategy=split),)


class Repeated:
    """A latent as a batch."""

    RETURN_TYPES, FUNCTION, CATEGORY = ("LATENT",), "make", "tests"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"latent": ("LATENT",), "batch": ("INT", {"default": 2})}}

    def make(self, latent, batch):
        streams = latent["samples"].unbind()
        return ({"samples": NestedTensor([each.repeat(batch, *[1] * (each.ndim - 1)) for each in streams])},)


NODES = (RawPrompt, WithValues, ReferenceAudio, SplitPrompts, Repeated)
