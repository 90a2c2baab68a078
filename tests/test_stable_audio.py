"""Stable Audio Open 1.0 from a diffusers folder or the authors' checkpoint, sampled as its own pipeline does, and in a pair."""

from __future__ import annotations

import copy
import math
import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from diffusers import EDMEulerScheduler, EulerDiscreteScheduler, StableAudioPipeline
from diffusers.models.embeddings import get_1d_rotary_pos_embed
from safetensors.torch import load_file, save_file
from torch import Tensor

from duet_av.av_models.clock import make_clock
from duet_av.av_models.contract import AVLatent, Condition
from duet_av.av_models.known_parts import KnownParts
from duet_av.av_models.noise import AUDIO, step_generator
from duet_av.av_models.published.expert_options import ExpertOptions
from duet_av.av_models.published.experts import find_expert
from duet_av.av_models.published.joint.comfyui_text import TextEmbedding
from duet_av.av_models.published.load_published import load_published, published_card, published_files
from duet_av.av_models.published.loaded_expert import LoadedExpert
from duet_av.benchmarks.small_models import stable_audio as small
from duet_av.tests.audio_experts import SEED, STEPS, WORDS, Pair, distance

NEGATIVE = "low quality"


@pytest.fixture(scope="module")
def loaded(small_stable_audio: Path) -> LoadedExpert:
    return load_published(small_stable_audio, "audio")


@pytest.fixture(scope="module")
def pipeline(loaded) -> StableAudioPipeline:
    """The pipeline with the loaded networks: bits depend on where in memory weights lie."""
    made = small.make_pipeline()
    made.register_modules(transformer=loaded.expert.transformer, projection_model=loaded.expert.projection)
    return made


@pytest.fixture(scope="module")
def pair(loaded) -> Pair:
    return Pair.of(loaded, 6)


@pytest.fixture(scope="module")
def noise(pair) -> AVLatent:
    return pair.noise()


@pytest.fixture
def checkpoint(small_stable_audio_files: Path, tmp_path: Path) -> Path:
    """A copy of the checkpoint that a test may change."""
    return Path(shutil.copy(small_stable_audio_files / small.CHECKPOINT, tmp_path / "stable-audio.safetensors"))


def condition(loaded: LoadedExpert, words: str) -> Condition:
    return loaded.conditioner.condition(words, None, None)


# The network and its own pipeline


@torch.no_grad()
def test_the_expert_is_diffusers_network_bit_for_bit(loaded, pipeline, pair, noise):
    text = pipeline.encode_prompt([WORDS, "wood"], torch.device("cpu"), False)
    start, end = (x.repeat(2, 1, 1) for x in pipeline.encode_duration(0.0, pair.seconds, torch.device("cpu"), False, 1))
    latent, t = noise.audio.repeat(2, 1, 1), torch.tensor([0.3, 0.9])
    rotary = get_1d_rotary_pos_embed(32, 257, use_real=True, repeat_interleave_real=False)
    theirs = pipeline.transformer(latent, t, torch.cat([text, start, end], 1), torch.cat([start, end], 2), rotary).sample
    both = Condition.cat([condition(loaded, WORDS), condition(loaded, "wood")])
    ours = loaded.expert.for_clip(pair.shape)(latent, t, both)
    assert torch.equal(ours, theirs)
    assert not torch.equal(loaded.expert(latent, t, both), theirs)  # of the whole length


class Euler(EDMEulerScheduler):
    """A scheduler for its pipeline that needs no torchsde."""

    def precondition_noise(self, sigma):
        return torch.as_tensor(sigma).atan() / math.pi * 2


@pytest.fixture(params=["its own", "Euler"])
def scheduler(request, loaded):
    if request.param == "its own":
        pytest.importorskip("torchsde")
        return loaded.scheduler
    return Euler(0.3, 500.0, sigma_data=1.0, sigma_schedule="exponential", prediction_type="v_prediction")


@pytest.mark.parametrize("negative, scale", [("", 1.0), ("", 7.0), (NEGATIVE, 7.0)], ids=["alone", "guided", "negative"])
def test_in_parity_mode_the_sound_is_that_of_the_pipeline(pair, pipeline, scheduler, noise, negative, scale):
    """Bit for bit for the prompt alone; else within 1e-5: the pipeline has one timestep for both prompts, and runs both at once."""
    pipeline.scheduler = copy.deepcopy(scheduler)
    theirs = pipeline(
        WORDS, pair.seconds, 0.0, STEPS, scale, negative or None, latents=noise.audio.clone(), output_type="latent",
        generator=step_generator(SEED, AUDIO),
    ).audios  # fmt: skip
    for batched in (True, False):
        ours = pair.by_own_schedulers(negative, scale, audio_scheduler=scheduler, batch_branches=batched)
        assert torch.equal(ours, theirs) if scale == 1 else distance(ours, theirs) <= 1e-5


def test_without_its_scheduler_the_shared_times_lead_to_a_sound_at_every_step(pair):
    seen: list[AVLatent] = []
    made = pair.sampled(scale=3.0, on_step=lambda step, steps, x0: seen.append(x0))
    assert len(seen) == STEPS and torch.isfinite(made.audio).all() and 0.1 < made.audio.std() < 10
    torch.testing.assert_close(seen[-1].audio, made.audio, atol=1e-4, rtol=1e-4)  # the last step ends at the clean estimate


def test_new_noise_and_known_parts_work_on_its_noise_schedule(pair, noise):
    clip = AVLatent(noise.video * 0, torch.full_like(noise.audio, 0.5))
    where = AVLatent(torch.zeros(1, 1, 3, 1, 1, dtype=torch.bool), torch.arange(256).view(1, 1, -1) < 100)
    made = pair.sampled(eta=1.0, known=KnownParts(clip, where, "renoised"))
    assert (made.audio[..., :100] == 0.5).all() and made.audio[..., 100:].std() > 0.1


def test_without_a_scheduler_the_levels_are_those_of_its_own(loaded):
    clock, steps = make_clock(loaded.expert.path, None, AUDIO, 0), 5
    clock.use_own_grid(steps)
    levels = torch.linspace(math.log(500), math.log(0.3), steps).exp()
    torch.testing.assert_close(clock.scheduler.sigmas[:-1], levels, rtol=1e-4, atol=0)
    torch.testing.assert_close(torch.tensor(clock.times), levels.atan() / math.pi * 2)
    assert clock.path_after(steps - 1) == (1.0, 0.0)


def test_schedulers_that_do_not_fit_are_refused_in_one_line(loaded):
    clock = make_clock(loaded.expert.path, EDMEulerScheduler(sigma_data=1.0, prediction_type="v_prediction"), AUDIO, 0)
    clock.use_own_grid(4)
    assert clock.times == clock.network_times and clock.state_path(0)[0] == 1
    with pytest.raises(ValueError, match="^audio scheduler EulerDiscreteScheduler has discrete timesteps"):
        make_clock(loaded.expert.path, EulerDiscreteScheduler(), AUDIO, 0).use_own_grid(4)
    pytest.importorskip("torchsde")
    with pytest.raises(ValueError, match="^audio scheduler CosineDPMSolverMultistepScheduler does not accept a time grid"):
        make_clock(loaded.expert.path, loaded.scheduler, AUDIO, 0).use_shared_grid([1.0, 0.5])


def test_the_aligner_brings_a_picture_and_its_sound_to_agree(pair):
    aligned, free = pair.distances()
    assert aligned < 0.9 * free


# Prompts


def test_prompts_are_those_of_the_pipeline(loaded, pipeline):
    ours = condition(loaded, f" {WORDS} ")
    assert torch.equal(ours.tokens, pipeline.encode_prompt(WORDS, torch.device("cpu"), False)) and ours.tokens.shape == (1, 128, 64)
    assert ours.mask.sum() == len(pipeline.tokenizer(WORDS).input_ids)
    nothing = condition(loaded, "")
    assert not nothing.mask.any() and not nothing.tokens.any() and nothing.tokens.shape == ours.tokens.shape


def test_embeddings_of_comfyui_are_taken_as_the_own_ones(loaded):
    """ComfyUI zeroes padding; its empty prompt has its end alone, and means ∅."""
    own, whole = condition(loaded, WORDS), torch.ones(1, 128, dtype=torch.bool)
    embedded = loaded.conditioner.from_embedding(TextEmbedding(own.tokens, whole, None))
    assert torch.equal(embedded.tokens, own.tokens) and torch.equal(embedded.mask, own.mask)
    empty = torch.zeros(1, 128, 64).index_fill(1, torch.tensor([0]), 1.0)
    assert not loaded.conditioner.from_embedding(TextEmbedding(empty, whole, None)).mask.any()
    with pytest.raises(ValueError, match="^the embeddings are 16 wide, and Stable Audio Open needs 64; use Load CLIP"):
        loaded.conditioner.from_embedding(TextEmbedding(torch.ones(1, 128, 16), whole, None))


# Files


def test_a_folder_is_found_described_and_has_the_length_of_its_pipeline(small_stable_audio, loaded, pair):
    found = find_expert(small_stable_audio)
    assert (found.model, found.family, found.names, found.precision) == (
        "Stable Audio Open 1.0",
        "stable_audio",
        "diffusers",
        "fp32",
    )
    card = published_card(small_stable_audio)
    assert (card["blocks"], card["heads"], card["head_size"], card["needs"]) == (2, 2, 64, [])
    assert card["parameters"] == found.parameters == sum(x.numel() for x in loaded.expert.transformer.parameters())
    assert loaded.sampling == {"steps": 100, "scale": 7.0} and loaded.codec.stride.steps == 256
    assert loaded.codec.stride.latent_length(22050) == 256
    with pytest.raises(ValueError, match="^the clip is 4 s long; use at most 0.7459 s, the longest clip of this audio model$"):
        loaded.codec.stride.latent_shape(replace(pair.shape.audio, samples=4 * 44100))
    assert small_stable_audio / "transformer" / "diffusion_pytorch_model.safetensors" in published_files(small_stable_audio)


def test_the_authors_checkpoint_has_the_same_weights(small_stable_audio_files, loaded):
    path, text = (small_stable_audio_files / file for file in (small.CHECKPOINT, small.TEXT_ENCODER))
    options = ExpertOptions(text_encoder=text)
    found, card = find_expert(path), published_card(path, options)
    assert (found.names, found.precision, card["needs"]) == ("original", "fp32", [])
    assert {path, text} <= set(published_files(path, options))
    assert card["parameters"] == loaded.card["parameters"] + 16  # the rotary frequencies are stored too
    one = load_published(path, "audio", options)
    for ours, theirs in ((one.expert, loaded.expert), (one.codec, loaded.codec)):
        assert all(torch.equal(x, theirs.state_dict()[name]) for name, x in ours.state_dict().items())
        assert ours.state_dict().keys() == theirs.state_dict().keys()
    assert one.codec.stride == replace(loaded.codec.stride, steps=1024) and one.expert.seconds == 1024 * 128 / 44100


def test_the_text_encoder_may_be_one_file(small_stable_audio_files, loaded):
    pytest.importorskip("duet_av.av_models.published.t5_file")
    path, text = (small_stable_audio_files / file for file in (small.CHECKPOINT, small.TEXT_ENCODER))
    one = load_published(path, "audio", ExpertOptions(text_encoder=text))
    assert torch.equal(condition(one, WORDS).tokens, condition(loaded, WORDS).tokens)


def test_other_parts_may_be_folders(checkpoint, small_stable_audio, loaded):
    """A transformers folder with a tokenizer elsewhere, and a VAE of diffusers in place of that in the checkpoint."""
    names = ("text_encoder", "tokenizer", "vae")
    one = load_published(checkpoint, "audio", ExpertOptions(**{name: small_stable_audio / name for name in names}))
    assert one.card["needs"] == [] and torch.equal(condition(one, WORDS).tokens, condition(loaded, WORDS).tokens)
    assert torch.equal(one.codec.state_dict()["vae.decoder.conv1.bias"], loaded.codec.state_dict()["vae.decoder.conv1.bias"])
    files = published_files(checkpoint, ExpertOptions(vae=small_stable_audio / "vae"))
    assert small_stable_audio / "vae" / "diffusion_pytorch_model.safetensors" in files
    with pytest.raises(FileNotFoundError, match="there is no VAE .*away"):
        load_published(checkpoint, "audio", ExpertOptions(vae=checkpoint.parent / "away"))


def test_a_text_encoder_of_another_width_is_refused(checkpoint, small_stable_audio_3, small_stable_audio):
    options = ExpertOptions(text_encoder=small_stable_audio_3 / "text_encoder", tokenizer=small_stable_audio / "tokenizer")
    with pytest.raises(ValueError, match="text_encoder.* cannot be loaded as T5EncoderModel|has text embeddings of width"):
        condition(load_published(checkpoint, "audio", options), WORDS)


def test_half_precision_and_8_bits_with_scales_are_nearly_the_same(checkpoint, loaded, noise):
    tensors = load_file(checkpoint)
    names = [name for name, x in tensors.items() if name.startswith("model.model.transformer.layers") and x.ndim == 2]
    scaled = {name: x.to(torch.bfloat16) for name, x in tensors.items()}
    for name in names:
        scale = tensors[name].abs().max() / 448
        scaled[name] = (tensors[name] / scale).to(torch.float8_e4m3fn)
        scaled[f"{name.removesuffix('weight')}scale_weight"] = scale.view(1)
    save_file(scaled | {"scaled_fp8": torch.empty(2, dtype=torch.float8_e4m3fn)}, checkpoint)
    assert find_expert(checkpoint).precision == "scaled fp8 and bf16"
    whole = predicted(loaded, noise)
    for options in (ExpertOptions(), ExpertOptions(keep_dtype=True), ExpertOptions(dtype="bfloat16", quantize="fp8")):
        expert = load_published(checkpoint, "audio", options)
        assert expert.expert.transformer.dtype == (torch.bfloat16 if options.keep_dtype or options.dtype else torch.float32)
        made = predicted(expert, noise)
        assert made.dtype == torch.float32 and 0 < (made - whole).norm() < 0.1 * whole.norm()

    lost = f"{names[0].removesuffix('weight')}scale_weight"
    save_file({name: x for name, x in load_file(checkpoint).items() if name != lost}, checkpoint)
    with pytest.raises(ValueError, match=f"{re.escape(names[0])} is in 8 bits and has no scale, such as "):
        load_published(checkpoint, "audio")


@torch.no_grad()
def predicted(loaded: LoadedExpert, noise: AVLatent) -> Tensor:
    text = Condition(torch.ones(1, 3, 64), torch.ones(1, 3, dtype=torch.bool))
    return loaded.expert(noise.audio, torch.tensor([0.5]), text)


def test_what_a_checkpoint_lacks_is_named_in_one_line(checkpoint, small_stable_audio_files, tmp_path):
    with pytest.raises(FileNotFoundError, match="needs the text encoder T5-base and the tokenizer of T5-base to encode prompts; "):
        condition(load_published(checkpoint, "audio"), WORDS)
    assert published_card(checkpoint)["needs"] == ["text encoder T5-base", "tokenizer of T5-base"]
    tensors = load_file(checkpoint)
    gone = "model.model.transformer.layers.1.ff.ff.2.weight"
    save_file({name: x for name, x in tensors.items() if name != gone}, checkpoint)
    with pytest.raises(ValueError, match=f"lacks 1 tensors of StableAudioDiTModel, such as {re.escape(gone)}; download it again$"):
        load_published(checkpoint, "audio")
    save_file({name: x for name, x in tensors.items() if not name.endswith("pre_norm.beta")}, checkpoint)
    load_published(checkpoint, "audio")  # biases of norms, all zeros, which some files do not have
    save_file({name: x for name, x in tensors.items() if not name.startswith("pretransform")}, checkpoint)
    with pytest.raises(ValueError, match="holds no Oobleck VAE; use"):
        load_published(checkpoint, "audio")


@pytest.mark.parametrize("missing", ["conditioner.", "model.model."])
def test_other_files_of_its_network_are_named(checkpoint, missing):
    """Stable Audio Open Small has other inputs, and a network alone lacks what encodes the seconds."""
    tensors = load_file(checkpoint)
    if missing == "model.model.":
        tensors = {name.removeprefix(missing): x for name, x in tensors.items() if name.startswith(missing)}
    save_file({name: x for name, x in tensors.items() if not name.startswith(missing)}, checkpoint)
    assert find_expert(checkpoint).model == "a Stable Audio network without the seconds of version 1.0"
    with pytest.raises(ValueError, match="without the seconds of version 1.0; use model.safetensors of stabilityai/"):
        load_published(checkpoint, "audio")


def test_foreign_and_damaged_files_are_not_found(tmp_path, small_stable_audio_files):
    other, cut = tmp_path / "other.safetensors", tmp_path / "cut.safetensors"
    save_file({"x": torch.zeros(1)}, other)
    cut.write_bytes((small_stable_audio_files / small.CHECKPOINT).read_bytes()[:5000])
    assert [find_expert(path) for path in (other, cut, tmp_path, tmp_path / "none")] == [None] * 4


def test_parts_of_other_sizes_are_refused(small_stable_audio, loaded, tmp_path):
    codec = loaded.codec.with_steps(0)
    codec.stride = replace(codec.stride, channels=8)
    with pytest.raises(ValueError, match="^the audio VAE has latents of 8 channels, and .* needs 4; use the VAE of this model$"):
        load_published(small_stable_audio, "audio", ExpertOptions(codec=codec))
    gguf = tmp_path / "some.gguf"
    gguf.touch()
    with pytest.raises(ValueError, match="^diffusers reads no GGUF file for StableAudioDiTModel; "):
        load_published(small_stable_audio, "audio", ExpertOptions(gguf=gguf))
    with pytest.raises(ValueError, match="is of kind audio_expert"):
        load_published(small_stable_audio, "video")
