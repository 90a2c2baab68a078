"""The aligner moves what it may towards agreement, as far as it is told, and leaves everything else alone."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from duet_av.av_models.aligner_settings import PAIRS
from duet_av.av_models.binders.ensemble import BinderEnsemble
from duet_av.av_models.contract import AVCondition, AVLatent, Condition
from duet_av.av_models.guidance import make_guidance
from duet_av.av_models.known_parts import KnownParts
from duet_av.av_models.latent_aligner import Aligner, Reference
from duet_av.av_models.latent_moves import Adam, keep_spectrum
from duet_av.av_models.sampling import sampling_cost
from duet_av.av_models.schedule import SamplingSchedule
from duet_av.bounce.binder import load_bounce_bind
from duet_av.bounce.shipped import load_untrained_bounce
from duet_av.tests.sample_with import sample_with
from duet_av.tests.tiny import tiny_model

STEPS = 5


class ToyBinder:
    """Red against blue, low against high, and the words for either."""

    name, licence = "Toy", ""
    modalities = frozenset({"video", "image", "audio", "text"})

    def embed_video(self, frames: Tensor, fps: float) -> Tensor:
        return self.embed_image(frames.mean(1))

    def embed_image(self, image: Tensor) -> Tensor:
        return F.normalize(image.mean((1, 2))[:, [0, 2]], dim=-1)

    def embed_audio(self, waveform: Tensor, sample_rate: int) -> Tensor:
        slow = waveform.unflatten(-1, (-1, 250)).mean(-1)
        return F.normalize(torch.stack([slow.clamp_min(0).sum((1, 2)) + 0.1, (-slow).clamp_min(0).sum((1, 2)) + 0.1], -1), dim=-1)

    def embed_text(self, texts: list[str]) -> Tensor:
        return torch.tensor([[1.0, 0.0] if "red" in text else [0.0, 1.0] for text in texts])


class Blind(ToyBinder):
    modalities = frozenset({"audio", "text"})


BLUE = Reference(video=torch.tensor([0.0, 0.0, 1.0]).expand(1, 8, 16, 16, 3), fps=16.0)


@pytest.fixture(scope="module")
def model():
    return tiny_model()


def made(model, aligner: Aligner | None = None, texts=("", ""), reference=Reference(), guidance="cfg", **options):
    shape = model.shape()
    alignment = aligner and aligner.begin(model, shape, texts, reference)
    conditions = model.encode(*texts), model.encode("", "")
    settings = {"video_scale": 2.0, "audio_scale": 2.0} if guidance == "cfg" else {}
    result = sample_with(
        model.denoiser, model.latent_shape(shape), *conditions, make_guidance(guidance, **settings), steps=STEPS, video_seed=1,
        audio_seed=2, alignment=alignment, **options,
    )  # fmt: skip
    return result, alignment


def disagreement(model, aligner, latent, texts=("", ""), reference=Reference()) -> float:
    return float(aligner.begin(model, model.shape(), texts, reference).loss(latent))


strong = partial(Aligner, binder=ToyBinder(), video_rate=30.0, audio_rate=30.0)


def test_without_strength_the_result_is_the_same_bit_for_bit(model):
    plain, _ = made(model, texts=("red", "red"))
    idle, alignment = made(model, Aligner(binder=ToyBinder(), video_rate=0.0, audio_rate=0.0), ("red", "red"))
    assert torch.equal(plain.latent.video, idle.latent.video) and torch.equal(plain.latent.audio, idle.latent.audio)
    assert alignment.losses == []


@pytest.mark.parametrize("task, reference, moves", [
    ("joint", Reference(), "both"), ("v2a", BLUE, "audio"), ("i2a", Reference(image=BLUE.video[:, 0]), "audio"),
    ("a2v", Reference(audio=-torch.ones(1, 1, 16_000), sample_rate=8000), "video"),
])  # fmt: skip
def test_what_is_made_agrees_better_and_the_rest_stays(model, task, reference, moves):
    aligner, texts = strong(task=task, words=0.0), ("", "")
    plain, _ = made(model, parity=True)  # coupled, one modality's move would reach the other
    aligned, alignment = made(model, aligner, texts, reference, parity=True)
    assert disagreement(model, aligner, aligned.latent, texts, reference) < disagreement(
        model, aligner, plain.latent, texts, reference
    )
    assert torch.equal(plain.latent.video, aligned.latent.video) == (moves == "audio")
    assert torch.equal(plain.latent.audio, aligned.latent.audio) == (moves == "video")
    assert len(alignment.losses) == 4  # all but the first fifth of the steps


def test_each_modality_agrees_with_its_own_words(model):
    aligner, texts = strong(task="joint", other=0.0), ("a red ball", "metal")
    alignment = aligner.begin(model, model.shape(), texts)
    latent = made(model)[0].latent
    binder, frames = aligner.binder, model.decode(latent, model.shape())
    v, a = binder.embed_video(frames[0], 16.0), binder.embed_audio(frames[1], 8000)
    assert float(alignment.loss(latent)) == pytest.approx(float(1 - v[:, 0] + 1 - a[:, 1]), abs=1e-5)


def test_every_pair_has_its_weight(model):
    latent, texts = made(model)[0].latent, ("a red ball", "metal")
    one = {each: disagreement(model, strong(**{"words": 0.0, "audio_words": 0.0, "other": 0.0} | {each: 1.0}), latent, texts)
           for each in ("words", "audio_words", "other")}  # fmt: skip
    weighed = disagreement(model, strong(words=2.0, audio_words=3.0, other=5.0), latent, texts)
    assert weighed == pytest.approx(2 * one["words"] + 3 * one["audio_words"] + 5 * one["other"], rel=1e-5)
    alike = disagreement(model, strong(words=2.0, other=0.0), latent, texts)
    assert alike == pytest.approx(2 * one["words"] + 2 * one["audio_words"])


def test_pairs_are_those_of_the_paper():
    """Section 3.3: V2A F(a,v) + F(a,p); A2V F(v,a) + F(v,p); joint F(v,p) + F(v,a) + F(a,p); I2A as V2A with a picture."""
    assert {task: {frozenset(pair) for pair in pairs} for task, pairs in PAIRS.items()} == {
        "v2a": {frozenset({"audio", "video"}), frozenset({"audio", "text"})},
        "a2v": {frozenset({"video", "audio"}), frozenset({"video", "text"})},
        "joint": {frozenset({"video", "text"}), frozenset({"video", "audio"}), frozenset({"audio", "text"})},
        "i2a": {frozenset({"audio", "image"}), frozenset({"audio", "text"})},
    }


def one_move(model, **settings):
    aligner = Aligner(binder=ToyBinder(), task="a2v", words=0.0, **settings)
    alignment = aligner.begin(model, model.shape(), ("", ""), Reference(audio=-torch.ones(1, 1, 16_000), sample_rate=8000))
    latent = made(model)[0].latent
    after = alignment.move_latents(latent, lambda x: x)
    return alignment, latent, after


def test_a_gradient_move_is_the_rate_times_the_gradient(model):
    alignment, latent, after = one_move(model, video_rate=0.5)
    x = latent.video.clone().requires_grad_()
    (gradient,) = torch.autograd.grad(alignment.loss(AVLatent(x, latent.audio)).sum(), x)
    torch.testing.assert_close(after.video, latent.video - 0.5 * gradient)


def test_a_sign_move_is_the_official_codes_fresh_adam(model):
    """One update of an Adam that was made anew: the rate against the gradient's sign."""
    alignment, latent, after = one_move(model, video_rate=0.1, update="sign")
    x = latent.video.clone().requires_grad_()
    optimizer = torch.optim.Adam([x], lr=0.1, eps=0.0)
    alignment.loss(AVLatent(x, latent.audio)).sum().backward()
    moved = x.grad != 0
    optimizer.step()
    torch.testing.assert_close(after.video[moved], x.detach()[moved])
    assert torch.equal(after.video[~moved], latent.video[~moved])


def test_adam_moves_are_those_of_an_adam_that_remembers_each_at_the_rate(model):
    """torch's own Adam over the same gradients at one rms, its step brought to the rate."""
    shown, unit = torch.zeros(2, 3, requires_grad=True), torch.Generator().manual_seed(0)
    theirs, ours = torch.optim.Adam([shown], lr=1.0, betas=(0.9, 0.99), eps=1e-3), Adam()
    for _ in range(5):
        gradient = torch.randn(2, 3, generator=unit) + 1
        before, shown.grad = shown.detach().clone(), gradient / gradient.square().mean(1, keepdim=True).sqrt()
        theirs.step()
        step = before - shown.detach()
        torch.testing.assert_close(ours.direction(7 * gradient), step / step.square().mean(1, keepdim=True).sqrt())
    _, latent, after = one_move(model, video_rate=0.1, update="adam")
    moved = (after.video - latent.video).square().mean(tuple(range(1, latent.video.ndim))).sqrt()
    torch.testing.assert_close(moved, torch.full_like(moved, 0.1))


def test_a_move_can_keep_the_latents_rms(model):
    _, latent, after = one_move(model, video_rate=0.5, update="sign", keep="rms")
    assert not torch.equal(after.video, latent.video)
    torch.testing.assert_close(after.video.square().mean(), latent.video.square().mean())


def test_a_move_can_keep_the_latents_spectrum(model):
    _, latent, after = one_move(model, video_rate=0.5, update="sign", keep="spectrum")
    old, new = torch.randn(2, 2, 3, 4, 5).unbind()
    for before, now in ((latent.video, after.video), (old, keep_spectrum(old + new, old))):
        sizes = (torch.fft.fftn(x, dim=tuple(range(1, x.ndim))).abs() for x in (now, before))
        torch.testing.assert_close(*sizes, atol=1e-3, rtol=1e-3)
    assert (keep_spectrum(old + new, old) - old).abs().mean() > 0.1
    torch.testing.assert_close(keep_spectrum(3 * old, old), old)


@pytest.mark.parametrize("settings", [{}, {"video_rate": 0.0}, {"prompt_rate": 1.0, "first": 0.0}], ids=str)
def test_what_no_distance_speaks_of_stays(model, settings):
    """Of two prompts one is empty, and picture and sound need not agree."""
    aligner = strong(other=0.0, **settings)
    for texts, stays in ((("red", ""), "audio"), (("", "red"), "video")):
        kept, alignment = made(model, aligner, texts, guidance="none", parity=True)
        assert alignment.evaluations and not alignment.skipped
        if "prompt_rate" not in settings:
            bare, _ = made(model, texts=texts, guidance="none", parity=True)
            assert torch.equal(getattr(kept.latent, stays), getattr(bare.latent, stays))


def test_a_sound_that_stays_keeps_no_graph():
    """Its decoding and its embedding cost nothing on the way back."""
    model, seen = load_untrained_bounce(), []

    class Noting(BinderEnsemble):
        def embed_audio(self, waveform: Tensor, sample_rate: int) -> Tensor:
            seen.append(super().embed_audio(waveform, sample_rate))
            return seen[-1]

    aligner = Aligner(binder=Noting(load_bounce_bind()), words=0.0, video_rate=0.1, audio_rate=0.0, save_memory=False)
    alignment, size = aligner.begin(model, model.shape(), ("", "")), model.latent_shape(model.shape())
    latent = AVLatent(torch.randn(size.video), torch.randn(size.audio))
    assert not torch.equal(alignment.move_latents(latent, lambda x: x).video, latent.video)
    assert len(seen) == 1 and not seen[0].requires_grad


def test_decoding_twice_changes_no_gradient(model):
    moved = [one_move(model, video_rate=0.5, save_memory=twice)[2].video for twice in (False, True)]
    assert torch.equal(*moved)


def test_inner_steps_and_the_active_interval_are_counted(model):
    _, alignment = made(model, strong(inner_steps=3, first=0.5, last=0.9))
    assert len(alignment.losses) == 3 * 2  # steps 3 and 4 of 5


def test_the_clean_estimate_pairs_the_stepped_latent_with_its_own_noise_level(model):
    """What is decoded after a deterministic step is what would have been estimated before it."""
    seen, aligner = [], Aligner(binder=ToyBinder(), words=0.0, video_rate=1e-9, audio_rate=1e-9, first=0.0)
    alignment = aligner.begin(model, model.shape(), ("", ""))
    loss = alignment.loss
    alignment.loss = lambda clean: (seen.append(clean), loss(clean))[1]
    estimates = []
    sample_with(
        model.denoiser, model.latent_shape(model.shape()), model.encode("", ""), model.encode("", ""), make_guidance("none"),
        steps=STEPS, alignment=alignment, on_step=lambda step, steps, x0: estimates.append(x0),
    )  # fmt: skip
    assert len(seen) == len(estimates) == STEPS
    for ours, before in zip(seen, estimates):
        torch.testing.assert_close(ours.video.detach(), before.video, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(ours.audio.detach(), before.audio, atol=1e-4, rtol=1e-4)


def test_prompts_are_tuned_and_carried_over_the_steps(model):
    """λ2 alone, the latents left alone, changes what is made, and towards agreement."""
    texts = ("red", "red")
    tuned = Aligner(binder=ToyBinder(), video_rate=0.0, audio_rate=0.0, prompt_rate=100.0, first=0.0)
    (plain, _), (aligned, _) = made(model, texts=texts, guidance="none"), made(model, tuned, texts, guidance="none")
    assert not torch.allclose(plain.latent.video, aligned.latent.video, atol=1e-5)
    assert disagreement(model, tuned, aligned.latent, texts) < disagreement(model, tuned, plain.latent, texts)


def test_every_clip_of_a_batch_has_its_prompt_tuned_by_itself(model):
    """The first clip is the same whether another one is made beside it or not."""
    tuned = strong(words=0.0, video_rate=0.0, audio_rate=0.0, prompt_rate=100.0, first=0.0)
    start = model.latent_shape(model.shape(), batch=2)
    noise = AVLatent(torch.randn(start.video), torch.randn(start.audio))
    cond, strategy = model.encode("red", "red"), make_guidance("none")

    def first(rows: AVLatent) -> Tensor:
        alignment = tuned.begin(model, model.shape(), ("", ""))
        return sample_with(model.denoiser, rows, cond, cond, strategy, steps=3, alignment=alignment).latent.video[:1]

    torch.testing.assert_close(first(noise), first(noise[:1]), atol=1e-4, rtol=1e-4)


def test_a_prompt_of_one_vector_is_tuned(model):
    """AudioLDM's prompt has no tokens."""
    cond = model.encode("red", "red")
    vector = torch.ones(1, 3, requires_grad=False)
    told = AVCondition(cond.video, Condition(torch.zeros(1, 0, 1), torch.zeros(1, 0, dtype=torch.bool), vector=vector))
    alignment = strong(words=0.0, prompt_rate=1.0).begin(model, model.shape(), ("", ""))
    latent = made(model)[0].latent
    asked = alignment.tune_prompts(told, lambda c: AVLatent(latent.video, latent.audio * c.audio.vector.mean()))
    assert not torch.equal(asked.audio.vector, vector) and asked.audio.tokens.shape[1] == 0


def test_the_gradient_can_go_through_the_denoiser(model):
    aligner = strong(words=0.0, through_denoiser=True)
    (constant, _), (through, alignment) = made(model, strong(words=0.0)), made(model, aligner)
    assert not torch.equal(constant.latent.video, through.latent.video) and len(alignment.losses) == 4
    assert disagreement(model, aligner, through.latent) < disagreement(model, aligner, made(model)[0].latent)


def test_steps_ahead_lead_where_the_sampler_would_go(model):
    """From the last step but one, one step ahead is the sampler's own last step."""
    still = {"words": 0.0, "video_rate": 1e-9, "audio_rate": 1e-9, "first": 0.5, "last": 0.7}
    seen, aligner = [], strong(**still, through_denoiser=True, steps_ahead=1)
    alignment = aligner.begin(model, model.shape(), ("", ""))
    loss = alignment.loss
    alignment.loss = lambda clean: (seen.append(clean), loss(clean))[1]
    cond, size = model.encode("", ""), model.latent_shape(model.shape())
    result = sample_with(model.denoiser, size, cond, cond, make_guidance("none"), steps=STEPS, alignment=alignment)
    torch.testing.assert_close(seen[-1].video.detach(), result.latent.video, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(seen[-1].audio.detach(), result.latent.audio, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("settings", [
    {}, {"through_denoiser": True, "inner_steps": 2}, {"through_denoiser": True, "steps_ahead": 2, "first": 0.0},
    {"prompt_rate": 1.0, "steps_ahead": 1}, {"prompt_rate": 1.0, "through_denoiser": True, "last": 0.7},
], ids=str)  # fmt: skip
@pytest.mark.parametrize("batched", [True, False])
def test_the_cost_of_aligned_sampling_is_known_before(model, settings, batched):
    guidance = make_guidance("cfg", video_scale=2.0, audio_scale=2.0, interval_low=0.5)
    alignment = strong(words=0.0, **settings).begin(model, model.shape(), ("", ""))
    cost = sampling_cost(guidance, SamplingSchedule(STEPS), batch_branches=batched, alignment=alignment)
    cond, size = model.encode("", ""), model.latent_shape(model.shape())
    result = sample_with(model.denoiser, size, cond, cond, guidance, steps=STEPS, batch_branches=batched, alignment=alignment)
    assert (result.branches_per_step, result.forwards_per_step) == (cost.branches_per_step, cost.forwards_per_step)


class Nan(ToyBinder):
    """Its gradient is NaN where two embeddings are compared for the second time."""

    calls = 0

    def embed_video(self, frames: Tensor, fps: float) -> Tensor:
        self.calls += 1
        return super().embed_video(frames, fps) * (torch.nan if self.calls > 2 else 1.0)


@pytest.mark.parametrize("moves", [{}, {"video_rate": 0.0, "audio_rate": 0.0, "prompt_rate": 1.0}])
def test_a_move_with_nan_in_its_gradient_is_left_out_counted_and_said(model, moves):
    result, alignment = made(model, strong(binder=Nan(), words=0.0, **moves))
    assert alignment.skipped and result.latent.video.isfinite().all()
    [warning] = result.warnings
    assert warning == f"{alignment.skipped} of the aligner's moves had NaN in their gradient and were skipped; lower its rates"


def test_what_rates_blew_up_is_said(model):
    result, _ = made(model, strong(words=0.0, video_rate=1e38, audio_rate=0.0, update="sign", last=0.5))
    assert any(line.endswith("infinite values; lower the guidance scale, or the aligner's rates") for line in result.warnings)


def test_it_works_with_the_joint_sampler_and_with_each_expert_alone(model):
    for guidance in ("joint_cfg", "none"):
        result, _ = made(model, strong(), ("red", "red"), guidance=guidance)
        assert result.latent.video.isfinite().all()
    parity, _ = made(model, strong(), ("red", "red"), parity=True)
    plain, _ = made(model, texts=("red", "red"), parity=True)
    idle, _ = made(model, strong(video_rate=0.0, audio_rate=0.0), ("red", "red"), parity=True)
    assert not torch.equal(parity.latent.video, plain.latent.video) and torch.equal(idle.latent.video, plain.latent.video)


def test_what_is_known_is_agreed_with_as_it_is(model):
    """The binder compares with the given picture itself, not with what the network would make in its place."""
    seen, given = [], model.latent_shape(model.shape())
    known = AVLatent(torch.full(given.video, 0.3), torch.zeros(given.audio))
    where = AVLatent(torch.ones(1, 1, 1, 1, 1, dtype=torch.bool), torch.zeros(1, 1, 1, dtype=torch.bool))

    class Noting(ToyBinder):
        def embed_video(self, frames: Tensor, fps: float) -> Tensor:
            seen.append(frames.detach())
            return super().embed_video(frames, fps)

    for through in (False, True):
        aligner = strong(binder=Noting(), words=0.0, video_rate=0.0, through_denoiser=through)
        made(model, aligner, known=KnownParts(known, where, "renoised"))
    true = model.decode(known, model.shape())[0]
    assert seen and all(torch.allclose(frames, true, atol=1e-5) for frames in seen)


def test_the_binder_can_run_in_half_precision(model):
    (half, _), (whole, _) = made(model, strong(half=True), ("red", "red")), made(model, strong(), ("red", "red"))
    torch.testing.assert_close(half.latent.video, whole.latent.video, atol=0.5, rtol=0.1)


def test_a_move_in_half_precision_leads_where_the_whole_one_does(model):
    half, whole = (
        Aligner(binder=load_bounce_bind(), task="a2v", words=0.0, video_rate=1.0, half=half) for half in (True, False)
    )  # fmt: skip
    tone = Reference(audio=torch.sin(torch.arange(16_000) / 5).view(1, 1, -1), sample_rate=8000)
    latent, moved = made(model)[0].latent, []
    for aligner in (half, whole):
        alignment = aligner.begin(model, model.shape(), ("", ""), tone)
        moved.append(alignment.move_latents(latent, lambda x: x).video - latent.video)
    assert not torch.equal(*moved) and torch.cosine_similarity(*(x.flatten() for x in moved), dim=0) > 0.9


def test_fewer_latent_frames_can_be_decoded(model):
    seen = []

    class Noting(ToyBinder):
        def embed_video(self, frames: Tensor, fps: float) -> Tensor:
            seen.append((frames.shape[1], fps))
            return super().embed_video(frames, fps)

    made(model, strong(binder=Noting(), words=0.0, latent_frames=3, first=0.0))
    assert {frames for frames, _ in seen} == {9} and seen[0][1] == pytest.approx(16 * 3 / 9)


@pytest.fixture
def shown(model, monkeypatch):
    """The latents of which pictures were made."""
    latents, render = [], type(model).decode_video_with_grad
    monkeypatch.setattr(
        type(model), "decode_video_with_grad", lambda self, x, shape: latents.append(x.detach()) or render(self, x, shape)
    )
    return latents


def test_latent_frames_take_turns_until_all_were_seen(model, shown):
    still = partial(strong, words=0.0, video_rate=0.0, inner_steps=3, save_memory=False)
    made(model, still(latent_frames=3, turns=True), parity=True)
    seen = list(shown)
    shown.clear()
    made(model, still(), parity=True)
    assert len(seen) == len(shown) == 12 and shown[0].shape[2] == 9
    for first in range(0, 12, 3):
        assert torch.equal(torch.stack(seen[first : first + 3], 3).flatten(2, 3), shown[first])


def test_latent_frames_take_turns_where_prompts_alone_are_tuned(model, shown):
    tuning = strong(latent_frames=3, turns=True, video_rate=0.0, audio_rate=0.0, prompt_rate=1.0, save_memory=False)
    made(model, tuning, ("red", "red"))
    assert len(shown) > 2 and not torch.equal(shown[0], shown[1])
    shown.clear()
    alignment = strong(latent_frames=3, turns=True).begin(model, model.shape(), ("", ""))
    latent = made(model)[0].latent
    for _ in range(3):
        alignment.loss(latent)
    assert torch.equal(torch.stack(shown, 3).flatten(2, 3), latent.video)


@pytest.mark.parametrize("settings, said", [
    (dict(task="a2a"), "task is 'a2a'; use one of joint, v2a, a2v, i2a"),
    (dict(update="momentum"), "update is 'momentum'; use one of gradient, sign, adam"),
    (dict(keep="size"), "keep is 'size'; use one of nothing, rms, spectrum"),
    (dict(video_rate=float("nan")), "video_rate is nan; use a number of at least 0"),
    (dict(first=0.8, last=0.2), "first is 0.8 and last is 0.2; use two numbers from 0 to 1, the lower first"),
    (dict(binder=Blind()), "Toy cannot embed video, only audio, text; choose another task or binder"),
])  # fmt: skip
def test_settings_that_make_no_sense_are_one_line(settings, said):
    with pytest.raises(ValueError, match=f"^{said}$"):
        Aligner(**{"binder": ToyBinder()} | settings)


def test_nothing_to_agree_with_is_one_line(model):
    for settings in (dict(other=0.0), dict(other=0.0, words=0.0)):
        with pytest.raises(ValueError, match="there is nothing to align to; give prompts, or set a weight"):
            Aligner(binder=ToyBinder(), **settings).begin(model, model.shape(), ("", ""))


@pytest.mark.parametrize("task, reference, said", [
    ("v2a", Reference(), "v2a needs a video as its reference; connect one to the aligner, or encode one into the latent"),
    ("v2a", Reference(video=torch.zeros(1, 0, 16, 16, 3), fps=16.0), "the reference video is empty or has NaN; .*"),
    ("a2v", Reference(), "a2v needs a sound as its reference; connect one to the aligner, or encode one into the latent"),
    ("a2v", Reference(audio=torch.zeros(1, 1, 900), sample_rate=8000), "the reference audio is silent; use another .*"),
    ("a2v", Reference(audio=torch.full((1, 1, 9), torch.nan), sample_rate=8000), "the reference audio is empty or has NaN; .*"),
    ("a2v", Reference(audio=torch.ones(1, 1, 80), sample_rate=8000), "the reference audio lasts 0.010 s; use one of at .*"),
    ("a2v", Reference(audio=torch.full((1, 1, 900), 1e-6), sample_rate=8000), "the reference audio is silent; use .*"),
])  # fmt: skip
def test_a_reference_that_cannot_be_agreed_with_is_one_line(model, task, reference, said):
    with pytest.raises(ValueError, match=f"^{said}$"):
        Aligner(binder=ToyBinder(), task=task).begin(model, model.shape(), ("", ""), reference)
