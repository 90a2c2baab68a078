"""Models whose towers are joined by residuals: one row for every coupling, given frames clean, first frame, own times."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

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
from duet_av.av_models.guidance import GUIDANCE, check_supported, count_rows, make_guidance
from duet_av.av_models.guidance.base import POSITIVE
from duet_av.av_models.joint.residual import ResidualTowers, Strengths
from duet_av.av_models.known_parts import KnownParts
from duet_av.av_models.published.joint.prompts import JointPromptConditioner
from duet_av.av_models.sampling import sampling_cost
from duet_av.av_models.schedule import SamplingSchedule
from duet_av.tests.sample_with import sample_with
from duet_av.tests.tiny import tiny_model
from duet_av.tests.toy import AUDIO_CHANNELS, VIDEO_CHANNELS, Tower, plain_condition, toy_condition

SHAPE = LatentShape((2, VIDEO_CHANNELS, 3, 2, 2), (2, AUDIO_CHANNELS, 9))


class ToyTowers(ResidualTowers):
    """Two towers; each gets a projection of the other's mean, scaled by the row's strength."""

    skippable = 1

    def __init__(self, width: int = 8) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.video, self.audio = Tower(VIDEO_CHANNELS, width), Tower(AUDIO_CHANNELS, width)
        self.to_video, self.to_audio = nn.Linear(width, width), nn.Linear(width, width)
        self.seen: list[tuple[AVLatent, AVTime, AVCondition]] = []
        self.requires_grad_(False)

    def run_block(self, block, *args) -> None:
        raise NotImplementedError

    def predict_rows(self, latent, t, cond, strengths, skip) -> AVLatent:
        self.seen.append((latent, t, cond))
        h_v = self.video.hidden(latent.video, 1000 * _of_rows(t.video), cond.video)
        h_a = self.audio.hidden(latent.audio, 1000 * _of_rows(t.audio), cond.audio)
        if strengths.any:
            rows = slice(None) if strengths.coupled is None else strengths.coupled
            own, old_v, old_a = strengths.of_coupled(), h_v[rows], h_a[rows]
            h_v[rows] = old_v + own.a_to_v[:, None, None] * self.to_video(old_a).mean(1, keepdim=True)
            h_a[rows] = old_a + own.v_to_a[:, None, None] * self.to_audio(old_v).mean(1, keepdim=True)
        return AVLatent(self.video.finish(h_v, latent.video), self.audio.finish(h_a, latent.audio))

    def predict_stream(self, latent, t, cond, stream, skip=None) -> Tensor:
        return {"video": self.video, "audio": self.audio}[stream](latent, 1000 * _of_rows(t), cond)


def _of_rows(t: Tensor) -> Tensor:
    return t if t.ndim == 1 else t.amax(1)


def clip(seed: int = 4) -> AVLatent:
    generator = torch.Generator().manual_seed(seed)
    return AVLatent(torch.randn(SHAPE.video, generator=generator), torch.randn(SHAPE.audio, generator=generator))


def masks(video: slice = slice(0, 0), audio: slice = slice(0, 0)) -> AVLatent:
    known_v, known_a = torch.zeros(1, 1, 3, 1, 1, dtype=torch.bool), torch.zeros(1, 1, 9, dtype=torch.bool)
    known_v[:, :, video], known_a[:, :, audio] = True, True
    return AVLatent(known_v, known_a)


def run(model: ToyTowers, guidance=None, known: KnownParts | None = None, **settings) -> AVLatent:
    guidance = guidance or make_guidance("none")
    return sample_with(model, SHAPE, toy_condition(1), toy_condition(2), guidance, known=known, **{"steps": 3} | settings).latent


def directional(a_to_v: float, v_to_a: float) -> Coupling:
    return Coupling(CouplingKind.FULL, a_to_v, v_to_a)


def test_every_coupling_is_one_row_and_scales_the_residual():
    model, time = ToyTowers(), torch.full((5,), 0.5)
    latent = AVLatent.cat([clip()[:1]] * 5)
    couplings = [FULL, CUT, REMOVED, directional(0.25, 1.0), directional(0.0, 0.5)]
    out = denoise(model, latent, AVTime(time, time), toy_condition(1).expand(5), couplings)
    assert len(model.seen) == 1 and model.seen[0][0].rows == 5
    full, cut, removed, quarter, half = (out[row : row + 1] for row in range(5))
    for one, other in ((cut.video, removed.video), (cut.audio, removed.audio), (half.video, cut.video)):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=0)
    assert not torch.allclose(full.video, cut.video)
    torch.testing.assert_close(quarter.video, cut.video + 0.25 * (full.video - cut.video))  # this toy is linear in the residual
    torch.testing.assert_close(half.audio, cut.audio + 0.5 * (full.audio - cut.audio))


def test_strengths_say_which_rows_are_coupled_and_whether_anything_is_multiplied():
    device = torch.device("cpu")
    mixed = Strengths.of([CUT, FULL, directional(0.0, 1.0)], device)
    assert mixed.coupled is not None and mixed.coupled.tolist() == [1, 2] and mixed.any and not mixed.plain
    assert Strengths.of([FULL, FULL], device).coupled is None and Strengths.of([CUT, FULL], device).plain
    assert not Strengths.of([CUT, REMOVED], device).any
    assert mixed.of_coupled().a_to_v.tolist() == [1.0, 0.0]


@pytest.mark.parametrize("name", [name for name in GUIDANCE if name != "autoguidance"])
def test_every_guidance_runs_and_costs_what_was_computed(name):
    model, guidance = ToyTowers(), make_guidance(name, a_to_v=0.5)
    if name == "stg":
        guidance = replace(guidance, skip_block=0)
    run(model, guidance)
    cost = sampling_cost(guidance, SamplingSchedule(3), model=model)
    assert sum(latent.rows for latent, _, _ in model.seen) == 2 * cost.branches and len(model.seen) == cost.forwards


def test_a_directional_branch_counts_once_only_for_models_that_scale_it():
    branch = replace(POSITIVE, coupling=directional(0.5, 1.0))
    assert count_rows([branch]) == 2 and count_rows([branch], ToyTowers()) == 1


def test_a_model_that_refuses_guidance_says_why_and_takes_none():
    model = ToyTowers()
    model.refuses_guidance = "these weights are distilled"
    plan = SamplingSchedule(2).plan()
    check_supported(make_guidance("none"), plan, {"main": model})
    check_supported(make_guidance("cfg", video_scale=1.0, audio_scale=1.0), plan, {"main": model})
    with pytest.raises(ValueError, match="guidance is cfg, but these weights are distilled; choose none"):
        check_supported(make_guidance("cfg"), plan, {"main": model})


def test_whole_known_frames_are_clean_at_time_zero_and_the_others_at_the_times_of_the_row():
    model = ToyTowers()
    out = run(model, known=KnownParts(clip(), masks(slice(0, 1)), "frames", "renoised"))
    for latent, t, _ in model.seen:
        assert torch.equal(latent.video[:, :, 0], clip().video[:, :, 0])
        assert t.video.shape == (2, 3) and t.video[:, 0].eq(0).all() and t.video[:, 1:].gt(0).all() and t.audio.ndim == 1
    assert torch.equal(out.video[:, :, 0], clip().video[:, :, 0])


def test_a_part_of_a_frame_is_renoised_where_frames_are_clean():
    known = torch.zeros(1, 1, 3, 2, 2, dtype=torch.bool)
    known[:, :, 0], known[:, :, 1, 0] = True, True
    model = ToyTowers()
    run(model, known=KnownParts(clip(), AVLatent(known, masks().audio), "frames"))
    latent, t, _ = model.seen[0]
    assert torch.equal(latent.video[:, :, 0], clip().video[:, :, 0]) and t.video[:, 1].gt(0).all()
    assert not torch.isclose(latent.video[:, :, 1, 0], clip().video[:, :, 1, 0]).any()


def test_each_modality_can_have_its_own_way():
    model = ToyTowers()
    run(model, known=KnownParts(clip(), masks(slice(0, 1), slice(0, 9)), "renoised", "frames"))
    latent, t, _ = model.seen[0]
    assert t.video.ndim == 1 and t.audio.eq(0).all() and torch.equal(latent.audio, clip().audio)
    with pytest.raises(ValueError, match="audio_mode is 'odd'"):
        KnownParts(clip(), masks(), "clean", "odd")


@pytest.mark.parametrize("known, kept", [(slice(0, 1), False), (slice(0, 2), True)])
def test_a_model_that_takes_the_first_frame_gets_it_with_both_prompts(known, kept):
    model = ToyTowers()
    model.takes_first_frame = True
    out = run(model, make_guidance("cfg", video_scale=2.0, audio_scale=2.0), KnownParts(clip(), masks(known), "renoised"))
    first = clip().video[:, :, :1]
    for _, _, cond in model.seen:
        assert torch.equal(cond.video.image, torch.cat([first, first])) and cond.audio.image is None
    assert torch.equal(out.video[:, :, :1], first) == kept


def test_a_model_that_takes_the_first_frame_gets_none_where_it_is_not_known():
    model = ToyTowers()
    model.takes_first_frame = True
    run(model, known=KnownParts(clip(), masks(slice(1, 2)), "renoised"))
    assert model.seen[0][2].video.image is None


def test_given_times_are_the_times_of_the_run():
    model, times = ToyTowers(), (1.0, 0.9, 0.25)
    run(model, times=times)
    assert [float(t.video[0]) for _, t, _ in model.seen] == pytest.approx(times)
    for bad in ((), (0.5, 0.5), (1.5, 0.2), (0.5, 0.0)):
        with pytest.raises(ValueError, match="times"):
            run(model, times=bad)


def test_a_model_with_own_times_uses_them_unless_a_shift_is_asked_for():
    sizes = tiny_model().latent_shape(tiny_model().shape())
    asked = []

    def own_times(steps: int, latents: LatentShape) -> list[float]:
        asked.append((steps, latents))
        return [1.0, 0.4]

    model = replace(tiny_model(), own_times=own_times)
    assert model.make_schedule(sizes, 2).times == (1.0, 0.4) and asked == [(2, sizes)]
    assert model.make_schedule(sizes, 2, shift=3.0) == SamplingSchedule(2, 3.0)
    assert tiny_model().make_schedule(sizes) == tiny_model().recommended.schedule


def test_prompts_are_encoded_once_and_an_empty_one_takes_the_words_of_the_other():
    calls: list[str] = []

    def encode(prompt: str, device: torch.device) -> AVCondition:
        calls.append(prompt)
        return plain_condition(float(len(prompt)))

    conditioner = JointPromptConditioner(encode, lambda *parts: plain_condition(0.0), ("bad video", "bad audio"))
    words = [float(getattr(conditioner.condition(*pair, None, None, None), stream).tokens[0, 0, 0])
             for pair, stream in ((("four", ""), "audio"), (("", "seven77"), "video"), (("four", "seven77"), "audio"))]  # fmt: skip
    assert words == [4.0, 7.0, 7.0] and calls == ["four", "seven77"]
    model = replace(tiny_model(), conditioner=conditioner)
    assert model.negative_words("", " mine ") == ("bad video", " mine ")
    assert tiny_model().negative_words("", "x") == ("", "x")
    with pytest.raises(ValueError, match="takes text prompts"):
        conditioner.condition("a", "b", torch.zeros(1, 4, 4, 3), None, None)
