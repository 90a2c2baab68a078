"""Ovi's towers: equal to the authors' code, and every coupling, skip and known part in one row."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from duet_av.av_models.contract import (
    CUT,
    FULL,
    REMOVED,
    AVCondition,
    AVLatent,
    AVTime,
    Coupling,
    CouplingKind,
    LatentShape,
    denoise,
)
from duet_av.av_models.guidance import GUIDANCE, make_guidance
from duet_av.av_models.joint.ovi import Ovi, recommended_skip
from duet_av.av_models.joint.ovi_block import Fusion
from duet_av.av_models.known_parts import KnownParts
from duet_av.av_models.published.joint.ovi import own_scheduler, own_times
from duet_av.av_models.published.joint.ovi_names import published_name
from duet_av.tests import ovi_reference as ref
from duet_av.tests.sample_with import sample_with

TIME = torch.tensor([0.7315])  # the authors' sampler makes it step 731
CFG = make_guidance("cfg", video_scale=ref.SCALES[0], audio_scale=ref.SCALES[1], negative_skip_block=ref.SKIP)
EXACT = {"atol": 1e-5, "rtol": 1e-5}


@pytest.fixture(scope="module")
def ovi() -> Ovi:
    """The small network with the weights of the reference."""
    model, tensors = Ovi(ref.SIZES), ref.tower_tensors()
    model.load_state_dict({name: tensors[published_name(name)] for name in model.state_dict()})
    return model.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def expected() -> dict[str, Tensor]:
    return ref.reference()


def check(found: AVLatent, expected: dict[str, Tensor], name: str, atol: float = 1e-5) -> None:
    torch.testing.assert_close(found.video, expected[f"{name}.video"], atol=atol, rtol=1e-5)
    torch.testing.assert_close(found.audio, expected[f"{name}.audio"], atol=atol, rtol=1e-5)


def predict(ovi: Ovi, *coupling: Coupling, latent: AVLatent | None = None, time: AVTime | None = None, skip=None) -> AVLatent:
    latent, rows = latent or ref.clip(), len(coupling)
    time = time or AVTime(TIME.expand(rows), TIME.expand(rows))
    latent = AVLatent.cat([latent] * rows) if latent.rows == 1 else latent
    return denoise(ovi, latent, time, ref.texts()[0].expand(rows), list(coupling), skip)


def directional(a_to_v: float, v_to_a: float) -> Coupling:
    return Coupling(CouplingKind.FULL, a_to_v, v_to_a)


def first_frame_clean() -> AVTime:
    times = TIME[:, None].repeat(1, ref.VIDEO[2])
    times[:, 0] = 0
    return AVTime(times, TIME)


def known_first_frame() -> KnownParts:
    mask = AVLatent(torch.zeros(1, 1, 3, 1, 1, dtype=torch.bool), torch.zeros(1, 1, 9, dtype=torch.bool))
    mask.video[:, :, 0] = True
    return KnownParts(ref.clip(), mask, "frames", "renoised")


def run(ovi: Ovi, guidance=CFG, **settings) -> AVLatent:
    start = settings.pop("start", AVLatent(ref.random(8, *ref.VIDEO), ref.random(9, *ref.AUDIO)))
    times = tuple(own_times(settings.pop("steps", ref.STEPS), LatentShape(ref.VIDEO, ref.AUDIO)))
    return sample_with(ovi, start, *ref.texts(), guidance, **{"times": times} | settings).latent


# Equal to the authors' code


def test_coupled_equals_the_authors(ovi, expected):
    check(predict(ovi, FULL), expected, "coupled")


def test_a_skipped_block_equals_the_authors(ovi, expected):
    check(predict(ovi, FULL, skip=[ref.SKIP]), expected, "skipped")


def test_a_clean_first_frame_equals_the_authors(ovi, expected):
    check(predict(ovi, FULL, time=first_frame_clean()), expected, "first_frame")


@pytest.mark.parametrize("coupling", [CUT, REMOVED])
def test_cut_equals_the_single_towers_of_the_authors(ovi, expected, coupling):
    check(predict(ovi, coupling), expected, "alone")
    prompt, clip = ref.texts()[0], ref.clip()
    alone = AVLatent(*(ovi.predict_stream(getattr(clip, s), TIME, getattr(prompt, s), s) for s in ("video", "audio")))
    check(alone, expected, "alone")


@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.parametrize("first_frame", [False, True])
def test_a_guided_run_equals_the_authors(ovi, expected, batched, first_frame):
    scheduler = own_scheduler()
    options = {"batch_branches": batched, "video_scheduler": scheduler, "audio_scheduler": scheduler}
    if first_frame:
        options["known"] = known_first_frame()
    # the guidance of five steps multiplies rounding errors by up to 4 each time
    check(run(ovi, **options), expected, "sampled_first_frame" if first_frame else "sampled", atol=3e-5)


def test_every_whole_number_of_steps_has_the_times_of_the_authors():
    for steps in (1, 2, 7, 50):
        uniform = torch.linspace(0.999, 0, steps + 1, dtype=torch.float64)[:-1]
        torch.testing.assert_close(
            torch.tensor(own_times(steps, None)).double(), 5 * uniform / (1 + 4 * uniform), atol=1e-6, rtol=0
        )


def test_the_block_that_the_negative_prompt_skips_is_11_of_30():
    assert recommended_skip(30) == 11 and recommended_skip(3) == 1


# One row for every coupling


def test_cut_rows_do_not_depend_on_the_other_modality(ovi):
    clip, other = ref.clip(), AVLatent(ref.random(20, *ref.VIDEO), ref.random(21, *ref.AUDIO))
    cut, full = (predict(ovi, c, latent=clip) for c in (CUT, FULL))
    for changed, stream in ((replace(clip, audio=other.audio), "video"), (replace(clip, video=other.video), "audio")):
        assert torch.equal(getattr(predict(ovi, CUT, latent=changed), stream), getattr(cut, stream))
        assert not torch.allclose(getattr(predict(ovi, FULL, latent=changed), stream), getattr(full, stream))


def test_removed_is_cut(ovi):
    cut, removed = predict(ovi, CUT), predict(ovi, REMOVED)
    assert torch.equal(cut.video, removed.video) and torch.equal(cut.audio, removed.audio)


def test_a_strength_scales_what_is_added_before_the_output_projection(ovi):
    """Hooks scale the other modality's values, to which the attention is linear, in a fully coupled row."""
    strengths = {"to_video": 0.3, "to_audio": 0.7}

    def scale(block_part: str):
        return lambda module, args, out: (out[0], strengths[block_part] * out[1])

    hooks = [
        part.register_forward_hook(scale(name.rsplit(".", 1)[1])) for name, part in ovi.named_modules() if isinstance(part, Fusion)
    ]
    try:
        scaled = predict(ovi, FULL)
    finally:
        for hook in hooks:
            hook.remove()
    found = predict(ovi, directional(0.3, 0.7))
    torch.testing.assert_close(found.video, scaled.video, **EXACT)
    torch.testing.assert_close(found.audio, scaled.audio, **EXACT)


def test_a_strength_of_0_in_one_direction_is_cut_there(ovi):
    """The audio is changed by the video, the video not by the audio."""
    one_way, cut, full = predict(ovi, directional(0.0, 1.0)), predict(ovi, CUT), predict(ovi, FULL)
    assert torch.equal(one_way.video, cut.video) and not torch.allclose(one_way.audio, cut.audio)
    assert not torch.allclose(one_way.audio, full.audio)  # the video that it sees is not changed by the audio


def test_rows_of_different_couplings_skips_and_times_equal_rows_apart(ovi):
    couplings = [FULL, CUT, directional(0.5, 0.0), REMOVED, directional(0.0, 2.0), FULL]
    skips = [None, 1, None, 2, 0, 1]
    times = torch.linspace(0.9, 0.2, len(couplings))
    latent = AVLatent(ref.random(30, len(couplings), *ref.VIDEO[1:]), ref.random(31, len(couplings), *ref.AUDIO[1:]))
    together = predict(ovi, *couplings, latent=latent, time=AVTime(times, times), skip=skips)
    for row, coupling in enumerate(couplings):
        one = times[row : row + 1]
        apart = predict(ovi, coupling, latent=latent[row : row + 1], time=AVTime(one, one), skip=skips[row : row + 1])
        torch.testing.assert_close(together.video[row : row + 1], apart.video, **EXACT)
        torch.testing.assert_close(together.audio[row : row + 1], apart.audio, **EXACT)


def test_a_skipped_block_is_one_that_is_not_there(ovi):
    """The first block can be skipped too, which the authors' code cannot."""
    without = Ovi(replace(ref.SIZES, layers=2)).eval().requires_grad_(False)
    kept = {name.replace("blocks.1.", "blocks.0.").replace("blocks.2.", "blocks.1."): x
            for name, x in ovi.state_dict().items() if not name.startswith("blocks.0.")}  # fmt: skip
    without.load_state_dict(kept)
    for coupling in (FULL, CUT, directional(0.5, 1.5)):
        skipped, gone = predict(ovi, coupling, skip=[0]), predict(without, coupling)
        assert torch.equal(skipped.video, gone.video) and torch.equal(skipped.audio, gone.audio)


def test_a_block_that_all_rows_skip_does_not_run(ovi):
    calls: list[int] = []
    hooks = [block.register_forward_hook(lambda *_, i=i: calls.append(i)) for i, block in enumerate(ovi.blocks)]
    predict(ovi, FULL, CUT, skip=[1, 1])
    predict(ovi, FULL, CUT, skip=[1, None])
    for hook in hooks:
        hook.remove()
    assert calls == [0, 2, 0, 1, 2]


def test_one_modality_alone_skips_blocks_too(ovi):
    cut, prompt, clip = predict(ovi, CUT, skip=[1]), ref.texts()[0], ref.clip()
    assert torch.equal(ovi.predict_stream(clip.video, TIME, prompt.video, "video", [1]), cut.video)
    assert torch.equal(ovi.predict_stream(clip.audio, TIME, prompt.audio, "audio", [1]), cut.audio)


def test_text_is_padded_with_zeros_to_512_tokens_and_cut_there(ovi):
    clip, prompt = ref.clip(), ref.texts()[0]
    longer = AVCondition(prompt.video.padded(512), prompt.audio.padded(600))
    found = denoise(ovi, clip, AVTime(TIME, TIME), longer, [FULL])
    assert torch.equal(found.video, predict(ovi, FULL).video) and torch.equal(found.audio, predict(ovi, FULL).audio)


# All of Duet on it


@pytest.mark.parametrize("name", [name for name in GUIDANCE if name != "autoguidance"])
def test_every_guidance_runs(ovi, name):
    settings = {} if name == "none" else {"negative_skip_block": ref.SKIP}
    out = run(ovi, make_guidance(name, a_to_v=0.5, **settings), steps=2)
    assert torch.isfinite(out.video).all() and torch.isfinite(out.audio).all()


def test_each_modality_has_its_own_seed_and_a_longer_clip_keeps_the_noise(ovi):
    plain, shape = make_guidance("none", removed=True), LatentShape(ref.VIDEO, ref.AUDIO)
    one, other = (run(ovi, plain, start=shape, steps=2, video_seed=5, audio_seed=seed) for seed in (1, 2))
    assert torch.equal(one.video, other.video) and not torch.allclose(one.audio, other.audio)
    longer = LatentShape((1, 8, 4, 4, 6), (1, 6, 12))
    seen: list[AVLatent] = []
    hook = ovi.video.patch_embedding.register_forward_pre_hook(lambda module, args: seen.append(args[0].clone()))
    for start in (shape, longer):
        run(ovi, plain, start=start, steps=1, video_seed=5, audio_seed=1)
    hook.remove()
    assert torch.equal(seen[0], seen[1][:, :, :3])


def test_eta_replaces_noise_and_repeats_by_seed(ovi):
    one, again, still = (run(ovi, steps=3, eta=eta) for eta in (1.0, 1.0, 0.0))
    assert torch.equal(one.video, again.video) and not torch.allclose(one.video, still.video)


def test_a_known_first_frame_is_kept_and_known_audio_is_renoised(ovi):
    known = known_first_frame()
    known.known.audio[:, :, :4] = True
    out = run(ovi, known=known)
    assert torch.equal(out.video[:, :, 0], ref.clip().video[:, :, 0]) and torch.equal(out.audio[..., :4], ref.clip().audio[..., :4])


def test_a_gradient_reaches_both_latents_from_either_prediction(ovi):
    for stream in ("video", "audio"):
        clip = ref.clip().each(lambda x: x.requires_grad_())
        getattr(predict(ovi, FULL, latent=clip), stream).sum().backward()
        assert clip.video.grad.abs().max() > 0 and clip.audio.grad.abs().max() > 0


def test_compiled_blocks_give_the_same(ovi):
    torch._dynamo.reset()
    compiled = Ovi(ref.SIZES).eval().requires_grad_(False)
    compiled.load_state_dict(ovi.state_dict())
    compiled.compile_blocks(backend="eager", fullgraph=True)
    for coupling in ((FULL,), (CUT, FULL, directional(0.5, 1.0))):
        found, plain = predict(compiled, *coupling), predict(ovi, *coupling)
        torch.testing.assert_close(found.video, plain.video, **EXACT)
        torch.testing.assert_close(found.audio, plain.audio, **EXACT)


def test_sizes_that_do_not_fit_are_named(ovi):
    clip, prompt = ref.clip(), ref.texts()[0]
    for latent, line in (
        (replace(clip, video=torch.zeros(1, 8, 3, 4, 5)), "the latent is 5×4 cells; change the clip's width or height"),
        (replace(clip, audio=torch.zeros(1, 6, 1025)), "the audio has 1025 latent steps, Ovi takes at most 1024"),
        (replace(clip, video=torch.zeros(1, 8, 1025, 2, 2)), "the clip has 1025 latent frames; use at most 1024"),
    ):
        with pytest.raises(ValueError, match=line):
            denoise(ovi, latent, AVTime(TIME, TIME), prompt, [FULL])
