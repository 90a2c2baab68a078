"""Rows of different coupling and skipped blocks in one network call of LTX-2: as many calls as said, and the same results."""

import pytest

from duet_av.tests.comfyui.graphs import node
from duet_av.tests.comfyui.test_native import SETTINGS, STEPS, guidance, sampled, told

COUPLINGS = {"full": (1.0, 1.0), "half": (0.5, 0.5), "one way": (1.0, 0.0), "other way": (0.0, 0.7)}
NAMES = [name for name in SETTINGS if name != "none"]


def coupled(name: str, coupling: str) -> dict:
    used = guidance(name)
    used["inputs"] |= dict(zip(("a_to_v", "v_to_a"), COUPLINGS[coupling]))
    return used


def with_model(graph: dict, index: int, changed: str) -> dict:
    """The guider of a run has the model as a node of the test pack changes it."""
    graph["changed"] = node(changed, model=["model", 0])
    graph[f"guider{index}"]["inputs"]["model"] = ["changed", 0]
    return graph


@pytest.mark.parametrize("coupling", COUPLINGS)
def test_rows_give_together_what_they_give_apart(native, coupling):
    """A wrapper of every network call, as some packs add, makes rows that differ run apart."""
    for name in NAMES:
        used = coupled(name, coupling)
        graph = with_model(sampled("ltx", {"guidance": used}, {"guidance": used}, words=6), 1, "WrapsCalls")
        video, audio, *spread = told(native, graph)
        assert max(video, audio) < 2e-5 and min(spread) > 0.1, name


def test_rows_give_the_same_if_memory_holds_only_one(native):
    for name in ("joint_cfg", "modality_cfg"):
        for coupling in ("full", "half"):
            used = coupled(name, coupling)
            graph = with_model(sampled("ltx", {"guidance": used}, {"guidance": used}, words=6), 1, "ShortOfMemory")
            graph |= {"watched": node("Watched", model=["changed", 0])}
            graph["guider1"]["inputs"]["model"] = ["watched", 0]
            graph["calls"] = node("TellCalls", model=["watched", 0], after=["out1", 0])
            run = native.run(graph)
            assert run.succeeded, run.error
            video, audio, *_ = map(float, run.texts["told"])
            rows, calls = map(int, run.texts["calls"][-2:])
            assert max(video, audio) < 2e-5 and rows == calls > STEPS


@pytest.mark.parametrize("coupling", ["full", "half"])
@pytest.mark.parametrize("name", SETTINGS)
def test_a_step_is_one_call(native, name, coupling):
    graph = with_model(sampled("ltx", {"guidance": coupled(name, coupling)}, words=6), 0, "Watched")
    graph["calls"] = node("TellCalls", model=["changed", 0], after=["out0", 0])
    run = native.run(graph)
    assert run.succeeded, run.error
    *_, rows, calls = map(int, run.texts["calls"])
    said = run.outputs["guider0"]["duet"][0]
    per_step = 1 + (name == "autoguidance")  # the bad model is not watched
    assert calls == STEPS - (name == "cfg_zero_star") and said["forwards_per_step"] == per_step  # which skips its first step
    assert rows + (per_step - 1) * STEPS == said["branches_per_step"] * calls


def test_the_node_says_why_rows_run_apart(native):
    run = native.run(with_model(sampled("ltx", {"guidance": guidance("joint_cfg")}, words=6), 0, "WrapsCalls"))
    assert run.succeeded, run.error
    assert run.texts["guider0"][0] == "joint_cfg: 2 branches per step in 2 network calls"
    assert "several network calls, because the model has a patch that wraps every network call" in run.texts["guider0"][-1]


def test_the_node_counts_the_calls_of_a_compiled_model(native):
    run = native.run(with_model(sampled("ltx", {"guidance": guidance("stg")}, words=6), 0, "Compiled"))
    assert run.succeeded, run.error
    assert run.texts["guider0"][0] == "stg: 2 branches per step in 2 network calls"
    assert "because a skipped block is compiled separately" in run.texts["guider0"][-1]


def test_one_way_coupling_isolates_the_stream_that_gives(native):
    """The audio does not follow the video; the video follows the audio."""
    used = coupled("joint_cfg", "one way")
    video, audio, *_ = told(native, sampled("ltx", {"guidance": used}, {"guidance": used, "video_seed": 5}))
    assert audio == 0 and video > 0.1
    video, audio, *_ = told(native, sampled("ltx", {"guidance": used}, {"guidance": used, "audio_seed": 5}))
    assert video > 1e-4 and audio > 0.1


def test_patches_of_other_nodes_see_which_prompt_a_row_has(native):
    """By ComfyUI's numbers, 0 and 1: also where there are more than two rows."""
    graph = with_model(sampled("ltx", {"guidance": guidance("modality_cfg")}, words=6), 0, "NotesPrompts")
    graph["noted"] = node("TellPrompts", model=["changed", 0], after=["out0", 0])
    run = native.run(graph)
    assert run.succeeded and run.texts["noted"] == ["[0, 0, 0, 1]"]


def test_a_patch_of_a_block_is_still_called(native):
    used = guidance("modality_cfg")
    graph = with_model(sampled("ltx", {"guidance": used}, {"guidance": used}, words=6), 1, "PatchesABlock")
    video, audio, *_ = told(native, graph)
    assert video > 1e-4
    graph["guider0"]["inputs"]["model"] = ["changed", 0]
    graph |= {"apart": node("WrapsCalls", model=["changed", 0])}
    graph["guider1"]["inputs"]["model"] = ["apart", 0]
    video, audio, *_ = told(native, graph)
    assert max(video, audio) < 2e-5
