"""Stable Audio 3 from a diffusers folder, sampled as its own pipeline does, and in a pair."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from diffusers import StableAudio3Pipeline
from safetensors.torch import save_file

from duet_av.av_models.contract import Condition
from duet_av.av_models.noise import AUDIO, step_generator
from duet_av.av_models.published.expert_options import ExpertOptions
from duet_av.av_models.published.experts import find_expert
from duet_av.av_models.published.joint.comfyui_text import TextEmbedding
from duet_av.av_models.published.load_published import load_published, published_card, published_files
from duet_av.av_models.published.loaded_expert import LoadedExpert
from duet_av.benchmarks.small_models import stable_audio_3 as small
from duet_av.tests.audio_experts import SEED, STEPS, WORDS, Pair, distance


@pytest.fixture(scope="module")
def loaded(small_stable_audio_3: Path) -> LoadedExpert:
    return load_published(small_stable_audio_3, "audio")


@pytest.fixture(scope="module")
def base(tmp_path_factory) -> LoadedExpert:
    """The same network, not distilled."""
    folder = tmp_path_factory.mktemp("published") / "base"
    small.build(folder, distilled=False)
    return load_published(folder, "audio")


def pipeline_of(loaded: LoadedExpert) -> StableAudio3Pipeline:
    """The pipeline with the loaded networks: bits depend on where in memory weights lie."""
    made, expert = small.make_pipeline(distilled=bool(loaded.expert.refuses_guidance)), loaded.expert
    made.register_modules(transformer=expert.transformer, duration_embedder=expert.duration, vae=loaded.codec.vae)
    return made


@torch.no_grad()
def test_the_expert_is_diffusers_network_bit_for_bit(loaded):
    pair, pipeline = Pair.of(loaded, 300), pipeline_of(loaded)
    tokens, mask = pipeline.encode_prompt([WORDS, "wood"], torch.device("cpu"), 1)
    length = pipeline.encode_duration(pair.seconds, torch.device("cpu"), 1, 1).repeat(2, 1)
    text, mask = pipeline.prepare_cross_attention(tokens, mask, length)
    latent, t = pair.noise().audio.repeat(2, 1, 1), torch.tensor([0.3, 0.9])
    theirs = pipeline.transformer(latent, t, text, length, mask).sample
    both = Condition.cat([pair.prompts(words).audio for words in (WORDS, "wood")])
    assert torch.equal(loaded.expert.for_clip(pair.shape)(latent, t, both), theirs)
    assert not torch.equal(loaded.expert(latent, t, both), theirs)  # of another length


@pytest.mark.parametrize("kind, scale", [("loaded", 1.0), ("base", 1.0), ("base", 5.0)], ids=["distilled", "base", "guided"])
def test_in_parity_mode_the_sound_is_that_of_the_pipeline(kind, scale, request):
    expert = request.getfixturevalue(kind)
    pair = Pair.of(expert, 300)
    theirs = pipeline_of(expert)(
        WORDS, pair.seconds, STEPS, guidance_scale=scale, latents=pair.noise().audio, output_type="latent",
        generator=step_generator(SEED, AUDIO),
    ).audios  # fmt: skip
    for batched in (True, False):
        ours = pair.by_own_schedulers("", scale, batch_branches=batched)
        assert torch.equal(ours, theirs) if scale == 1 else distance(ours, theirs) <= 1e-5


def test_the_codec_is_that_of_the_pipeline(loaded):
    waveform = torch.rand(1, 2, 1000) - 0.5
    latent = loaded.codec.encode(waveform)
    padded = torch.nn.functional.pad(waveform, (0, 1024 - 1000))
    assert torch.equal(latent, loaded.codec.vae.encode(padded).latents) and latent.shape == (1, 8, 16)
    assert torch.equal(loaded.codec.decode(latent), loaded.codec.vae.decode(latent).sample.clamp(-1, 1))


def test_shared_times_and_the_aligner_work(loaded):
    pair = Pair.of(loaded, 300)
    assert torch.isfinite(pair.sampled().audio).all()
    aligned, free = pair.distances()
    assert aligned < 0.9 * free


def test_distilled_weights_take_no_guidance_of_the_audio(loaded, base):
    with pytest.raises(ValueError, match="^audio_scale is 3, but this Stable Audio 3 is distilled, .*; use 1$"):
        Pair.of(loaded, 300).sampled(scale=3.0)
    assert (loaded.sampling, base.sampling) == ({"steps": 8, "scale": 1.0}, {"steps": 100, "scale": 7.0})
    assert "Distilled" in loaded.card["notes"][0] and "Distilled" not in base.card["notes"][0]


def test_a_folder_is_found_described_and_loads_in_other_precisions(small_stable_audio_3, loaded):
    found, card = find_expert(small_stable_audio_3), published_card(small_stable_audio_3)
    assert (found.model, found.family, found.precision) == ("Stable Audio 3 (32 wide)", "stable_audio_3", "fp32")
    assert (card["blocks"], card["heads"], card["head_size"], card["needs"]) == (2, 2, 16, [])
    assert small_stable_audio_3 / "vae" / "config.json" in published_files(small_stable_audio_3)
    half = load_published(small_stable_audio_3, "audio", ExpertOptions(dtype="bfloat16", quantize="fp8"))
    latent, text = torch.ones(1, 8, 4), Condition(torch.ones(1, 3, 16), torch.ones(1, 3, dtype=torch.bool))
    with torch.no_grad():
        made, whole = (each.expert(latent, torch.tensor([0.5]), text) for each in (half, loaded))
    assert made.dtype == torch.float32 and 0 < distance(made, whole) < 0.1


def test_the_authors_checkpoint_has_the_same_weights(tmp_path, loaded, base):
    path, other = tmp_path / "stable_audio_3_medium.safetensors", tmp_path / "stable_audio_3_medium_base.safetensors"
    small.build_file(path, dtype=torch.float32)
    shutil.copy(path, other)
    found, one = find_expert(path), load_published(path, "audio")
    assert (found.model, found.names, found.precision) == ("Stable Audio 3 (32 wide)", "original", "fp32")
    assert one.card["needs"] == ["text encoder T5Gemma", "tokenizer of T5Gemma"] and published_files(path) == [path]
    for ours, theirs in ((one.expert, loaded.expert), (one.codec, loaded.codec)):
        assert ours.state_dict().keys() == theirs.state_dict().keys()
        assert all(torch.equal(x, theirs.state_dict()[name]) for name, x in ours.state_dict().items())
    with_vae = load_published(other, "audio", ExpertOptions(vae=path))
    assert torch.equal(with_vae.codec.vae.bottleneck.bias, one.codec.vae.bottleneck.bias)
    assert one.expert.refuses_guidance and not load_published(other, "audio").expert.refuses_guidance
    sizes = ("blocks", "heads", "head_size")
    assert [one.card[name] for name in sizes] == [loaded.card[name] for name in sizes]


def test_what_a_checkpoint_lacks_is_named_in_one_line(tmp_path):
    path, tensors = tmp_path / "sa3.safetensors", small.checkpoint_tensors(small.make_pipeline())

    def message(changed: dict) -> str:
        save_file({name: x.contiguous() for name, x in changed.items()}, path)
        with pytest.raises(ValueError) as error:
            load_published(path, "audio")
        assert str(error.value).startswith(str(path)) and "\n" not in str(error.value)
        return str(error.value).removeprefix(f"{path} ")

    def without(start: str) -> dict:
        return {name: x for name, x in tensors.items() if not name.startswith(start)}

    layer = "model.model.transformer.layers.1.ff.ff.2.bias"
    assert message(without(layer)) == f"lacks 1 tensors of StableAudio3DiTModel, such as {layer}; download it again"
    padding = "conditioner.conditioners.prompt.padding_embedding"
    assert message(without(padding)) == f"lacks {padding} of Stable Audio 3; use the whole checkpoint"
    assert message(without("pretransform")).startswith("holds no SAME, the VAE of Stable Audio 3; ")
    mapping = "pretransform.model.decoder.layers.3.mapping.weight_v"
    wide = tensors[mapping].expand(-1, -1, 3)
    assert message(tensors | {mapping: wide}).startswith("holds the VAE of Stable Audio 3 Small, which diffusers lacks; ")
    save_file({name: x.contiguous() for name, x in without("pretransform").items()}, path)
    assert "VAE" in published_card(path)["needs"]


def test_what_is_missing_or_does_not_fit_is_named_in_one_line(small_stable_audio_3, loaded, tmp_path):
    folder = Path(shutil.copytree(small_stable_audio_3, tmp_path / "sa3"))
    shutil.rmtree(folder / "text_encoder")
    assert published_card(folder)["needs"] == ["text encoder T5Gemma (folder text_encoder)"]
    with pytest.raises(FileNotFoundError, match="needs the text encoder T5Gemma to encode prompts; download it"):
        load_published(folder, "audio").conditioner.encode_prompt(WORDS)
    with pytest.raises(ValueError, match="^T5Gemma is not loaded from one file, such as .*; use its transformers folder, or"):
        file = folder / "vae" / "diffusion_pytorch_model.safetensors"
        load_published(folder, "audio", ExpertOptions(text_encoder=file)).conditioner.encode_prompt(WORDS)
    shutil.rmtree(folder / "duration_embedder")
    with pytest.raises(FileNotFoundError, match="duration_embedder"):
        load_published(folder, "audio")
    with pytest.raises(ValueError, match="^the embeddings are 5 wide, and Stable Audio 3 needs 16; use Load CLIP"):
        loaded.conditioner.from_embedding(TextEmbedding(torch.ones(1, 4, 5), torch.ones(1, 4, dtype=torch.bool), None))
