"""Pairs of published transformers: which are woven, with which positions, precisions and schedules."""

from __future__ import annotations

import copy
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from duet_av.av_models.contract import AVCondition, AVLatent, AVTime, CouplingKind
from duet_av.av_models.generation import generate
from duet_av.av_models.guidance import GUIDANCE, make_guidance
from duet_av.av_models.joining import join_experts
from duet_av.av_models.joint.avfulldit import AVFullDiT
from duet_av.av_models.joint.separate_experts import SeparateExperts
from duet_av.av_models.joint.sync_positions import SyncPositions
from duet_av.av_models.known_parts import KnownParts
from duet_av.av_models.latent_aligner import Aligner
from duet_av.av_models.memory_plan import plan_sampling
from duet_av.av_models.noise import audio_noise, video_noise
from duet_av.av_models.offload import is_offloaded
from duet_av.av_models.published.build_pair import recommended_joint_blocks, weave, why_not_woven
from duet_av.av_models.published.joint.comfyui_text import TextEmbedding
from duet_av.av_models.published.load_published import load_published
from duet_av.av_models.shapes import AudioStride, VideoShape, VideoStride
from duet_av.benchmarks.small_models import wan as small_wan_files
from duet_av.tests import pairs, small
from duet_av.tests.sample_with import sample_with
from duet_av.tests.test_offload import to_disk
from duet_av.tests.toy_binder import Quarters

FULL, CUT, REMOVED = CouplingKind.FULL, CouplingKind.CUT, CouplingKind.REMOVED
CLIP = VideoShape(**pairs.CLIP)
CLOSE = {"atol": 1e-5, "rtol": 1e-5}


def predict(denoiser, kind: CouplingKind, rows: int = 2, t: AVTime | None = None) -> AVLatent:
    return denoiser.predict(small.latent(rows), t or small.times(rows), small.condition(rows), [kind] * rows)


# Which pairs are woven.


@torch.no_grad()
@pytest.mark.parametrize("wide, deep", [({}, {}), ({"num_attention_heads": 5, "num_layers": 7}, {"num_single_layers": 3})])
def test_an_untrained_pair_is_both_experts_bit_for_bit(wide, deep):
    wan, flux = pairs.wan(**wide), pairs.flux(**deep)
    model = pairs.with_heads(pairs.pair(pairs.video(wan), pairs.audio(flux)))
    assert model.card["architecture"] == "AVFullDiT" and model.card["rope"] == "vanilla" and not model.trained
    assert model.denoiser.joint_blocks == model.card["joint_blocks"] == (3 if deep else 2)
    latent, t, cond = small.latent(), small.times(), small.condition()
    out = predict(model.denoiser, REMOVED)
    assert torch.equal(out.video, wan(latent.video, t.video, cond.video))
    assert torch.equal(out.audio, flux(latent.audio, t.audio, cond.audio))
    assert not torch.allclose(predict(model.denoiser, FULL).video, out.video, atol=1e-3)


def test_the_blocks_that_the_paper_leaves_open_are_the_single_stream_ones_of_tangoflux():
    sizes = SimpleNamespace(depth=30), SimpleNamespace(depth=24, transformer=SimpleNamespace(config={"num_single_layers": 18}))
    assert recommended_joint_blocks(*(SimpleNamespace(expert=each) for each in sizes)) == 18
    assert recommended_joint_blocks(*(SimpleNamespace(expert=SimpleNamespace(depth=n)) for n in (3, 5))) == 3


class Stages(nn.Module):
    """An expert of two networks."""

    path, prediction = AVFullDiT.paths[0], "flow"
    heads, head_size, width, depth = 3, small.HEAD, 48, 4
    why_not_woven = "A14B has two networks"

    def forward(self, latent, t, cond):
        return latent


@pytest.mark.parametrize("v, a, words", [
    ({"attention_head_dim": 24}, {}, ["head sizes differ: video 24, audio 16"]),
    ({"num_attention_heads": 2}, {}, ["32 wide", "must be wider"]),
    (Stages(), {}, ["A14B has two networks"]),
    ({}, nn.Identity(), ["Small TangoFlux is not one stack of transformer blocks"]),
])  # fmt: skip
def test_what_does_not_fit_stays_apart_and_says_why_with_the_numbers(v, a, words):
    wan, flux = (each if isinstance(each, nn.Module) else make(**each) for each, make in ((v, pairs.wan), (a, pairs.flux)))
    for expert in (wan, flux):
        expert.path, expert.prediction = AVFullDiT.paths[0], "flow"
    video, audio = pairs.video(wan), pairs.audio(flux)
    model = pairs.pair(video, audio)
    assert isinstance(model.denoiser, SeparateExperts) and not model.trained
    note = model.card["notes"][-1]
    assert note.startswith("no joint layers: ") and "\n" not in note and all(word in note for word in words)
    with pytest.raises(ValueError, match=words[0]):
        weave(video, audio, None, "vanilla", CLIP)
    assert why_not_woven(video, audio) in note


def test_more_joint_blocks_than_an_expert_has_are_refused():
    with pytest.raises(ValueError, match="joint_blocks is 9; use 1 to 4"):
        pairs.pair(pairs.video(pairs.wan()), pairs.audio(pairs.flux()), joint_blocks=9)


def test_unknown_positions_are_named():
    with pytest.raises(ValueError, match="rope is 'none'; use one of avsync, vanilla"):
        weave(pairs.video(), pairs.audio(), 2, "none", CLIP)


# How an untrained pair is sampled.


@torch.no_grad()
@pytest.mark.parametrize("apart", [False, True])
def test_an_untrained_pair_samples_as_both_pipelines_each_on_its_own_times(apart):
    wan, flux = pairs.wan(**({"attention_head_dim": 24} if apart else {})), pairs.flux()
    model = pairs.with_heads(pairs.pair(pairs.video(wan), pairs.audio(flux))) if not apart else pairs.pair(pairs.video(wan))
    advice, latents = model.recommended, model.latent_shape(model.shape())
    assert (advice.steps, advice.guidance) == (5, "cfg") and model.has_own_times() and not model.has_own_times(1.0)
    schedule = model.make_schedule(latents)
    assert schedule.parity and model.make_schedule(latents, shift=2.0).shift == 2.0
    assert not model.make_schedule(latents, eta=1.0).parity
    words = "a red ball", "metal"
    positive, negative = model.encode(*words), model.encode(*model.negative_words("", ""))
    assert torch.equal(negative.video.tokens, model.encode("blurry", "").video.tokens)
    out = sample_with(
        model.denoiser, latents, positive, negative, model.adapt_guidance(advice.make_guidance()), batch_branches=False,
        video_seed=3, audio_seed=4, **vars(schedule),
    ).latent  # fmt: skip
    assert torch.equal(out.video, pipeline(wan, model.own_schedulers[0], video_noise(latents.video, 3), positive.video,
                                           negative.video, 5.0))  # fmt: skip
    assert torch.equal(out.audio, pipeline(flux, model.own_schedulers[1], audio_noise(latents.audio, 4), positive.audio,
                                           negative.audio, 4.5))  # fmt: skip


def pipeline(expert, scheduler, x, positive, negative, scale: float) -> torch.Tensor:
    """The loop of a diffusers pipeline."""
    scheduler = copy.deepcopy(scheduler)
    scheduler.set_timesteps(5)
    for timestep in scheduler.timesteps:
        t = (timestep / 1000).float().expand(1)
        conditional, unconditional = expert(x, t, positive), expert(x, t, negative)
        x = scheduler.step(unconditional + scale * (conditional - unconditional), timestep, x, return_dict=False)[0]
    return x


def test_the_same_words_give_the_same_complete_clip_in_either_guidance():
    model = pairs.pair()
    one, two = (generate(model, "red", "wood", guidance=model.recommended.make_guidance(name)) for name in ("cfg", "joint_cfg"))
    assert one.frames.shape == (9, 32, 32, 3) and bool(torch.isfinite(one.waveform).all()) and not one.warnings
    assert torch.equal(one.frames, two.frames) and len(one.waveform[0]) == round(9 / 16 * 16000)


@pytest.mark.parametrize("name", [name for name in GUIDANCE if name != "autoguidance"])
def test_every_guidance_takes_untrained_pairs_in_batches(name):
    model = pairs.pair()
    latents, prompts = model.latent_shape(model.shape(), 2), (model.encode("red", ""), model.encode("", ""))
    strategy, schedule = model.adapt_guidance(make_guidance(name)), vars(model.make_schedule(latents, steps=2))
    both = sample_with(model.denoiser, latents, *prompts, strategy, video_seed=[1, 2], audio_seed=[3, 4], **schedule).latent
    one = model.latent_shape(model.shape())
    second = sample_with(model.denoiser, one, *prompts, strategy, video_seed=2, audio_seed=4, **schedule).latent
    torch.testing.assert_close(both.video[1:], second.video, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(both.audio[1:], second.audio, atol=1e-4, rtol=1e-4)


def test_the_aligner_brings_an_untrained_pair_to_agree_on_its_own_times():
    model = pairs.pair()
    shape, prompts = model.shape(), (model.encode("red", ""), model.encode("", ""))
    aligner = Aligner(binder=Quarters(), words=0.0, video_rate=0.1, audio_rate=0.1, update="sign")
    schedule = vars(model.make_schedule(model.latent_shape(shape)))

    def distance(alignment=None) -> float:
        made = sample_with(model.denoiser, model.latent_shape(shape), *prompts, make_guidance("none", removed=True),
                           alignment=alignment, **schedule).latent  # fmt: skip
        return float(aligner.begin(model, shape, ("", "")).loss(made))

    assert distance(aligner.begin(model, shape, ("", ""))) < distance()


def test_the_card_says_what_both_experts_are():
    card = pairs.pair(pairs.video(licence="Apache-2.0", given="frames"), pairs.audio(notes=["Quiet."])).card
    assert card["licence"] == "Apache-2.0 and MIT" and card["notes"] == ["-", "Quiet."] and card["parameters"] == 10
    assert (card["given"], card["given_audio"]) == ("frames", "renoised")


@torch.no_grad()
def test_a_given_first_frame_is_clean_and_has_a_time_of_its_own_in_joint_blocks_too():
    model = pairs.with_heads(pairs.pair(pairs.video(given="frames")))
    latents = model.latent_shape(model.shape())
    latent, known = AVLatent(*map(torch.zeros, (latents.video, latents.audio))), torch.zeros(1, 1, 3, 1, 1, dtype=torch.bool)
    known[:, :, 0] = True
    kept = KnownParts(latent.each(lambda x: x + 0.5), AVLatent(known, torch.zeros(1, 1, 1, dtype=torch.bool)), *model.known_modes)
    seen = []

    class Watch(nn.Module):
        def __getattr__(self, name):
            return getattr(model.denoiser, name)

        def predict(self, latent, t, *others):
            seen.append((latent.video[:, :, 0], t.video))
            return model.denoiser.predict(latent, t, *others)

    positive = model.encode("red", "wood")
    for name in ("cfg", "joint_cfg"):
        out = sample_with(Watch(), latents, positive, positive, make_guidance(name), steps=2, known=kept).latent
        assert bool((out.video[:, :, 0] == 0.5).all()) and bool(torch.isfinite(out.video).all())
    assert all(bool((frame == 0.5).all()) and t.shape[1] == 3 and not t[:, 0].any() and t[:, 1:].all() for frame, t in seen)


@torch.no_grad()
@pytest.mark.parametrize("kind", [FULL, CUT, REMOVED])
def test_the_same_time_for_every_frame_is_one_time(kind):
    denoiser, t = small.joint(), small.times()
    each = predict(denoiser, kind, t=AVTime(t.video[:, None].expand(-1, 3), t.audio))
    torch.testing.assert_close(each.video, predict(denoiser, kind).video, **CLOSE)
    other = predict(denoiser, kind, t=AVTime(t.video[:, None] * torch.tensor([0.0, 1, 1]), t.audio))
    assert not torch.allclose(other.video, each.video, atol=1e-4)
    assert torch.allclose(other.audio, each.audio, atol=1e-4) != (kind is FULL)


# Prompts.


def test_each_expert_takes_embeddings_of_its_own_text_encoder():
    model = pairs.pair()
    video, audio = (TextEmbedding(torch.rand(1, 3, small.TEXT), torch.ones(1, 3, dtype=torch.bool), None) for _ in range(2))
    cond = model.conditioner.from_stream_embeddings(video, audio)
    assert torch.equal(cond.video.tokens, video.tokens) and torch.equal(cond.audio.tokens, audio.tokens)
    with pytest.raises(ValueError, match="^audio: the embedding has width 3, but 8 is needed"):
        model.conditioner.from_stream_embeddings(video, TextEmbedding(torch.rand(1, 3, 3), audio.mask, None))
    del model.conditioner.audio.from_embedding
    with pytest.raises(ValueError, match="the audio expert takes no CONDITIONING; connect Prompts"):
        model.conditioner.from_stream_embeddings(video, audio)


def test_text_encoders_need_no_room_for_the_denoiser():
    model = pairs.pair()
    assert model.encoding_parts == ("conditioner",) and model.conditioner.encoder_bytes == 0
    assert model.negative_words("", " ") == ("blurry", "") and model.negative_words("dark", "")[0] == "dark"


# Positions.


def sync_pair(fps: float = 16) -> AVFullDiT:
    """A pair in AVSyncRoPE whose audio has 4 latent steps in a latent frame at 16 frames per second."""
    video, audio = VideoStride(8, 8, small.VIDEO_CHANNELS), AudioStride(2000, small.AUDIO_CHANNELS)
    return AVFullDiT(pairs.wan(), pairs.flux(), 2, sync=SyncPositions(video, audio, 16000, fps)).eval()


@torch.no_grad()
def test_audio_is_at_the_video_s_positions_on_the_video_s_axes():
    denoiser, latent, t, cond = sync_pair(), small.latent(), small.times(), small.condition()
    assert denoiser.sync.ratio == 4
    state = denoiser.embed_audio(latent.audio, t.audio, cond.audio)
    (cos, sin), text = state.rotary, denoiser.audio.text_rows(state)
    frames = denoiser.video.transformer.rope(torch.zeros(1, 5, 5, 4, 4))
    for ours, theirs in ((cos, frames[0]), (sin, frames[1])):
        torch.testing.assert_close(ours[text::4], theirs[0, ::4, 0][: len(ours[text::4])].to(ours.dtype), **CLOSE)
        assert torch.equal(ours[:text], ours[:1].expand(text, -1))


@torch.no_grad()
def test_all_audio_attention_has_these_positions():
    synced, own = sync_pair(), AVFullDiT(pairs.wan(), pairs.flux(), 2).eval()
    synced.load_state_dict(own.state_dict())
    for kind in (FULL, CUT, REMOVED):
        assert not torch.allclose(predict(synced, kind).audio, predict(own, kind).audio, atol=1e-4)
    latent, t, cond = small.latent(), small.times(), small.condition()
    alone = synced.predict_stream(latent.audio, t.audio, cond.audio, "audio")
    assert torch.equal(alone, predict(synced, REMOVED).audio)
    assert torch.equal(predict(synced, REMOVED).video, predict(own, REMOVED).video)


@torch.no_grad()
def test_a_clip_of_another_frame_rate_has_other_positions_and_the_same_weights():
    model = pairs.pair(rope="avsync")
    denoiser = model.denoiser_for(model.shape(fps=8))
    assert model.card["rope"] == "avsync" and model.denoiser_for(model.shape()).sync == model.denoiser.sync
    assert denoiser.sync.ratio == 2 * model.denoiser.sync.ratio
    assert denoiser.new_heads is model.denoiser.new_heads and isinstance(denoiser, AVFullDiT)
    assert not torch.equal(predict(denoiser, REMOVED).audio, predict(model.denoiser, REMOVED).audio)


class OfClip(nn.Module):
    """An expert that takes the clip's length."""

    path, prediction = AVFullDiT.paths[0], "flow"

    def __init__(self, seconds: float = 30) -> None:
        super().__init__()
        self.seconds = seconds

    def for_clip(self, shape):
        return OfClip(shape.video.seconds)

    def forward(self, latent, t, cond):
        return latent * self.seconds


def test_experts_that_take_the_clip_s_length_get_it():
    model = pairs.pair(pairs.video(), pairs.audio(OfClip()))
    assert isinstance(model.denoiser, SeparateExperts)
    view = model.denoiser_for(model.shape(seconds=2))
    assert view.audio.seconds == 2 and view.video is model.denoiser.video and model.denoiser.audio.seconds == 30
    latent = small.latent(1)
    assert torch.equal(view.predict_stream(latent.audio, torch.ones(1), small.text(1), "audio"), latent.audio * 2)


def test_a_woven_expert_gets_the_clip_s_length_too():
    model = pairs.pair()
    view = model.denoiser_for(model.shape(seconds=2))
    assert view.audio.seconds == 2 and model.denoiser.audio.seconds == 30 and view.new_heads is model.denoiser.new_heads
    assert not torch.equal(predict(view, REMOVED).audio, predict(model.denoiser, REMOVED).audio)


@torch.no_grad()
def test_whole_transformers_and_their_blocks_one_by_one_are_the_same():
    """What looks between the blocks makes them run one by one."""
    denoiser, latent, t, cond = pairs.pair().denoiser, small.latent(), small.times(), small.condition()
    whole, seen = predict(denoiser, REMOVED), []
    alone = denoiser.predict_stream(latent.video, t.video, cond.video, "video")
    denoiser.watch = lambda number, state: seen.append(number)
    one_by_one = predict(denoiser, REMOVED)
    assert torch.equal(whole.video, one_by_one.video) and torch.equal(whole.audio, one_by_one.audio) and seen == [0, 1, 2, 3]
    assert torch.equal(denoiser.predict_stream(latent.video, t.video, cond.video, "video"), alone)
    skipped = denoiser.predict(latent, t, cond, [REMOVED] * 2, [None, 3])
    assert torch.equal(skipped.video[0], whole.video[0]) and not torch.equal(skipped.video[1], whole.video[1])


# Precisions, and weights that are elsewhere.


def in_bf16(expert):
    """Most layers in bf16, those that diffusers keeps in float32 not."""
    kept = expert.transformer._keep_in_fp32_modules or []
    for name, parameter in expert.transformer.named_parameters():
        if not any(part in name for part in kept):
            parameter.data = parameter.data.bfloat16()
    return expert


def in_fp8(expert):
    expert.transformer.to(torch.bfloat16).enable_layerwise_casting(torch.float8_e4m3fn, torch.bfloat16)
    return expert


def in_gguf(expert):
    pairs.to_gguf(expert.transformer)
    return expert


@torch.no_grad()
@pytest.mark.parametrize("store, dtype", [(in_bf16, torch.bfloat16), (in_fp8, torch.bfloat16), (in_gguf, torch.float32)])
def test_towers_in_other_precisions_compute_as_their_transformers_do(store, dtype):
    width = {"num_attention_heads": 4, "text_dim": 32, "ffn_dim": 64}
    exact = pairs.wan(**width), pairs.flux()
    wan, flux = store(pairs.wan(**width)), store(pairs.flux())
    denoiser = pairs.with_heads(pairs.pair(pairs.video(wan), pairs.audio(flux))).denoiser
    assert {parameter.dtype for parameter in denoiser.new_heads.parameters()} == {dtype}
    latent, t = small.latent(), small.times()
    wide = small.text()
    wide = type(wide)(torch.nn.functional.pad(wide.tokens, (0, 24)), wide.mask)
    cond = AVCondition(wide, small.text(seed=7))
    out = {kind: denoiser.predict(latent, t, cond, [kind] * 2) for kind in (REMOVED, FULL)}
    assert torch.equal(out[REMOVED].video, wan(latent.video, t.video, cond.video))
    assert torch.equal(out[REMOVED].audio.float(), flux(latent.audio, t.audio, cond.audio).float())
    reference = AVFullDiT(*exact, denoiser.joint_blocks).eval()
    reference.new_heads.load_state_dict(denoiser.new_heads.state_dict())
    expected = reference.predict(latent, t, cond, [FULL] * 2)
    for name in ("video", "audio"):
        got, wanted = getattr(out[FULL], name).float(), getattr(expected, name)
        assert float((got - wanted).norm() / wanted.norm()) < 0.1, name


@torch.no_grad()
@pytest.mark.parametrize("store", [lambda expert: expert, in_fp8])
def test_an_offloaded_pair_computes_the_same(tmp_path, store):
    denoiser = pairs.with_heads(pairs.pair(pairs.video(store(pairs.wan())), pairs.audio(store(pairs.flux())))).denoiser
    view = denoiser.for_clip(pairs.pair().shape(seconds=2))
    t = AVTime(torch.tensor([[0.0, 0.5, 0.5]] * 2), torch.full((2,), 0.5))
    expected = [predict(view, kind, t=t) for kind in CouplingKind]
    alone = view.predict_stream(small.latent().audio, t.audio, small.text(), "audio")
    to_disk(denoiser, tmp_path)
    assert is_offloaded(denoiser)
    view = denoiser.for_clip(pairs.pair().shape(seconds=2))
    for kind, each in zip(CouplingKind, expected):
        out = predict(view, kind, t=t)
        assert torch.equal(out.video, each.video) and torch.equal(out.audio, each.audio)
    assert torch.equal(view.predict_stream(small.latent().audio, t.audio, small.text(), "audio"), alone)


def test_the_memory_of_a_pair_is_estimated():
    model = pairs.pair()
    latents = model.latent_shape(model.shape())
    plan = plan_sampling(model, latents, 2, 10**9, can_offload=True)
    assert plan.weights > 10**5 and plan.activations == 2 * (3 * 4 + latents.audio[2]) * 48 * 24 * 4 and not plan.offloaded
    assert plan_sampling(model, latents, 2, plan.weights, can_offload=True).offloaded == plan.weights


# Published files.


@pytest.fixture(scope="module")
def real(small_wan, small_tangoflux):
    return join_experts(small_wan, small_tangoflux, "none", "none", name="Real")


@torch.no_grad()
def test_published_files_are_woven_and_removed_is_both_bit_for_bit(real, small_wan, small_tangoflux):
    assert isinstance(real.denoiser, AVFullDiT) and real.denoiser.joint_blocks == 2 and real.known_modes == ("frames", "renoised")
    assert real.recommended.schedule.steps == 50
    assert real.recommended.make_guidance().scales == {"video_scale": 5.0, "audio_scale": 4.5}
    shape = real.shape(frames=5, height=64, width=32)
    latents, cond = real.latent_shape(shape), real.encode("a red ball", "metal")
    latent, t = AVLatent(video_noise(latents.video, 1), audio_noise(latents.audio, 2)), AVTime(*[torch.full((1,), 0.6)] * 2)
    out = real.denoiser_for(shape).predict(latent, t, cond, [REMOVED])
    alone = load_published(small_wan, "video"), load_published(small_tangoflux, "audio")
    assert torch.equal(out.video, alone[0].expert(latent.video, t.video, cond.video))
    assert torch.equal(out.audio, alone[1].expert.for_clip(shape)(latent.audio, t.audio, cond.audio))
    with_frame = replace(t, video=torch.tensor([[0.0, 0.6]]))
    out = real.denoiser_for(shape).predict(latent, with_frame, cond, [REMOVED])
    assert torch.equal(out.video, alone[0].expert(latent.video, with_frame.video, cond.video))


def test_published_files_give_a_sounding_clip(real):
    shape = real.shape(frames=9, height=32, width=32)
    clip = generate(
        real, "a red ball", "metal", shape=shape, schedule=replace(real.make_schedule(real.latent_shape(shape)), steps=2)
    )
    assert clip.frames.shape == (9, 32, 32, 3) and bool(torch.isfinite(clip.frames).all()) and not clip.warnings
    assert clip.waveform.shape[1] == round(9 / 24 * 44100) and bool(torch.isfinite(clip.waveform).all())


def test_stable_audio_stays_apart_with_the_numbers(small_wan, small_stable_audio):
    model = join_experts(small_wan, small_stable_audio, "none", "none", name="Pair")
    size = model.denoiser.audio.transformer.config.attention_head_dim
    assert f"head sizes differ: video 32, audio {size}" in model.card["notes"][-1]
    assert model.recommended.make_guidance().scales == {"video_scale": 5.0, "audio_scale": 7.0}


def test_an_expert_that_recommends_nothing_has_the_usual_scale():
    audio = replace(pairs.audio(), scheduler=None, sampling={})
    model = pairs.pair(a=audio)
    assert model.recommended.make_guidance().scales == {"video_scale": 5.0, "audio_scale": 2.5} and model.has_own_times()


def test_a14b_stays_apart(small_tangoflux, tmp_path_factory):
    folder = tmp_path_factory.mktemp("a14b")
    small_wan_files.build(folder, size="a14b")
    model = join_experts(folder, small_tangoflux, "none", "none", name="Pair")
    assert isinstance(model.denoiser, SeparateExperts) and "two networks" in model.card["notes"][-1]
    shape = model.shape(frames=5, height=32, width=32)
    schedule = replace(model.make_schedule(model.latent_shape(shape)), steps=2)
    assert not generate(model, "red", "wood", shape=shape, schedule=schedule).warnings
