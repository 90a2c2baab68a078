"""The noise worlds agree with their papers and with diffusers, and one t drives them."""

from __future__ import annotations

import math

import pytest
import torch
from diffusers import DDIMScheduler

from duet_av.av_models.path import DDPM, EDM, FLOW, Trigonometric

GRID = torch.tensor([0.01, 0.2, 0.5, 0.8, 0.99], dtype=torch.float64)


@pytest.mark.parametrize("path", [EDM(), DDPM(), Trigonometric()], ids=["edm", "ddpm", "trigonometric"])
def test_what_a_unet_sees_keeps_unit_variance(path):
    alpha, sigma = path.at(GRID)
    torch.testing.assert_close(alpha**2 + sigma**2, torch.ones_like(GRID), rtol=0, atol=1e-6)
    assert (sigma.diff() > 0).all()


def test_edm_noise_is_log_normal_in_t():
    """log σ = P_mean + P_std Φ⁻¹(t_uni), and the network is told ¼ log σ (JointDiT, eq. 5)."""
    t = torch.rand(200_000, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    logs = EDM(0.7, 1.6, lowest=1e-9, highest=1e9).sigma_at(t).log()
    assert logs.mean() == pytest.approx(0.7, abs=0.02) and logs.std() == pytest.approx(1.6, abs=0.02)
    assert EDM().sigma_at(torch.tensor(0.5)) == pytest.approx(math.exp(0.7))
    torch.testing.assert_close(EDM().network_time(GRID), EDM().sigma_at(GRID).log() / 4)
    torch.testing.assert_close(EDM().time_at(EDM().sigma_at(GRID)), GRID)


def test_edm_stays_within_the_levels_that_the_network_knows():
    assert EDM().sigma_at(torch.tensor([0.0, 1.0])).tolist() == pytest.approx([0.002, 700.0])


def test_the_trigonometric_path_is_a_quarter_of_a_circle():
    path = Trigonometric()
    for ours, wanted in zip(path.at(GRID), (torch.cos(GRID * math.pi / 2), torch.sin(GRID * math.pi / 2))):
        torch.testing.assert_close(ours, wanted)
    torch.testing.assert_close(path.network_time(GRID), GRID)
    torch.testing.assert_close(path.time_at(path.sigma_at(GRID)), GRID)
    ends = path.sigma_at(torch.tensor([0.0, 1.0]))
    assert ends.tolist() == pytest.approx([1e-5, 500.0]) and path.network_time(torch.ones(1)) == pytest.approx(0.99873, abs=1e-5)


def test_ddpm_steps_are_the_ceiling_of_t():
    """t = ⌈1000 t_uni⌉ (JointDiT, eq. 4), the first step being diffusers' number 0."""
    path = DDPM()
    assert path.index(torch.tensor([1e-6, 0.001, 0.0011, 0.5, 1.0])).tolist() == [0, 0, 1, 499, 999]
    theirs = DDIMScheduler(beta_start=0.0015, beta_end=0.0195, beta_schedule="scaled_linear").alphas_cumprod
    assert torch.equal(path.alphas_cumprod, theirs)


def test_flow_is_a_straight_line():
    alpha, sigma = FLOW.at(GRID)
    assert torch.equal(alpha, 1 - GRID) and torch.equal(sigma, GRID) and torch.equal(FLOW.network_time(GRID), GRID)


@pytest.mark.parametrize("schedule", ["linear", "scaled_linear"])
def test_ddpm_betas_are_those_of_diffusers(schedule):
    """Linear are AnimateDiff's, scaled AudioLDM's."""
    theirs = DDIMScheduler(beta_start=0.00085, beta_end=0.012, beta_schedule=schedule).alphas_cumprod
    assert torch.equal(DDPM(0.00085, 0.012, beta_schedule=schedule).alphas_cumprod, theirs)
