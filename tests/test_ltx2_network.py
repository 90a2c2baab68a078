"""LTX-2 as a joint denoiser: coupling, skipped blocks and times of each row, single modalities, gradients, compilation."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from diffusers import LTX2VideoTransformer3DModel
from torch._dynamo.testing import CompileCounterWithBackend

from duet_av.av_models.contract import (
    CUT,
    FULL,
    REMOVED,
    AVCondition,
    AVLatent,
    AVTime,
    Condition,
    Coupling,
    CouplingKind,
    denoise,
)
from duet_av.av_models.joint.ltx2 import LTX2
from duet_av.benchmarks.small_models.ltx2 import OF_VERSION, TRANSFORMER, VERSIONS, _random

ROWS, STEPS, WORDS = 3, 13, 16


def network(version: str = "2.3", **changes: Any) -> LTX2VideoTransformer3DModel:
    torch.manual_seed(7)
    return _random(LTX2VideoTransformer3DModel(**TRANSFORMER | OF_VERSION[version] | changes), 0.15)


@pytest.fixture(params=VERSIONS)
def version(request) -> str:
    return request.param


@pytest.fixture
def joint(version) -> LTX2:
    return LTX2(network(version), use_cross_timestep=version != "2.0")


@pytest.fixture
def inputs(version) -> tuple[AVLatent, AVTime, AVCondition]:
    return make_inputs(version)


def make_inputs(version: str = "2.3", rows: int = ROWS) -> tuple[AVLatent, AVTime, AVCondition]:
    g = torch.Generator().manual_seed(1)
    widths = (24, 24) if version == "2.0" else (32, 16)
    latent = AVLatent(torch.randn(rows, 8, 2, 2, 3, generator=g), torch.randn(rows, 2, STEPS, 4, generator=g))
    words = [Condition(torch.randn(rows, WORDS, width, generator=g), torch.ones(rows, WORDS, dtype=torch.bool)) for width in widths]
    for each in words:
        each.mask[1, 12:] = False
    return latent, AVTime(torch.tensor([0.9, 0.5, 0.2])[:rows], torch.tensor([0.8, 0.5, 0.3])[:rows]), AVCondition(*words)


def reference(version: str, inputs: tuple[AVLatent, AVTime, AVCondition], model: Any = None, **settings: Any) -> AVLatent:
    """The prediction of diffusers' own forward."""
    latent, t, cond = inputs
    with torch.no_grad():
        video, audio = (model or network(version))(
            hidden_states=latent.video.flatten(2).transpose(1, 2).contiguous(),
            audio_hidden_states=latent.audio.transpose(1, 2).flatten(2), encoder_hidden_states=cond.video.tokens,
            audio_encoder_hidden_states=cond.audio.tokens, timestep=1000 * t.video, audio_timestep=1000 * t.audio,
            sigma=1000 * t.video, audio_sigma=1000 * t.audio, encoder_attention_mask=cond.video.mask.long(),
            audio_encoder_attention_mask=cond.audio.mask.long(), num_frames=2, height=2, width=3, fps=24.0, audio_num_frames=STEPS,
            use_cross_timestep=version != "2.0", return_dict=False, **settings,
        )  # fmt: skip
    return AVLatent(video.transpose(1, 2).unflatten(2, (2, 2, 3)), audio.unflatten(2, (2, 4)).transpose(1, 2))


def same(one: AVLatent, other: AVLatent) -> bool:
    return torch.equal(one.video, other.video) and torch.equal(one.audio, other.audio)


def distance(one: AVLatent, other: AVLatent) -> float:
    return max(float((a - b).abs().max()) for a, b in ((one.video, other.video), (one.audio, other.audio)))


def one_way(a_to_v: float, v_to_a: float) -> Coupling:
    return Coupling(CouplingKind.FULL, a_to_v, v_to_a)


def test_coupled_rows_equal_diffusers_bit_for_bit(joint, inputs, version):
    full = denoise(joint, *inputs, [FULL] * ROWS)
    assert same(full, reference(version, inputs)) and full.video.std() > 0.3 and full.audio.std() > 0.3
    assert same(denoise(joint, *inputs, [FULL] * ROWS), full)


def test_nothing_stays_from_a_call_that_failed():
    joint, (latent, t, cond) = LTX2(network()), make_inputs()
    expected = denoise(joint, latent, t, cond, [FULL] * ROWS)
    with pytest.raises(IndexError):
        joint.predict_stream(latent.video, t.video, cond.video, "video", [None, 9, None])
    with pytest.raises(RuntimeError):
        denoise(joint, latent, t, AVCondition(cond.audio, cond.video), [CUT, FULL, CUT], [1, None, 2])
    assert same(denoise(joint, latent, t, cond, [FULL] * ROWS), expected)


def test_cut_rows_equal_isolated_modalities_bit_for_bit(joint, inputs, version):
    cut = denoise(joint, *inputs, [CUT] * ROWS)
    assert same(cut, reference(version, inputs, isolate_modalities=True))
    assert same(cut, denoise(joint, *inputs, [REMOVED] * ROWS))
    assert distance(cut, denoise(joint, *inputs, [FULL] * ROWS)) > 0.1


def test_one_modality_alone_equals_the_cut_rows_bit_for_bit(joint, inputs, version):
    latent, t, cond = inputs
    cut = denoise(joint, *inputs, [CUT] * ROWS)
    ran = []
    for block in joint.transformer.transformer_blocks:
        for name in ("ff", "audio_ff", "attn2", "audio_attn2"):
            getattr(block, name).register_forward_hook(lambda *_, name=name: ran.append(name))
    for stream, others in (("video", {"audio_ff", "audio_attn2"}), ("audio", {"ff", "attn2"})):
        ran.clear()
        alone = joint.predict_stream(getattr(latent, stream), getattr(t, stream), getattr(cond, stream), stream)
        assert torch.equal(alone, getattr(cut, stream)) and ran and not others & set(ran)


def test_nothing_reaches_the_other_modality_of_a_cut_row(joint, inputs, version):
    latent, t, cond = inputs
    couplings = [FULL, CUT, one_way(0.0, 1.0)]
    before = denoise(joint, *inputs, couplings)
    louder = AVLatent(latent.video, latent.audio + 1)
    after = denoise(joint, louder, AVTime(t.video, t.audio), cond, couplings)
    assert torch.equal(after.video[1:], before.video[1:]) and not torch.allclose(after.video[0], before.video[0], atol=1e-2)
    brighter = denoise(joint, AVLatent(latent.video + 1, latent.audio), t, cond, couplings)
    assert torch.equal(brighter.audio[1], before.audio[1])
    assert all(not torch.allclose(brighter.audio[row], before.audio[row], atol=1e-2) for row in (0, 2))


def test_rows_of_every_coupling_and_skip_equal_rows_apart(joint, inputs, version):
    couplings, skip = [FULL, CUT, one_way(0.5, 2.0)], [None, 1, 2]
    latent, t, cond = inputs
    together = denoise(joint, *inputs, couplings, skip)
    for row in range(ROWS):
        only = slice(row, row + 1)
        own = AVCondition(*(part.each(lambda x: x[only]) for part in (cond.video, cond.audio)))  # noqa: B023
        apart = denoise(joint, latent[only], AVTime(t.video[only], t.audio[only]), own, [couplings[row]], [skip[row]])
        assert distance(apart, together[only]) < 5e-6
        assert skip[row] is None or distance(apart, denoise(joint, *inputs, couplings)[only]) > 1e-2


@pytest.mark.parametrize("coupled", [(0,), (1,), (2,), (0, 1), (1, 2), (0, 2), ()])
def test_only_the_coupled_rows_run_the_layers_between_the_modalities(coupled):
    joint, inputs = LTX2(network()), make_inputs()
    ran = []
    for block in joint.transformer.transformer_blocks:
        for layer in (block.audio_to_video_attn, block.video_to_audio_attn):
            layer.to_q.register_forward_hook(lambda module, args, out: ran.append(len(out)))
    mixed = denoise(joint, *inputs, [FULL if row in coupled else CUT for row in range(ROWS)])
    assert ran == [len(coupled)] * (8 if coupled else 0)
    full, cut = (denoise(joint, *inputs, [each] * ROWS) for each in (FULL, CUT))
    for row in range(ROWS):
        assert distance(mixed[row : row + 1], (full if row in coupled else cut)[row : row + 1]) < 5e-6


def test_skipping_a_block_equals_the_pipelines_perturbation_bit_for_bit(joint, inputs, version):
    everywhere = denoise(joint, *inputs, [FULL] * ROWS, [2] * ROWS)
    assert same(everywhere, reference(version, inputs, spatio_temporal_guidance_blocks=[2]))
    some = denoise(joint, *inputs, [FULL] * ROWS, [None, 2, None])
    kept = torch.tensor([1.0, 0.0, 1.0])
    assert same(some, reference(version, inputs, spatio_temporal_guidance_blocks=[2], perturbation_mask=kept))
    plain = LTX2(network(version, perturbed_attn=False), use_cross_timestep=version != "2.0")  # as LTX-2.0 is published
    assert same(denoise(plain, *inputs, [FULL] * ROWS, [2] * ROWS), everywhere)


def test_strengths_scale_the_gates_in_one_row(joint, inputs, version):
    scaled = network(version)
    for stream, gate, strength in (("video", "video_a2v", 0.25), ("audio", "audio_v2a", 1.5)):
        getattr(scaled, f"av_cross_attn_{gate}_gate").linear.weight.mul_(strength)
        getattr(scaled, f"av_cross_attn_{gate}_gate").linear.bias.mul_(strength)
        for block in scaled.transformer_blocks:
            getattr(block, f"{stream}_a2v_cross_attn_scale_shift_table")[4:].mul_(strength)
    calls = []
    joint.transformer.proj_in.register_forward_hook(lambda module, args, out: calls.append(len(out)))
    ours = denoise(joint, *inputs, [one_way(0.25, 1.5)] * ROWS)
    assert distance(ours, reference(version, inputs, scaled)) < 5e-6 and calls == [ROWS]
    assert distance(ours, reference(version, inputs)) > 1e-2


def test_frames_and_steps_can_have_times_of_their_own(joint, inputs, version):
    latent, t, cond = inputs
    frames = torch.stack([torch.zeros(ROWS), t.video], 1)
    steps = t.audio[:, None].repeat(1, STEPS)
    steps[:, :4] = 0
    ours = denoise(joint, latent, AVTime(frames, steps), cond, [FULL] * ROWS)
    levels = {"sigma": 1000 * t.video, "audio_sigma": 1000 * t.audio}
    tokens = AVTime(frames.repeat_interleave(6, 1), steps)

    class Leveled:
        def __call__(self, **given):
            return network(version)(**given | levels)

    assert same(ours, reference(version, (latent, tokens, cond), Leveled()))
    assert distance(ours, denoise(joint, *inputs, [FULL] * ROWS)) > 1e-2
    equal = AVTime(t.video[:, None].repeat(1, 2), t.audio[:, None].repeat(1, STEPS))
    assert distance(denoise(joint, latent, equal, cond, [FULL] * ROWS), denoise(joint, *inputs, [FULL] * ROWS)) < 5e-6


def test_a_small_network_skips_its_last_block_and_patches_are_refused():
    assert LTX2(network()).own_skip_block == 3 and LTX2(network(), own_skip_block=1).own_skip_block == 1
    with pytest.raises(ValueError, match="patch_size is 2"):
        LTX2(network(patch_size=2))


def test_predictions_have_a_gradient():
    joint, (latent, t, cond) = LTX2(network()), make_inputs()
    latent = latent.each(lambda x: x.requires_grad_())
    out = denoise(joint, latent, t, cond, [FULL, CUT, one_way(0.5, 0.0)], [None, 1, None])
    out.video.square().sum().backward()
    audio = latent.audio.grad
    assert latent.video.grad.isfinite().all() and audio[0].any() and not audio[1].any() and audio[2].any()


def test_weights_can_be_offloaded_in_groups_and_stored_in_8_bits():
    inputs, couplings, skip = make_inputs(), [FULL, CUT, one_way(0.5, 1.0)], [None, 1, 2]
    expected = denoise(LTX2(network()), *inputs, couplings, skip)
    for kind in ({"offload_type": "block_level", "num_blocks_per_group": 1}, {"offload_type": "leaf_level"}):
        joint = LTX2(network())
        joint.transformer.enable_group_offload(torch.device("cpu"), **kind)
        assert same(denoise(joint, *inputs, couplings, skip), expected)
    joint = LTX2(network())
    joint.transformer.enable_layerwise_casting(torch.float8_e4m3fn, torch.float32)
    small = denoise(joint, *inputs, couplings, skip)
    assert joint.transformer.transformer_blocks[0].ff.net[2].weight.dtype == torch.float8_e4m3fn
    half = denoise(LTX2(network().to(torch.bfloat16)), *inputs, couplings, skip)
    assert small.video.dtype == torch.float32 and half.video.dtype == torch.bfloat16
    for each in (small, half):
        assert 1e-3 < distance(each, expected) < 0.5


def test_compiled_blocks_predict_the_same():
    inputs, joint = make_inputs(), LTX2(network(num_layers=2))
    mixed = [FULL, CUT, one_way(0.5, 1.0)], [None, 1, 1]
    with torch.no_grad():
        expected = denoise(joint, *inputs, *mixed)
        torch._dynamo.reset()
        counter = CompileCounterWithBackend("eager")
        joint.compile_blocks(backend=counter, fullgraph=True)
        for _ in range(2):
            assert distance(denoise(joint, *inputs, *mixed), expected) < 5e-6
            assert counter.frame_count == 2  # a block that skips, and all others
    torch._dynamo.reset()
