"""The audio of a pair of models, carried on the video's schedule."""

import math

import pytest
import torch

from duet_av.av_models.carried import Carrying, noise_to_signal

HIGHEST = 500.0  # σ of an audio model that is not a flow


def clean_share(is_flow: bool, sigma: torch.Tensor) -> torch.Tensor:
    return 1 - sigma if is_flow else torch.ones_like(sigma)


@pytest.mark.parametrize("video_is_flow", [True, False])
@pytest.mark.parametrize("audio_is_flow", [True, False])
@pytest.mark.parametrize("scale", [0.3, 1.0, 4.0])
def test_euler_steps_of_the_carried_audio_are_those_of_the_audio_alone(video_is_flow, audio_is_flow, scale):
    carrying = Carrying(video_is_flow, scale, 1.0 if audio_is_flow else 1 / HIGHEST)
    sigmas = torch.tensor([1.0, 0.9, 0.6, 0.2, 0.0]) if video_is_flow else torch.tensor([700.0, 90.0, 7.0, 0.4, 0.0])
    sigmas, own = sigmas.double(), carrying.audio_sigma(sigmas.double())
    x = alone = torch.tensor([0.7, -1.3]).double() * own[0]
    carried = x * carrying.factor(sigmas[0])
    for i in range(4):
        x0 = torch.tanh(alone / (1 + own[i]))  # any network
        alone = alone + (alone - x0) / own[i] * (own[i + 1] - own[i])
        seen = carried / carrying.factor(sigmas[i])
        x0 = carrying.scale * torch.tanh(seen / (1 + own[i]))
        carried = carried + (carried - x0) / sigmas[i] * (sigmas[i + 1] - sigmas[i])
        assert torch.allclose(carried / carrying.factor(sigmas[i + 1]), alone, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("audio_is_flow", [True, False])
def test_the_audio_starts_at_its_highest_sigma_and_ends_at_0(audio_is_flow):
    carrying = Carrying(True, 2.5, 1.0 if audio_is_flow else 1 / HIGHEST)
    own = carrying.audio_sigma(torch.tensor([1.0, 0.0]))
    assert own.tolist() == pytest.approx([1.0 if audio_is_flow else HIGHEST, 0.0])


def test_two_flows_of_one_shift_have_the_same_sigma_bit_for_bit():
    carrying, sigmas = Carrying(True), torch.rand(100)
    assert carrying.same and torch.equal(carrying.audio_sigma(sigmas), sigmas)


def test_the_scale_is_the_ratio_of_the_shifts_of_two_flows():
    t = torch.linspace(0, 1, 9).double()
    shifted = [shift * t / (1 + (shift - 1) * t) for shift in (8, 2)]
    assert torch.allclose(Carrying(True, 4.0).audio_sigma(shifted[0]), shifted[1])


def test_noise_to_signal():
    assert noise_to_signal(0.75, True) == 3 and noise_to_signal(0.75, False) == 0.75
    with pytest.raises(ValueError, match="no signal at σ = 1"):
        noise_to_signal(1.0, True)
    assert math.isclose(noise_to_signal(0.0, True), 0)
