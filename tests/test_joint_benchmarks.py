"""The benchmarks of joint models: what they write, and that the script for a GPU runs where there is none."""

import pytest
import torch

from duet_av.av_models.guidance import make_guidance
from duet_av.benchmarks import gpu_avfulldit, gpu_kandinsky6, joint_models, joint_negative
from duet_av.benchmarks.gpu_run import measure, measure_half_memory

SECONDS = {"pair": [1.0] * 4} | dict.fromkeys(joint_models.STRATEGIES, [1.04] * 4)


def test_overheads_are_shown_in_milliseconds():
    lines = list(joint_models.overhead_table({"short latent": dict.fromkeys(joint_models.STRATEGIES, 0.00123)}))
    assert lines[0] == "| guidance | short latent |" and lines[2] == "| `none` | 1.23 |"


def test_the_calls_of_a_step_are_compared_with_the_pipelines_own_pair():
    lines = list(joint_models.rows_table({"kandinsky6": SECONDS, "ovi": SECONDS}))
    assert "two calls of Kandinsky6Transformer3DModel" in lines[0] and "authors' loop" in lines[0]
    assert lines[2] == "| `none` | 1.04 [1.04, 1.04] | 1.04 [1.04, 1.04] |"
    assert "1.04 [1.04, 1.04], aim 1.05 reached" in lines[4] and lines[5].startswith("| `joint_cfg`, a_to_v 0.5 |")


@torch.no_grad()
@pytest.mark.parametrize("script", [gpu_kandinsky6, gpu_avfulldit])
def test_the_script_for_a_gpu_measures_a_tiny_network(script):
    run = script.make(True, torch.device("cpu"), make_guidance("joint_cfg_star" if script is gpu_avfulldit else "joint_cfg"))
    found = measure(run, 2, peak=1.0)
    assert run.count_flops() > 1e8 and found["seconds"] > 0 and 0 <= found["share"] < 1
    assert measure_half_memory(run, 1.0)["equal"]


def test_a_row_without_joint_layers_is_compared_with_both_experts():
    took = {
        "removed": [1.0] * 4,
        "experts": [1.0] * 4,
        "full and removed": [2.4] * 4,
        "two full": [2.8] * 4,
        "experts, two rows": [2.0] * 4,
    }
    lines = joint_negative.lines(took)
    assert lines[2] == "| in a call of its own | 1.00 [1.00, 1.00], aim 1.00 reached |"
    assert lines[3].endswith("| 1.00 [1.00, 1.00], aim 1.00 reached |")
    tasks = joint_negative.make_tasks(joint_negative.make_pair())
    assert tasks.keys() == took.keys()
