"""All of Duet's sampling on LTX-2: strategies, given parts with t = 0, seeds, η, decoding to the asked length, small models."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest
import torch

from duet_av.av_models.branch_runner import PromptedModel
from duet_av.av_models.clip_latent import before, encode_clip, everything, make_known_masks, nothing
from duet_av.av_models.contract import AVLatent, AVTime
from duet_av.av_models.fingerprint import fingerprint
from duet_av.av_models.generation import generate
from duet_av.av_models.guidance import GUIDANCE, make_guidance
from duet_av.av_models.joint_model import JointModel
from duet_av.av_models.known_parts import KnownParts
from duet_av.av_models.load_joint import load_joint_model
from duet_av.av_models.noise import NoiseSource
from duet_av.av_models.sampling import SampleResult, sample, sampling_cost
from duet_av.av_models.schedule import SamplingSchedule
from duet_av.av_models.shapes import AVShape
from duet_av.benchmarks.small_models import ltx2

GUIDED = {"video_scale": 3.0, "audio_scale": 4.0}


@pytest.fixture(scope="module")
def model(small_ltx2) -> JointModel:
    return load_joint_model(small_ltx2)


@pytest.fixture(scope="module")
def shape(model) -> AVShape:
    return model.shape(frames=17, height=64, width=64)


def run(model: JointModel, shape: AVShape, guidance=None, known=None, bad: bool = False, **settings) -> SampleResult:
    seeds = settings.pop("seeds", (1, 2))
    prompts = model.encode("a ball", "", shape=shape), model.encode("", "", shape=shape)
    latents = model.latent_shape(shape)
    schedule = SamplingSchedule(2, **settings) if settings else model.make_schedule(latents, 2)
    prompted = PromptedModel(model.denoiser_for(shape), *prompts)
    return sample(
        prompted, NoiseSource(latents, *seeds), guidance or make_guidance("none"), schedule, known=known,
        bad_model=prompted if bad else None,
    )  # fmt: skip


def same(one: torch.Tensor, other: torch.Tensor) -> bool:
    return torch.allclose(one, other, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", GUIDANCE)
def test_every_guidance_runs_in_one_row_a_branch(model, shape, name):
    guidance = make_guidance(name, **(GUIDED if name != "none" else {}), a_to_v=0.5)
    result = run(model, shape, guidance, bad=name == "autoguidance")
    cost = sampling_cost(guidance, SamplingSchedule(2), model=model.denoiser)
    assert not result.warnings and result.branches_per_step == cost.branches_per_step
    assert result.latent.video.std() > 0.1 and result.latent.audio.std() > 0.1


def test_guidances_differ(model, shape):
    results = [run(model, shape, make_guidance(name, **GUIDED)).latent for name in ("cfg", "joint_cfg", "dual_cfg", "apg", "stg")]
    assert len({float(each.video.sum()) for each in results}) == len({float(each.audio.sum()) for each in results}) == 5
    assert same(run(model, shape, make_guidance("joint_cfg", **GUIDED)).latent.video,
                run(model, shape, make_guidance("joint_cfg_star", **GUIDED)).latent.video)  # fmt: skip


@pytest.fixture(scope="module")
def clip(model, shape) -> AVLatent:
    torch.manual_seed(5)
    return encode_clip(model, shape, torch.rand(17, 64, 64, 3), torch.randn(2, shape.audio.samples).clamp(-1, 1))


def known(model: JointModel, shape: AVShape, clip: AVLatent, video, audio) -> KnownParts:
    return KnownParts(clip, make_known_masks(model, shape, video, audio), *model.known_modes)


def record(model: JointModel, monkeypatch) -> list[tuple[AVLatent, AVTime]]:
    """The latents and times of each network call from now on."""
    seen: list[tuple[AVLatent, AVTime]] = []
    forward = type(model.denoiser)._forward

    def recorded(self, latent, t, *rest, **more):
        seen.append((latent, t))
        return forward(self, latent, t, *rest, **more)

    monkeypatch.setattr(type(model.denoiser), "_forward", recorded)
    return seen


@pytest.mark.parametrize("video, audio, frames, steps", [
    (nothing, everything, 0, 18), (everything, nothing, 3, 0), (before(0.4), before(0.3), 2, 7), (nothing, before(0.2), 0, 5),
])  # fmt: skip
def test_given_frames_and_steps_are_clean_at_time_zero(model, shape, clip, monkeypatch, video, audio, frames, steps):
    seen = record(model, monkeypatch)
    parts = known(model, shape, clip, video, audio)
    out = run(model, shape, make_guidance("cfg", **GUIDED), parts).latent
    assert seen
    for x, t in seen:
        for part, given, time_of, count in ((x.video, clip.video, t.video, frames), (x.audio, clip.audio, t.audio, steps)):
            assert torch.equal(part[:, :, :count], given[:, :, :count].expand(2, *given[:, :, :count].shape[1:]))
            assert time_of.ndim == (2 if count else 1)
            if count:
                assert not time_of[:, :count].any() and time_of[:, count:].gt(0).all()
    assert torch.equal(out.video[:, :, :frames], clip.video[:, :, :frames])
    assert torch.equal(out.audio[:, :, :steps], clip.audio[:, :, :steps])
    free = run(model, shape, make_guidance("cfg", **GUIDED)).latent
    assert frames == 3 or not same(out.video[:, :, frames:], free.video[:, :, frames:])
    assert steps == 18 or not same(out.audio[:, :, steps:], free.audio[:, :, steps:])


def test_a_given_modality_does_not_run_where_coupling_is_removed(model, shape, clip, monkeypatch):
    seen = record(model, monkeypatch)
    run(model, shape, make_guidance("cfg", **GUIDED, removed=True), known(model, shape, clip, nothing, everything))
    assert seen and all(x.audio.shape[2] == 1 and x.video.shape[2] == 3 for x, _ in seen)


def test_a_part_of_a_frame_is_renoised(model, shape, clip):
    masks = make_known_masks(model, shape, nothing, nothing)
    masks = replace(masks, video=torch.zeros(1, 1, 3, 2, 2, dtype=torch.bool))
    masks.video[..., 0] = True
    out = run(model, shape, known=KnownParts(clip, masks, *model.known_modes)).latent
    assert torch.equal(out.video[..., 0], clip.video[..., 0]) and torch.isfinite(out.video).all()


def test_each_seed_is_for_its_modality_and_stable_under_length(model, shape):
    cut = make_guidance("cfg", **GUIDED, removed=True)
    one, other = run(model, shape, cut, seeds=(1, 2)).latent, run(model, shape, cut, seeds=(1, 3)).latent
    assert torch.equal(one.video, other.video) and not same(one.audio, other.audio)
    longer = model.latent_shape(model.shape(frames=41, height=64, width=64))
    short, long = (NoiseSource(latents, 1, 2).initial(torch.device("cpu")) for latents in (model.latent_shape(shape), longer))
    assert torch.equal(long.video[:, :, :3], short.video) and torch.equal(long.audio[:, :, :18], short.audio)


def test_eta_adds_noise_of_its_own(model, shape):
    times = tuple(model.make_schedule(model.latent_shape(shape), 2).times)
    plain = run(model, shape).latent
    assert torch.equal(run(model, shape, times=times).latent.video, plain.video)
    noisy = run(model, shape, times=times, eta=1.0)
    assert not noisy.warnings and not same(noisy.latent.video, plain.video)
    assert torch.equal(noisy.latent.video, run(model, shape, times=times, eta=1.0).latent.video)


def test_a_run_leaves_the_model_as_it_was(model, shape):
    before = fingerprint(model)
    run(model, shape, make_guidance("modality_cfg", **GUIDED, video_skip_scale=2.0, audio_skip_scale=2.0))
    assert fingerprint(model) == before


def test_a_run_can_choose_its_own_shift(model, shape):
    assert not same(run(model, shape, shift=3.0).latent.video, run(model, shape, shift=1.0).latent.video)


@pytest.mark.parametrize("frames, height, width, fps", [(10, 50, 70, 24), (1, 64, 64, 30), (20, 64, 96, 50)])
def test_a_clip_has_the_asked_size_and_length(model, frames, height, width, fps):
    shape = model.shape(frames=frames, height=height, width=width, fps=fps)
    clip = generate(model, "a ball", "rain", shape=shape, guidance=make_guidance("none"), schedule=SamplingSchedule(1))
    assert clip.frames.shape == (frames, height, width, 3) and clip.fps == fps
    assert clip.waveform.shape == (2, round(48_000 * frames / fps)) and clip.sample_rate == 48_000


def test_small_models_are_small_and_fast_and_come_from_a_seed(model, shape, small_ltx2, tmp_path):
    assert sum(file.stat().st_size for file in small_ltx2.rglob("*") if file.is_file()) < 5e6
    for name in ("transformer", "text_encoder"):
        assert len(list((small_ltx2 / name).glob("*-of-*.safetensors"))) > 1
    began = time.perf_counter()
    run(model, shape)
    assert time.perf_counter() - began < 1.0  # two steps, and the prompts
    for seed, equal in ((0, True), (1, False)):
        ltx2.build(tmp_path / str(seed), seed)
        files = (folder / "vae" / "diffusion_pytorch_model.safetensors" for folder in (tmp_path / str(seed), small_ltx2))
        one, other = (file.read_bytes() for file in files)
        assert (one == other) == equal
