"""Samples with every sampler of core's, and what of it draws noise."""

import inspect
import json
import math
import sys

import comfy.samplers
import comfy.utils
import torch
from comfy.k_diffusion import sampling
from comfy.nested_tensor import NestedTensor


class StepNoise:
    """Samples with each of core's samplers, or with one, under other seeds; says how far the streams then are from the first run.

    One line of JSON for each sampler: its name, and what is printed for each run, [video, audio]. `again`: with the same seeds.
    `audio`, `video`: another seed of this stream. `audio step`, `video step`: the same, and the initial noise is that of the first
    run. `plain`: the seed of the video alone while sampling, and the initial noise of the first run.
    """

    RETURN_TYPES, FUNCTION, CATEGORY, OUTPUT_NODE = (), "tell", "tests", True

    @classmethod
    def INPUT_TYPES(cls):
        noises = {name: ("NOISE",) for name in ("noise", "other_audio", "other_video")}
        needed = {"guider": ("GUIDER",), "latent": ("LATENT",), "sigmas": ("SIGMAS",), **noises}
        return {"required": needed, "optional": {"sampler": ("SAMPLER",)}}

    def tell(self, guider, latent, sigmas, noise, other_audio, other_video, sampler=None):
        def sampled(used, made, seed):
            return guider.sample(
                made.generate_noise(latent), latent["samples"], used, sigmas, denoise_mask=latent.get("noise_mask"),
                disable_pbar=True, seed=seed,
            )  # fmt: skip

        def told(name, used):
            options, function = dict(used.extra_options), used.sampler_function
            first = sampled(used, noise, noise.seed)
            runs = {
                "again": (noise, noise.seed), "audio": (other_audio, other_audio.seed), "video": (other_video, other_video.seed),
                "audio step": (noise, other_audio.seed), "video step": (noise, other_video.seed), "plain": (noise, int(noise.seed)),
            }  # fmt: skip
            found = {key: self.far(first, sampled(used, *run)) for key, run in runs.items()}
            assert used.extra_options == options and used.sampler_function is function
            return json.dumps({"name": name} | found)

        names = comfy.samplers.SAMPLER_NAMES if sampler is None else ()
        every = {name: comfy.samplers.sampler_object(name) for name in names} or {"given": sampler}
        return {"ui": {"text": [told(*each) for each in every.items()]}}

    @staticmethod
    def far(a, b):
        a, b = (each.unbind() if each.is_nested else [each] for each in (a, b))
        return [(x - y).abs().max().item() for x, y in zip(a, b)]


def our_step_noise(guider):
    """The module of the pack whose guider it is."""
    return sys.modules[type(guider).__module__.removesuffix("guider") + "step_noise"]


class Brownian:
    """The names of core's sampler functions that draw from a Brownian tree themselves or by another one, and those that we name."""

    RETURN_TYPES, FUNCTION, CATEGORY, OUTPUT_NODE = (), "tell", "tests", True

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"guider": ("GUIDER",)}}

    def tell(self, guider):
        ours = our_step_noise(guider).BROWNIAN
        sources = {name: inspect.getsource(each) for name, each in vars(sampling).items() if name.startswith("sample_")}
        theirs = {name for name, text in sources.items() if "BrownianTreeNoiseSampler(" in text}
        while more := {n for n, text in sources.items() if any(f"return {each}(" in text for each in theirs)} - theirs:
            theirs |= more
        return {"ui": {"text": [" ".join(sorted(theirs)), " ".join(sorted(ours))]}}


class BrownianNoise:
    """Properties of the noise of a Brownian sampler, of a latent and of one of three times its length: JSON of numbers.

    `sum`: how far the noise of two steps is from that of the one that they make. `longer`: how far the longer one's is from it.
    `alike`: the correlation of the streams under one seed. `spread`: standard deviations.
    """

    RETURN_TYPES, FUNCTION, CATEGORY, OUTPUT_NODE = (), "tell", "tests", True

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"guider": ("GUIDER",), "noise": ("NOISE",), "latent": ("LATENT",)}}

    def tell(self, guider, noise, latent):
        with_two_streams = our_step_noise(guider).with_two_streams

        def sample_dpmpp_sde(model, x, sigmas, noise_sampler):
            return [noise_sampler(*map(torch.tensor, step)) for step in ((0.9, 0.6), (0.6, 0.2), (0.9, 0.2))]

        def drawn(shapes):
            x, sigmas = torch.zeros(1, 1, sum(map(math.prod, shapes))), torch.tensor([0.9, 0.6, 0.2, 0.0])
            made = with_two_streams(comfy.samplers.KSAMPLER(sample_dpmpp_sde), noise.seed, shapes)
            return [comfy.utils.unpack_latents(each, shapes) for each in made.sampler_function(None, x, sigmas)]

        shapes = [tuple(each.shape) for each in latent["samples"].unbind()]
        axes = [2, 3 if shapes[1][2] == 2 else 2]
        long = drawn([tuple(3 * n if i == axis else n for i, n in enumerate(shape)) for shape, axis in zip(shapes, axes)])
        first, second, both = drawn(shapes)
        sums = [(0.3**0.5 * a + 0.4**0.5 * b) / 0.7**0.5 for a, b in zip(first, second)]
        start = [each.narrow(axis, 0, shape[axis]) for each, axis, shape in zip(long[2], axes, shapes)]
        count = min(each.numel() for each in long[2])
        found = {
            "sum": StepNoise.far(NestedTensor(sums), NestedTensor(both)),
            "longer": StepNoise.far(NestedTensor(start), NestedTensor(both)),
            "alike": torch.stack([each.movedim(axis, 1).flatten()[:count] for each, axis in zip(long[2], axes)])
            .corrcoef()[0, 1]
            .item(),
            "spread": [each.std().item() for each in long[2]],
        }
        return {"ui": {"text": [json.dumps(found)]}}


class PredictsZero:
    """The model, with zero in place of what it predicts: what is left is noise."""

    RETURN_TYPES, FUNCTION, CATEGORY = ("MODEL",), "make", "tests"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"model": ("MODEL",)}}

    def make(self, model):
        patched = model.clone()
        patched.set_model_sampler_post_cfg_function(lambda args: torch.zeros_like(args["denoised"]))
        return (patched,)


class Rows:
    """A latent repeated, and the numbers that its rows have in a larger batch, as JSON."""

    RETURN_TYPES, FUNCTION, CATEGORY = ("LATENT",), "make", "tests"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"latent": ("LATENT",), "numbers": ("STRING",)}}

    def make(self, latent, numbers):
        rows = json.loads(numbers)
        streams = (each.repeat(len(rows), *[1] * (each.ndim - 1)) for each in latent["samples"].unbind())
        return ({"samples": NestedTensor(tuple(streams)), "batch_index": rows},)


class OneRow:
    RETURN_TYPES, FUNCTION, CATEGORY = ("LATENT",), "make", "tests"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"latent": ("LATENT",), "row": ("INT", {"default": 0})}}

    def make(self, latent, row):
        return ({"samples": NestedTensor(tuple(each[row : row + 1] for each in latent["samples"].unbind()))},)


class HalfKept:
    """A latent of which the first half of each stream is kept."""

    RETURN_TYPES, FUNCTION, CATEGORY = ("LATENT",), "make", "tests"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"latent": ("LATENT",)}}

    def make(self, latent):
        masks = tuple(torch.ones_like(each[:, :1]) for each in latent["samples"].unbind())
        for mask in masks:
            axis = max(range(2, mask.ndim), key=mask.size)
            mask.narrow(axis, 0, mask.size(axis) // 2).zero_()
        return (latent | {"noise_mask": NestedTensor(masks)},)


NODES = (StepNoise, Brownian, BrownianNoise, PredictsZero, Rows, OneRow, HalfKept)
