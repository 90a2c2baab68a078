import pytest
import torch

from duet_av.av_models.contract import AVLatent, AVTime, LatentShape
from duet_av.av_models.guidance import make_guidance
from duet_av.av_models.known_parts import KnownParts
from duet_av.av_models.noise import video_noise
from duet_av.tests.sample_with import sample_with
from duet_av.tests.toy import AUDIO_CHANNELS, VIDEO_CHANNELS, ToyJoint, toy_condition

SHAPE = LatentShape((2, VIDEO_CHANNELS, 3, 4, 4), (2, AUDIO_CHANNELS, 9))
WAYS = ["clean", "renoised"]


def clip() -> AVLatent:
    generator = torch.Generator().manual_seed(4)
    return AVLatent(torch.randn(SHAPE.video, generator=generator), torch.randn(SHAPE.audio, generator=generator))


def masks(video: slice = slice(0, 0), audio: slice = slice(0, 0)) -> AVLatent:
    known_v, known_a = torch.zeros(1, 1, 3, 1, 1, dtype=torch.bool), torch.zeros(1, 1, 9, dtype=torch.bool)
    known_v[:, :, video], known_a[:, :, audio] = True, True
    return AVLatent(known_v, known_a)


ALL = slice(None)


class Watching(ToyJoint):
    """Keeps what it was shown."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[AVLatent, AVTime]] = []

    def predict(self, latent, t, cond, kinds):
        self.seen.append((latent, t))
        return super().predict(latent, t, cond, kinds)


def shorter() -> KnownParts:
    whole, known = clip(), masks()
    return KnownParts(AVLatent(whole.video[:, :, :2], whole.audio), AVLatent(known.video[:, :, :2], known.audio), "clean")


def run(known=None, model=None, guidance="joint_cfg"):
    scales = {} if guidance == "none" else {"video_scale": 2.0, "audio_scale": 2.0}
    return sample_with(
        model or ToyJoint(), SHAPE, toy_condition(1), toy_condition(2), make_guidance(guidance, **scales), steps=3,
        video_seed=1, audio_seed=2, known=known,
    )  # fmt: skip


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("known", [masks(ALL), masks(audio=ALL), masks(slice(0, 1)), masks(slice(0, 2), slice(0, 6))])
def test_what_is_given_comes_out_bit_for_bit_and_the_rest_is_made(way, known):
    out = run(KnownParts(clip(), known, way)).latent
    for made, true, mask in ((out.video, clip().video, known.video), (out.audio, clip().audio, known.audio)):
        kept = mask.expand_as(true)
        assert torch.equal(made[kept], true[kept])
        assert not torch.isclose(made[~kept], true[~kept]).any()


@pytest.mark.parametrize("way", WAYS)
def test_the_rest_depends_on_what_is_given(way):
    other = AVLatent(clip().video + 1, clip().audio)
    one, two = (run(KnownParts(each, masks(ALL), way)).latent.audio for each in (clip(), other))
    assert not torch.allclose(one, two)


def test_a_clean_stream_is_shown_clean_at_time_zero():
    model = Watching()
    run(KnownParts(clip(), masks(ALL), "clean"), model, "none")
    for latent, t in model.seen:
        assert torch.equal(latent.video, clip().video) and t.video.eq(0).all() and t.audio.gt(0).all()


def test_a_clean_part_is_shown_clean_at_the_rows_own_time():
    model = Watching()
    run(KnownParts(clip(), masks(slice(0, 1)), "clean"), model, "none")
    for latent, t in model.seen:
        assert torch.equal(latent.video[:, :, 0], clip().video[:, :, 0]) and t.video.gt(0).all()


def test_a_renoised_part_lies_on_the_path_between_clip_and_noise():
    model, noise = Watching(), video_noise(SHAPE.video, 1)
    run(KnownParts(clip(), masks(ALL), "renoised"), model, "none")
    for latent, t in model.seen:
        along = t.video.view(-1, 1, 1, 1, 1)
        torch.testing.assert_close(latent.video, (1 - along) * clip().video + along * noise)


class SayingAnything(ToyJoint):
    """What it predicts of the first picture and of the first half of the sound is noise: it never learned to."""

    def predict(self, latent, t, cond, kinds):
        out = super().predict(latent, t, cond, kinds)
        out.video[:, :, :1] += 9 * torch.randn_like(out.video[:, :, :1])
        out.audio[..., :4] += 9 * torch.randn_like(out.audio[..., :4])
        return out


@pytest.mark.parametrize("guidance, settings", [("apg", {}), ("cfg_zero_star", {}), ("cfg", {"rescale": 0.7})])
def test_guidance_does_not_see_what_is_given_clean(guidance, settings):
    scales = {"video_scale": 3.0, "audio_scale": 3.0}
    plain, loud = (
        sample_with(
            model, SHAPE, toy_condition(1), toy_condition(2), make_guidance(guidance, **scales, **settings), steps=3,
            known=KnownParts(clip(), masks(slice(0, 1), slice(0, 4)), "clean"),
        ).latent
        for model in (ToyJoint(), SayingAnything())
    )  # fmt: skip
    torch.testing.assert_close(loud.video, plain.video)
    torch.testing.assert_close(loud.audio, plain.audio)


def test_nothing_given_changes_nothing():
    assert torch.equal(run(KnownParts(clip(), masks(), "clean")).latent.video, run().latent.video)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: KnownParts(clip(), masks(ALL, ALL), "clean"), "nothing is left to sample"),
        (lambda: KnownParts(clip(), masks(ALL), "noisy"), "mode is 'noisy'"),
        (lambda: KnownParts(clip(), AVLatent(torch.ones(1, 1, 4, 1, 1).bool(), masks().audio), "clean"), "1×1×4×1×1"),
        (lambda: KnownParts(clip(), AVLatent(torch.ones(1, 1, 3, 1, 1), masks().audio), "clean"), "booleans"),
        (lambda: KnownParts(AVLatent(clip().video * torch.nan, clip().audio), masks(ALL), "clean"), "NaN"),
        (lambda: run(shorter()), "encode it for this clip"),
    ],
)  # fmt: skip
def test_bad_givens_are_refused_in_one_line(make, message):
    with pytest.raises(ValueError, match=message) as error:
        make()
    assert "\n" not in str(error.value)
