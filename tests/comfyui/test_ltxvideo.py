"""Our guidance equals that of ComfyUI-LTXVideo's Multimodal Guider. LTXVIDEO_PATH names a checkout of it, which is not changed."""

import os

import pytest

from duet_av.tests.comfyui.graphs import node
from duet_av.tests.comfyui.ltxvideo import link_guider
from duet_av.tests.comfyui.server import NATIVE_PACK, is_named, named_by_environment
from duet_av.tests.comfyui.test_compare_guiders import STEPS, compared, facts, with_cell
from duet_av.tests.comfyui.test_native import guidance, sampled, told

NODES = """
from .ltxvideo.guiders.multimodal_guider import MultimodalGuiderNode
from .ltxvideo.guiders.parameters import GuiderParametersNode

NODE_CLASS_MAPPINGS = {"MultimodalGuider": MultimodalGuiderNode, "GuiderParameters": GuiderParametersNode}
"""


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """A ComfyUI with the small models and its guider."""
    if not os.environ.get("LTXVIDEO_PATH") or not is_named():
        pytest.skip("LTXVIDEO_PATH or COMFYUI_PATH is not set; give the folders of ComfyUI-LTXVideo and ComfyUI")
    pack = tmp_path_factory.mktemp("packs") / "guider"
    link_guider(pack / "ltxvideo")
    (pack / "__init__.py").write_text(NODES)
    with named_by_environment(tmp_path_factory.mktemp("ltxvideo"), packs=[NATIVE_PACK, pack]) as server:
        yield server


@pytest.mark.parametrize("rescale, audio_rescale", [(0.0, 0.0), (0.9, 0.7)])
def test_modality_guidance_with_a_skipped_block_is_theirs(both, rescale, audio_rescale):
    prompts = {"positive": ["yes", 0], "negative": ["no", 0]}
    theirs = node("MultimodalGuider", model=["model", 0], **prompts, parameters=["audio", 0], skip_blocks="1")
    graph = sampled("ltx", {"guidance": guidance("modality_cfg")}, {"guider": theirs})
    scales = {"cfg": 3.0, "stg": 1.0, "perturb_attn": True, "modality_scale": 3.0, "skip_step": 0, "cross_attn": True}
    graph["video"] = node("GuiderParameters", modality="VIDEO", rescale=rescale, **scales)
    graph["audio"] = node("GuiderParameters", modality="AUDIO", rescale=audio_rescale, parameters=["video", 0], **scales)
    curves = dict.fromkeys(("scale_curve", "a_to_v_curve", "v_to_a_curve"), {"points": [[0, 1], [1, 1]]})
    changes = {"interval_low": 0.0, "interval_high": 1.0, "rescale": rescale, "audio_rescale": audio_rescale}
    graph["rescaled"] = node("DuetGuidanceModifiers", guidance=["guidance0", 0], **curves, **changes)
    graph["guider0"]["inputs"]["guidance"] = ["rescaled", 0]
    video, audio, *spread = told(both, graph)
    assert max(video, audio) < 1e-5 and min(spread) > 0.1


def test_their_guider_is_compared_with_ours(both):
    """Each cell costs what a hook counts, and is the clip that its guider alone makes."""
    graph = compared("ltx2", 2)
    scales = {"cfg": 3.0, "stg": 0.0, "rescale": 0.0, "modality_scale": 3.0}
    scales |= {"perturb_attn": True, "skip_step": 0, "cross_attn": True}
    graph["video"] = node("GuiderParameters", modality="VIDEO", **scales)
    graph["audio"] = node("GuiderParameters", modality="AUDIO", parameters=["video", 0], **scales)
    prompts = {"positive": ["yes", 0], "negative": ["no", 0]}
    graph["guider1"] = node("MultimodalGuider", model=["watched1", 0], **prompts, parameters=["audio", 0], skip_blocks="")
    graph["after"] = node("LatentAfter", latent=["model", 1], comparison=["compare", 0])
    graph["told"] = node("TellCalls", model=["watched1", 0], after=["after", 0])
    run = both.run(graph)
    cell = facts(run)["cells"][1]
    assert cell["label"] == "MultimodalGuider" and cell["branches_per_step"] == 3
    counted = [int(number) / STEPS for number in run.texts["told"][3:]]
    assert [cell["branches_per_step"], cell["forwards_per_step"]] == counted
    run = both.run(with_cell(graph, 1))
    assert max(float(each) for each in run.texts["same1"][:2]) == 0
