"""The rows of Kandinsky 6: each has its own coupling and skipped block, with the arithmetic of the transformer itself."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from diffusers import Kandinsky6Transformer3DModel
from torch import Tensor

from duet_av.av_models.contract import CUT, FULL, REMOVED, AVCondition, AVLatent, AVTime, Coupling, CouplingKind, denoise
from duet_av.av_models.joint.kandinsky6 import Kandinsky6
from duet_av.av_models.load_joint import load_joint_model
from duet_av.benchmarks.small_models.kandinsky6 import TRANSFORMER
from duet_av.tests.kandinsky6 import draw_noise, random_condition

TIMES = (0.7, 0.3, 0.9, 0.5)
HALF, ONE_WAY = Coupling(CouplingKind.FULL, 0.5, 1.0), Coupling(CouplingKind.FULL, 0.0, 0.25)


@pytest.fixture(scope="module")
def model(small_kandinsky6):
    return load_joint_model(small_kandinsky6)


@pytest.fixture(scope="module")
def network(model):
    return model.denoiser


def inputs(model, rows: int = 2, image: bool = False, same_words: bool = False) -> tuple[AVLatent, AVTime, AVCondition]:
    latent, cond = draw_noise(model, rows=rows), random_condition(model, rows, seed=5)
    cond = AVCondition(cond.video, cond.video) if same_words else cond
    if image:
        cond = replace(cond, video=replace(cond.video, image=draw_noise(model, seed=6, rows=rows).video[:, :, :1]))
    time = torch.tensor(TIMES[:rows])
    return latent, AVTime(time, time), cond


def by_transformer(transformer, latent: AVLatent, t: AVTime, cond: AVCondition, with_audio: bool = True) -> tuple[Tensor, ...]:
    """Call the transformer's own `forward` as the pipeline does."""
    video, image, options = latent.video.movedim(1, -1), cond.video.image, {}
    rows, frames, height, width, _ = video.shape
    if image is not None:
        video = torch.cat([video, image.movedim(1, -1)], 1)
        types = torch.zeros(rows, frames + 1, dtype=torch.long)
        types[:, -1] = 1
        positions = torch.tensor([*range(frames), 0]), torch.arange(height // 2), torch.arange(width // 2)
        options = {"visual_token_type_ids": types, "visual_rope_pos": positions}
    given = torch.zeros(*video.shape[:-1], 1)
    given[:, frames:] = 1
    channels = [video, torch.zeros_like(video), given] if transformer.config.visual_cond else [video.contiguous()]
    out = transformer(
        hidden_states=torch.cat(channels, -1), encoder_hidden_states=cond.video.tokens,
        audio_hidden_states=latent.audio.movedim(1, -1) if with_audio else None, pooled_projections=cond.video.vector,
        timestep=t.video * 1000, encoder_attention_mask=cond.video.mask, return_dict=False, **options,
    )  # fmt: skip
    return out[0][:, :frames].movedim(-1, 1), *(each.movedim(-1, 1) for each in out[1:])


def equal(one: AVLatent, other: AVLatent) -> bool:
    return torch.equal(one.video, other.video) and torch.equal(one.audio, other.audio)


def assert_close(one: AVLatent, other: AVLatent) -> None:
    torch.testing.assert_close(one.video, other.video, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(one.audio, other.audio, atol=1e-5, rtol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("image", [False, True])
def test_coupled_rows_are_the_transformers_and_cut_video_is_its_video_alone(model, network, image):
    parts = inputs(model, image=image, same_words=True)
    video, audio = by_transformer(network.transformer, *parts)
    assert equal(denoise(network, *parts, [FULL, FULL]), AVLatent(video, audio))
    (alone,) = by_transformer(network.transformer, *parts, with_audio=False)
    cut = denoise(network, *parts, [CUT, CUT])
    assert torch.equal(cut.video, alone) and not torch.allclose(cut.video, video) and not torch.allclose(cut.audio, audio)


@torch.no_grad()
@pytest.mark.parametrize("setting", ["cross_gates", "fix_modulation", "ca_rope", "visual_cond"])
def test_transformers_with_another_setting_are_run_as_they_run_themselves(model, setting):
    torch.manual_seed(7)
    transformer = Kandinsky6Transformer3DModel(**TRANSFORMER | {setting: False}).eval()
    parts = inputs(model, same_words=True)
    assert equal(denoise(Kandinsky6(transformer), *parts, [FULL, FULL]), AVLatent(*by_transformer(transformer, *parts)))
    assert Kandinsky6(transformer).takes_first_frame == (setting != "visual_cond")


def test_patches_of_several_frames_are_refused():
    transformer = Kandinsky6Transformer3DModel(**TRANSFORMER | {"patch_size": (2, 2, 2)})
    with pytest.raises(ValueError, match="patch_size is 2×2×2; use a Kandinsky 6 with 1 frame and square patches"):
        Kandinsky6(transformer)


@torch.no_grad()
def test_removed_rows_and_single_streams_are_the_cut_rows(model, network):
    latent, t, cond = parts = inputs(model)
    cut = denoise(network, *parts, [CUT, CUT])
    assert equal(denoise(network, *parts, [REMOVED, REMOVED]), cut)
    assert torch.equal(network.predict_stream(latent.video, t.video, cond.video, "video"), cut.video)
    assert torch.equal(network.predict_stream(latent.audio, t.audio, cond.audio, "audio"), cut.audio)


@torch.no_grad()
@pytest.mark.parametrize("coupling", [[CUT, CUT], [CUT, FULL], [REMOVED, HALF]])
def test_what_changes_in_one_modality_of_a_cut_row_never_reaches_the_other(model, network, coupling):
    latent, t, cond = parts = inputs(model)
    other = random_condition(model, 2, seed=50)
    before = denoise(network, *parts, coupling)
    audio = AVLatent(latent.video, latent.audio + 1), AVTime(t.video, 1 - t.audio), AVCondition(cond.video, other.audio)
    changed = denoise(network, *audio, coupling)
    assert torch.equal(changed.video[:1], before.video[:1]) and not torch.allclose(changed.audio[:1], before.audio[:1])
    video = AVLatent(latent.video + 1, latent.audio), AVTime(1 - t.video, t.audio), AVCondition(other.video, cond.audio)
    changed = denoise(network, *video, coupling)
    assert torch.equal(changed.audio[:1], before.audio[:1]) and not torch.allclose(changed.video[:1], before.video[:1])


def scale_gates(transformer, a_to_v: float, v_to_a: float) -> list:
    """Hook the unmodified transformer so that the gates of its cross-modal residuals are scaled."""

    def scaled(width: int, factor: float):
        def hook(module, args, out: Tensor) -> Tensor:
            return torch.cat([out[..., :-width], out[..., -width:] * factor], -1)

        return hook

    handles = []
    for block in transformer.visual_transformer_blocks:  # with `cross_gates`, each modulation has the gate of the other residual
        handles.append(block.va_modulation.register_forward_hook(scaled(block.model_dim_a, v_to_a)))
        handles.append(block.av_modulation.register_forward_hook(scaled(block.model_dim, a_to_v)))
    return handles


@torch.no_grad()
@pytest.mark.parametrize("coupling", [HALF, ONE_WAY, Coupling(CouplingKind.FULL, 2.0, 1.5)])
def test_a_directional_row_scales_the_gates_of_the_residuals(model, network, coupling, monkeypatch):
    parts, counted = inputs(model, same_words=True), []
    embed = type(network)._embed_video
    monkeypatch.setattr(network, "_embed_video", lambda latent, *rest: counted.append(len(latent)) or embed(network, latent, *rest))
    ours = denoise(network, *parts, [coupling, coupling])
    handles = scale_gates(network.transformer, coupling.a_to_v, coupling.v_to_a)
    theirs = AVLatent(*by_transformer(network.transformer, *parts))
    for handle in handles:
        handle.remove()
    assert counted == [2]
    assert_close(ours, theirs)
    assert not torch.allclose(ours.audio, by_transformer(network.transformer, *parts)[1])


@torch.no_grad()
def test_rows_of_different_coupling_and_skips_in_one_batch_are_the_rows_apart(model, network):
    latent, t, cond = parts = inputs(model, rows=4, image=True)
    coupling, skip = [HALF, CUT, FULL, ONE_WAY], [None, 1, 1, 0]
    together = denoise(network, *parts, coupling, skip)
    for row in range(4):
        one = slice(row, row + 1)
        alone = (
            latent[one], AVTime(t.video[one], t.audio[one]),
            AVCondition(*(part.each(lambda tensor: tensor[one]) for part in (cond.video, cond.audio))),
        )  # fmt: skip
        assert_close(together[one], denoise(network, *alone, coupling[one], skip[one]))


@torch.no_grad()
def test_a_skipped_block_changes_nothing_of_its_row(model, network):
    parts = inputs(model)
    blocks = network.transformer.visual_transformer_blocks
    full, skipped = denoise(network, *parts, [FULL, FULL]), denoise(network, *parts, [FULL, FULL], [1, None])
    assert torch.equal(skipped.video[1], full.video[1]) and not torch.allclose(skipped.video[0], full.video[0])
    kept, network.transformer.visual_transformer_blocks = blocks, torch.nn.ModuleList([blocks[0], blocks[2]])
    try:
        without = denoise(network, *parts, [FULL, FULL])
    finally:
        network.transformer.visual_transformer_blocks = kept
    assert equal(without[:1], skipped[:1])
    assert network.skippable == 3 and network.own_skip_block == 1


@torch.no_grad()
def test_towers_can_be_at_different_times(model, network):
    latent, t, cond = inputs(model)
    one, other = (denoise(network, latent, AVTime(t.video, t.audio * k), cond, [FULL, CUT]) for k in (1.0, 0.5))
    assert not torch.allclose(one.video[0], other.video[0]) and torch.equal(one.video[1], other.video[1])


def test_gradients_reach_the_latents_and_the_prompts(model, network):
    latent, t, cond = inputs(model)
    latent = latent.each(lambda x: x.requires_grad_())
    tokens = cond.video.tokens.clone().requires_grad_()
    out = denoise(network, latent, t, replace(cond, video=replace(cond.video, tokens=tokens)), [FULL, CUT])
    by_video = torch.autograd.grad(out.video.square().sum(), [latent.video, latent.audio, tokens], retain_graph=True)
    assert all(gradient.abs().sum() > 0 for gradient in by_video)
    assert by_video[1][0].abs().sum() > 0 and not by_video[1][1].any()  # the second row is cut


@torch.no_grad()
def test_compiled_blocks_give_the_same_with_one_graph_for_all_of_them(small_kandinsky6, model, network):
    parts = inputs(model)
    coupling = [FULL, CUT]
    plain = denoise(network, *parts, coupling)
    graphs: list[int] = []

    def count(graph, examples):
        graphs.append(1)
        return graph.forward

    compiled = load_joint_model(small_kandinsky6).denoiser
    compiled.compile_blocks(backend=count)
    assert_close(denoise(compiled, *parts, coupling), plain)
    assert len(graphs) == 1
    torch._dynamo.reset()
