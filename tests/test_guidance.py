import math
from dataclasses import dataclass, replace
from itertools import product
from types import SimpleNamespace

import pytest
import torch
from diffusers.guiders.adaptive_projected_guidance import MomentumBuffer, normalized_guidance
from diffusers.guiders.classifier_free_zero_star_guidance import cfg_zero_star_scale
from diffusers.guiders.guider_utils import rescale_noise_cfg
from diffusers.guiders.ltx2_guidance import LTX2Guidance

from duet_av.av_models.contract import CUT, FULL, REMOVED, AVLatent, Coupling, CouplingKind
from duet_av.av_models.guidance import (
    GUIDANCE,
    AffineGuidance,
    Branch,
    Cost,
    Curve,
    Step,
    check_supported,
    describe_without_coupling,
    estimate_cost,
    make_guidance,
    resolve_block,
    without_coupling,
)
from duet_av.av_models.guidance.base import NEGATIVE, POSITIVE

STEP = Step(0, 1, 1.0, 1.0)
SCALES = [(1, 1, 1, 1), (2, 2, 2, 2), (3, 1, 1, 1), (0, 2, 2, 0)]
SCALED = [name for name in GUIDANCE if name != "none"]
AFFINE = [name for name in SCALED if issubclass(GUIDANCE[name], AffineGuidance)]
PLAIN = [name for name in AFFINE if name != "autoguidance" and "skip_block" not in GUIDANCE[name].__dataclass_fields__]
LATER = Step(5, 10, 0.5, 0.5)


@dataclass
class Able:
    """What a model says of itself."""

    kinds: frozenset = frozenset(CouplingKind)
    skippable: int = 6


def settings_at(name: str, scale: float) -> dict[str, float]:
    return {field: scale for field in GUIDANCE[name].__dataclass_fields__ if field.endswith("_scale")}


def predictions_for(branches) -> dict[Branch, AVLatent]:
    g = torch.Generator().manual_seed(0)
    return {b: AVLatent(torch.randn(2, 1, 1, 1, 2, generator=g), torch.randn(2, 1, 3, generator=g)) for b in branches}


def ask(name: str, step: Step = LATER, **settings):
    guidance = make_guidance(name, **settings)
    branches = guidance.branches(step)
    predictions = predictions_for(branches)
    return branches, predictions, guidance.combine(predictions, step)[0]


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
    dual = make_guidance("dual_cfg", video_scale=3.0, audio_scale=2.0, video_cross_scale=3.0, audio_cross_scale=2.0)
    assert dual.branches(STEP) == joint.branches(STEP)
    p = predictions_for(joint.branches(STEP))
    (a, _), (b, _) = joint.combine(p, STEP), dual.combine(p, STEP)
    assert torch.equal(a.video, b.video) and torch.equal(a.audio, b.audio)


@pytest.mark.parametrize("name", GUIDANCE)
def test_scale_one_is_the_prompt_alone_and_one_branch(name):
    branches, p, guided = ask(name, **settings_at(name, 1.0))
    assert branches == (Branch(),)
    assert guided.video is p[Branch()].video and guided.audio is p[Branch()].audio


@pytest.mark.parametrize("name", PLAIN)
def test_scale_zero_runs_no_prompt(name):
    branches, _, _ = ask(name, **settings_at(name, 0.0))
    assert len(branches) == 1 and branches[0].video == branches[0].audio == "negative"


@pytest.mark.parametrize("name", SCALED)
def test_a_modality_at_scale_one_is_unguided_beside_a_guided_one(name):
    settings = {**settings_at(name, 1.0), "audio_scale": 4.0}
    branches, p, guided = ask(name, **settings)
    assert len(branches) == 2
    assert torch.equal(guided.video, p[Branch()].video) and not torch.equal(guided.audio, p[Branch()].audio)


@pytest.mark.parametrize("name, scales", list(product(AFFINE, SCALES)))
def test_no_branch_of_weight_zero(name, scales):
    guidance = make_guidance(name, **dict(zip(settings_at(name, 0), map(float, scales))))
    step_weights = {}
    for branch, weight in guidance.weights():
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


@pytest.mark.parametrize("name", PLAIN)
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
    costs = estimate_cost(guidance, steps, True), estimate_cost(guidance, steps, False)
    assert [(c.branches_per_step, c.forwards_per_step) for c in costs] == [(rows, batched), (rows, in_turn)]


def test_a_cost_that_varies_over_the_steps_is_reported_as_its_mean():
    cost = Cost(steps=4, branches=6, forwards=4)
    assert cost.branches_per_step == 1.5 and cost.forwards_per_step == 1


def test_an_unknown_name_gets_one_line_with_those_there_are():
    with pytest.raises(ValueError) as error:
        make_guidance("jointcfg")
    assert str(error.value) == f"guidance is 'jointcfg'; choose one of {', '.join(GUIDANCE)}"


def test_an_unknown_setting_gets_one_line():
    with pytest.raises(ValueError, match="^guidance cfg has no setting strength; choose from .*video_scale, audio_scale$"):
        make_guidance("cfg", strength=3.0)


def test_one_scale_is_short_for_both():
    assert make_guidance("cfg", scale=3.0) == make_guidance("cfg", video_scale=3.0, audio_scale=3.0)
    assert make_guidance("cfg", scale=3.0, audio_scale=2.0).scales == {"video_scale": 3.0, "audio_scale": 2.0}


@pytest.mark.parametrize("field", ["video_scale", "audio_scale", "a_to_v", "v_to_a"])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), "3", None])
def test_a_scale_that_is_no_finite_number_is_named(field, value):
    with pytest.raises(ValueError, match=f"^{field} is {value}; use a finite number$"):
        make_guidance("joint_cfg", **{field: value})


def test_a_strategy_that_the_model_cannot_do_is_named_with_what_it_can():
    guidance = make_guidance("joint_cfg", video_scale=2.0, audio_scale=2.0)
    with pytest.raises(ValueError) as error:
        check_supported(guidance, [STEP], {"main": Able(kinds=frozenset({CouplingKind.FULL, CouplingKind.REMOVED}))})
    assert str(error.value) == (
        "guidance joint_cfg needs coupling cut, which this model does not support; choose a guidance that needs only full, removed"
    )


# Formulas, held to diffusers' guiders where it has them.


def close(guided: AVLatent, video: torch.Tensor, audio: torch.Tensor) -> None:
    torch.testing.assert_close(guided.video, video)
    torch.testing.assert_close(guided.audio, audio)


def test_modality_formula_is_that_of_diffusers_for_ltx2():
    scales = dict(video_scale=3.0, video_cross_scale=2.0, video_skip_scale=1.5)
    scales |= dict(audio_scale=7.0, audio_cross_scale=1.0, audio_skip_scale=3.0)
    branches, p, guided = ask("modality_cfg", **scales, skip_block=3, rescale=0.7)
    passes = Branch(), negative(), Branch(skip_block=3), Branch(coupling=CUT)
    assert set(branches) == set(passes)
    for modality in ("video", "audio"):
        s_c, s_x, s_g = (scales[f"{modality}{kind}_scale"] for kind in ("", "_cross", "_skip"))
        guider = LTX2Guidance(s_c, s_g - 1, s_x, guidance_rescale=0.7)
        expected = guider.forward(*(getattr(p[branch], modality) for branch in passes)).pred
        torch.testing.assert_close(getattr(guided, modality), expected)


def test_modality_guidance_of_prompt_and_coupling_asks_for_three_branches():
    branches, _, _ = ask("modality_cfg")
    assert set(branches) == {Branch(), negative(), Branch(coupling=CUT)}


def test_skip_formula():
    branches, p, guided = ask("stg", video_scale=3.0, audio_scale=1.0, video_skip_scale=2.0, audio_skip_scale=1.5, skip_block=2)
    c, u, skip = p[Branch()], p[negative()], p[Branch(skip_block=2)]
    assert len(branches) == 3
    close(guided, u.video + 3 * (c.video - u.video) + (c.video - skip.video), c.audio + 0.5 * (c.audio - skip.audio))


def test_autoguidance_formula():
    branches, p, guided = ask("autoguidance", video_scale=3.0, audio_scale=2.0)
    c, bad = p[Branch()], p[Branch(model="bad")]
    assert set(branches) == {Branch(), Branch(model="bad")}
    close(guided, bad.video + 3 * (c.video - bad.video), bad.audio + 2 * (c.audio - bad.audio))


def test_a_bad_model_that_was_never_joined_runs_with_its_joint_parameters_dropped():
    branches, _, _ = ask("autoguidance", bad_removed=True)
    assert set(branches) == {Branch(), Branch(model="bad", coupling=REMOVED)}


def test_cfg_zero_star_formula_is_that_of_diffusers():
    _, p, guided = ask("cfg_zero_star", video_scale=3.0, audio_scale=2.0)
    for modality, scale in (("video", 3.0), ("audio", 2.0)):
        c, u = getattr(p[Branch()], modality), getattr(p[negative()], modality)
        alpha = cfg_zero_star_scale(c.flatten(1), u.flatten(1)).view(-1, *[1] * (c.ndim - 1))
        torch.testing.assert_close(getattr(guided, modality), alpha * u + scale * (c - alpha * u))


def test_cfg_zero_star_runs_nothing_in_its_first_steps():
    guidance = make_guidance("cfg_zero_star", zero_steps=2)
    counts = [len(guidance.branches(Step(i, 4, 1 - i / 4, 1 - i / 4))) for i in range(4)]
    assert counts == [0, 0, 2, 2]
    with pytest.raises(ValueError, match="^zero_steps is 4, but the run has 4 steps; use fewer zero_steps$"):
        make_guidance("cfg_zero_star", zero_steps=4).branches(Step(0, 4, 1.0, 1.0))


def test_apg_formula_is_that_of_diffusers_over_several_steps():
    guidance = make_guidance("apg", video_scale=3.0, audio_scale=4.0, eta=0.25, momentum=-0.5, norm_threshold=1.5)
    buffers, state = {"video": MomentumBuffer(-0.5), "audio": MomentumBuffer(-0.5)}, None
    for index in range(3):
        g = torch.Generator().manual_seed(index)
        step = Step(index, 3, 0.5, 0.5)
        shapes = (2, 3, 1, 2, 2), (2, 3, 5)
        p = {b: AVLatent(*(torch.randn(shape, generator=g) for shape in shapes)) for b in guidance.branches(step)}
        guided, state = guidance.combine(p, step, state)
        for modality, scale in (("video", 3.0), ("audio", 4.0)):
            c, u = getattr(p[Branch()], modality), getattr(p[negative()], modality)
            expected = normalized_guidance(
                c, u, scale - 1, buffers[modality], eta=0.25, norm_threshold=1.5, use_original_formulation=True
            )
            torch.testing.assert_close(getattr(guided, modality), expected)


def test_apg_with_nothing_of_its_own_is_cfg():
    scales = dict(video_scale=3.0, audio_scale=2.0)
    _, _, apg = ask("apg", **scales, eta=1.0, momentum=0.0)
    _, _, cfg = ask("cfg", **scales)
    close(apg, cfg.video, cfg.audio)


# Modifiers, on every strategy.


@pytest.mark.parametrize("name", GUIDANCE)
def test_outside_its_interval_a_strategy_is_the_prompt_alone(name):
    guidance = make_guidance(name, **settings_at(name, 2.0), interval_low=0.3, interval_high=0.7)
    for t, guided in ((0.8, False), (0.7, True), (0.3, True), (0.2, False)):
        branches = guidance.branches(Step(5, 10, t, t))
        assert (branches == (Branch(),)) is (name == "none" or not guided)


def test_an_interval_looks_at_each_modalitys_own_time():
    guidance = make_guidance("cfg", video_scale=2.0, audio_scale=2.0, interval_low=0.5)
    p = predictions_for(guidance.branches(Step(5, 10, 0.6, 0.4)))
    guided, _ = guidance.combine(p, Step(5, 10, 0.6, 0.4))
    assert torch.equal(guided.audio, p[Branch()].audio) and not torch.equal(guided.video, p[Branch()].video)


@pytest.mark.parametrize("name", SCALED)
def test_a_scale_curve_is_how_much_of_the_guidance_is_left(name):
    curve = Curve(((0.0, 1.0), (1.0, 0.0)))
    curved = make_guidance(name, **settings_at(name, 3.0), scale_curve=curve)
    half = make_guidance(name, **settings_at(name, 2.0))
    step = Step(5, 11, 0.5, 0.5)
    assert curved.branches(step) == half.branches(step)
    p = predictions_for(half.branches(step))
    (a, _), (b, _) = curved.combine(p, step), half.combine(p, step)
    close(a, b.video, b.audio)
    assert curved.branches(Step(10, 11, 0.1, 0.1)) == (Branch(),)


def test_coupling_curves_set_the_strengths_of_each_step():
    guidance = make_guidance("none", a_to_v=2.0, a_to_v_curve=Curve(((0.0, 1.0), (1.0, 0.0))), v_to_a_curve=Curve(((0.0, 0.5),)))
    couplings = [guidance.branches(Step(i, 3, 0.5, 0.5))[0].coupling for i in range(3)]
    assert couplings == [Coupling(a_to_v=2.0, v_to_a=0.5), Coupling(a_to_v=1.0, v_to_a=0.5), Coupling(a_to_v=0.0, v_to_a=0.5)]


def test_a_coupling_curve_costs_nothing_where_it_is_flat_at_one():
    fading = Curve(((0.0, 1.0), (0.5, 1.0), (1.0, 0.0)), "monotone_cubic")
    guidance = make_guidance("none", a_to_v_curve=fading)
    kinds = [guidance.branches(Step(i, 33, 0.5, 0.5))[0].coupling.kinds for i in range(33)]
    assert all(each == (CouplingKind.FULL,) for each in kinds[:17]) and len(kinds[20]) == 2


@pytest.mark.parametrize("name", SCALED)
@pytest.mark.parametrize("phi", [0.3, 1.0])
def test_rescaling_is_that_of_diffusers(name, phi):
    _, p, plain = ask(name, **settings_at(name, 3.0))
    _, _, guided = ask(name, **settings_at(name, 3.0), rescale=phi)
    c = p[Branch()]
    close(guided, rescale_noise_cfg(plain.video, c.video, phi), rescale_noise_cfg(plain.audio, c.audio, phi))


def test_rescaling_leaves_an_unguided_modality_alone():
    _, p, guided = ask("cfg", video_scale=3.0, audio_scale=1.0, rescale=1.0)
    assert guided.audio is p[Branch()].audio


@pytest.mark.parametrize("name", SCALED)
def test_a_ramp_rises_from_the_prompt_alone_to_the_whole_guidance(name):
    g = torch.Generator().manual_seed(0)
    settings = settings_at(name, 3.0)
    branches = make_guidance(name, **settings).branches(LATER)
    p = {b: AVLatent(torch.randn(2, 1, 3, 2, 2, generator=g), torch.randn(2, 1, 3, generator=g)) for b in branches}
    plain, _ = make_guidance(name, **settings).combine(p, LATER)
    ramped, _ = make_guidance(name, **settings, frame_ramp=0.0).combine(p, LATER)
    halfway, _ = make_guidance(name, **settings_at(name, 2.0)).combine(p, LATER)
    torch.testing.assert_close(ramped.video[:, :, 0], p[Branch()].video[:, :, 0])
    torch.testing.assert_close(ramped.video[:, :, 1], halfway.video[:, :, 1])
    torch.testing.assert_close(ramped.video[:, :, 2], plain.video[:, :, 2])
    assert torch.equal(ramped.audio, plain.audio)


@pytest.mark.parametrize("interpolation", ["linear", "monotone_cubic"])
def test_a_curve_meets_its_points_and_never_overshoots(interpolation):
    curve = Curve(((0.0, 0.2), (0.3, 1.0), (0.4, 1.0), (0.9, 0.1)), interpolation)
    assert [curve(x) for x in (0.0, 0.3, 0.4, 0.9, 1.0)] == pytest.approx([0.2, 1.0, 1.0, 0.1, 0.1])
    values = [curve(i / 200) for i in range(201)]
    assert min(values) >= 0.1 - 1e-12 and max(values) <= 1 + 1e-12
    rising, falling = values[:61], values[80:181]
    assert rising == sorted(rising) and falling == sorted(falling, reverse=True)


# Bad input.


@pytest.mark.parametrize(
    "settings, line",
    [
        (
            dict(interval_low=0.7, interval_high=0.3),
            "the guidance interval is 0.7 to 0.3; use two numbers from 0 to 1, the lower one first",
        ),
        (dict(interval_high=1.5), "the guidance interval is 0.0 to 1.5; use two numbers from 0 to 1, the lower one first"),
        (dict(interval_low=math.nan), "interval_low is nan; use a finite number"),
        (dict(rescale=1.2), "rescale is 1.2; use a number from 0 \\(off\\) to 1"),
        (dict(frame_ramp=-0.5), "frame_ramp is -0.5; use a number from 0 \\(first frame unguided\\) to 1 \\(off\\)"),
        (dict(scale_curve=0.5), "scale_curve is 0.5; use a curve"),
    ],
)
def test_a_modifier_that_makes_no_sense_is_named(settings, line):
    with pytest.raises(ValueError, match=f"^{line}$"):
        make_guidance("cfg", **settings)


@pytest.mark.parametrize(
    "points, line",
    [
        ((), "the curve has no points; add at least one"),
        (((0.0, math.inf),), r"the curve's point \(0.0, inf\) is not finite or its x is outside 0 to 1; move the point"),
        (((1.5, 0.0),), r"the curve's point \(1.5, 0.0\) is not finite or its x is outside 0 to 1; move the point"),
    ],
)
def test_a_curve_that_is_none_is_named(points, line):
    with pytest.raises(ValueError, match=f"^{line}$"):
        Curve(points)


def test_an_interval_that_never_applies_is_named():
    guidance = make_guidance("cfg", interval_low=0.41, interval_high=0.49)
    steps = [Step(i, 10, 1 - i / 10, 1 - i / 10) for i in range(10)]
    with pytest.raises(ValueError) as error:
        check_supported(guidance, steps, {"main": Able()})
    assert str(error.value) == (
        "no step lies in the guidance interval 0.41 to 0.49: the times of this run are 1 to 0.1; widen the interval"
    )


@pytest.mark.parametrize(
    "name, model, line",
    [
        ("stg", Able(skippable=0), "guidance stg skips a block, which this model does not support; choose another guidance"),
        ("stg", Able(skippable=3), "skip_block is 3; use a block of this model, 0 to 2"),
        ("autoguidance", Able(), "guidance autoguidance needs a second, weaker model; pass one as bad_model"),
    ],
)
def test_a_model_that_cannot_is_named_with_what_it_can(name, model, line):
    with pytest.raises(ValueError, match=f"^{line}$"):
        check_supported(make_guidance(name), [STEP], {"main": model})


def test_a_block_left_to_the_model_is_its_own():
    models = {name: SimpleNamespace(own_skip_block=block) for name, block in (("first", 28), ("second", 0))}
    skipped = [resolve_block(make_guidance("stg").skip_block, model) for model in (*models.values(), SimpleNamespace())]
    assert skipped == [28, 0, 3] and resolve_block(7, models["first"]) == 7 and resolve_block(None, models["first"]) is None


def test_each_modality_can_be_rescaled_by_its_own_share():
    high, low, apart = (
        ask("cfg", scale=3.0, **each)[2] for each in ({"rescale": 0.9}, {"rescale": 0.7}, {"rescale": 0.9, "audio_rescale": 0.7})
    )
    assert apart.video.equal(high.video) and apart.audio.equal(low.audio) and not apart.audio.equal(high.audio)
    with pytest.raises(ValueError, match="audio_rescale is 1.5; use a number from 0"):
        make_guidance("cfg", audio_rescale=1.5)


@pytest.mark.parametrize("name", SCALED)
def test_branches_of_the_negative_prompt_skip_a_block_and_others_do_not(name):
    plain, changed = (make_guidance(name, **settings_at(name, 2.0), negative_skip_block=block) for block in (-2, 4))
    for before, after in zip(plain.branches(LATER), changed.branches(LATER), strict=True):
        assert after == (replace(before, skip_block=4) if "negative" in (before.video, before.audio) else before)
    predictions = predictions_for(changed.branches(LATER))
    back = {replace(b, skip_block=None) if "negative" in (b.video, b.audio) else b: p for b, p in predictions.items()}
    guided, expected = changed.combine(predictions, LATER)[0], plain.combine(back, LATER)[0]
    assert torch.equal(guided.video, expected.video) and torch.equal(guided.audio, expected.audio)


def test_a_skipped_block_of_the_negative_prompt_is_one_that_the_model_has():
    check_supported(make_guidance("cfg", negative_skip_block=5), [STEP], {"main": Able()})
    for block, able, line in (
        (6, Able(), "negative_skip_block is 6; use a block of this model, 0 to 5"),
        (1, Able(skippable=0), "negative_skip_block is 1, but this model cannot skip blocks; use -2 \\(off\\)"),
    ):
        with pytest.raises(ValueError, match=f"^{line}$"):
            check_supported(make_guidance("cfg", negative_skip_block=block), [STEP], {"main": able})
    for wrong in (-3, 1.5):
        with pytest.raises(ValueError, match=f"negative_skip_block is {wrong}; use the number of a block"):
            make_guidance("cfg", negative_skip_block=wrong)


# Models without coupling.


@pytest.mark.parametrize("name", ["joint_cfg", "joint_cfg_star", "dual_cfg", "modality_cfg", "stg"])
def test_without_coupling_methods_for_coupling_are_cfg(name):
    skips = {"video_skip_scale": 1.0, "audio_skip_scale": 1.0} if name in ("modality_cfg", "stg") else {}
    own = make_guidance(name, video_scale=3.0, audio_scale=7.0, rescale=0.5, a_to_v=0.5, interval_low=0.2, **skips)
    assert without_coupling(own) == make_guidance("cfg", video_scale=3.0, audio_scale=7.0, rescale=0.5, interval_low=0.2)
    said = [f"this model has no coupling, so {name} equals cfg", "a_to_v and v_to_a have no effect: this model has no coupling"]
    assert describe_without_coupling(own) == said


@pytest.mark.parametrize("name", ["none", "cfg", "apg", "cfg_zero_star", "autoguidance", "stg"])
def test_without_coupling_the_other_methods_stay(name):
    own = make_guidance(name)
    assert without_coupling(own) == own and describe_without_coupling(own) == []


def test_without_coupling_there_are_no_joint_layers_to_remove():
    assert without_coupling(make_guidance("autoguidance", bad_removed=True, removed=True)) == make_guidance("autoguidance")


@pytest.mark.parametrize("name, scales, used", [
    ("cfg", (3.0, 1.0), {NEGATIVE: (True, False), POSITIVE: (True, True)}),
    ("cfg", (1.0, 3.0), {NEGATIVE: (False, True), POSITIVE: (True, True)}),
    ("cfg", (0.0, 3.0), {NEGATIVE: (True, True), POSITIVE: (True, True)}),  # `rescale` needs the prompt's prediction
    ("apg", (3.0, 1.0), {NEGATIVE: (True, False), POSITIVE: (True, True)}),
    ("autoguidance", (1.0, 2.0), {Branch(model="bad"): (False, True), POSITIVE: (True, True)}),
    ("none", (), {POSITIVE: (True, True)}),
])  # fmt: skip
def test_a_branch_says_which_of_its_streams_have_an_effect(name, scales, used):
    own = make_guidance(name, **dict(zip(("video_scale", "audio_scale"), scales)))
    assert own.used_streams(Step(0, 4, 1.0, 1.0)) == used


def test_outside_the_interval_a_stream_needs_no_negative():
    own = make_guidance("cfg", scale=3.0, interval_high=0.5)
    assert own.used_streams(Step(0, 4, 0.8, 0.4)) == {NEGATIVE: (False, True), POSITIVE: (True, True)}
