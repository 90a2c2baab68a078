"""JointDiT: the experts are really run, an untrained one is just them, and coupling does what it says."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from duet_av.av_models.contract import AVLatent, CouplingKind, take_rows
from duet_av.av_models.experts.audioldm2 import AudioLDM2Expert
from duet_av.av_models.experts.svd import SVDExpert
from duet_av.tests.unets import audioldm2_unet, condition, jointdit, latents, svd_unet, times, trained

FULL, CUT, REMOVED = CouplingKind.FULL, CouplingKind.CUT, CouplingKind.REMOVED


def same(a: AVLatent, b: AVLatent) -> bool:
    return torch.equal(a.video, b.video) and torch.equal(a.audio, b.audio)


@torch.no_grad()
@pytest.mark.parametrize("size", [8, 9])
def test_svd_taken_apart_is_the_unet_bit_for_bit(size):
    unet, x, t, cond = svd_unet(), latents(size=size).video, times().video, condition(size=size).video
    seen = torch.cat([x, cond.image.expand(-1, -1, 3, -1, -1)], 1).transpose(1, 2)
    whole = unet(seen, t, cond.tokens, cond.vector, return_dict=False)[0].transpose(1, 2)
    assert torch.equal(SVDExpert(unet)(x, t, cond), whole)


@torch.no_grad()
@pytest.mark.parametrize("steps, bands", [(8, 4), (7, 3)])
def test_audioldm2_taken_apart_is_the_unet_bit_for_bit(steps, bands):
    unet, x, t, cond = audioldm2_unet(), latents(steps=steps, bands=bands).audio, times().audio, condition().audio
    whole = unet(
        x, t, encoder_hidden_states=cond.tokens, encoder_hidden_states_1=cond.second.tokens,
        encoder_attention_mask_1=cond.second.mask, return_dict=False,
    )[0]  # fmt: skip
    assert torch.equal(AudioLDM2Expert(unet)(x, t, cond), whole)


@torch.no_grad()
def test_a_sound_without_bands_is_one_band():
    expert, t, cond = AudioLDM2Expert(audioldm2_unet()), times().audio, condition().audio
    x = latents(bands=1).audio
    assert torch.equal(expert(x[..., 0], t, cond), expert(x, t, cond)[..., 0])


@torch.no_grad()
def test_a_picture_reaches_the_sound_through_its_time_embedding_once_trained():
    expert, x, t, cond = AudioLDM2Expert(audioldm2_unet(), 12), latents().audio, times().audio, condition().audio
    none = replace(cond, vector=torch.zeros_like(cond.vector))
    assert torch.equal(expert(x, t, cond), expert(x, t, none))
    torch.nn.init.normal_(expert.image.weight)
    assert not torch.equal(expert(x, t, cond), expert(x, t, none))
    assert torch.equal(expert(x, t, none), AudioLDM2Expert(expert.unet)(x, t, cond))


@torch.no_grad()
@pytest.mark.parametrize("attention", ["perceiver", "standard"])
@pytest.mark.parametrize("kind", list(CouplingKind))
def test_untrained_it_is_the_two_unets_bit_for_bit(kind, attention):
    model, x, t, cond = jointdit(attention=attention), latents(), times(), condition()
    out = model.predict(x, t, cond, [kind] * 2)
    assert same(out, AVLatent(model.video(x.video, t.video, cond.video), model.audio(x.audio, t.audio, cond.audio)))


@torch.no_grad()
@pytest.mark.parametrize("kind", [CUT, REMOVED])
def test_cut_and_removed_know_nothing_of_the_other_modality(kind):
    model, x, other, t, cond = trained(jointdit()), latents(), latents(seed=9), times(), condition()
    before = model.predict(x, t, cond, [kind] * 2)
    assert torch.equal(model.predict(AVLatent(x.video, other.audio), t, cond, [kind] * 2).video, before.video)
    assert torch.equal(model.predict(AVLatent(other.video, x.audio), t, cond, [kind] * 2).audio, before.audio)


@torch.no_grad()
@pytest.mark.parametrize("attention", ["perceiver", "standard"])
def test_coupled_each_hears_the_other(attention):
    model, x, other, t, cond = trained(jointdit(attention=attention)), latents(), latents(seed=9), times(), condition()
    before = model.predict(x, t, cond, [FULL] * 2)
    assert not torch.equal(model.predict(AVLatent(x.video, other.audio), t, cond, [FULL] * 2).video, before.video)
    assert not torch.equal(model.predict(AVLatent(other.video, x.audio), t, cond, [FULL] * 2).audio, before.audio)


@torch.no_grad()
def test_cut_attends_within_each_modality_and_removed_does_not():
    model, x, t, cond = trained(jointdit()), latents(), times(), condition()
    assert not same(model.predict(x, t, cond, [CUT] * 2), model.predict(x, t, cond, [REMOVED] * 2))


@torch.no_grad()
@pytest.mark.parametrize("attention", ["perceiver", "standard"])
def test_when_a_sound_is_counts_where_modalities_attend(attention):
    x, t, cond = latents(), times(), condition()
    slow, fast = (trained(jointdit(audio_rate=rate, attention=attention)) for rate in (0.25, 0.5))
    assert not same(slow.predict(x, t, cond, [FULL] * 2), fast.predict(x, t, cond, [FULL] * 2))
    assert same(slow.predict(x, t, cond, [REMOVED] * 2), fast.predict(x, t, cond, [REMOVED] * 2))


@torch.no_grad()
def test_removed_drops_attention_and_keeps_the_feed_forward():
    model, x, t, cond = trained(jointdit()), latents(), times(), condition()
    without = trained(jointdit())
    for block in without.blocks:
        for after in block.after_attention:
            torch.nn.init.zeros_(after.modulation[1].weight)
            torch.nn.init.zeros_(after.modulation[1].bias)
    removed = model.predict(x, t, cond, [REMOVED] * 2)
    assert same(removed, without.predict(x, t, cond, [FULL] * 2))
    experts = AVLatent(model.video(x.video, t.video, cond.video), model.audio(x.audio, t.audio, cond.audio))
    assert not same(removed, experts)


@torch.no_grad()
def test_rows_of_one_batch_keep_their_own_coupling():
    model, x, t, cond = trained(jointdit()), latents(4), times(4), condition(4)
    kinds = [REMOVED, FULL, CUT, FULL]
    together = model.predict(x, t, cond, kinds)
    for row, kind in enumerate(kinds):
        index = torch.tensor([row])
        alone = model.predict(*take_rows(x, t, cond, index), [kind])
        torch.testing.assert_close(together.video[row], alone.video[0], rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(together.audio[row], alone.audio[0], rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_a_joint_block_comes_after_its_experts_and_before_the_next_layer():
    model, ran = jointdit(inputs=(1, 2), joint_blocks=2), []
    for name, expert in (("v", model.video), ("a", model.audio)):
        run = expert.run
        expert.run = lambda number, stream, run=run, name=name: (ran.append(f"{name}{number}"), run(number, stream))[1]
    for number, block in enumerate(model.blocks):
        block.register_forward_pre_hook(lambda *_, number=number: ran.append(f"J{number}"))
    model.predict(latents(), times(), condition(), [FULL] * 2)
    assert ran == ["v0", "a0", "a1", "v1", "a2", "J0", "v2", "a3", "J1", "v3", "v4", "a4"]


def test_skips_are_from_before_the_joint_block():
    """What the up layers take from a joint layer is what the expert's own layer gave."""
    model = trained(jointdit(inputs=(1, 1), joint_blocks=1))
    taken = []
    model.video.unet.up_blocks[0].register_forward_pre_hook(
        lambda _, args, kwargs: taken.append(kwargs["res_hidden_states_tuple"]), with_kwargs=True
    )
    x, t, cond = latents(), times(), condition()
    with torch.no_grad():
        model.predict(x, t, cond, [FULL] * 2)
        model.predict(x, t, cond, [REMOVED] * 2)
    of_full, of_removed = taken
    assert all(torch.equal(a, b) for a, b in zip(of_full, of_removed, strict=True))


@pytest.mark.parametrize("inputs, joint, left", [((0, 1), 2, 3), ((1, 1), 4, 0), ((5, 1), 1, -1), ((1, 1), -1, 5)])
def test_a_split_without_input_or_output_is_refused_in_one_line(inputs, joint, left):
    with pytest.raises(ValueError, match=f"the video UNet has 5 layers, which leaves {left} output layers; use at least one"):
        jointdit(inputs=inputs, joint_blocks=joint)


def test_heads_that_do_not_divide_are_refused():
    with pytest.raises(
        ValueError, match="qk_width 30 and v_width 48 do not fit 4 heads; use multiples of 4 for both, and of 32 for"
    ):
        jointdit(qk_width=30, heads=4)
    with pytest.raises(ValueError, match="attention is 'cross'; choose one of perceiver, standard"):
        jointdit(attention="cross")
