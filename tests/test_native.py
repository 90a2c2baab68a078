"""What our guidance on ComfyUI's own models does without ComfyUI: passes, steps, noise, and MiniMax-H3's streams kept apart."""

from types import SimpleNamespace

import pytest
import torch
from torch.nn import functional as F

from duet_av.av_models.contract import CUT, FULL, REMOVED, AVLatent, Coupling, CouplingKind
from duet_av.av_models.guidance import Branch, make_guidance
from duet_av.nodes.empty_joint_latent import DuetEmptyJointLatent
from duet_av.nodes.host import NestedTensor
from duet_av.nodes.join_conditioning import DuetJoinConditioning
from duet_av.nodes.joint_guider import DuetJointGuider, DuetJointNoise, DuetModelGuidance
from duet_av.nodes.native.isolated_attention import attend_separately, duplicate_text_rows
from duet_av.nodes.native.noise import TwoSeedNoise
from duet_av.nodes.native.rows import convert_streams, find_step, group_rows, place_rows, plan_steps, predict_branches, rows_of
from duet_av.nodes.sockets import GuidanceInput

SIGMAS = [1.0, 0.75, 0.5, 0.25, 0.0]


def latent(video: float, audio: float) -> AVLatent:
    return AVLatent(torch.full((1, 2, 3, 2, 2), video), torch.full((1, 2, 5), audio))


ONE_CALL, ONE_ROW = SimpleNamespace(one_call=True), SimpleNamespace(one_call=False)
POSITIVE, NEGATIVE, HALF = Branch(), Branch("negative", "negative"), Coupling(CouplingKind.FULL, a_to_v=0.5, v_to_a=1.0)


def test_rows_share_a_call_unless_they_must_be_apart():
    strategy = make_guidance("modality_cfg", video_skip_scale=2.0, skip_block=7)
    branches = strategy.branches(plan_steps(SIGMAS, lambda t: (t, t), 1.0)[0])
    cut, skipped = Branch(coupling=CUT), Branch(skip_block=7)
    assert group_rows(branches, {"main": ONE_CALL}) == [[POSITIVE, NEGATIVE, cut, skipped]]
    apart = {"main": ("coupling", "skip_block")}
    assert group_rows(branches, {"main": ONE_CALL}, apart) == [[POSITIVE, NEGATIVE], [cut], [skipped]]
    assert group_rows(branches, {"main": ONE_CALL}, {"main": ("skip_block",)}) == [[POSITIVE, NEGATIVE, cut], [skipped]]


def test_a_branch_without_joint_layers_is_a_cut_row_where_both_are_the_same():
    removed = Branch(coupling=REMOVED)
    assert rows_of(removed, ONE_CALL) == [Branch(coupling=CUT)] and rows_of(removed, ONE_ROW) == [removed]


@pytest.mark.parametrize("rows, placed", [
    ([POSITIVE, NEGATIVE], [POSITIVE, NEGATIVE]), ([NEGATIVE, POSITIVE], [POSITIVE, NEGATIVE]), ([POSITIVE], [POSITIVE, None]),
    ([NEGATIVE], [None, NEGATIVE]), ([POSITIVE, Branch(coupling=CUT)], [POSITIVE, None, Branch(coupling=CUT)]),
])  # fmt: skip
def test_rows_are_in_the_hosts_order(rows, placed):
    assert place_rows(rows) == placed


def test_half_a_coupling_is_one_row_where_a_row_can_have_it():
    branch = Branch(coupling=HALF)
    assert group_rows([branch], {"main": ONE_CALL}) == [[branch]]


def test_half_a_coupling_is_mixed_of_two_rows():
    values = {FULL: latent(4.0, 8.0), CUT: latent(2.0, 2.0)}
    models, apart = {"main": ONE_ROW}, {"main": ("coupling",)}
    (made,) = predict_branches(
        [Branch(coupling=HALF)], models, lambda rows: {row: values[row.coupling] for row in rows}, apart
    ).values()
    assert made.video.unique().tolist() == [3.0] and made.audio.unique().tolist() == [8.0]


def test_each_branch_gets_its_own_prediction():
    branches = [Branch("negative", "negative", coupling=CUT), POSITIVE, NEGATIVE, Branch(model="bad")]
    names: list[Branch] = []

    def run(rows):
        names.extend(rows)
        return {row: latent(float(names.index(row)), 0.0) for row in rows}

    made = predict_branches(branches, {"main": ONE_ROW, "bad": ONE_ROW}, run, dict.fromkeys(["main", "bad"], ("coupling",)))
    assert [names[int(made[branch].video.flatten()[0])] for branch in branches] == branches


@pytest.mark.parametrize("sigma, index", [(1.0, 0), (0.9, 0), (0.75, 1), (0.3, 2), (0.25, 3), (0.1, 3), (1.2, 0)])
def test_a_time_between_two_steps_belongs_to_the_one_that_has_begun(sigma, index):
    step = find_step((sigma, sigma / 2), plan_steps(SIGMAS, lambda t: (t, t / 2), 1.0))
    assert (step.index, step.count, step.t_video, step.t_audio) == (index, 4, sigma, sigma / 2)


@pytest.mark.parametrize("sigmas, places", [
    (SIGMAS, [(0, 4), (1, 4), (2, 4), (3, 4)]),
    ([1.0, 0.75, 0.5], [(0, 4), (1, 4)]),
    ([0.5, 0.25, 0.0], [(2, 4), (3, 4)]),
    ([0.85, 0.725, 0.4219, 0.0], [(1, 4), (2, 4), (3, 4)]),
    ([0.0], []),
])  # fmt: skip
def test_a_part_of_a_run_is_counted_as_a_part(sigmas, places):
    """So that what is for its beginning alone is not done in the middle of it."""
    plan = plan_steps(sigmas, lambda t: (t, t), 1.0)
    assert [(step.index, step.count) for step in plan] == places


def test_the_steps_of_a_model_with_a_long_schedule_are_counted_by_their_times():
    """σ of 500 and 10 are almost the same noise: by σ, a run from 10 on would seem to be the end of one."""
    plan = plan_steps([9.0, 3.0, 1.0, 0.0], lambda sigma: (sigma / (1 + sigma),) * 2, 500.0)
    assert [(step.index, step.count, round(step.t_video, 6)) for step in plan] == [(1, 4, 0.9), (2, 4, 0.75), (3, 4, 0.5)]


def test_velocities_and_clean_estimates_are_the_same_told_twice():
    x, x0 = latent(1.0, 2.0), latent(0.2, -1.0)
    v = convert_streams(x0, x, (0.5, 0.25), "x0", "flow")
    assert v.video.unique().item() == pytest.approx(1.6) and v.audio.unique().item() == pytest.approx(12.0)
    again = convert_streams(v, x, (0.5, 0.25), "flow", "x0")
    torch.testing.assert_close(again.video, x0.video)
    torch.testing.assert_close(again.audio, x0.audio)


# Two seeds.


def noise_of(video_seed: int, audio_seed: int, frames: int = 4, audio=(1, 8, 6, 16)) -> AVLatent:
    samples = NestedTensor((torch.zeros(1, 4, frames, 2, 2), torch.zeros(audio)))
    return AVLatent(*TwoSeedNoise(video_seed, audio_seed).generate_noise({"samples": samples}).unbind())


def test_another_seed_of_one_stream_leaves_the_other():
    a, b = noise_of(1, 2), noise_of(1, 3)
    assert a.video.equal(b.video) and not a.audio.equal(b.audio)
    assert TwoSeedNoise(1, 2).seed == 1


@pytest.mark.parametrize("short, long, steps", [
    ((1, 8, 6, 16), (1, 8, 9, 16), 2), ((1, 32, 2, 6), (1, 32, 2, 9), 3), ((1, 8, 16, 6), (1, 8, 16, 9), 3),
    ((1, 8, 16, 16), (1, 8, 20, 16), 2), ((1, 64, 6), (1, 64, 9), 2),
])  # fmt: skip
def test_a_longer_clip_keeps_the_noise_of_a_shorter_one(short, long, steps):
    """LTX-2's sound has its time on the third axis, as has a latent of three; MiniMax-H3's and ACE-Step 1's on the last."""
    a, b = noise_of(1, 2, 4, short), noise_of(1, 2, 6, long)
    assert a.audio.shape == short and b.audio.shape == long
    assert b.video[:, :, :4].equal(a.video) and b.audio.narrow(steps, 0, short[steps]).equal(a.audio)


def test_a_clip_taken_out_of_a_batch_keeps_its_noise():
    def noise(rows: int, **places) -> AVLatent:
        samples = NestedTensor((torch.zeros(rows, 4, 3, 2, 2), torch.zeros(rows, 8, 6, 16)))
        return AVLatent(*TwoSeedNoise(1, 2).generate_noise({"samples": samples, **places}).unbind())

    whole, one = noise(3), noise(1, batch_index=[2])
    assert one.video.equal(whole.video[2:]) and one.audio.equal(whole.audio[2:])


def test_a_seed_out_of_range_is_refused():
    with pytest.raises(ValueError, match="audio_seed is -1; use a whole number"):
        DuetJointNoise.execute(video_seed=0, audio_seed=-1)


# MiniMax-H3's streams.


@pytest.fixture
def layout() -> SimpleNamespace:
    """2 rows of text, 3 of a condition, 4 of sound, 5 of picture."""
    return SimpleNamespace(
        segments=[(0, 2, "text"), (2, 5, "cond"), (5, 9, "audio"), (9, 14, "video")], seq_len=14,
        position_ids=torch.arange(42.0).view(14, 3), img_pos=torch.tensor([2, 3, 4, 9]), audio_pos=torch.tensor([5, 6]),
    )  # fmt: skip


def test_each_modality_lies_behind_a_text_of_its_own_and_keeps_its_positions(layout):
    apart, second = duplicate_text_rows(layout)
    assert apart.segments == [(0, 2, "text"), (2, 5, "cond"), (5, 10, "video"), (10, 12, "text"), (12, 16, "audio")]
    assert second == 10 and apart.seq_len == len(apart.position_ids) == 16
    assert apart.position_ids.equal(layout.position_ids[[0, 1, 2, 3, 4, 9, 10, 11, 12, 13, 0, 1, 5, 6, 7, 8]])
    assert apart.img_pos.tolist() == list(range(2, 10)) and apart.audio_pos.tolist() == [12, 13, 14, 15]
    assert layout.seq_len == 14 and layout.segments[1] == (2, 5, "cond")


def attend(q, k, v, heads, skip_reshape=True, **_):
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2)


def test_each_group_attends_to_itself():
    q, k, v = torch.randn(3, 1, 2, 16, 4)
    out = attend_separately(16, 10, None)(attend, q, k, v, 2, skip_reshape=True)
    for rows in (slice(0, 10), slice(10, 16)):
        torch.testing.assert_close(out[:, rows], attend(q[:, :, rows], k[:, :, rows], v[:, :, rows], 2))
    changed = k.clone()
    changed[:, :, 12:] += 1  # the sound
    again = attend_separately(16, 10, None)(attend, q, changed, v, 2, skip_reshape=True)
    assert again[:, :10].equal(out[:, :10]) and not again[:, 10:].equal(out[:, 10:])


def test_attention_of_other_lengths_is_left_alone_and_an_override_is_kept():
    calls = []

    def before(func, *args, **kwargs):
        calls.append(args[0].shape[-2])
        return func(*args, **kwargs)

    override = attend_separately(16, 10, before)
    for rows in (16, 5):
        override(attend, *torch.randn(3, 1, 2, rows, 4), 2, skip_reshape=True)
    assert calls == [10, 6, 5]


def test_a_stream_of_an_unknown_modality_is_refused(layout):
    layout.segments.append((14, 16, "touch"))
    with pytest.raises(ValueError, match="unknown MiniMax-H3 input touch"):
        duplicate_text_rows(layout)


def test_a_layout_that_does_not_begin_with_its_text_is_refused(layout):
    layout.segments[0] = (0, 2, "video")
    with pytest.raises(ValueError, match="starts with video, not with text"):
        duplicate_text_rows(layout)


# Models of the wrong host.


class OfTheHost:
    """As much of a MODEL as is looked at."""

    model_options: dict = {}


def test_a_worse_model_of_the_host_is_refused_by_our_sampler():
    with pytest.raises(ValueError, match="bad_model is a ComfyUI MODEL; connect a Duet model, or use Joint Guider"):
        GuidanceInput(make_guidance("autoguidance"), OfTheHost()).require_duet_model()


def test_the_guider_goes_where_the_host_takes_one():
    info = DuetJointGuider.GET_NODE_INFO_V1()
    assert info["output"] == ["GUIDER"] and DuetJointNoise.GET_NODE_INFO_V1()["output"] == ["NOISE"]


def test_nodes_that_need_comfyui_say_so():
    used = GuidanceInput(make_guidance("cfg"))
    runs = [
        lambda: DuetJointGuider.execute(OfTheHost(), [], used), lambda: DuetModelGuidance.execute(OfTheHost(), used),
        lambda: DuetJoinConditioning.execute(OfTheHost(), [], []), lambda: DuetEmptyJointLatent.execute(OfTheHost()),
    ]  # fmt: skip
    for run in runs:
        with pytest.raises(ValueError, match="needs ComfyUI's models and samplers; run this workflow in ComfyUI"):
            run()
