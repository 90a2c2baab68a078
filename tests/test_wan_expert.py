"""The adapter of Wan: the same numbers as diffusers' transformer, whole and in parts, with a time for each latent frame."""

from __future__ import annotations

import pytest
import torch
from diffusers import WanTransformer3DModel

from duet_av.av_models.contract import Condition
from duet_av.av_models.experts.wan import WanExpert
from duet_av.av_models.experts.wan_stages import WanStages
from duet_av.av_models.joint.avfulldit import attend

HEIGHT, WIDTH, FRAMES, TEXT, LENGTH = 4, 6, 3, 8, 16
TOKENS = HEIGHT // 2 * WIDTH // 2  # of one latent frame


def transformer(dtype: torch.dtype = torch.float32, seed: int = 0) -> WanTransformer3DModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        wan = WanTransformer3DModel(
            num_attention_heads=2, attention_head_dim=32, in_channels=4, out_channels=4, text_dim=TEXT, freq_dim=32, ffn_dim=32,
            num_layers=2, rope_max_seq_len=32,
        )  # fmt: skip
    for name, tensor in [*wan.named_parameters(), *wan.named_buffers()]:
        if not set(name.split(".")) & set(wan._keep_in_fp32_modules):
            tensor.data = tensor.data.to(dtype)
    return wan.eval().requires_grad_(False)


def expert(dtype: torch.dtype = torch.float32, seed: int = 0) -> WanExpert:
    return WanExpert(transformer(dtype, seed), text_length=LENGTH)


def latent(rows: int = 2) -> torch.Tensor:
    return torch.randn(rows, 4, FRAMES, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(1))


def text(rows: int = 2, length: int = 5) -> Condition:
    tokens = torch.randn(rows, length, TEXT, generator=torch.Generator().manual_seed(2))
    return Condition(tokens, torch.ones(rows, length, dtype=torch.bool))


def own(wan: WanTransformer3DModel, x: torch.Tensor, t: torch.Tensor, words: Condition) -> torch.Tensor:
    """The output of diffusers' transformer, with text as long as in training and, for [B, T], the times of all tokens."""
    filled = torch.zeros(len(x), LENGTH, TEXT)
    filled[:, : words.tokens.shape[1]] = words.tokens
    times = t * 1000 if t.ndim == 1 else (t * 1000).repeat_interleave(TOKENS, 1)
    dtype = wan.patch_embedding.weight.dtype
    return wan(x.to(dtype), times, filled.to(dtype), return_dict=False)[0].float()


def by_blocks(wan: WanExpert, x: torch.Tensor, t: torch.Tensor, words: Condition, split: bool) -> torch.Tensor:
    state = wan.embed(x, t, words)
    for block in wan.blocks:
        if split:
            rows, kept = wan.attention_input(block, state)
            state = wan.finish(block, state, kept, attend(wan.project(block, rows, state)))
        else:
            state = wan.run(block, state)
    return wan.head(state)


TIMES = {
    "one for each clip": torch.tensor([0.3, 0.9]),
    "one for each frame": torch.tensor([[0.0, 0.4, 0.4], [0.9, 0.2, 0.7]]),
}


@pytest.fixture
def one_thread():
    """Several threads split matrices of other heights otherwise, which changes the order of sums."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@torch.no_grad()
@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("times", TIMES)
def test_it_is_the_transformer_bit_for_bit(times, dtype):
    wan, x, t = expert(dtype), latent(), TIMES[times]
    expected = own(wan.transformer, x, t, text())
    for found in (wan(x, t, text()), by_blocks(wan, x, t, text(), split=False), by_blocks(wan, x, t, text(), split=True)):
        assert found.dtype == torch.float32 and torch.equal(found, expected)


@torch.no_grad()
def test_the_time_of_each_frame_matters():
    wan, x = expert(), latent(1)
    same, other = (wan(x, torch.tensor([times]), text(1)) for times in ([0.5, 0.5, 0.5], [0.0, 0.5, 0.5]))
    torch.testing.assert_close(same, wan(x, torch.tensor([0.5]), text(1)), atol=1e-5, rtol=1e-5)
    assert not torch.allclose(same, other, atol=1e-3)


@torch.no_grad()
def test_a_frames_tokens_share_one_time_embedding():
    state = expert().embed(latent(), TIMES["one for each frame"], text())
    assert state.time.shape == (2, FRAMES, 7, 64)


@torch.no_grad()
def test_gradients_reach_weights_through_the_times_of_frames():
    wan = expert()
    wan.transformer.requires_grad_(True)
    with torch.enable_grad():
        wan(latent(), TIMES["one for each frame"], text()).square().mean().backward()
    assert all(parameter.grad is not None for parameter in wan.parameters())


@torch.no_grad()
def test_two_stages_switch_at_their_boundary():
    high, low = expert(seed=3), expert(seed=4)
    both, x = WanStages(high, low), latent()
    for times, used in (([1.0, 0.875], high), ([0.874, 0.0], low)):
        assert torch.equal(both(x, torch.tensor(times), text()), used(x, torch.tensor(times), text()))
    mixed = both(x, torch.tensor([0.2, 0.9]), text())
    for row, used in ((0, low), (1, high)):
        alone = used(x[row : row + 1], torch.tensor([0.2, 0.9])[row : row + 1], text().each(lambda part: part[row : row + 1]))
        torch.testing.assert_close(mixed[row : row + 1], alone, atol=1e-6, rtol=1e-5)
    assert both.limits == high.limits and not hasattr(both, "blocks")
