"""A clip decoded in windows is the clip decoded whole."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from duet_av.av_models.decode_windows import Window, WindowSize, decode_windows


def causal(latent: Tensor) -> Tensor:
    """Two steps of memory; the first latent frame becomes one frame, each other one four."""
    past = nn.functional.pad(latent, (2, 0))
    mixed = past[..., 2:] + 0.5 * past[..., 1:-1].tanh() + 0.25 * past[..., :-2].square()
    return torch.cat([mixed[..., :1], (mixed[..., 1:, None] * torch.arange(1.0, 5.0)).flatten(-2)], -1)


def even(latent: Tensor) -> Tensor:
    """A step to both sides; each latent step becomes three samples."""
    wide = nn.functional.pad(latent, (1, 1))
    return ((wide[..., :-2] + wide[..., 1:-1].sin() + wide[..., 2:])[..., None] * torch.arange(1.0, 4.0)).flatten(-2)


CASES = [(causal, Window.keep_causal, WindowSize(3, 2, 0)), (even, Window.keep_even, WindowSize(4, 1, 1))]


def gradients(latent, windows, decode, keep, **options):
    latent = latent.clone().requires_grad_()
    decoded = decode_windows(latent, windows, decode, keep, (2, 2), **options)
    (gradient,) = torch.autograd.grad(decoded.square().sum(), latent)
    return decoded.detach(), gradient


@pytest.mark.parametrize("total", [1, 2, 3, 11])
@pytest.mark.parametrize("decode, keep, size", CASES, ids=["causal", "even"])
def test_windows_with_enough_context_change_nothing(total, decode, keep, size):
    latent = torch.randn(1, 2, total, generator=torch.Generator().manual_seed(total))
    whole = latent.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(decode(whole).square().sum(), whole)
    for save_memory in (False, True):
        made, gradient_of_windows = gradients(latent, size.divide(total), decode, keep, save_memory=save_memory)
        torch.testing.assert_close(made, decode(latent))
        torch.testing.assert_close(gradient_of_windows, gradient)


def test_chosen_frames_are_those_of_the_whole_clip():
    latent = torch.randn(1, 2, 11, generator=torch.Generator().manual_seed(0))
    windows = WindowSize(3, 2, 0).divide(11, [0, 5, 6, 10])
    assert windows == [Window(0, 0, 1, 1), Window(3, 5, 7, 7), Window(8, 10, 11, 11)]
    made, _ = gradients(latent, windows, causal, Window.keep_causal)
    torch.testing.assert_close(made, causal(latent)[..., [0, *range(17, 25), *range(37, 41)]])


def test_no_window_is_larger_than_said_however_long_the_clip_is():
    size, seen = WindowSize(4, 2, 1), []
    for total in (50, 500):
        seen.append(max(window.stop - window.start for window in size.divide(total)))
    assert seen == [size.most, size.most]
    assert sum(window.last - window.first for window in size.divide(500)) == 500
