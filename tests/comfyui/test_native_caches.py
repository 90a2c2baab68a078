"""ComfyUI's EasyCache on a joint model with our guidance: it decides once a step, and keeps nothing after a run."""

from duet_av.tests.comfyui.graphs import node
from duet_av.tests.comfyui.test_native import KINDS, guidance, sampled, told

STEPS = 12
FLAT, FALLING = {"points": [[0, 1], [1, 1]]}, {"points": [[0, 1], [1, 0.5]], "interpolation": "linear"}


def cached(kind: str, *used: dict) -> dict:
    """Runs with each guidance and a cache that skips about half of the steps."""
    graph = sampled(kind, *({"guidance": each} for each in used), words=6)
    graph["sigmas"]["inputs"]["steps"] = STEPS
    settings = {"reuse_threshold": 0.5, "start_percent": 0.15, "end_percent": 0.95, "verbose": False}
    for index in range(len(used)):
        graph[f"watched{index}"] = node("Watched", model=[f"cached{index}", 0])  # inside of the cache: the calls that are made
        graph[f"cached{index}"] = node("EasyCache", model=["model", 0], **settings)
        graph[f"guider{index}"]["inputs"]["model"] = [f"watched{index}", 0]
    return graph | {"cached_bad": node("EasyCache", model=["bad", 0], **settings)}


def bad_model_with_cache(scale: float) -> dict:
    used = guidance("autoguidance")
    used["inputs"] |= {"guidance.video_scale": scale, "guidance.audio_scale": scale, "guidance.bad_model": ["cached_bad", 0]}
    return used


@KINDS
def test_steps_of_a_model_with_a_weaker_one_are_decided_on_one_by_one(native, kind):
    """The weaker model has next to no weight: the steps that are run are those without it."""
    video, audio, *spread = told(native, cached(kind, bad_model_with_cache(1.0001), guidance("none")))
    assert max(video, audio) < 0.01 and min(spread) > 0.1


def test_the_cache_of_a_weaker_model_keeps_nothing(native):
    graph = cached("ltx", bad_model_with_cache(2.0))
    run = native.run(graph | {"kept": node("TellCache", model=["cached_bad", 0], after=["out0", 0])})
    assert run.succeeded and run.texts["kept"] == ["0"], run.error


def test_steps_are_skipped_while_a_curve_changes_the_coupling(native):
    graph = cached("ltx", guidance("joint_cfg"))
    changes = {"interval_low": 0.0, "interval_high": 1.0, "rescale": 0.0, "scale_curve": FLAT, "v_to_a_curve": FLAT}
    graph["watched0"]["inputs"]["copy"] = 1  # counts this run alone
    graph["curved"] = node("DuetGuidanceModifiers", guidance=["guidance0", 0], a_to_v_curve=FALLING, **changes)
    graph["guider0"]["inputs"]["guidance"] = ["curved", 0]
    graph["calls"] = node("TellCalls", model=["watched0", 0], after=["out0", 0])
    run = native.run(graph)
    assert run.succeeded, run.error
    assert 4 < int(run.texts["calls"][-1]) < STEPS - 2
