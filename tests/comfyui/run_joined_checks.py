"""Runs in ComfyUI's Python: given streams, memory, errors in the middle of a run, and bad input of joined models.

run_joined_checks.py COMFYUI_FOLDER RESULT writes the findings as JSON.
"""

import gc
import json
import resource
import sys
import weakref
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import patch

root, result = sys.argv[1], Path(sys.argv[2]).resolve()
spec = spec_from_file_location("joined_start", Path(__file__).with_name("joined_runs.py"))
begin = module_from_spec(spec)
sys.modules["joined_start"] = begin
spec.loader.exec_module(begin)
begin.start(root)

import comfy.hooks  # noqa: E402
import comfy.model_management as management  # noqa: E402
import comfy.samplers  # noqa: E402
import torch  # noqa: E402
from comfy.nested_tensor import NestedTensor  # noqa: E402
from comfy.patcher_extension import WrappersMP  # noqa: E402
from comfy.samplers import CFGGuider, sampler_object  # noqa: E402
from comfy.sd import load_lora_for_models  # noqa: E402
from comfy_extras.nodes_advanced_samplers import SamplerLCMUpscale  # noqa: E402
from comfy_extras.nodes_custom_sampler import CFGOverride, DualModelGuider, SamplerCustomAdvanced  # noqa: E402
from comfy_extras.nodes_easycache import EasyCacheNode, LazyCacheNode  # noqa: E402
from comfy_extras.nodes_model_advanced import ModelComputeDtype  # noqa: E402
from comfy_extras.nodes_model_merging import ModelSave  # noqa: E402
from comfy_extras.nodes_pag import PerturbedAttentionGuidance  # noqa: E402
from comfy_extras.nodes_video_model import ConditioningSetAreaPercentageVideo  # noqa: E402

import nodes as core  # noqa: E402
from duet_av.nodes.join_conditioning import DuetJoinConditioning  # noqa: E402
from duet_av.nodes.join_models import DuetJoinModels  # noqa: E402
from duet_av.nodes.native.joined.prompts import join_prompts  # noqa: E402
from duet_av.tests.comfyui import joined_cases as cases  # noqa: E402
from duet_av.tests.comfyui.joined_runs import (  # noqa: E402
    STREAMS,
    Case,
    apart,
    joined_model,
    latent_of,
    model_of,
    nested,
    noise_of,
    prompts_of,
    run_alone,
    run_joined,
    sample,
    sigmas_of,
)
from duet_av.tests.comfyui.native_pack import Compiled, TinyModel  # noqa: E402
from duet_av.tests.comfyui.native_pack.joined_models import load, prompt  # noqa: E402

LITTLE = 120_000  # bytes
PAIR = ("wan22_5b", "stable_audio_3")


def counted(model, calls):
    """A copy of a model that notes its network calls."""

    def note(run, *args, **kwargs):
        calls.append(1)
        return run(*args, **kwargs)

    watched = model.clone()
    watched.add_wrapper(WrappersMP.APPLY_MODEL, note)
    return watched


def noted_sigmas(model, found):
    """A copy of a model that notes the σ of its network calls."""

    def note(run, x, sigma, *args, **kwargs):
        found.append(float(sigma[0]))
        return run(x, sigma, *args, **kwargs)

    watched = model.clone()
    watched.add_wrapper(WrappersMP.APPLY_MODEL, note)
    return watched


def own_sigmas():
    """The σ of both networks in a joined run, in runs of their own, and halfway through each model's own schedule."""
    found = {}
    for video, audio in (("wan21", "stable_audio_3"), ("ltxv", "stable_audio"), ("svd", "ace_step")):
        seen = {stream: [] for stream in STREAMS}
        watch = {stream: (lambda model, of=each: noted_sigmas(model, of)) for stream, each in seen.items()}
        case = Case(video, audio, change=watch, cfg=1.0)
        joined = joined_model(case)
        run_joined(case, joined)
        together = {stream: list(each) for stream, each in seen.items()}
        for stream in STREAMS:
            seen[stream].clear()
            run_alone(case, stream, joined)
        half = {stream: model_of(case, stream).get_model_object("model_sampling").percent_to_sigma(0.5) for stream in STREAMS}
        middle = float(joined.model.streams.audio.sigma(torch.tensor(half["video"])))
        found[f"{video} {audio}"] = {"joined": together, "alone": seen, "half": [middle, half["audio"]]}
    return found


def all_given(case, *streams):
    return {stream: torch.zeros_like(latent_of(case, stream)) for stream in streams}


def given(*streams, **changes):
    """Whether given streams come back to the last bit, the calls of each network, and whether each was loaded."""
    calls = {stream: [] for stream in STREAMS}
    watch = {stream: (lambda model, of=each: counted(model, of)) for stream, each in calls.items()}
    case = Case(*PAIR, change=watch, latents=cases.both(*PAIR), **changes)
    case = replace(case, masks=all_given(case, *streams))
    joined = joined_model(case)
    made = dict(zip(STREAMS, run_joined(case, joined)))
    loaded = [each.model.model for each in management.current_loaded_models if each.model is not None]
    children = {stream: getattr(joined.model.streams, stream).model for stream in STREAMS}
    return {
        "calls": {stream: len(each) for stream, each in calls.items()},
        "kept": all(torch.equal(made[stream], case.latents[stream]) for stream in streams),
        "loaded": {stream: any(each is model for each in loaded) for stream, model in children.items()},
        "apart": {
            stream: apart(made[stream], run_alone(replace(case, change={}), stream, joined))
            for stream in STREAMS if stream not in streams
        },
    }  # fmt: skip


def given_with_one_prompt():
    """A silent video with the prompts of the audio's model alone, not joined: the difference to joined prompts."""
    case = Case(*PAIR, latents=cases.both(*PAIR))
    case = replace(case, masks=all_given(case, "video"))
    joined = joined_model(case)
    parts = [[of(case, stream) for stream in STREAMS] for of in (noise_of, latent_of)]
    masks = [case.masks["video"], torch.ones_like(latent_of(case, "audio"))]
    inputs = [nested(case, each) for each in (*parts, masks)]
    made = sample(case, joined, prompts_of(case, "audio"), inputs, sigmas_of(case, joined), case.seed)
    return [apart(a, b) for a, b in zip(made.unbind(), run_joined(case, joined))]


# Memory


@contextmanager
def loads():
    """Notes what ComfyUI is asked to load."""
    found, real = [], management.load_models_gpu

    def note(models, memory_required=0, minimum_memory_required=None, **kwargs):
        found.append({"models": list(models), "required": memory_required, "minimum": minimum_memory_required})
        return real(models, memory_required=memory_required, minimum_memory_required=minimum_memory_required, **kwargs)

    with patch.object(management, "load_models_gpu", note):
        yield found


def estimates():
    """The memory asked for in a joined run, and by each model alone; a control of the video's needs 7 GB."""
    with patch.object(cases.Control, "memory", 7 << 30):
        case = Case("hunyuan", "ace_step", prompts=cases.controlled)
        joined = joined_model(case)
        with loads() as together:
            run_joined(case, joined)
        alone = []
        for stream in STREAMS:
            with loads() as found:
                run_alone(case, stream, joined)
            alone += found
    children = {id(getattr(joined.model.streams, stream).patcher) for stream in STREAMS}
    asked = [each for each in together if children & {id(model) for model in each["models"]}]
    numbers = lambda of: [of["required"], of["minimum"]]  # noqa: E731
    return {
        "loads": len(asked), "both": children <= {id(model) for model in asked[0]["models"]}, "joined": numbers(asked[0]),
        "alone": [numbers(each) for each in alone],
    }  # fmt: skip


def beside():
    """Whether the models of a prompt's hooks are loaded with the two."""
    other = load("ltxv", 7)
    hooks = comfy.hooks.HookGroup()
    hooks.add(comfy.hooks.AdditionalModelsHook([other], "other"))
    case = Case(of_all=lambda prompts: cases.with_hooks(prompts, hooks))
    joined = joined_model(replace(case, prompts=None))
    with loads() as found:
        run_joined(case, joined)
    return [any(model is other for model in each["models"]) for each in found if len(each["models"]) > 1]


def delegate():
    """How far the video is from its own run where hooks make ComfyUI run it by a second patcher, as one of dynamic memory."""

    def dynamic(model):
        copied = load("wan21", 1)
        model.is_dynamic = lambda: True
        model.get_non_dynamic_delegate = lambda: copied
        return model

    case = Case(audio="ace_step_15", prompts=cases.hooked(), change={"video": dynamic})
    joined = joined_model(case)
    made = run_joined(case, joined)
    return apart(made[0], run_alone(case, "video", joined))


def several_cards():
    """How far the video is from its own run where ComfyUI spreads it over two cards, and the steps in which it did so."""

    def spread(model):
        copied = model.deepclone_multigpu(new_load_device=torch.device("cpu:0"))
        copied.is_multigpu_base_clone = True
        model.set_additional_models("multigpu", [copied])
        return model

    case = Case(change={"video": spread})
    joined, real, calls = joined_model(case), comfy.samplers._calc_cond_batch_multigpu, []
    with patch.object(comfy.samplers, "_calc_cond_batch_multigpu", lambda *args: calls.append(1) or real(*args)):
        made, steps = run_joined(case, joined), len(calls)
        return [apart(made[0], run_alone(case, "video", joined)), steps]


def clean_estimates():
    """How far the clean estimates of a partial run, which SamplerCustomAdvanced puts out, are from those of both models alone."""
    found = {}
    for video, audio in (("wan21", "ace_step"), ("svd", "stable_audio")):
        case = Case(video, audio, span=(0, 2))
        joined = joined_model(case)
        sigmas = sigmas_of(case, joined)

        def run(model, prompts, noise, latent, sigmas):
            guider = CFGGuider(model)
            guider.set_conds(prompts["positive"], prompts["negative"])
            guider.set_cfg(3.0)
            drawn = SimpleNamespace(seed=1, generate_noise=lambda _: noise)
            euler = sampler_object("euler")
            return SamplerCustomAdvanced.execute(drawn, guider, euler, sigmas, {"samples": latent}).result[1]["samples"]

        parts = [[of(case, stream) for stream in STREAMS] for of in (noise_of, latent_of)]
        together = begin.split(case, run(joined, begin.joined_prompts(case), *(nested(case, each) for each in parts), sigmas))
        alone = [
            run(stream.patcher, prompts_of(case, stream.kind.stream), noise, latent, stream.sigma(sigmas))
            for stream, noise, latent in zip(joined.model.streams, *parts)
        ]
        found[f"{video} {audio}"] = [apart(a, b) for a, b in zip(together, alone)]
    return found


def small_card():
    """How far a run in little memory is from one with all weights loaded, and how much of the weights was loaded.

    ComfyUI takes the CPU for a card. Weights that do not fit are cast where they are used.
    """
    case = Case("hunyuan15", "ace_step_15")
    whole = run_joined(case)
    joined = joined_model(case)
    card = {
        "is_device_cpu": lambda _: False, "vram_state": management.VRAMState.NORMAL_VRAM, "get_free_memory": _little,
        "minimum_inference_memory": lambda: 1_000, "extra_reserved_memory": lambda: 0,
    }  # fmt: skip
    with ExitStack() as stack:
        for name, value in card.items():
            stack.enter_context(patch.object(management, name, value))
        for stream in joined.model.streams:
            stack.enter_context(patch.object(stream.model, "memory_required", lambda *_, **__: 500))
        made = run_joined(case, joined)
        shares = [stream.patcher.loaded_size() / stream.patcher.model_size() for stream in joined.model.streams]
    return {"apart": [apart(a, b) for a, b in zip(made, whole)], "loaded": shares}


def _little(device=None, torch_free_too=False):
    return (LITTLE, LITTLE) if torch_free_too else LITTLE


def growth(runs):
    """Objects, loaded models and megabytes that were added by a number of runs, after a few."""
    case = Case(audio="ace_step_15", prompts=cases.hooked(), change={"video": cases.lora}, steps=2)
    joined = joined_model(case)

    def state():
        gc.collect()
        kinds = [type(each).__name__ for each in gc.get_objects()]
        tensors = sum(name in ("Tensor", "Parameter") for name in kinds)
        return [tensors, kinds.count("JoinedRun"), len(management.current_loaded_models)]

    for _ in range(5):
        run_joined(case, joined)
    before, memory = state(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(runs):
        run_joined(case, joined)
    after = state()
    return {"before": before, "after": after, "MB": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory) / 1024}


def freed():
    """Whether a joined MODEL is gone with its graph, and its models with theirs."""
    case = Case()
    models = [model_of(case, stream) for stream in STREAMS]
    (joined,) = DuetJoinModels.execute(*models).result
    run_joined(case, joined)
    watched = [weakref.ref(joined.model), *(weakref.ref(model.model) for model in models)]
    del joined
    gc.collect()
    first = [each() is None for each in watched]
    del models
    gc.collect()
    management.cleanup_models_gc()
    return [first, [each() is None for each in watched]]


def _area(conditioning):
    return core.ConditioningSetArea().append(conditioning, 16, 16, 0, 0, 1.0)[0]


def _masked(conditioning):
    half = torch.ones(1, 32, 32)
    half[:, :16] = 0
    return core.ConditioningSetMask().append(conditioning, half, "default", 0.7)[0]


def _part(conditioning):
    return ConditioningSetAreaPercentageVideo().append(conditioning, 0.5, 0.5, 0.5, 0.0, 0.0, 0.4, 1.0)[0]


def places():
    """How far a place in the video that is set behind the joined prompts is from one set on the video's, and from none."""
    video, audio = prompt("wan21", 3), prompt("stable_audio_3", 4)
    more, negative = join_prompts(prompt("wan21", 13), prompt("stable_audio_3", 14)), _join(None, 2)
    runs = {"positive": join_prompts(video, audio) + more, "negative": negative}
    plain, found = run_joined(Case(of_all=lambda _: runs)), {}
    for name, place in (("area", _area), ("mask", _masked), ("part of the video", _part)):
        behind = runs | {"positive": place(join_prompts(video, audio)) + more}
        before = runs | {"positive": join_prompts(place(video), audio) + more}
        made = [run_joined(Case(of_all=lambda _, prompts=prompts: prompts)) for prompts in (behind, before)]
        found[name] = [*(apart(*pair) for pair in zip(*made)), *(apart(*pair) for pair in zip(made[0], plain))]
    return found


# Errors in the middle


class Stopped(RuntimeError):
    pass


def stops(model, stop):
    """A copy of a model whose third network call fails while `stop` holds an error."""
    calls = []

    def fail(run, *args, **kwargs):
        calls.append(1)
        if stop and len(calls) % 3 == 0:
            raise stop[0]
        return run(*args, **kwargs)

    watched = model.clone()
    watched.add_wrapper(WrappersMP.APPLY_MODEL, fail)
    return watched


def after_errors():
    """What is left of a run that was stopped: whether both models are clean and the next run is the same to the last bit."""
    found = {}
    for stream in STREAMS:
        for error in (management.InterruptProcessingException(), Stopped("out of memory")):
            stop = []
            change = {stream: lambda model, stop=stop: stops(model, stop)}
            case = Case(audio="ace_step_15", prompts=cases.hooked(), change=change)
            joined = joined_model(case)
            before = run_joined(case, joined)
            weights = [{name: w.clone() for name, w in each.model.state_dict().items()} for each in _patchers(joined)]
            stop.append(error)
            raised = None
            try:
                run_joined(case, joined)
            except (management.InterruptProcessingException, Stopped) as seen:
                raised = type(seen).__name__
            stop.clear()
            left = [(each.hook_backup, each.hook_patches_backup, each.hook_patches) for each in _patchers(joined)]
            clean = not any(any(each) for each in left) and all(each.model.current_patcher is None for each in _patchers(joined))
            kept = all(
                torch.equal(w, old[name]) for each, old in zip(_patchers(joined), weights)
                for name, w in each.model.state_dict().items()
            )  # fmt: skip
            again = run_joined(case, joined)
            found[f"{raised} in {stream}"] = [clean, kept, all(torch.equal(a, b) for a, b in zip(before, again))]
    return found


def _patchers(joined):
    return [stream.patcher for stream in joined.model.streams]


# Bad input


def sampled(joined=None, prompts=None, latent=None, sampler="euler", **changes):
    """Runs what KSampler runs."""
    case = Case(**changes)
    joined = joined_model(case) if joined is None else joined
    positive, negative = prompts or (_join(joined), _join(joined, 2))
    latent = nested(case, [latent_of(case, stream) for stream in STREAMS]) if latent is None else latent
    return core.common_ksampler(joined, 1, 2, 3.0, sampler, "simple", positive, negative, {"samples": latent})


def _join(joined, more=0, video="wan21", audio="stable_audio_3"):
    return join_prompts(prompt(video, 3 + more), prompt(audio, 4 + more))


def _zeroed(conditioning):
    return core.ConditioningZeroOut().zero_out(conditioning)[0]


def _with_other_model(other):
    return lambda joined, of: DualModelGuider.execute(joined, of["positive"], 3.0, other, of["negative"]).result[0]


def refusals():
    """Returns functions that must fail, by what is wrong."""
    video, audio = load("wan21", 1), load("stable_audio_3", 2)
    join = lambda *models: DuetJoinModels.execute(*models).result[0]  # noqa: E731
    joined = join(video, audio)
    zeros = lambda *shapes: NestedTensor([torch.zeros(shape) for shape in shapes])  # noqa: E731
    good = (1, 16, 3, 4, 4), (1, 256, 10)
    words = DuetJoinConditioning.execute
    upscale = SamplerLCMUpscale.execute(1.5, 1, "nearest").result[0]
    lazy = lambda model: LazyCacheNode.execute(model, 0.3, 0.1, 0.9, False).result[0]  # noqa: E731
    easy = lambda model: EasyCacheNode.execute(model, 0.3, 0.1, 0.9, False).result[0]  # noqa: E731
    return {
        "two videos": lambda: join(video, load("cosmos", 1)),
        "two audios": lambda: join(audio, load("ace_step", 1)),
        "a model that makes both": lambda: join(TinyModel.load("ltx", 1), audio),
        "a joined model": lambda: join(joined, audio),
        "LazyCache on one": lambda: join(lazy(video), audio),
        "a latent of the video alone": lambda: sampled(joined, latent=torch.zeros(good[0])),
        "other channels": lambda: sampled(joined, latent=zeros((1, 48, 3, 4, 4), good[1])),
        "an audio of another form": lambda: sampled(joined, latent=zeros(good[0], (1, 8, 16, 10))),
        "streams exchanged": lambda: sampled(joined, latent=zeros(good[1], good[0])),
        "two clips of SVD": lambda: sampled(video="svd", latent=zeros((2, 4, 3, 4, 4), (2, 256, 10)), prompts=(
            _join(joined, video="svd"), _join(joined, 2, video="svd")
        )),
        "an encoder of another width": lambda: sampled(joined, prompts=(
            words(joined, prompt("stable_audio_3", 1), prompt("stable_audio_3", 2)).result[0], _join(joined)
        )),
        "a prompt of one model": lambda: sampled(joined, prompts=(prompt("wan21", 1), _join(joined))),
        "joined twice": lambda: words(joined, _join(joined), prompt("stable_audio_3", 2)),
        "zeroed after joining": lambda: sampled(joined, prompts=(_join(joined), _zeroed(_join(joined)))),
        "a LoRA after joining": lambda: load_lora_for_models(joined, None, cases.lora_tensors(video), 1.0, 0.0),
        "a shift after joining": lambda: sampled(cases.shift(3.0)(joined)),
        "EasyCache after joining": lambda: sampled(easy(joined)),
        "a compiler after joining": lambda: Compiled().make(joined),
        "a mask on the audio": lambda: sampled(joined, prompts=(
            join_prompts(prompt("wan21", 3), _masked(prompt("stable_audio_3", 4))), _join(joined)
        )),
        "an area of an image": lambda: sampled(joined, prompts=(
            core.ConditioningSetAreaPercentage().append(_join(joined), 0.5, 0.5, 0.0, 0.0, 1.0)[0], _join(joined)
        )),
        "an image of another length": lambda: sampled(video="wan21_i2v", latent=zeros((1, 16, 1, 4, 4), good[1]), prompts=(
            _join(joined, video="wan21_i2v"), _join(joined, 2, video="wan21_i2v")
        )),
        "an audio that is too short": lambda: sampled(audio="ace_step_15", latent=zeros(good[0], (1, 64, 2)), prompts=(
            _join(joined, audio="ace_step_15"), _join(joined, 2, audio="ace_step_15")
        )),
        "a size that the network does not take": lambda: sampled(video="cosmos", latent=zeros((1, 16, 3, 5, 9), good[1]), prompts=(
            _join(joined, video="cosmos"), _join(joined, 2, video="cosmos")
        )),
        "a guider with another model": lambda: sample(
            Case(guider=_with_other_model(video)), joined, {"positive": _join(joined), "negative": _join(joined)},
            [zeros(*good), zeros(*good), None], sigmas_of(Case(), joined), 1,
        ),
        "CFG Override on one": lambda: join(CFGOverride.execute(video, 1.0, 0.0, 0.5).result[0], audio),
        "perturbed attention after joining": lambda: sampled(PerturbedAttentionGuidance.execute(joined, 3.0).result[0]),
        "a data type after joining": lambda: sampled(ModelComputeDtype().patch(joined, "bf16")[0]),
        "a CFG patch after joining": lambda: sampled(cases.PATCHES["RescaleCFG"](joined)),
        "saving": lambda: ModelSave().save(joined, "joined"),
        "a sampler that makes latents larger": lambda: sample(
            Case(sampler=upscale), joined, {"positive": _join(joined), "negative": _join(joined)},
            [zeros(*good), zeros(*good), None], sigmas_of(Case(), joined), 1
        ),
    }  # fmt: skip


def message(call):
    try:
        call()
    except Exception as error:  # noqa: BLE001
        return f"{type(error).__name__}: {error}"
    return "nothing"


found = {
    "given": {
        "video": given("video"), "audio": given("audio"), "both": given("video", "audio"),
        "video, SDE": given("video", sampler="dpmpp_2m_sde"), "video, leftover noise": given("video", span=(0, 2)),
    },
    "sigmas": own_sigmas(), "given with one prompt": given_with_one_prompt(), "estimates": estimates(), "beside": beside(),
    "delegate": delegate(), "several cards": several_cards(), "clean estimates": clean_estimates(), "small card": small_card(),
    "places": places(), "growth": growth(50), "freed": freed(), "after errors": after_errors(),
    "refused": {name: message(call) for name, call in refusals().items()},
}  # fmt: skip
result.write_text(json.dumps(found))
