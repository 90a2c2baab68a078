"""Noise that ComfyUI's samplers draw while they run, without ComfyUI: samplers that only draw."""

import copy
import functools
import math
import pickle
import sys
from types import ModuleType

import pytest
import torch

from duet_av.nodes.host import NestedTensor
from duet_av.nodes.native.noise import SeedPair, TwoSeedNoise
from duet_av.nodes.native.step_noise import shuffle_apart, with_two_streams

LTX, LONG = ((1, 8, 3, 2, 2), (1, 8, 5, 16)), ((1, 8, 6, 2, 2), (1, 8, 9, 16))
H3, H3_LONG = ((1, 24, 2, 4, 4), (1, 32, 2, 5)), ((1, 24, 4, 4, 4), (1, 32, 2, 8))
SVD, SVD_LONG = ((1, 4, 3, 4, 4), (1, 8, 16, 5)), ((1, 4, 5, 4, 4), (1, 8, 16, 8))  # with ACE-Step 1
WAN, WAN_LONG = ((1, 16, 2, 2, 2), (1, 64, 5)), ((1, 16, 4, 2, 2), (1, 64, 8))  # with Stable Audio 1
SIGMAS = torch.tensor([1.0, 0.6, 0.3, 0.0])


class Sampler:
    """As much of ComfyUI's KSAMPLER as is used."""

    def __init__(self, function, extra_options=None):
        self.sampler_function, self.extra_options = function, extra_options or {}

    def draw(self, shapes, sigmas=SIGMAS, rows=1):
        """What the sampler drew: for each step the video and the audio."""
        sizes = [math.prod(shape[1:]) for shape in shapes]
        drawn = self.sampler_function(self, torch.zeros(rows, 1, sum(sizes)), sigmas, extra_args={}, **self.extra_options)
        return [[part.reshape(rows, *shape[1:]) for part, shape in zip(each.flatten(1).split(sizes, 1), shapes)] for each in drawn]


def draws(model, x, sigmas, extra_args=None, noise_sampler=None):
    return [noise_sampler(sigma, following) for sigma, following in zip(sigmas, sigmas[1:])]


def plain(model, x, sigmas, extra_args=None):
    return []


def drawn(seed: SeedPair, shapes=LTX, rows=1, **others):
    return with_two_streams(Sampler(draws), seed, shapes).draw(shapes, rows=rows, **others)


def same(a, b, stream: int) -> list[bool]:
    return [x[stream].equal(y[stream]) for x, y in zip(a, b, strict=True)]


@pytest.mark.parametrize("shapes", [LTX, H3, SVD, WAN])
def test_each_stream_is_drawn_from_its_own_seed(shapes):
    base, again, audio, video = (drawn(SeedPair(*seeds), shapes) for seeds in ((1, 2), (1, 2), (1, 5), (7, 2)))
    assert len(base) == 3 and all(same(base, again, 0) + same(base, again, 1))
    assert all(same(base, audio, 0)) and not any(same(base, audio, 1))
    assert not any(same(base, video, 0)) and all(same(base, video, 1))


@pytest.mark.parametrize("shapes", [LTX, H3, SVD, WAN])
def test_the_noise_of_each_step_is_new_and_standard_normal(shapes):
    samples = NestedTensor(tuple(torch.zeros(shape) for shape in shapes))
    for stream, initial in enumerate(TwoSeedNoise(3, 3).generate_noise({"samples": samples}).unbind()):
        parts = torch.stack([initial.flatten(), *(each[stream].flatten() for each in drawn(SeedPair(3, 3), shapes))])
        assert parts.corrcoef().fill_diagonal_(0).abs().max() < 0.35
        assert parts.std() == pytest.approx(1, abs=0.1)


def test_streams_of_equal_seeds_are_independent():
    pairs = torch.stack([torch.cat([each[i].flatten()[:96] for each in drawn(SeedPair(3, 3))]) for i in range(2)])
    assert pairs.corrcoef()[0, 1].abs() < 0.2


@pytest.mark.parametrize("short, long, axis", [(LTX, LONG, 2), (H3, H3_LONG, 3), (SVD, SVD_LONG, 3), (WAN, WAN_LONG, 2)])
def test_a_longer_clip_keeps_the_noise_of_a_shorter_one(short, long, axis):
    for a, b in zip(drawn(SeedPair(1, 2), short), drawn(SeedPair(1, 2), long)):
        assert b[0][:, :, : short[0][2]].equal(a[0]) and b[1].narrow(axis, 0, 5).equal(a[1])


def test_rows_of_a_batch_keep_their_noise():
    batch = drawn(SeedPair(1, 2), rows=3)
    for rows, places in (([0], ()), ([2], (2,)), ([2, 0], (2, 0)), ([0], (4, 5))):  # places of another batch are left aside
        some = drawn(SeedPair(1, 2, places), rows=len(rows))
        assert all(part.equal(whole[rows]) for a, b in zip(some, batch) for part, whole in zip(a, b))


def test_the_noise_says_which_rows_a_latent_has():
    noise = TwoSeedNoise(1, 2)
    noise.generate_noise(
        {"samples": NestedTensor((torch.zeros(2, *LTX[0][1:]), torch.zeros(2, *LTX[1][1:]))), "batch_index": [4, 2]}
    )
    assert noise.seed.rows == (4, 2)
    noise.generate_noise({"samples": torch.zeros(LTX[0])})
    assert noise.seed.rows == (0,)


def test_a_sampler_is_not_changed():
    options: dict = {"eta": 1.0}
    sampler = Sampler(lambda model, x, sigmas, eta, noise_sampler=None, extra_args=None: [x], options)
    function = sampler.sampler_function
    changed = with_two_streams(sampler, SeedPair(1, 2), LTX)
    assert changed is not sampler and changed.draw(LTX)
    assert sampler.sampler_function is function and sampler.extra_options is options == {"eta": 1.0}
    assert changed.sampler_function.__name__ == function.__name__


@pytest.mark.parametrize("sampler, seed", [
    (Sampler(draws), 1), (Sampler(draws), None), (Sampler(plain), SeedPair(1, 2)), (object(), SeedPair(1, 2)),
    (Sampler(draws, {"noise_sampler": print}), SeedPair(1, 2)),
])  # fmt: skip
def test_other_samplers_and_other_noise_are_left_alone(sampler, seed):
    assert with_two_streams(sampler, seed, LTX) is sampler


def dpm_adaptive_function(model, x, sigmas, extra_args, **options):
    return draws(model, x, sigmas, extra_args, **options)


@pytest.mark.parametrize("function", [dpm_adaptive_function, functools.partial(draws, extra_args=None)])
def test_functions_in_other_functions_draw_too(function):
    made = with_two_streams(Sampler(function), SeedPair(1, 2), LTX).draw(LTX)
    assert all(same(made, drawn(SeedPair(1, 2)), 0))


@pytest.mark.parametrize("name, on_cpu", [("sample_dpmpp_sde", True), ("sample_dpmpp_2m_sde_heun_gpu", False)])
def test_brownian_noise_has_a_tree_for_each_stream_and_row(monkeypatch, name, on_cpu):
    made = []

    class Tree:
        def __init__(self, x, low, high, seed, cpu):
            made.append((tuple(x.shape), float(low), float(high), seed, cpu))
            self.x = x

        def __call__(self, sigma, sigma_next):
            return torch.zeros_like(self.x)

    module = ModuleType("comfy.k_diffusion.sampling")
    module.BrownianTreeNoiseSampler = Tree
    for each in ("comfy", "comfy.k_diffusion"):
        monkeypatch.setitem(sys.modules, each, ModuleType(each))
    monkeypatch.setitem(sys.modules, module.__name__, module)

    def named(model, x, sigmas, extra_args=None, noise_sampler=None):
        return draws(model, x, sigmas, extra_args, noise_sampler)

    named.__name__ = name
    for seed, rows in ((SeedPair(5, 5), 2), (SeedPair(5, 6, (1,)), 1)):
        with_two_streams(Sampler(named), seed, H3).draw(H3, rows=rows)
    assert [each[0] for each in made] == [(2, 2, 24, 4, 4), (2, 5, 32, 2), (1, 2, 24, 4, 4), (1, 5, 32, 2)]
    assert {each[1:3] + each[4:] for each in made} == {(float(SIGMAS[2]), 1.0, on_cpu)}
    (video, audio, row, other) = (each[3] for each in made)
    assert len({*video, *audio, *other}) == 5 and row == video[1:]


def test_a_run_without_steps_draws_nothing():
    def nothing(model, x, sigmas, extra_args=None, noise_sampler=None):
        assert noise_sampler is None
        return []

    sampler = with_two_streams(Sampler(nothing), SeedPair(1, 2), LTX)
    assert sampler.draw(LTX, torch.tensor([0.0])) == []


class Windows:
    """ComfyUI's context windows: their FreeNoise puts earlier noise, in the order of a seed, where later noise was."""

    def __init__(self, freenoise=True):
        self.freenoise = freenoise

    def _apply_freenoise(self, noise, conds, seed):
        return noise[..., torch.randperm(noise.shape[-1], generator=torch.Generator().manual_seed(seed))]


def test_free_noise_orders_each_stream_by_its_own_seed():
    handler, noise, size = Windows(), torch.randn(2, 1, 736), 96
    options = {"context_handler": handler, "other": 1}

    def shuffled(seed):
        return shuffle_apart(options, seed, LTX)["context_handler"]._apply_freenoise(noise, [], int(seed))

    base, audio, video = (shuffled(SeedPair(*seeds)) for seeds in ((1, 2), (1, 5), (7, 2)))
    assert base[..., :size].equal(audio[..., :size]) and not base[..., size:].equal(audio[..., size:])
    assert base[..., size:].equal(video[..., size:]) and not base[..., :size].equal(video[..., :size])
    assert base[..., :size].equal(handler._apply_freenoise(noise, [], 1)[..., :size])
    assert shuffled(5).equal(handler._apply_freenoise(noise, [], 5)) and options["context_handler"] is handler


@pytest.mark.parametrize("options", [{}, {"context_handler": Windows(False)}])
def test_other_windows_are_left_alone(options):
    assert shuffle_apart(options, SeedPair(1, 2), LTX) is options


# The seeds.


def test_seeds_are_passed_on_as_the_seed_of_the_video():
    pair = TwoSeedNoise(3, 8).seed
    assert pair == 3 and isinstance(pair, int) and torch.Generator().manual_seed(pair).initial_seed() == 3
    for copied in (copy.deepcopy(SeedPair(3, 8, (1,))), pickle.loads(pickle.dumps(SeedPair(3, 8, (1,))))):
        assert (copied, copied.audio, copied.rows) == (3, 8, (1,))


def test_a_sampler_of_tiles_moves_both_seeds_and_puts_them_back():
    """As the looping sampler of ComfyUI-LTXVideo does."""
    noise = TwoSeedNoise(3, 2**64 - 1)
    first = noise.seed
    noise.seed = first + 2 * 4 + 1
    assert (noise.video_seed, noise.audio_seed) == (12, 8)
    noise.seed = first
    assert (noise.video_seed, noise.audio_seed) == (3, 2**64 - 1)
    noise.seed = 7
    assert (noise.video_seed, noise.audio_seed) == (7, 2**64 - 1)


# Video alone.


@pytest.mark.parametrize("samples", [torch.zeros(LTX[0]), NestedTensor((torch.zeros(LTX[0]),))])
def test_video_alone_has_the_noise_of_the_video(samples):
    whole = TwoSeedNoise(1, 2).generate_noise({"samples": NestedTensor(tuple(torch.zeros(shape) for shape in LTX))})
    alone = TwoSeedNoise(1, 9).generate_noise({"samples": samples})
    assert (alone.unbind()[0] if isinstance(samples, NestedTensor) else alone).equal(whole.unbind()[0])


def test_video_alone_is_drawn_by_its_own_seed_in_each_step():
    made = with_two_streams(Sampler(draws), SeedPair(1, 9), LTX[:1])
    (video,) = made.sampler_function(made, torch.zeros(LTX[0]), SIGMAS[:2])
    assert video.equal(drawn(SeedPair(1, 2))[0][0])


@pytest.mark.parametrize("samples, sizes", [
    (torch.zeros(1, 4, 8, 8), "1×4×8×8"), (NestedTensor((torch.zeros(1, 8, 5, 16), torch.zeros(LTX[0]))), "1×8×5×16 and 1×8×3×2×2"),
    (NestedTensor((torch.zeros(LTX[0]), torch.zeros(2, 3))), "1×8×3×2×2 and 2×3"), (torch.zeros(0, 8, 3, 2, 2), "0×8×3×2×2"),
    (NestedTensor(tuple(torch.zeros(LTX[0]) for _ in range(3))), "1×8×3×2×2 and 1×8×3×2×2 and 1×8×3×2×2"),
])  # fmt: skip
def test_a_latent_of_something_else_is_refused(samples, sizes):
    with pytest.raises(ValueError) as refused:
        TwoSeedNoise(1, 2).generate_noise({"samples": samples})
    assert str(refused.value) == f"the latent is {sizes}, which is neither video nor video and audio; connect LTXVConcatAVLatent"


def test_samplers_that_draw_from_torch_give_the_same_again():
    samples = torch.zeros(LTX[0])
    first, second = (TwoSeedNoise(1, 2).generate_noise({"samples": samples}) is not None and torch.randn(4) for _ in range(2))
    assert first.equal(second)
