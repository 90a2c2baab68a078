"""TangoFlux: the adapter is diffusers' network bit for bit, and prompts, steps and sound are those of its authors' code."""

import math

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler
from torch import Tensor, nn

from duet_av.av_models.branch_runner import PromptedModel
from duet_av.av_models.codecs.oobleck import OobleckCodec
from duet_av.av_models.contract import AVCondition, Condition, LatentShape
from duet_av.av_models.experts.flux import FluxExpert
from duet_av.av_models.experts.tangoflux import TangoFluxExpert
from duet_av.av_models.guidance import make_guidance
from duet_av.av_models.joining import join_experts
from duet_av.av_models.joint.separate_experts import SeparateExperts
from duet_av.av_models.joint_model import JointModel
from duet_av.av_models.noise import NoiseSource
from duet_av.av_models.published.expert_options import ExpertOptions
from duet_av.av_models.published.experts.flow_schedulers import TangoFluxFlowMatchScheduler
from duet_av.av_models.published.joint.comfyui_text import TextEmbedding
from duet_av.av_models.published.load_published import load_published
from duet_av.av_models.sampling import RunOptions, sample
from duet_av.av_models.schedule import SamplingSchedule
from duet_av.av_models.shapes import AVShape, VideoShape
from duet_av.benchmarks.small_models import tangoflux as small
from duet_av.tests import tangoflux_reference as ref

CLOSE = {"rtol": 0, "atol": 5e-6}
"""On the machine of the stored results, with as many threads, they are equal bit for bit."""
CLIP = AVShape.of_seconds(ref.SECONDS, 8, 8, 2, 3, 2)


@pytest.fixture(scope="module")
def official(tmp_path_factory):
    """The model that the authors' code ran, as we load it."""
    folder = tmp_path_factory.mktemp("reference") / "TangoFlux"
    small.build(folder, sizes=ref.SIZES)
    codec = OobleckCodec.of(ref.build_vae())
    return load_published(folder, "audio", ExpertOptions(codec=codec))


@pytest.fixture(scope="module")
def reference() -> dict[str, Tensor]:
    return ref.reference()


@pytest.fixture(scope="module")
def prompts(official) -> tuple[Condition, Condition]:
    return tuple(official.conditioner.condition(words, None, CLIP) for words in (ref.PROMPT, ""))


class Still(nn.Module):
    """A video expert of no interest."""

    path, prediction = FluxExpert.path, FluxExpert.prediction

    def forward(self, latent: Tensor, t: Tensor, cond: Condition) -> Tensor:
        return torch.zeros_like(latent)


def prompted(official, prompts) -> PromptedModel:
    video = Condition(torch.zeros(1, 1, 1), torch.ones(1, 1, dtype=torch.bool))
    denoiser = SeparateExperts(Still(), official.expert.for_clip(CLIP))
    return PromptedModel(denoiser, *(AVCondition(video, prompt) for prompt in prompts))


# The authors' code


def test_both_prompts_are_as_long_and_the_negative_is_padded_as_theirs(official, prompts, reference):
    """The negative's padding is T5's output at padding, which their network attends to; the mask is for the mean alone."""
    both = prompted(official, prompts)
    positive, negative = both.condition("positive").audio, both.condition("negative").audio
    texts = reference["encoder_hidden_states"]
    torch.testing.assert_close(positive.tokens[0], texts[1, :-1], **CLOSE)
    torch.testing.assert_close(negative.tokens[0], texts[0, :-1], **CLOSE)
    assert positive.mask.all() and negative.mask.sum() == 1
    assert texts[0, 1:-1].abs().amin(0).amax() > 0.1, "padding is not zeros"


def test_pooled_text_and_the_token_of_the_length_are_theirs(official, prompts, reference):
    both = prompted(official, prompts)
    text = Condition.cat([both.condition("negative").audio, both.condition("positive").audio])
    tokens, pooled_text = official.expert.for_clip(CLIP).prompt(text)
    torch.testing.assert_close(pooled_text, reference["pooled_projections"], **CLOSE)
    torch.testing.assert_close(tokens[:, -1], reference["encoder_hidden_states"][:, -1], **CLOSE)
    other = official.expert.prompt(text)[0]
    assert torch.equal(other[:, :-1], tokens[:, :-1]) and not torch.allclose(other[:, -1], tokens[:, -1])


def test_positions_are_theirs(official, reference):
    ids = official.expert.positions(ref.SIZES.steps, torch.device("cpu"))
    assert torch.equal(ids, reference["img_ids"][0]) and not reference["txt_ids"].any()


def test_every_step_is_theirs(official, prompts, reference):
    """With the time of a step as one number for both rows, as their code gives it: its embedding rounds otherwise."""
    both, scheduler = prompted(official, prompts), TangoFluxFlowMatchScheduler()
    text = Condition.cat([both.condition("negative").audio, both.condition("positive").audio])
    scheduler.set_timesteps(ref.STEPS)
    latent = reference["noise"].transpose(1, 2)
    for number, t in enumerate(scheduler.timesteps):
        rows = torch.cat([latent, latent])
        out = official.expert.for_clip(CLIP)(rows, (t / 1000)[None], text)
        if number == 0:
            torch.testing.assert_close(out.transpose(1, 2), reference["prediction"], **CLOSE)
        negative, positive = out.chunk(2)
        latent = scheduler.step(negative + ref.SCALE * (positive - negative), t, latent).prev_sample
    torch.testing.assert_close(latent.transpose(1, 2), reference["latents"], rtol=0, atol=1e-5)


@pytest.mark.parametrize("batched", [True, False], ids=["batched", "one by one"])
@pytest.mark.parametrize("parity", [True, False], ids=["own times", "shared times"])
def test_a_whole_run_gives_their_latents_and_their_sound(official, prompts, reference, batched, parity):
    start = reference["noise"].transpose(1, 2)
    noise = Fixed(LatentShape((1, 1, 1, 1, 1), tuple(start.shape)), start)
    schedule = SamplingSchedule(ref.STEPS, parity=parity, audio_scheduler=official.scheduler if parity else None)
    guidance = make_guidance("cfg", video_scale=1.0, audio_scale=ref.SCALE, removed=True)
    result = sample(prompted(official, prompts), noise, guidance, schedule, options=RunOptions(batched))
    latent = result.latent.audio
    torch.testing.assert_close(latent.transpose(1, 2), reference["latents"], rtol=0, atol=1e-5)
    model = JointModel({"name": "x", "trained": False}, None, None, official.codec, None, VideoShape(2, 8, 8, 2))
    sound = model.decode_audio(latent, CLIP)[0]
    assert sound.shape == reference["sound"].shape == (2, int(ref.SECONDS * ref.VAE["sampling_rate"])), "the beginning is kept"
    torch.testing.assert_close(sound, reference["sound"], rtol=0, atol=1e-4)


class Fixed(NoiseSource):
    """The noise of their run."""

    def __init__(self, shape: LatentShape, audio: Tensor) -> None:
        super().__init__(shape)
        object.__setattr__(self, "audio", audio)

    def initial(self, device):
        found = super().initial(device)
        return type(found)(found.video, self.audio)


def test_a_longer_negative_pads_the_positive(official):
    words = ("a dog", "music, speech, noise and more")
    both = prompted(official, [official.conditioner.condition(each, None, CLIP) for each in words])
    positive, negative = both.condition("positive").audio, both.condition("negative").audio
    assert positive.tokens.shape == negative.tokens.shape and 0 < positive.mask.sum() < negative.mask.sum() == negative.mask.numel()
    text = official.conditioner._encode.__self__
    padded, _ = text._run("a dog", torch.device("cpu"), padding="max_length", max_length=positive.mask.shape[1])
    torch.testing.assert_close(positive.tokens, padded, rtol=0, atol=1e-5)


def test_its_noise_levels_are_evenly_spaced():
    own, plain = TangoFluxFlowMatchScheduler(), FlowMatchEulerDiscreteScheduler()
    own.set_timesteps(50)
    plain.set_timesteps(sigmas=torch.linspace(1, 1 / 50, 50, dtype=torch.float64).numpy())
    assert torch.equal(own.sigmas, plain.sigmas) and torch.equal(own.timesteps, plain.timesteps)
    plain.set_timesteps(50)
    assert not torch.equal(own.sigmas, plain.sigmas)


# diffusers' network


@pytest.fixture(scope="module")
def expert(small_tangoflux) -> TangoFluxExpert:
    return load_published(small_tangoflux, "audio").expert


def inputs(expert: TangoFluxExpert, rows: int = 2, steps: int = 9) -> tuple[Tensor, Tensor, Condition]:
    generator = torch.Generator().manual_seed(7)
    width, channels = expert.transformer.config.joint_attention_dim, expert.transformer.config.in_channels
    mask = torch.tensor([[True] * 5, [True] * 2 + [False] * 3])[:rows]
    text = Condition(torch.randn(rows, 5, width, generator=generator), mask)
    return torch.randn(rows, channels, steps, generator=generator), torch.tensor([0.9, 0.2])[:rows], text


def parts(expert, latent: Tensor, t: Tensor, text: Condition) -> Tensor:
    state = expert.embed(latent, t, text)
    for block in expert.blocks:
        rows, kept = expert.attention_input(block, state)
        qkv = expert.project(block, rows, state)
        attended = torch.nn.functional.scaled_dot_product_attention(*(x.transpose(1, 2) for x in (qkv.q, qkv.k, qkv.v)))
        state = expert.finish(block, state, kept, attended.transpose(1, 2))
    return expert.head(state)


def test_all_forms_are_diffusers_network_bit_for_bit(expert):
    latent, t, text = inputs(expert)
    pooled_text = torch.stack([expert.fc(text.tokens[row, : text.mask[row].sum()].mean(0)).relu() for row in range(2)])
    length = expert.duration(torch.tensor([30.0])).expand(2, -1, -1)
    ids = torch.arange(9).view(-1, 1).repeat(1, 3)
    exact = expert.transformer(
        hidden_states=latent.transpose(1, 2), encoder_hidden_states=torch.cat([text.tokens, length], 1),
        pooled_projections=expert.prompt(text)[1], timestep=t, img_ids=ids, txt_ids=torch.zeros(6, 3), return_dict=False,
    )[0].transpose(1, 2)  # fmt: skip
    torch.testing.assert_close(expert.prompt(text)[1], pooled_text, rtol=0, atol=1e-6)
    assert torch.equal(expert(latent, t, text), exact)
    state = expert.embed(latent, t, text)
    for block in expert.blocks:
        state = expert.run(block, state)
    assert torch.equal(expert.head(state), exact)
    assert torch.equal(parts(expert, latent, t, text), exact)
    assert expert.text_rows(state) == 6, "the token of the length is text too"


def test_padding_is_attended_to_and_not_pooled(expert):
    latent, t, text = inputs(expert)
    changed = Condition(text.tokens + 3.0 * ~text.mask[..., None], text.mask)
    assert torch.equal(expert.prompt(changed)[1], expert.prompt(text)[1])
    before, after = expert(latent, t, text), expert(latent, t, changed)
    assert torch.equal(before[0], after[0]) and not torch.allclose(before[1], after[1])


def test_a_clip_has_its_own_length_and_the_same_weights(expert):
    latent, t, text = inputs(expert)
    clips = [expert.for_clip(AVShape.of_seconds(seconds, 8, 8, 8, 44100, 2)) for seconds in (30.0, 2.0)]
    whole, short = (clip(latent, t, text) for clip in clips)
    assert torch.equal(whole, expert(latent, t, text)) and not torch.allclose(whole, short)
    assert clips[1].transformer is expert.transformer and expert.seconds == 30
    for seconds in (30.125, 100):
        with pytest.raises(ValueError, match=rf"^the clip is {seconds:.4g} s long; TangoFlux makes at most 30 s$"):
            expert.for_clip(AVShape.of_seconds(seconds, 8, 8, 8, 44100, 2))


def test_avsync_positions_are_those_of_the_video_expert_on_its_axes(expert):
    """As diffusers' network with the video's axes and positions (p / τ, 0, 0), and undone with the next state."""
    latent, t, text = inputs(expert)
    positions = torch.arange(9)[:, None] * torch.tensor([0.25, 0.0, 0.0])
    state = expert.at_positions(expert.embed(latent, t, text), positions, (12, 10, 10))
    cos, _ = state.rotary
    assert cos.shape == (6 + 9, 32) and bool((cos[:6] == 1).all()) and bool((cos[:, 12:] == 1).all())
    frequencies = 10000.0 ** (-torch.arange(0, 12, 2, dtype=torch.float64) / 12)
    angles = torch.arange(9, dtype=torch.float64)[:, None] * 0.25 * frequencies
    torch.testing.assert_close(cos[6:, :12:2], angles.cos().float())
    x = torch.randn(2, 9, 3, 32)
    assert torch.equal(expert.rotate(x, state)[:, 0], x[:, 0])


def test_half_precision_is_inside_alone(small_tangoflux, expert):
    half = load_published(small_tangoflux, "audio", ExpertOptions(dtype="bfloat16")).expert
    latent, t, text = inputs(expert)
    found, exact = half(latent, t, text), expert(latent, t, text)
    assert (
        half.dtype == torch.bfloat16 and half.fc.weight.dtype == found.dtype == parts(half, latent, t, text).dtype == torch.float32
    )
    assert (found - exact).abs().mean() < 0.05 * exact.abs().mean()


def test_embeddings_of_other_nodes_are_cut_to_their_words(official):
    tokens = torch.randn(1, 9, 32)
    mask = torch.arange(9)[None] < 4
    found = official.conditioner.from_embedding(TextEmbedding(tokens, mask, None))
    assert torch.equal(found.tokens, tokens[:, :4]) and torch.equal(found.padding, tokens[:, 4:]) and found.mask.all()
    nothing = official.conditioner.from_embedding(TextEmbedding(tokens, mask & False, None))
    assert nothing.tokens.shape[1] == 1 and math.isfinite(official.expert.prompt(nothing)[1].sum())
    with pytest.raises(ValueError, match="the embeddings are 7 wide, and TangoFlux needs 32; use google/flan-t5-large"):
        official.conditioner.from_embedding(TextEmbedding(torch.zeros(1, 2, 7), torch.ones(1, 2, dtype=torch.bool), None))


# With Wan


def test_a_pair_with_wan_has_prompts_of_one_length_batched_or_one_by_one(small_tangoflux, small_wan):
    """The audio's negative prompt is padded and sees the clip's length; the video's prompts are as they were."""
    model = join_experts(small_wan, small_tangoflux, "", "", name="pair")
    shape = model.shape(seconds=0.5, height=32, width=32)
    denoiser = model.denoiser_for(shape)
    assert denoiser.audio.seconds == 0.5 and denoiser.audio.transformer is model.denoiser.audio.transformer
    prompts = PromptedModel(denoiser, *(model.encode(words, words, None, shape) for words in ("a dog barks", "x")))
    noise, schedule = NoiseSource(model.latent_shape(shape)), model.make_schedule(model.latent_shape(shape), steps=2)
    runs = [
        sample(prompts, noise, make_guidance("cfg", removed=True), schedule, options=RunOptions(batch)) for batch in (True, False)
    ]
    for one, other in zip(*((run.latent.video, run.latent.audio) for run in runs)):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-4)
    assert runs[0].latent.audio.shape[-1] == 645
    assert model.decode_audio(runs[0].latent.audio, shape).shape == (1, 2, 22050)
    with pytest.raises(ValueError, match="the clip is 31 s long; use at most 30 s, the longest clip of this audio model"):
        model.latent_shape(model.shape(seconds=31.0, height=32, width=32))
