import pytest
import torch

from duet_av.av_models.contract import CUT, FULL, REMOVED, AVLatent, AVTime, Coupling, CouplingKind, denoise
from duet_av.tests.toy import AUDIO_CHANNELS, VIDEO_CHANNELS, ToyJoint, toy_condition

ROWS = 3


def inputs(audio_seed: int = 1):
    g, h = torch.Generator().manual_seed(0), torch.Generator().manual_seed(audio_seed)
    video = torch.randn(ROWS, VIDEO_CHANNELS, 2, 3, 3, generator=g)
    audio = torch.randn(ROWS, AUDIO_CHANNELS, 7, generator=h)
    return AVLatent(video, audio), AVTime(torch.full((ROWS,), 0.6), torch.full((ROWS,), 0.6)), toy_condition(2, ROWS)


def run(coupling: Coupling, audio_seed: int = 1) -> AVLatent:
    return denoise(ToyJoint(), *inputs(audio_seed), [coupling] * ROWS)


def directional(a_to_v: float, v_to_a: float) -> Coupling:
    return Coupling(CouplingKind.FULL, a_to_v, v_to_a)


def equal(x: AVLatent, y: AVLatent) -> bool:
    return torch.equal(x.video, y.video) and torch.equal(x.audio, y.audio)


def test_couplings_differ_and_strength_one_and_zero_are_full_and_cut():
    assert equal(run(directional(1.0, 1.0)), run(FULL)) and equal(run(directional(0.0, 0.0)), run(CUT))
    assert not equal(run(FULL), run(CUT)) and not equal(run(CUT), run(REMOVED))


@pytest.mark.parametrize("a_to_v, v_to_a", [(0.0, 1.0), (1.0, 0.0), (0.0, 0.3), (0.3, 1.0)])
def test_directional_mixing_is_exact_at_zero_and_one(a_to_v, v_to_a):
    latent, t, cond = inputs()
    index = torch.arange(ROWS).repeat_interleave(2)
    pairs = [type(x)(x.video[index], x.audio[index]) for x in (latent, t)]
    texts = type(cond)(*(type(x)(x.tokens[index], x.mask[index]) for x in (cond.video, cond.audio)))
    both = ToyJoint().predict(*pairs, texts, [CouplingKind.FULL, CouplingKind.CUT] * ROWS)
    full, cut = both[0::2], both[1::2]
    mixed = run(directional(a_to_v, v_to_a))
    for out, f, c, s in (
        (mixed.video, full.video, cut.video, a_to_v),
        (mixed.audio, full.audio, cut.audio, v_to_a),
    ):
        assert torch.equal(out, c if s == 0 else f if s == 1 else c + s * (f - c))


def test_rows_of_different_coupling_go_in_one_call_and_keep_their_order():
    model = ToyJoint()
    couplings = [CUT, directional(0.5, 1.0), REMOVED]
    out = denoise(model, *inputs(), couplings)
    assert model.calls == [4]
    for row, coupling in enumerate(couplings):
        alone = run(coupling)[row : row + 1]
        torch.testing.assert_close(out.video[row : row + 1], alone.video, atol=1e-6, rtol=0)
        torch.testing.assert_close(out.audio[row : row + 1], alone.audio, atol=1e-6, rtol=0)


@pytest.mark.parametrize("coupling", [CUT, REMOVED, directional(0.0, 1.0)])
def test_video_that_does_not_hear_is_the_same_for_any_sound(coupling):
    assert torch.equal(run(coupling, 1).video, run(coupling, 9).video)
    assert not torch.equal(run(FULL, 1).video, run(FULL, 9).video)
