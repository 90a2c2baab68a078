import pytest
import torch

from duet_av.av_models.experts.base import ExpertState
from duet_av.av_models.experts.wan import WanExpert, coordinate_channels
from duet_av.av_models.joint.avfulldit import attend
from duet_av.av_models.load_parts import build_video_expert
from duet_av.tests import small

TAU = 8


def by_blocks(expert, x, t, text) -> torch.Tensor:
    stream = expert.embed(x, t, text)
    for block in expert.blocks:
        stream = expert.run(block, stream)
    return expert.head(stream)


def split_block(expert, block, stream: ExpertState) -> ExpertState:
    """A block run in the parts that the joint model uses."""
    rows, kept = expert.attention_input(block, stream)
    return expert.finish(block, stream, kept, attend(expert.project(block, rows, stream)))


def same(one: ExpertState, other: ExpertState) -> bool:
    return torch.equal(one.hidden, other.hidden) and torch.equal(one.text, other.text)


@torch.no_grad()
@pytest.mark.parametrize("length", [1, 7, 12])
def test_wan_in_parts_is_the_transformer_bit_for_bit(length):
    expert, x, t, text = small.video_expert().eval(), small.latent().video, small.times().video, small.text(length=length)
    whole = expert.transformer(x, t * 1000, text.tokens, return_dict=False)[0]
    assert whole.shape == x.shape
    assert torch.equal(expert(x, t, text), whole) and torch.equal(by_blocks(expert, x, t, text), whole)
    stream = expert.embed(x, t, text)
    for block in expert.blocks:
        whole = expert.run(block, stream)
        assert same(split_block(expert, block, stream), whole)
        stream = whole


def test_wan_refuses_a_size_that_its_patches_do_not_cover():
    expert, latent, t, text = small.video_expert(), small.latent().video, small.times().video, small.text()
    for call in (expert, expert.embed):
        with pytest.raises(ValueError, match="not a multiple of the patch size .*; change the clip's width or height"):
            call(latent[..., :-1], t, text)


@torch.no_grad()
@pytest.mark.parametrize("length", [1, 7, 12])
@pytest.mark.parametrize("dual, single", [(2, 2), (3, 0), (0, 3)])
def test_flux_in_parts_is_the_transformer_bit_for_bit(dual, single, length):
    expert = small.audio_expert(num_layers=dual, num_single_layers=single).eval()
    x, t, text = small.latent().audio, small.times().audio, small.text(length=length, real=4)
    whole = expert(x, t, text)
    assert whole.shape == x.shape and len(expert.blocks) == expert.depth == dual + single
    assert torch.equal(by_blocks(expert, x, t, text), whole)
    stream = expert.embed(x, t, text)
    for block in expert.blocks:
        whole = expert.run(block, stream)
        assert same(split_block(expert, block, stream), whole)
        stream = whole


@torch.no_grad()
def test_flux_as_published_counts_positions_by_ones():
    expert = small.audio_expert(rope_scale=1.0).eval()
    x, t, text = small.latent().audio, small.times().audio, small.text()
    ids = torch.zeros(x.shape[2], 3)
    ids[:, 0] = torch.arange(x.shape[2])
    own = expert.transformer(
        x.transpose(1, 2), text.tokens, pooled_projections=text.tokens.sum(1) / text.mask.sum(1, keepdim=True), timestep=t,
        img_ids=ids, txt_ids=torch.zeros(7, 3), return_dict=False,
    )[0]  # fmt: skip
    assert torch.equal(expert(x, t, text), own.transpose(1, 2))


@torch.no_grad()
@torch.no_grad()
def test_coordinates_tell_cells_apart_and_parts_still_equal_the_whole():
    config = small.video_config(in_channels=small.VIDEO_CHANNELS + 3)
    torch.manual_seed(0)
    expert = build_video_expert(config, coordinates=True).eval()
    latent, t, text = small.latent().video, small.times().video, small.text()
    whole = expert(latent, t, text)
    assert whole.shape == latent.shape and torch.equal(by_blocks(expert, latent, t, text), whole)
    shown = coordinate_channels(latent)
    assert shown[0, 1, 0, 0, 0] == -1 and shown[0, 1, 0, -1, 0] == 1 and shown[0, 0, 1, 0, 0] == -0.75
    assert torch.equal(coordinate_channels(latent[:, :, :2]), shown[:, :, :2])


def test_sound_turns_by_the_video_s_angles_where_both_have_a_place():
    latent, text, t = small.latent(frames=3, steps=2 * TAU + 3), small.text(), small.times().video
    audio = small.audio_expert(rope_scale=1 / TAU).embed(latent.audio, t, text).rotary
    video = small.video_expert().embed(latent.video, t, text).rotary
    cells = latent.video.shape[3] // 2 * (latent.video.shape[4] // 2)
    for own, of_video in zip(audio, video):
        of_sound = own[text.tokens.shape[1] :]
        corners = of_video[0, ::cells, 0]  # (t, 0, 0)
        torch.testing.assert_close(of_sound[::TAU], corners.to(of_sound.dtype), atol=1e-6, rtol=0)
        assert not torch.allclose(of_sound[1], corners[1].to(of_sound.dtype), atol=1e-3)


def test_with_expanded_video_sound_turns_by_its_own_angles():
    """The paper's other ablation: the video's frames lie τ apart, and each τ-th sound step beside one of them."""
    latent, text, t = small.latent(frames=3, steps=2 * TAU + 3), small.text(), small.times().video
    audio = small.audio_expert(rope_scale=1.0).embed(latent.audio, t, text).rotary
    video = WanExpert(small.video_expert().transformer, time_stride=TAU).embed(latent.video, t, text).rotary
    cells = latent.video.shape[3] // 2 * (latent.video.shape[4] // 2)
    for own, of_video in zip(audio, video):
        of_sound = own[text.tokens.shape[1] :]
        torch.testing.assert_close(of_sound[::TAU], of_video[0, ::cells, 0].to(of_sound.dtype), atol=1e-6, rtol=0)


@torch.no_grad()
def test_text_rows_of_flux_stand_at_position_zero():
    rotary = small.audio_expert().embed(small.latent().audio, small.times().audio, small.text()).rotary
    assert bool((rotary[0][:7] == 1).all()) and bool((rotary[1][:7] == 0).all())


@torch.no_grad()
def test_an_empty_prompt_is_finite():
    t, empty, latent = small.times(), small.text(real=0), small.latent()
    assert bool(small.video_expert()(latent.video, t.video, empty).isfinite().all())
    assert bool(small.audio_expert()(latent.audio, t.audio, empty).isfinite().all())
