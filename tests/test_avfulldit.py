import copy
from dataclasses import replace

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from torch.nn.functional import scaled_dot_product_attention

from duet_av.av_models.contract import AVCondition, AVLatent, CouplingKind, LatentShape
from duet_av.av_models.experts.base import QKV
from duet_av.av_models.guidance import make_guidance
from duet_av.av_models.joint import avfulldit
from duet_av.av_models.joint.avfulldit import AVFullDiT, added_cross_attention, attend, full_attention, joint_attention
from duet_av.av_models.noise import audio_noise, video_noise
from duet_av.tests import small
from duet_av.tests.sample_with import sample_with

FULL, CUT, REMOVED = CouplingKind.FULL, CouplingKind.CUT, CouplingKind.REMOVED
VIDEO_ROWS, SOUND_ROWS, TEXT_ROWS, SIZE = 12, 9, 5, 16
SHARED, NEW = 2, 1


def predict(model, latent: AVLatent, kind: CouplingKind, cond=None) -> AVLatent:
    return model.predict(latent, small.times(), cond or small.condition(), [kind] * latent.rows)


def other_sound(latent: AVLatent) -> AVLatent:
    return replace(latent, audio=latent.audio.flip(2))


def other_picture(latent: AVLatent) -> AVLatent:
    return replace(latent, video=latent.video.flip(2))


@torch.no_grad()
@pytest.mark.parametrize("joint_blocks", [1, 3, 4])
def test_removed_is_each_expert_alone_bit_for_bit(joint_blocks):
    model, latent, t, cond = small.joint(joint_blocks), small.latent(), small.times(), small.condition()
    out = predict(model, latent, REMOVED)
    assert torch.equal(out.video, small.video_expert().eval()(latent.video, t.video, cond.video))
    assert torch.equal(out.audio, small.audio_expert().eval()(latent.audio, t.audio, cond.audio))


@torch.no_grad()
def test_untrained_new_heads_leave_the_sound_of_cut_as_it_was():
    latent = small.latent()
    model = AVFullDiT(small.video_expert(), small.audio_expert(), 3).eval()
    cut, removed = predict(model, latent, CUT), predict(model, latent, REMOVED)
    torch.testing.assert_close(cut.video, removed.video, atol=1e-5, rtol=0)
    torch.testing.assert_close(cut.audio, removed.audio, atol=1e-5, rtol=0)


@torch.no_grad()
@pytest.mark.parametrize("kind", [CUT, REMOVED])
def test_uncoupled_neither_modality_knows_of_the_other_bit_for_bit(kind):
    model, latent = small.joint(), small.latent()
    out = predict(model, latent, kind)
    for_sound, for_picture = predict(model, other_sound(latent), kind), predict(model, other_picture(latent), kind)
    assert torch.equal(out.video, for_sound.video) and not torch.equal(out.audio, for_sound.audio)
    assert torch.equal(out.audio, for_picture.audio) and not torch.equal(out.video, for_picture.video)


@torch.no_grad()
@pytest.mark.parametrize("joint_blocks", [1, 2, 4])
def test_coupled_each_modality_hears_the_other(joint_blocks):
    """From 3 joint blocks on, dual-stream Flux blocks are among them."""
    model, latent = small.joint(joint_blocks), small.latent()
    out = predict(model, latent, FULL)
    assert float((out.video - predict(model, other_sound(latent), FULL).video).abs().max()) > 1e-4
    assert float((out.audio - predict(model, other_picture(latent), FULL).audio).abs().max()) > 1e-4


@torch.no_grad()
def test_attention_is_never_computed_for_no_rows(monkeypatch):
    """CUDA's attention returns None for them."""
    rows, original = [], avfulldit.dispatch_attention_fn
    monkeypatch.setattr(avfulldit, "dispatch_attention_fn", lambda q, k, v: rows.append(len(q)) or original(q, k, v))
    model = small.joint()
    model.predict(small.latent(2), small.times(2), small.condition(2), [CouplingKind.FULL, CouplingKind.REMOVED])
    assert rows and min(rows) == 1


def test_cut_uses_the_new_heads_and_removed_does_not():
    model, latent = small.joint(), small.latent()
    changed = copy.deepcopy(model)
    small.randomised(changed.new_heads, seed=77)
    assert torch.equal(predict(model, latent, REMOVED).audio, predict(changed, latent, REMOVED).audio)
    assert not torch.allclose(predict(model, latent, CUT).audio, predict(changed, latent, CUT).audio, atol=1e-4)


@torch.no_grad()
def test_video_text_reaches_the_sound_only_when_coupled():
    model, latent, cond = small.joint(), small.latent(), small.condition()
    other = AVCondition(small.text(seed=50), cond.audio)
    assert torch.equal(predict(model, latent, CUT, cond).audio, predict(model, latent, CUT, other).audio)
    assert not torch.equal(predict(model, latent, FULL, cond).audio, predict(model, latent, FULL, other).audio)


# AVFull-Attention itself.


def heads(rows: int, count: int, seed: int) -> QKV:
    generator = torch.Generator().manual_seed(seed)
    return QKV(*(torch.randn(2, rows, count, SIZE, generator=generator) for _ in range(3)))


def random_heads() -> tuple[QKV, QKV, QKV]:
    return heads(VIDEO_ROWS, SHARED + NEW, 1), heads(TEXT_ROWS + SOUND_ROWS, SHARED, 2), heads(SOUND_ROWS, NEW, 3)


def dense(video: QKV, own: QKV, extra: QKV) -> torch.Tensor:
    """One attention over [video, text, sound] with all heads: new heads of text rows are padding that nobody sees.

    Rows of text see text and sound; rows of video see video and sound; rows of sound see all.
    """

    def rows(v: torch.Tensor, o: torch.Tensor, e: torch.Tensor) -> torch.Tensor:
        padding = torch.zeros(2, TEXT_ROWS, NEW, SIZE)
        return torch.cat([v, torch.cat([o, torch.cat([padding, e], 1)], 2)], 1).transpose(1, 2)

    length, text = VIDEO_ROWS + TEXT_ROWS + SOUND_ROWS, slice(VIDEO_ROWS, VIDEO_ROWS + TEXT_ROWS)
    seen = torch.ones(SHARED + NEW, length, length, dtype=torch.bool)
    seen[:, :VIDEO_ROWS, text] = seen[:, text, :VIDEO_ROWS] = False
    seen[SHARED:, :, text] = False
    q, k, v = (rows(getattr(video, n), getattr(own, n), getattr(extra, n)) for n in "qkv")
    return scaled_dot_product_attention(q, k, v, attn_mask=seen).transpose(1, 2)


def test_full_attention_is_one_masked_attention_over_w_a_and_w_an_side_by_side():
    video, own, extra = random_heads()
    to_video, to_own, to_extra = joint_attention(video, own, extra, TEXT_ROWS, full_attention)
    expected = dense(video, own, extra)
    close = {"atol": 1e-5, "rtol": 0}
    torch.testing.assert_close(to_video, expected[:, :VIDEO_ROWS], **close)
    torch.testing.assert_close(to_own, expected[:, VIDEO_ROWS:, :SHARED], **close)
    torch.testing.assert_close(to_extra, expected[:, VIDEO_ROWS + TEXT_ROWS :, SHARED:], **close)


def test_cross_attention_is_attention_to_the_other_beside_that_to_oneself():
    """The paper's ablation: no key of one modality competes with one of the other."""
    video, own, extra = random_heads()
    crossed = joint_attention(video, own, extra, TEXT_ROWS, added_cross_attention)
    alone = [attend(x) for x in (video, own, extra)]
    louder = QKV(video.q, video.k * 3, video.v)
    moved = joint_attention(louder, own, extra, TEXT_ROWS, added_cross_attention)
    sound = QKV(*(torch.cat([o[:, TEXT_ROWS:], e], 2) for o, e in ((own.q, extra.q), (own.k, extra.k), (own.v, extra.v))))
    torch.testing.assert_close(crossed[0], alone[0] + attend(QKV(video.q, sound.k, sound.v)))
    torch.testing.assert_close(crossed[1][:, :TEXT_ROWS], alone[1][:, :TEXT_ROWS])
    torch.testing.assert_close(moved[0] - attend(louder), crossed[0] - alone[0])


def test_an_attention_that_is_none_is_named():
    with pytest.raises(ValueError, match="attention is 'sum'; use one of full, cross"):
        AVFullDiT(small.video_expert(), small.audio_expert(), 2, attention="sum")


def test_text_rows_neither_see_nor_are_seen_by_the_video():
    video, own, extra = random_heads()
    text = slice(0, TEXT_ROWS)
    before = joint_attention(video, own, extra, TEXT_ROWS, full_attention)
    other_text = QKV(*(torch.cat([x[:, text].flip(1) * 2, x[:, TEXT_ROWS:]], 1) for x in (own.q, own.k, own.v)))
    after = joint_attention(video, other_text, extra, TEXT_ROWS, full_attention)
    assert torch.equal(before[0], after[0]) and torch.equal(before[2], after[2])
    assert not torch.equal(before[1][:, TEXT_ROWS:], after[1][:, TEXT_ROWS:])
    after = joint_attention(heads(VIDEO_ROWS, SHARED + NEW, 40), own, extra, TEXT_ROWS, full_attention)
    assert torch.equal(before[1][:, text], after[1][:, text])
    assert not torch.equal(before[1][:, TEXT_ROWS:], after[1][:, TEXT_ROWS:])


@torch.no_grad()
def test_sound_text_reaches_the_video_through_sound_rows_alone():
    """With one joint block, the last, the video hears what the sound rows were before it; text rows of that very
    block cannot reach it, so that changing them alone changes nothing."""
    model, latent, t, cond = small.joint(1), small.latent(), small.times(), small.condition()
    v, a = model.video.embed(latent.video, t.video, cond.video), model.audio.embed(latent.audio, t.audio, cond.audio)
    last = model.video.blocks[-1], model.audio.blocks[-1], model.new_heads[0]
    rows = (len(v.hidden), 0, 0)
    before = model.joint_block(last, v, a, rows)
    other_text = model.joint_block(last, v, a.with_(text=a.text.flip(1) * 3), rows)
    assert torch.equal(before[0].hidden, other_text[0].hidden)
    assert not torch.equal(before[1].hidden, other_text[1].hidden)
    other_video = model.joint_block(last, v.with_(hidden=v.hidden.flip(1)), a, rows)
    assert torch.equal(before[1].text, other_video[1].text)


# Rows of a batch.


@torch.no_grad()
def test_rows_of_mixed_coupling_equal_calls_of_their_own_in_order():
    model, kinds = small.joint(), [CUT, FULL, REMOVED, FULL, CUT]
    latent, t, cond = small.latent(5), small.times(5), small.condition(5)
    out = model.predict(latent, t, cond, kinds)
    assert out.video.shape == latent.video.shape and out.audio.shape == latent.audio.shape
    for kind in CouplingKind:
        rows = [i for i, k in enumerate(kinds) if k is kind]
        alone = model.predict(latent, t, cond, [kind] * 5)
        torch.testing.assert_close(out.video[rows], alone.video[rows], atol=1e-5, rtol=0)
        torch.testing.assert_close(out.audio[rows], alone.audio[rows], atol=1e-5, rtol=0)


# A skipped block.


@torch.no_grad()
@pytest.mark.parametrize("block", [0, 2])
def test_a_row_that_skips_a_block_is_that_row_of_a_model_without_it(block):
    model, latent, t, cond = small.joint(), small.latent(3), small.times(3), small.condition(3)
    plain, out = (model.predict(latent, t, cond, [FULL, CUT, FULL], skip) for skip in (None, [None, block, block]))
    reference, left_out = small.joint(), list(model.aligned_blocks())[block][1]

    def run(blocks, v, a, counts):
        return (v, a) if blocks[1] is left_out else AVFullDiT.run_blocks(model, blocks, v, a, counts)

    reference.aligned_blocks, reference.run_blocks = model.aligned_blocks, run
    without = reference.predict(latent, t, cond, [FULL, CUT, FULL])
    for modality in ("video", "audio"):
        got, kept, gone = (getattr(each, modality) for each in (out, plain, without))
        assert torch.equal(got[0], kept[0]) and not torch.allclose(got[1:], kept[1:], atol=1e-4)
        torch.testing.assert_close(got[1:], gone[1:], atol=1e-5, rtol=0)


@torch.no_grad()
def test_rows_that_skip_keep_their_order_among_mixed_couplings():
    model, latent, t, cond = small.joint(), small.latent(3), small.times(3), small.condition(3)
    out = model.predict(latent, t, cond, [REMOVED, CUT, FULL], [1, None, 2])
    for row, (kind, block) in enumerate(((REMOVED, 1), (CUT, None), (FULL, 2))):
        alone = model.predict(latent, t, cond, [kind] * 3, [block] * 3)
        torch.testing.assert_close(out.video[row], alone.video[row], atol=1e-5, rtol=0)
        torch.testing.assert_close(out.audio[row], alone.audio[row], atol=1e-5, rtol=0)


# Parity.


@torch.no_grad()
def test_parity_mode_is_each_expert_s_own_scheduler_loop_bit_for_bit():
    model, positive, negative = small.joint(), small.condition(1), small.condition(1, seed=60)
    shape = LatentShape((1, small.VIDEO_CHANNELS, 3, 4, 4), (1, small.AUDIO_CHANNELS, 19))
    schedulers = FlowMatchEulerDiscreteScheduler(shift=5.0), FlowMatchEulerDiscreteScheduler(shift=1.0)
    out = sample_with(
        model, shape, positive, negative, make_guidance("cfg", video_scale=5.0, audio_scale=4.5), steps=3, video_seed=1,
        audio_seed=2, video_scheduler=schedulers[0], audio_scheduler=schedulers[1], parity=True, batch_branches=False,
    ).latent  # fmt: skip
    video = small.video_expert().eval().transformer

    def wan(x, timestep, text):
        return video(x, timestep.expand(1), text.tokens, return_dict=False)[0]

    audio = small.audio_expert().eval()

    def flux(x, timestep, text):
        return audio(x, timestep.expand(1) / 1000, text)

    noise = video_noise(shape.video, 1), audio_noise(shape.audio, 2)
    assert torch.equal(out.video, pipeline(wan, schedulers[0], noise[0], positive.video, negative.video, 5.0))
    assert torch.equal(out.audio, pipeline(flux, schedulers[1], noise[1], positive.audio, negative.audio, 4.5))


def pipeline(expert, scheduler, x, positive, negative, scale: float) -> torch.Tensor:
    """The loop of a diffusers pipeline."""
    scheduler.set_timesteps(3)
    for timestep in scheduler.timesteps:
        conditional, unconditional = expert(x, timestep, positive), expert(x, timestep, negative)
        guided = unconditional + scale * (conditional - unconditional)
        x = scheduler.step(guided, timestep, x, return_dict=False)[0]
    return x


# Pairs that do not fit.


@pytest.mark.parametrize(
    "video, audio, joint_blocks, numbers",
    [
        ({"attention_head_dim": 24}, {}, 2, ("24", "16")),
        ({"num_attention_heads": 2}, {}, 2, ("32",)),
        ({"num_attention_heads": 1}, {}, 2, ("16", "32")),
        ({}, {}, 0, ("0", "1 to 4")),
        ({}, {}, -1, ("-1", "1 to 4")),
        ({"num_layers": 3}, {}, 4, ("4", "1 to 3")),
    ],
)
def test_a_pair_that_does_not_fit_is_refused_in_one_line(video, audio, joint_blocks, numbers):
    with pytest.raises(ValueError) as error:
        AVFullDiT(small.video_expert(**video), small.audio_expert(**audio), joint_blocks)
    message = str(error.value)
    assert "\n" not in message and all(number in message for number in numbers)
