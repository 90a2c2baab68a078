"""Two experts that were never woven, one stream of any joint model alone, and both brought to agree by a binder."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn

from duet_av.av_models.contract import AVCondition, AVLatent, AVTime, CouplingKind, JointDenoiser
from duet_av.av_models.experts.audioldm2 import AudioLDM2Expert
from duet_av.av_models.experts.svd import SVDExpert
from duet_av.av_models.guidance import make_guidance
from duet_av.av_models.joint.separate_experts import SeparateExperts
from duet_av.av_models.known_parts import KnownParts
from duet_av.av_models.latent_aligner import Aligner
from duet_av.av_models.path import DDPM, EDM, FLOW
from duet_av.tests import small, unets
from duet_av.tests.pipelines import animatediff, asked, audioldm, pair
from duet_av.tests.sample_with import sample_with
from duet_av.tests.toy_binder import Quarters

REMOVED = CouplingKind.REMOVED


def avfulldit() -> tuple[JointDenoiser, AVLatent, AVTime, AVCondition, AVCondition]:
    return small.joint(), small.latent(), small.times(), small.condition(), small.condition(seed=8)


def jointdit() -> tuple[JointDenoiser, AVLatent, AVTime, AVCondition, AVCondition]:
    model = unets.trained(unets.jointdit())
    return model, unets.latents(), unets.times(), unets.condition(), unets.condition(seed=8)


def apart() -> tuple[JointDenoiser, AVLatent, AVTime, AVCondition, AVCondition]:
    experts = SVDExpert(unets.svd_unet()), AudioLDM2Expert(unets.audioldm2_unet())
    return SeparateExperts(*experts).requires_grad_(False), *jointdit()[1:]


MODELS = pytest.mark.parametrize("make", [avfulldit, jointdit, apart])


def test_the_pair_knows_what_its_experts_know():
    edm = EDM(mean=0.2)
    build_jointdit = SeparateExperts(SVDExpert(unets.svd_unet(), edm), small.audio_expert())
    assert build_jointdit.paths == (edm, FLOW) and build_jointdit.prediction == ("v", "flow")
    assert pair(animatediff(), audioldm()).denoiser.paths == (DDPM(0.00085, 0.012, beta_schedule="linear"), DDPM())


def test_a_coupling_is_refused_in_one_line():
    model, latent, _, positive, negative = apart()
    with pytest.raises(ValueError) as error:
        sample_with(model, latent, positive, negative, make_guidance("joint_cfg"), steps=2)
    assert str(error.value) == (
        "guidance joint_cfg needs coupling full, cut, which this model does not support; choose a guidance that needs only removed"
    )


@torch.no_grad()
def test_experts_in_half_precision_are_nearly_those_in_whole():
    video, audio = animatediff(), audioldm()
    x, t, cond = unets.latents(1), torch.tensor([500.0]), asked(video, audio, "a red ball")
    experts = pair(video, audio).denoiser
    whole = experts.video(x.video, t, cond.video), experts.audio(x.audio, t, cond.audio)
    experts.bfloat16()
    half = experts.video(x.video, t, cond.video), experts.audio(x.audio, t, cond.audio)
    for a, b in zip(half, whole):
        assert a.dtype == torch.float32 and 0 < (a - b).norm() < 0.05 * b.norm()


@torch.no_grad()
@MODELS
def test_a_stream_alone_is_that_of_removed_rows_bit_for_bit(make):
    model, latent, t, cond, _ = make()
    whole = model.predict(latent, t, cond, [REMOVED] * 2)
    assert torch.equal(model.predict_stream(latent.video, t.video, cond.video, "video"), whole.video)
    assert torch.equal(model.predict_stream(latent.audio, t.audio, cond.audio, "audio"), whole.audio)


@torch.no_grad()
def test_a_stream_alone_skips_the_blocks_that_it_is_told_to():
    model, latent, t, cond, _ = avfulldit()
    for block in range(model.skippable):
        skip = [block, None]
        whole = model.predict(latent, t, cond, [REMOVED] * 2, skip)
        assert torch.equal(model.predict_stream(latent.video, t.video, cond.video, "video", skip), whole.video)
        assert torch.equal(model.predict_stream(latent.audio, t.audio, cond.audio, "audio", skip), whole.audio)


def given_whole(latent: AVLatent, stream: str) -> KnownParts:
    """One stream given as a whole, and nothing of the other."""
    known = {name: torch.full((1,) * getattr(latent, name).ndim, name == stream) for name in ("video", "audio")}
    clip = AVLatent(torch.full_like(latent.video, 0.3), torch.full_like(latent.audio, -0.3))
    return KnownParts(clip, AVLatent(**known), "renoised")


def calls(network: nn.Module) -> list:
    """What of `network` is called from now on."""
    ran = []
    for part in network.modules():
        part.register_forward_pre_hook(lambda part, _: ran.append(part))
    return ran


@MODELS
@pytest.mark.parametrize("other", ["video", "audio"])
@pytest.mark.parametrize("name", ["cfg", "cfg_zero_star"])
def test_the_network_of_what_is_given_does_not_run_and_nothing_else_changes(make, name, other, monkeypatch):
    model, latent, _, positive, negative = make()
    given, ran = given_whole(latent, other), calls(getattr(model, other))
    guidance = make_guidance(name, video_scale=2.0, audio_scale=3.0, rescale=0.5, removed=True)

    def run():
        return sample_with(model, latent, positive, negative, guidance, steps=3, known=given)

    half = run()
    assert ran == []
    monkeypatch.setattr("duet_av.av_models.sampling.skip_known_streams", lambda model, given: model)
    full = run()
    assert ran != []
    assert torch.equal(half.latent.video, full.latent.video) and torch.equal(half.latent.audio, full.latent.audio)
    assert half.warnings == () and half.forwards_per_step == full.forwards_per_step


@pytest.mark.parametrize("removed, known", [(False, True), (True, False)])
def test_coupled_rows_and_streams_given_in_part_need_both_networks(removed, known):
    model, latent, _, positive, negative = jointdit()
    given, ran = given_whole(latent, "video"), calls(model.video)
    part = torch.tensor([True, known]).view(2, 1, 1, 1, 1)  # of the batch's rows
    given = replace(given, known=AVLatent(part, given.known.audio))
    sample_with(model, latent, positive, negative, make_guidance("none", removed=removed), steps=1, known=given)
    assert ran


@pytest.mark.parametrize("update, rate", [("gradient", 50.0), ("sign", 0.1)])
def test_animatediff_and_audioldm_are_brought_to_agree(update, rate):
    """Joint generation of Seeing and Hearing: the pair's own networks, codecs and texts, and a binder between them."""
    video, audio = animatediff(), audioldm()
    model = pair(video, audio)
    shape = model.shape()
    aligner = Aligner(binder=Quarters(), words=0.0, video_rate=rate, audio_rate=rate, update=update)

    def distance(alignment=None) -> float:
        """Between picture and sound of what is made."""
        made = sample_with(
            model.denoiser, model.latent_shape(shape), asked(video, audio, "a red ball"), asked(video, audio, ""),
            make_guidance("none", removed=True), steps=5, alignment=alignment,
        ).latent  # fmt: skip
        return float(aligner.begin(model, shape, ("", "")).loss(made))

    alignment = aligner.begin(model, shape, ("", ""))
    assert distance(alignment) < 0.9 * distance()
    assert len(alignment.losses) == 4 and alignment.losses == sorted(alignment.losses, reverse=True)
