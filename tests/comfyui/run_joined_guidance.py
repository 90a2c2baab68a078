"""Runs in ComfyUI's Python: compares Duet's guidance on joined models with each model alone, guided by formulas written here.

run_joined_guidance.py COMFYUI_FOLDER RESULT writes its findings as JSON, by table and case.
"""

import json
import sys
from dataclasses import replace
from functools import partial
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

root, result = sys.argv[1], Path(sys.argv[2]).resolve()
spec = spec_from_file_location("joined_start", Path(__file__).with_name("joined_runs.py"))
start = module_from_spec(spec)
sys.modules["joined_start"] = start
spec.loader.exec_module(start)
start.start(root)

import comfy.samplers  # noqa: E402
import torch  # noqa: E402
from comfy_extras.nodes_custom_sampler import Guider_DualModel  # noqa: E402

from duet_av.av_models.guidance import GUIDANCE, AffineGuidance, Branch, Curve, Weight, make_guidance  # noqa: E402
from duet_av.nodes.joint_guider import _report  # noqa: E402
from duet_av.nodes.native.count_calls import _place, counted_calls  # noqa: E402
from duet_av.nodes.native.guide_model import guide_model  # noqa: E402
from duet_av.nodes.native.guider import JointGuider  # noqa: E402
from duet_av.nodes.native.guider_cells import _as_decoded  # noqa: E402
from duet_av.nodes.native.guider_labels import changes, label_guiders  # noqa: E402
from duet_av.nodes.native.joined.model import join_models, streams_of  # noqa: E402
from duet_av.nodes.native.joined.streams import is_flow  # noqa: E402
from duet_av.nodes.native.models import native_model  # noqa: E402
from duet_av.nodes.native.noise import TwoSeedNoise  # noqa: E402
from duet_av.nodes.sockets import GuidanceInput  # noqa: E402
from duet_av.tests.comfyui.joined_runs import (  # noqa: E402
    STREAMS,
    Case,
    apart,
    joined_model,
    joined_prompts,
    latent_of,
    nested,
    run_alone,
    run_joined,
    sample,
    sigmas_of,
    split,
)
from duet_av.tests.comfyui.native_pack import TinyModel  # noqa: E402
from duet_av.tests.comfyui.native_pack.joined_models import load, prompt  # noqa: E402

PAIRS = {
    "flow + flow": ("wan21", "stable_audio_3"), "flow + v": ("wan21", "stable_audio"), "EDM + flow": ("svd", "ace_step"),
    "another EDM + v": ("cosmos", "stable_audio"),
}  # fmt: skip
SCALES = {"video": 3.0, "audio": 2.0}
OF_BOTH = {f"{stream}_scale": scale for stream, scale in SCALES.items()}
ETA, MOMENTUM, NORM = 0.25, -0.5, 6.0


class Alone(comfy.samplers.CFGGuider):
    """A model alone, guided by a formula of its clean estimates, its latent and its level (α, σ)."""

    def __init__(self, model, prompts, formula, frames_are_rows):
        super().__init__(model)
        self.inner_set_conds(prompts)
        self.formula, self.frames_are_rows, self.steps = formula, frames_are_rows, 0
        self.flow = is_flow(model.get_model_object("model_sampling"))

    def predict_noise(self, x, timestep, model_options={}, seed=None):
        conds = [self.conds["positive"], self.conds["negative"]]
        found = comfy.samplers.calc_cond_batch(self.inner_model, conds, x, timestep, model_options)
        sigma = float(timestep[0])
        rows = 1 if self.frames_are_rows else len(x)
        level, step = (1 - sigma if self.flow else 1.0, sigma), self.steps
        self.steps += 1
        return self.formula(*(each.reshape(rows, -1) for each in (*found, x)), level, step).view_as(x)


def dot(a, b):
    return (a * b).sum(1, keepdim=True)


def cfg(c, u, x, level, step, scale):
    return u + scale * (c - u)


def zero_star(c, u, x, level, step, scale):
    alpha, sigma = level
    speed = lambda x0: (x - alpha * x0) / sigma - x0  # noqa: E731
    vc, vu = speed(c), speed(u)
    vu = dot(vc, vu) / dot(vu, vu) * vu
    v = 0 * x if step == 0 else vu + scale * (vc - vu)
    return (x - sigma * v) / (alpha + sigma)


class Projected:
    """APG, with momentum."""

    def __init__(self):
        self.before = 0

    def __call__(self, c, u, x, level, step, scale):
        self.before = delta = c - u + MOMENTUM * self.before
        delta = delta * (NORM / dot(delta, delta).sqrt()).clamp(max=1)
        parallel = dot(delta, c) / dot(c, c) * c
        return c + (scale - 1) * (delta - parallel + ETA * parallel)


def rescaled(c, u, x, level, step, scale, part):
    guided = cfg(c, u, x, level, step, scale)
    return guided * (1 + part * (c.std(1, keepdim=True) / guided.std(1, keepdim=True) - 1))


def in_interval(c, u, x, level, step, scale):
    alpha, sigma = level
    return cfg(c, u, x, level, step, scale if 0.6 <= sigma / (alpha + sigma) <= 0.97 else 1)


def curved(c, u, x, level, step, scale):
    return cfg(c, u, x, level, step, 1 + (scale - 1) * step / 3)


def ramped(c, u, x, level, step, scale, frames):
    """frames: of the video; None for the audio. Its values are in the order [C, F, h, w]."""
    if frames is None:
        return cfg(c, u, x, level, step, scale)
    ramp = torch.linspace(1 + 0.25 * (scale - 1), scale, frames).view(1, 1, -1, 1)
    c, u = (each.reshape(1, -1, frames, 16) for each in (c, u))
    return (u + ramp * (c - u)).reshape(1, -1)


METHODS = {  # the settings of our guidance, and the formula that makes the same of one stream
    "cfg": ({"name": "cfg"}, lambda stream: cfg),
    "cfg_zero_star": ({"name": "cfg_zero_star", "zero_steps": 1}, lambda stream: zero_star),
    "apg": ({"name": "apg", "eta": ETA, "momentum": MOMENTUM, "norm_threshold": NORM}, lambda stream: Projected()),
    "rescale": ({"name": "cfg", "rescale": 0.7, "audio_rescale": 0.4},
                lambda stream: partial(rescaled, part={"video": 0.7, "audio": 0.4}[stream])),
    "interval": ({"name": "cfg", "interval_low": 0.6, "interval_high": 0.97}, lambda stream: in_interval),
    "curve": ({"name": "cfg", "scale_curve": Curve(((0.0, 0.0), (1.0, 1.0)), "linear")}, lambda stream: curved),
}  # fmt: skip


def guided_by(strategy, bad=None):
    return lambda model, prompts: JointGuider(model, strategy, prompts["positive"], prompts.get("negative"), bad)


def alone_by(case, stream, formula):
    """The run of a model alone with a formula."""
    frames_are_rows = case.kind(stream) == "svd"
    return run_alone(replace(case, guider=lambda model, prompts: Alone(model, prompts, formula, frames_are_rows)), stream)


def methods():
    """How far both streams are apart from those of the models alone, and from those without guidance."""
    found = {}
    for pair, kinds in PAIRS.items():
        plain = run_joined(Case(*kinds, guider=guided_by(make_guidance("none"))))
        for name, (settings, formula) in METHODS.items():
            case = Case(*kinds, guider=guided_by(make_guidance(**settings, **OF_BOTH)))
            made = run_joined(case)
            own = [alone_by(case, stream, partial(formula(stream), scale=SCALES[stream])) for stream in STREAMS]
            found[f"{pair}: {name}"] = [*map(apart, made, own), min(map(apart, made, plain))]
        core = [run_alone(Case(*kinds, cfg=SCALES[stream]), stream) for stream in STREAMS]
        case = Case(*kinds, guider=guided_by(make_guidance("cfg", **OF_BOTH)))
        found[f"{pair}: ComfyUI's cfg"] = [*map(apart, run_joined(case), core), min(map(apart, core, plain))]
    case = Case(guider=guided_by(make_guidance("cfg", **OF_BOTH, frame_ramp=0.25)))
    own = [alone_by(case, stream, partial(ramped, scale=SCALES[stream], frames=count)) for stream, count in zip(STREAMS, (3, None))]
    found["frame ramp"] = [*map(apart, run_joined(case), own), 1.0]
    return found


def without_coupling():
    """Methods that are CFG here: how far they are from it, their rows and calls, and what the node says of them."""
    found, reference = {}, run_counted(Case(guider=guided_by(make_guidance("cfg", **OF_BOTH))))
    for name in ("cfg", "joint_cfg", "joint_cfg_star", "dual_cfg", "modality_cfg", "stg"):
        more = {"video_skip_scale": 1.0, "audio_skip_scale": 1.0} if name == "stg" else {}
        more |= {"a_to_v": 0.5} if name == "joint_cfg" else {}
        strategy = make_guidance(name, **OF_BOTH, **more)
        made, count = run_counted(Case(guider=guided_by(strategy)))
        told = _report(joined_model(Case()), GuidanceInput(strategy), {"positive": [{}], "negative": [{}]})
        same = all(map(torch.equal, made, reference[0]))
        found[name] = {"same": same, "rows": count.rows, "calls": count.calls, "told": told["text"], "facts": told["duet"][0]}
    return found


def run_counted(case):
    joined, counts = joined_model(case), []

    def guider(model, prompts):
        made = case.guider(model, prompts)
        sample = made.sample

        def counted(*args):
            with counted_calls(made) as count:
                counts.append(count)
                return sample(*args)

        made.sample = counted
        return made

    return run_joined(replace(case, guider=guider), joined), counts[0]


def costs():
    """Rows and calls of a step as the node says them and as they are counted, over 4 steps."""
    found = {}
    for name in GUIDANCE:
        if name == "stg":
            continue
        bad = join_models(load("wan21", 21), load("stable_audio_3", 22)) if name == "autoguidance" else None
        strategy = make_guidance(name, **({"zero_steps": 0} if name == "cfg_zero_star" else {}))
        _, count = run_counted(Case(guider=guided_by(strategy, bad)))
        found[name] = [count.rows / 4, count.calls / 4, *told_costs(Case(), GuidanceInput(strategy, bad))]
    return found


def entries(conditioning):
    return [{"cross_attn": tokens, **others} for tokens, others in conditioning]


def told_costs(case, guidance):
    """The branches and calls of a step, as the node shows them."""
    prompts = {name: entries(each) for name, each in joined_prompts(case).items()}
    facts = _report(joined_model(case), guidance, prompts)["duet"][0]
    return facts["branches_per_step"], facts["forwards_per_step"]


def words(kind, seed):
    """A negative prompt of another length: ComfyUI runs both in two calls."""
    return {"positive": prompt(kind, seed), "negative": prompt(kind, seed + 2, words=5)}


def more_costs():
    """Prompts of two lengths; a video that is given whole; and a video at scale 1, whose network has no negative to run."""
    strategy, found = make_guidance("cfg"), {}
    case = Case("wan21", "ace_step_15", prompts=words, guider=guided_by(strategy))
    _, count = run_counted(case)
    found["two lengths"] = [count.rows / 4, count.calls / 4, *told_costs(case, GuidanceInput(strategy))]
    given = Case(guider=guided_by(strategy), masks={"video": torch.zeros(latent_of(Case(), "video").shape)})
    made, given_count = run_counted(given)
    whole = run_joined(Case(guider=guided_by(strategy)))
    once, count = run_counted(Case(guider=guided_by(make_guidance("cfg", video_scale=1.0, audio_scale=3.0))))
    of_each = [count.by_streams[stream] / 4 for stream in STREAMS]
    own = [run_alone(Case(cfg=scale), stream) for stream, scale in zip(STREAMS, (1.0, 3.0))]
    found["scale 1"] = [*of_each, *map(apart, once, own)]
    found["given"] = [given_count.rows / 4, given_count.calls / 4, float(made[0].abs().max()), apart(made[1], whole[1])]
    return found


def changed_weights(patcher, seed=9):
    """The model with other weights laid over its own, as a LoRA does."""
    patched, chance = patcher.clone(), torch.Generator().manual_seed(seed)
    weights = {name: w for name, w in patched.model.state_dict().items() if name.startswith("diffusion_model.") and w.ndim == 2}
    patched.add_patches({name: ("diff", (0.1 * torch.randn(w.shape, generator=chance),)) for name, w in weights.items()})
    return patched


def autoguidance():
    """Against ComfyUI's DualModelGuider on each model, and with weights that both models share."""
    found, strategy = {}, make_guidance("autoguidance", **OF_BOTH)
    for pair, kinds in PAIRS.items():
        case = Case(*kinds)
        bad = {stream: load(case.kind(stream), 21) for stream in STREAMS}

        def dual(model, prompts, bad=bad, stream="video"):
            guider = Guider_DualModel(model, bad[stream])
            guider.set_conds(prompts["positive"], prompts["positive"])
            guider.set_cfg(SCALES[stream])
            return guider

        made = run_joined(replace(case, guider=guided_by(strategy, join_models(bad["video"], bad["audio"], 2.0))))
        own = [run_alone(replace(case, guider=partial(dual, stream=stream)), stream) for stream in STREAMS]
        found[pair] = list(map(apart, made, own))

    video, audio = load("wan21", 1), load("stable_audio_3", 2)
    good = join_models(changed_weights(video), changed_weights(audio))
    apart_loaded = join_models(load("wan21", 1), load("stable_audio_3", 2))
    run = lambda bad, strategy=strategy: run_joined(Case(guider=guided_by(strategy, bad)), good)  # noqa: E731
    plain, shared = run(None, make_guidance("none")), run(join_models(video, audio))
    found["of one loader"] = list(map(apart, shared, run(apart_loaded)))
    found["its effect"] = list(map(apart, shared, plain))
    weaker_audio = run(join_models(streams_of(good).video.patcher, audio))
    found["the same video"] = [apart(weaker_audio[0], plain[0]), apart(weaker_audio[1], shared[1])]
    found["the models afterwards"] = list(map(apart, run(None, make_guidance("none")), plain))
    return found


class Mixed(AffineGuidance):
    """A branch with different prompts for video and audio."""

    name = "mixed"

    def weights(self):
        return [(Branch("positive", "negative"), Weight(1.0, 1.0)), (Branch("negative", "positive"), Weight(0.5, 0.25)),
                (Branch(), Weight(-0.5, -0.25))]  # fmt: skip


def mixed_prompts():
    """video: pos + 0.5 (neg − pos). audio: neg + 0.25 (pos − pos)."""
    made, count = run_counted(Case(guider=guided_by(Mixed())))
    halves = {"video": lambda c, u, *_: c + 0.5 * (u - c), "audio": lambda c, u, *_: u + 0.25 * (c - c)}
    own = [alone_by(Case(), stream, halves[stream]) for stream in STREAMS]
    return [*map(apart, made, own), count.rows / 4, count.calls / 4]


def by_any_sampler():
    """A guided MODEL in ComfyUI's own guider, and Joint Guider: largest differences, by sampler."""
    strategy, found = make_guidance("apg", **OF_BOTH), {}
    for name in ("euler", "heun", "dpmpp_2m", "euler_cfg_pp"):
        case = Case(sampler=name, guider=guided_by(strategy))
        in_core = Case(sampler=name, cfg=8.0, after=lambda model: guide_model(model, strategy))
        found[name] = list(map(apart, run_joined(in_core), run_joined(case)))
    return found


def seeds():
    """By guider, sampler and changed seed: how far the video and the audio are apart."""
    found = {}
    guiders = {"ours": guided_by(make_guidance("cfg", **OF_BOTH)), "ComfyUI's": None}
    for name in ("euler", "euler_ancestral", "dpmpp_sde", "lcm"):
        for whose, guider in guiders.items():
            for kinds in (("wan21", "stable_audio_3"), ("svd", "ace_step")):
                runs = [with_seeds(Case(*kinds, sampler=name, guider=guider), *of) for of in ((1, 2), (1, 3), (4, 2))]
                found[f"{whose} {name} {kinds[0]}"] = [list(map(apart, each, runs[0])) for each in runs[1:]]
    return found


def with_seeds(case, video, audio):
    noise = TwoSeedNoise(video, audio)
    latent = nested(case, [latent_of(case, stream) for stream in STREAMS])
    drawn = noise.generate_noise({"samples": latent})
    joined = joined_model(case)
    made = sample(case, joined, joined_prompts(case), (drawn, latent, None), sigmas_of(case, joined), noise.seed)
    return split(case, made)


def refused():
    """By case: why it is refused."""
    bad = join_models(load("wan21", 21), load("stable_audio_3", 22))
    auto = make_guidance("autoguidance")
    cases = {
        "stg": guided_by(make_guidance("stg")),
        "skip scale": guided_by(make_guidance("modality_cfg", video_skip_scale=2.0)),
        "negative_skip_block": guided_by(make_guidance("cfg", negative_skip_block=1)),
        "no bad model": guided_by(auto),
        "the same": lambda model, prompts: guided_by(auto, model)(model, prompts),
        "its clone": lambda model, prompts: guided_by(auto, model.clone())(model, prompts),
        "another video": guided_by(auto, join_models(load("ltxv", 21), load("stable_audio_3", 22))),
        "another audio": guided_by(auto, join_models(load("wan21", 21), load("ace_step", 22))),
        "one model": guided_by(auto, load("wan21", 21)),
        "no negative": lambda model, prompts: guided_by(make_guidance("joint_cfg"))(model, {"positive": prompts["positive"]}),
        "a second joined model": lambda model, prompts: dual_model(model, prompts, bad),
    }
    found = {}
    for name, guider in cases.items():
        try:
            run_joined(Case(guider=guider))
            found[name] = "not refused"
        except ValueError as error:
            found[name] = str(error)
    return found


def dual_model(model, prompts, bad):
    guider = Guider_DualModel(model, bad)
    guider.set_conds(prompts["positive"], prompts["negative"])
    guider.set_cfg(2.0)
    return guider


def facts():
    """What nodes ask of an adapter."""
    adapters = {pair: native_model(joined_model(Case(*kinds))) for pair, kinds in PAIRS.items()}
    found = {"names": {pair: adapter.name for pair, adapter in adapters.items()}}
    found["times"] = {pair: adapter.times(0.5, {}) for pair, adapter in adapters.items()}
    found["sigmas"] = {pair: adapter.times(adapter.sigma_at(0.25), {})[0] for pair, adapter in adapters.items()}
    found["fps"] = {}
    for kind in ("wan21", "ltxv", "svd"):
        adapter = native_model(joined_model(Case(kind)))
        found["fps"][kind] = float(adapter.frame_rate(entries(joined_prompts(Case(kind))["positive"])))
    guiders = [guided_by(make_guidance(name))(joined_model(Case()), joined_prompts(Case())) for name in ("joint_cfg", "cfg")]
    found["labels"], found["changes"] = label_guiders(guiders), changes(guiders)
    counted = {kind: TinyModel.load(kind, 1) for kind in ("ltx", "h3")}
    counted |= {kind: load(kind, 1) for kind in ("wan21", "stable_audio_3")}
    found["counted at"] = {kind: _place(patcher) for kind, patcher in counted.items()}
    single, whole = type("VAE", (), {"latent_dim": 2}), type("VAE", (), {"latent_dim": 3})
    video = torch.arange(24.0).view(1, 2, 3, 2, 2)
    found["decoded"] = [_as_decoded(single, video)[1].equal(video[0, :, 1]), _as_decoded(whole, video) is video]
    return found


TABLES = (methods, without_coupling, costs, more_costs, autoguidance, mixed_prompts, by_any_sampler, seeds, refused, facts)
result.write_text(json.dumps({table.__name__: table() for table in TABLES}))
