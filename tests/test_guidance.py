from itertools import product

import pytest
import torch

from duet_av.av_models.contract import CUT, FULL, REMOVED, AVLatent, Coupling, CouplingKind
from duet_av.av_models.guidance import GUIDANCE, Branch, Cost, Step, cost_of, make_guidance, require_kinds

STEP = Step(0, 1, 1.0, 1.0)
SCALES = [(1, 1, 1, 1), (2, 2, 2, 2), (3, 1, 1, 1), (0, 2, 2, 0)]
SCALED = [name for name in GUIDANCE if name != "none"]


def settings_at(name: str, scale: float) -> dict[str, float]:
    return {field: scale for field in GUIDANCE[name].__dataclass_fields__ if field.endswith("scale")}


def predictions_for(branches) -> dict[Branch, AVLatent]:
    g = torch.Generator().manual_seed(0)
    return {b: AVLatent(torch.randn(2, 1, 1, 1, 2, generator=g), torch.randn(2, 1, 3, generator=g)) for b in branches}


def ask(name: str, **settings):
    guidance = make_guidance(name, **settings)
    branches = guidance.branches(STEP)
    predictions = predictions_for(branches)
    guided, state = guidance.combine(predictions, STEP)
    assert state is None
    return branches, predictions, guided


def negative(coupling: Coupling = FULL) -> Branch:
    return Branch("negative", "negative", coupling)


@pytest.mark.parametrize("name, coupling", [("cfg", FULL), ("joint_cfg", CUT), ("joint_cfg_star", REMOVED)])
def test_two_branch_formulas_with_a_scale_per_modality(name, coupling):
    branches, p, guided = ask(name, video_scale=3.0, audio_scale=1.5)
    assert set(branches) == {Branch(), negative(coupling)}
    c, u = p[Branch()], p[negative(coupling)]
    assert torch.equal(guided.video, u.video + 3.0 * (c.video - u.video))
    assert torch.equal(guided.audio, u.audio + 1.5 * (c.audio - u.audio))


def test_dual_formula():
    _, p, guided = ask("dual_cfg", video_scale=3.0, audio_scale=2.0, video_cross_scale=1.5, audio_cross_scale=4.0)
    c, u, cut = p[Branch()], p[negative()], p[negative(CUT)]
    video = cut.video + 1.5 * (u.video - cut.video) + 3.0 * (c.video - u.video)
    audio = cut.audio + 4.0 * (u.audio - cut.audio) + 2.0 * (c.audio - u.audio)
    torch.testing.assert_close(guided.video, video)
    torch.testing.assert_close(guided.audio, audio)


def test_dual_with_equal_scales_is_joint_cfg():
    joint = make_guidance("joint_cfg", video_scale=3.0, audio_scale=2.0)
    dual = make_guidance(
        "dual_cfg", video_scale=3.0, audio_scale=2.0, video_cross_scale=3.0, audio_cross_scale=2.0
    )
    assert dual.branches(STEP) == joint.branches(STEP)
    p = predictions_for(joint.branches(STEP))
    (a, _), (b, _) = joint.combine(p, STEP), dual.combine(p, STEP)
    assert torch.equal(a.video, b.video) and torch.equal(a.audio, b.audio)


@pytest.mark.parametrize("name", GUIDANCE)
def test_scale_one_is_the_prompt_alone_and_one_branch(name):
    branches, p, guided = ask(name, **settings_at(name, 1.0))
    assert branches == (Branch(),)
    assert guided.video is p[Branch()].video and guided.audio is p[Branch()].audio


@pytest.mark.parametrize("name", SCALED)
def test_scale_zero_runs_no_prompt(name):
    branches, _, _ = ask(name, **settings_at(name, 0.0))
    assert len(branches) == 1 and branches[0].video == branches[0].audio == "negative"


@pytest.mark.parametrize("name", SCALED)
def test_a_modality_at_scale_one_is_unguided_beside_a_guided_one(name):
    settings = {**settings_at(name, 1.0), "audio_scale": 4.0}
    branches, p, guided = ask(name, **settings)
    assert len(branches) == 2
    assert torch.equal(guided.video, p[Branch()].video) and not torch.equal(guided.audio, p[Branch()].audio)


@pytest.mark.parametrize("name, scales", list(product(SCALED, SCALES)))
def test_no_branch_of_weight_zero(name, scales):
    guidance = make_guidance(name, **dict(zip(settings_at(name, 0), map(float, scales))))
    step_weights = {}
    for branch, weight in guidance.weights(STEP):
        step_weights[branch] = (weight.video, weight.audio)
    assert all(any(step_weights[branch]) for branch in guidance.branches(STEP))
    assert all(branch in guidance.branches(STEP) for branch, weight in step_weights.items() if any(weight))


def test_direction_replaces_full_coupling_only():
    branches, _, _ = ask("joint_cfg", video_scale=2.0, audio_scale=2.0, a_to_v=0.5)
    directional = Coupling(CouplingKind.FULL, 0.5, 1.0)
    assert set(branches) == {Branch(coupling=directional), negative(CUT)}


def test_branches_that_become_the_same_are_run_once():
    settings = dict(video_scale=3.0, audio_scale=3.0, video_cross_scale=2.0, audio_cross_scale=2.0)
    uncoupled = make_guidance("dual_cfg", a_to_v=0.0, v_to_a=0.0, **settings)
    branches = uncoupled.branches(STEP)
    assert branches == (negative(CUT), Branch(coupling=CUT))
    p = predictions_for(branches)
    guided, _ = uncoupled.combine(p, STEP)
    u, c = p[branches[0]], p[branches[1]]
    torch.testing.assert_close(guided.video, u.video + 3.0 * (c.video - u.video))


@pytest.mark.parametrize("name", SCALED)
def test_removed_makes_every_strategy_plain_cfg_of_the_experts(name):
    branches, p, guided = ask(name, removed=True, **settings_at(name, 2.0))
    assert set(branches) == {Branch(coupling=REMOVED), negative(REMOVED)}
    u, c = p[negative(REMOVED)], p[Branch(coupling=REMOVED)]
    assert torch.equal(guided.audio, u.audio + 2.0 * (c.audio - u.audio))


@pytest.mark.parametrize(
    "settings, rows, batched, in_turn",
    [
        (dict(video_scale=1.0, audio_scale=1.0), 1, 1, 1),
        (dict(video_scale=3.0, audio_scale=1.0), 2, 1, 2),
        (dict(video_scale=3.0, audio_scale=3.0, a_to_v=0.5), 3, 1, 2),
        (dict(video_scale=3.0, audio_scale=3.0, a_to_v=0.0, v_to_a=0.0), 2, 1, 2),
    ],
)
def test_cost_counts_rows_and_calls(settings, rows, batched, in_turn):
    guidance, steps = make_guidance("joint_cfg", **settings), [Step(i, 4, 1 - i / 4, 1 - i / 4) for i in range(4)]
    costs = cost_of(guidance, steps, True), cost_of(guidance, steps, False)
    assert [(c.branches_per_step, c.forwards_per_step) for c in costs] == [(rows, batched), (rows, in_turn)]


def test_a_cost_that_varies_over_the_steps_is_reported_as_its_mean():
    cost = Cost(steps=4, branches=6, forwards=4)
    assert cost.branches_per_step == 1.5 and cost.forwards_per_step == 1


def test_an_unknown_name_gets_one_line_with_those_there_are():
    with pytest.raises(ValueError) as error:
        make_guidance("jointcfg")
    assert str(error.value) == "guidance is 'jointcfg'; choose one of none, cfg, joint_cfg, joint_cfg_star, dual_cfg"


def test_an_unknown_setting_gets_one_line():
    with pytest.raises(ValueError, match="^guidance cfg has no setting scale; it has .*video_scale, audio_scale$"):
        make_guidance("cfg", scale=3.0)


@pytest.mark.parametrize("field", ["video_scale", "audio_scale", "a_to_v", "v_to_a"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), "3", None])
def test_a_scale_that_is_no_finite_number_is_named(field, value):
    with pytest.raises(ValueError, match=f"^{field} is {value}; give a finite number$"):
        make_guidance("joint_cfg", **{field: value})


def test_a_strategy_that_the_model_cannot_do_is_named_with_what_it_can():
    guidance = make_guidance("joint_cfg", video_scale=2.0, audio_scale=2.0)
    with pytest.raises(ValueError) as error:
        require_kinds(guidance, [STEP], {CouplingKind.FULL, CouplingKind.REMOVED})
    assert str(error.value) == (
        "guidance joint_cfg needs coupling cut, which this model cannot do; "
        "choose a guidance that does with full, removed"
    )
