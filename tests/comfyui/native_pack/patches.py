"""Models as other packs patch them, and what such patches see."""

import math

import comfy.samplers
from comfy.patcher_extension import WrappersMP


class Changed:
    """A copy of the model, changed by `change`."""

    RETURN_TYPES, FUNCTION, CATEGORY = ("MODEL",), "make", "tests"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"model": ("MODEL",)}}

    def make(self, model):
        changed = model.clone()
        self.change(changed)
        return (changed,)


class WrapsCalls(Changed):
    """Every network call is wrapped, in ComfyUI's old way."""

    def change(self, model):
        model.set_model_unet_function_wrapper(lambda apply, given: apply(given["input"], given["timestep"], **given["c"]))


class ShortOfMemory(Changed):
    """Memory holds only one row."""

    def change(self, model):
        def short(run, network, *args):
            network.memory_required = lambda *_, **__: math.inf
            try:
                return run(network, *args)
            finally:
                del network.memory_required

        model.add_wrapper(WrappersMP.CALC_COND_BATCH, short)


class NotesPrompts(Changed):
    """Patches that go by ComfyUI's numbers of prompts: the numbers of a call, in order."""

    def change(self, model):
        def note(run, x, timestep, context, *args, **kwargs):
            options = next(each for each in args if isinstance(each, dict))
            model.noted = sorted(options["cond_or_uncond"])
            return run(x, timestep, context, *args, **kwargs)

        model.add_wrapper(WrappersMP.DIFFUSION_MODEL, note)


class TellPrompts:
    """What NotesPrompts noted last."""

    RETURN_TYPES, FUNCTION, CATEGORY, OUTPUT_NODE = (), "tell", "tests", True

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"model": ("MODEL",), "after": ("LATENT",)}}

    def tell(self, model, after):
        return {"ui": {"text": [repr(model.noted)]}}


class PatchesABlock(Changed):
    """A block is patched: its video is made larger."""

    def change(self, model):
        def larger(args, extra):
            video, audio = extra["original_block"](args)["img"]
            return {"img": (video * 1.1, audio)}

        for block in (0, 1):  # 1 is the block that the tests skip
            model.set_model_patch_replace(larger, "dit", "double_block", block)


class SkipsABlock(Changed):
    """The self-attention of a block of LTX-2 is skipped, named by a set, which has no hash."""

    def change(self, model):
        model.model_options["transformer_options"]["stg_self_attn_blocks"] = {0}


class TellCache:
    """How many latents ComfyUI's EasyCache of a model keeps."""

    RETURN_TYPES, FUNCTION, CATEGORY, OUTPUT_NODE = (), "tell", "tests", True

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"model": ("MODEL",), "after": ("LATENT",)}}

    def tell(self, model, after):
        return {"ui": {"text": [str(len(model.model_options["transformer_options"]["easycache"].uuid_cache_diffs))]}}


class OwnPrediction:
    """Another pack's `predict_noise` of a guider: whether the guider still has it after a run."""

    RETURN_TYPES, FUNCTION, CATEGORY, OUTPUT_NODE = (), "tell", "tests", True

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"guider": ("GUIDER",), "latent": ("LATENT",), "noise": ("NOISE",), "sigmas": ("SIGMAS",)}}

    def tell(self, guider, latent, noise, sigmas):
        guider.predict_noise = own = guider.predict_noise
        euler = comfy.samplers.sampler_object("euler")
        guider.sample(noise.generate_noise(latent), latent["samples"], euler, sigmas, seed=1, disable_pbar=True)
        return {"ui": {"text": [str(vars(guider).get("predict_noise") is own)]}}


NODES = (WrapsCalls, ShortOfMemory, NotesPrompts, TellPrompts, PatchesABlock, SkipsABlock, TellCache, OwnPrediction)
