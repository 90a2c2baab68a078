"""The small models of video alone and of audio alone, in ComfyUI: each runs, and its prompt and seed have an effect."""

from duet_av.tests.comfyui.graphs import node

HALVES = (
    "wan21", "wan21_i2v", "wan22_5b", "hunyuan", "hunyuan15", "ltxv", "cosmos", "cogvideox", "svd", "stable_audio",
    "stable_audio_3", "ace_step", "ace_step_15",
)  # fmt: skip


def sampled(half: str) -> dict:
    """A graph that samples with two prompts and compares the results."""
    settings = {"seed": 3, "steps": 2, "cfg": 3.0, "sampler_name": "euler", "scheduler": "simple", "denoise": 1.0}
    run = {"model": [half, 0], "negative": [f"{half} no", 0], "latent_image": [half, 1], **settings}
    prompts = {f"{half} {name}": node("TinyHalfPrompt", kind=half, seed=seed) for seed, name in enumerate(("yes", "other", "no"))}
    samplers = {f"{half} {name} out": node("KSampler", positive=[f"{half} {name}", 0], **run) for name in ("yes", "other")}
    told = node("HowFarApart", a=[f"{half} yes out", 0], b=[f"{half} other out", 0])
    return {half: node("TinyHalf", kind=half, seed=1), **prompts, **samplers, f"{half} told": told}


def test_each_half_is_sampled_with_its_prompt(native):
    run = native.run({key: each for half in HALVES for key, each in sampled(half).items()})
    assert run.succeeded, run.error
    apart = {half: [float(number) for number in run.texts[f"{half} told"]] for half in HALVES}
    assert all(difference > 0.001 * spread > 0 for difference, spread in apart.values()), apart
