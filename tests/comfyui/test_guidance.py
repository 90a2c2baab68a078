"""Guidance in the real ComfyUI: modifiers with their curves, a second model on a choice's own socket, comparing."""

import json

from duet_av.tests.comfyui.graphs import SAMPLER, node, prompt, short
from duet_av.tests.conftest import WORKFLOW

GUIDANCE = "4"
FADING = {"points": [[0, 1], [1, 0]], "interpolation": "linear"}
FLAT = {"points": [[0, 1], [1, 1]], "interpolation": "monotone_cubic"}


def autoguided(**guidance) -> dict:
    """The shipped graph with autoguidance away from the experts as they were, changed over the steps."""
    graph = short(seed=3, steps=4)
    graph["v"], graph["a"] = node("DuetLoadVideoExpert", expert="Bounce"), node("DuetLoadAudioExpert", expert="Bounce")
    graph["bad"] = node(
        "DuetJoinExperts", video_expert=["v", 0], audio_expert=["a", 0], joint_blocks=4, video_codec="Bounce", audio_codec="Bounce"
    )
    settings = {"guidance": "autoguidance", "guidance.video_scale": 2.0, "guidance.audio_scale": 2.0, "a_to_v": 1.0, "v_to_a": 1.0}
    graph[GUIDANCE] = node("DuetGuidance", **settings | guidance)
    graph["m"] = node(
        "DuetGuidanceModifiers", guidance=[GUIDANCE, 0], scale_curve=FADING, interval_low=0.0, interval_high=1.0, rescale=0.5,
        a_to_v_curve=FLAT, v_to_a_curve=FLAT,
    )  # fmt: skip
    graph[SAMPLER]["inputs"]["guidance"] = ["m", 0]
    return graph


def test_a_sampler_with_a_model_and_a_latent_alone_uses_what_the_model_recommends(comfyui):
    graph = short(seed=4)
    inputs = graph[SAMPLER]["inputs"] | {"steps": 0, "shift": 0.0, "eta": -1.0}
    graph[SAMPLER]["inputs"] = {name: value for name, value in inputs.items() if name not in ("prompts", "guidance")}
    run = comfyui.run({key: each for key, each in graph.items() if key not in ("2", GUIDANCE)})
    assert run.succeeded, run.messages
    assert run.texts[SAMPLER][1] == "as Bounce recommends: 20 steps, shift 5, eta 2, joint_cfg 2.5"


def test_autoguidance_with_a_curve_and_rescaling(comfyui):
    run = comfyui.run(autoguided(**{"guidance.bad_model": ["bad", 0]}))
    assert run.succeeded, run.messages
    assert "1.75 branches per step in 1.75 network calls" in run.texts[SAMPLER][0]  # at the last of four steps nothing is left


def test_autoguidance_without_a_second_model_is_refused_and_the_socket_named(comfyui):
    status, text = comfyui.post("/prompt", {"prompt": autoguided()})
    error = json.loads(text)["node_errors"][GUIDANCE]["errors"][0]
    assert status == 400 and error["type"] == "required_input_missing" and "bad_model" in error["details"]


def test_another_sound_of_a_comparison_makes_nothing_again(comfyui):
    graph = prompt(WORKFLOW.parent / "bounce_compare.json")
    (compare,) = [key for key, each in graph.items() if each["class_type"] == "DuetCompare"]
    (show,) = [key for key, each in graph.items() if each["class_type"] == "DuetShowComparison"]
    graph[compare]["inputs"]["steps"] = 2
    assert comfyui.run(graph).succeeded
    graph[show]["inputs"] |= {"sound": "one cell", "sound.cell": 2}
    run = comfyui.run(graph)
    assert run.succeeded and compare in run.messages["execution_cached"]["nodes"]


def test_changing_one_guidance_makes_one_cell_and_the_node_shows_the_grid(comfyui):
    graph = prompt(WORKFLOW.parent / "bounce_compare.json")
    (compare,) = [key for key, each in graph.items() if each["class_type"] == "DuetCompare"]
    graph[compare]["inputs"] |= {"steps": 2, "video_seed": 77}
    first = comfyui.run(graph)
    assert first.succeeded, first.messages
    (shown,) = first.outputs[compare]["images"]
    assert (comfyui.base / shown["type"] / shown["subfolder"] / shown["filename"]).is_file() and shown["type"] == "temp"
    assert "last run" not in "".join(first.texts[compare])
    graph[GUIDANCE]["inputs"] |= {"guidance": "apg", "guidance.video_scale": 2.0, "guidance.audio_scale": 2.0,
                                  "guidance.eta": 0.5, "guidance.momentum": 0.0, "guidance.norm_threshold": 0.0}  # fmt: skip
    again = comfyui.run(graph)
    assert again.succeeded, again.messages
    assert again.texts[compare][-1].startswith("3 of 4 cells are from the last run")
