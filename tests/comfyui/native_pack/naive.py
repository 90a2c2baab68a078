"""A guider that runs every branch of a strategy alone, by the shortest way that ComfyUI has: the reference of our guider."""

from contextlib import contextmanager
from functools import partial

import comfy.model_patcher
import comfy.samplers
import comfy.utils
import torch
from comfy.ldm.minimax.model import PackedLayout
from comfy.patcher_extension import WrappersMP, add_wrapper

SHOWN = {"video": ("text", "cond", "ref_img", "video"), "audio": ("text", "cond_audio", "ref_audio", "audio")}


def cut_of(branch):
    kind = type(branch.coupling.kind)
    return type(branch.coupling)(kind("cut"))


@contextmanager
def weaker(network, a_to_v, v_to_a):
    """An LTX network whose cross-modal layers answer with a part of what they would."""
    for block in network.transformer_blocks:
        for name, share in (("audio_to_video_attn", a_to_v), ("video_to_audio_attn", v_to_a)):
            layer = getattr(block, name)
            layer.forward = partial(lambda run, share, *args, **kwargs: share * run(*args, **kwargs), layer.forward, share)
    try:
        yield
    finally:
        for block in network.transformer_blocks:
            del block.audio_to_video_attn.forward, block.video_to_audio_attn.forward


class Naive(comfy.samplers.CFGGuider):
    """Strategies that are weighted sums, coupled fully or cut. JointCFG by its equation; others by their own sum."""

    def __init__(self, guider, model):
        super().__init__(model)
        self.strategy, self.original_conds = guider.strategy, guider.original_conds
        names = type(guider.strategy).branches.__globals__
        self.step_of, self.latent_of = names["Step"], names["AVLatent"]

    def sample(self, noise, latent_image, sampler, sigmas, *args, **kwargs):
        self.steps = sigmas.tolist()
        return super().sample(noise, latent_image, sampler, sigmas, *args, **kwargs)

    def inner_sample(self, *args, latent_shapes=None, **kwargs):
        self.shapes = self.inner_model.latent_shapes = latent_shapes
        return super().inner_sample(*args, latent_shapes=latent_shapes, **kwargs)

    def predict_noise(self, x, timestep, model_options={}, seed=None):
        sigma = float(timestep[0])
        index = sum(each > sigma + 1e-6 for each in self.steps)
        step = self.step_of(index, len(self.steps) - 1, sigma, sigma)
        found = {branch: self.run(branch, x, timestep, model_options) for branch in self.strategy.branches(step)}
        if self.strategy.name == "joint_cfg" and len(found) == 2:
            (cut,) = (made for branch, made in found.items() if branch.video == "negative")
            (prompt,) = (made for branch, made in found.items() if branch.video == "positive")
            v, a = self.strategy.video_scale, self.strategy.audio_scale
            parts = prompt.video * v + cut.video * (1 - v), prompt.audio * a + cut.audio * (1 - a)
        else:
            guided, _ = self.strategy.combine(found, step, None)
            parts = guided.video, guided.audio
        packed = comfy.utils.pack_latents(list(parts))[0]
        for change in model_options.get("sampler_post_cfg_function", []):
            prompt = self.run(type(next(iter(found)))(), x, timestep, model_options)
            packed = change({
                "denoised": packed, "cond": self.conds["positive"], "uncond": self.conds.get("negative"), "cond_scale": 1.0,
                "model": self.inner_model, "uncond_denoised": packed,
                "cond_denoised": comfy.utils.pack_latents([prompt.video, prompt.audio])[0], "sigma": timestep,
                "model_options": model_options, "input": x,
            })  # fmt: skip
        return packed

    def run(self, branch, x, sigma, options):
        """The clean estimate of one branch, in a call of its own, or two where MiniMax-H3 is cut."""
        options = comfy.model_patcher.create_model_options_clone(options)
        coupling = branch.coupling.a_to_v, branch.coupling.v_to_a
        h3 = isinstance(self.inner_model.diffusion_model, comfy.ldm.minimax.model.MiniMaxH3Model)
        if branch.skip_block is not None and h3:
            skip = lambda args, _: {"img": args["img"]}  # noqa: E731
            comfy.model_patcher.set_model_options_patch_replace(options, skip, "dit", "double_block", branch.skip_block)
        elif branch.skip_block is not None:
            options["transformer_options"]["stg_self_attn_blocks"] = {branch.skip_block}
        if branch.coupling.kind.value == "full" and h3:
            full = self.call(branch, x, sigma, options)
            if coupling == (1.0, 1.0):
                return full
            cut = self.run(
                type(branch)(branch.video, branch.audio, cut_of(branch), skip_block=branch.skip_block), x, sigma, options
            )
            mixed = (a + share * (b - a) for a, b, share in zip(vars(cut).values(), vars(full).values(), coupling))
            return self.latent_of(*mixed)
        if branch.coupling.kind.value == "full":
            with weaker(self.inner_model.diffusion_model, *coupling):
                return self.call(branch, x, sigma, options)
        if not h3:
            options["transformer_options"] |= {"a2v_cross_attn": False, "v2a_cross_attn": False}
            return self.call(branch, x, sigma, options)
        video, audio = (self.call(branch, x, sigma, self.blind(options, stream)) for stream in SHOWN)
        return self.latent_of(video.video, audio.audio)

    def call(self, branch, x, sigma, options):
        (made,) = comfy.samplers.calc_cond_batch(self.inner_model, [self.conds[branch.video]], x, sigma, options)
        return self.latent_of(*comfy.utils.unpack_latents(made, self.shapes))

    def blind(self, options, stream):
        """Options with a mask under which this stream and the text see nothing of the other stream."""
        options = comfy.model_patcher.create_model_options_clone(options)

        def wrapped(run, x, timestep, context, transformer_options, minimax_payload=None, **kwargs):
            height, width = ((size + 1) // 2 * 2 for size in x[0].shape[-2:])
            given = {key: (minimax_payload or {}).get(key) for key in ("keyframes", "refs")}
            layout = PackedLayout(context.shape[1], x[0].shape[2], height, width, x[1].shape[-1], **given)
            seen = torch.zeros(layout.seq_len, dtype=torch.bool)
            for start, stop, kind in layout.segments:
                seen[start:stop] = kind in SHOWN[stream]
            hidden = torch.zeros(layout.seq_len, layout.seq_len).masked_fill(seen[:, None] & ~seen[None, :], -1e9)
            previous = transformer_options.get("optimized_attention_override")

            def attend(func, q, *args, **options):
                if q.shape[-2] == layout.seq_len:
                    options["mask"] = hidden.to(q)
                return func(q, *args, **options) if previous is None else previous(func, q, *args, **options)

            changed = {**transformer_options, "optimized_attention_override": attend}
            return run(x, timestep, context, changed, minimax_payload=minimax_payload, **kwargs)

        add_wrapper(WrappersMP.DIFFUSION_MODEL, wrapped, options["transformer_options"])
        return options


class NaiveGuider:
    RETURN_TYPES, FUNCTION, CATEGORY = ("GUIDER",), "make", "tests"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"guider": ("GUIDER",), "model": ("MODEL",)}}

    def make(self, guider, model):
        return (Naive(guider, model),)


NODES = (NaiveGuider,)
