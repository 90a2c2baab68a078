"""ACE-Step 1.5 from a diffusers folder, sampled as its own pipeline does, and in a pair."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from diffusers import AceStepPipeline
from safetensors.torch import load_file, save_file

from duet_av.av_models.contract import Condition
from duet_av.av_models.published.expert_options import ExpertOptions
from duet_av.av_models.published.experts import find_expert
from duet_av.av_models.published.experts.ace_step_load import formatted
from duet_av.av_models.published.joint.comfyui_text import TextEmbedding
from duet_av.av_models.published.load_published import load_published, published_card, published_files
from duet_av.av_models.published.loaded_expert import LoadedExpert
from duet_av.benchmarks.small_models import ace_step as small
from duet_av.tests.audio_experts import STEPS, WORDS, Pair, distance

FPS = 6  # of 3 frames
SUNG = f"{WORDS}\n[lyrics]\n[verse]\nla la"


@pytest.fixture(scope="module")
def loaded(small_ace_step: Path) -> LoadedExpert:
    return load_published(small_ace_step, "audio")


@pytest.fixture(scope="module")
def pair(loaded) -> Pair:
    return Pair.of(loaded, FPS)


@pytest.fixture(scope="module")
def turbo(tmp_path_factory) -> LoadedExpert:
    folder = tmp_path_factory.mktemp("published") / "turbo"
    small.build(folder, turbo=True)
    return load_published(folder, "audio")


def pipeline_of(loaded: LoadedExpert) -> AceStepPipeline:
    """The pipeline with the loaded network: bits depend on where in memory weights lie."""
    made = small.make_pipeline(turbo=bool(loaded.expert.refuses_guidance))
    made.register_modules(transformer=loaded.expert.transformer, vae=loaded.codec.vae)
    return made


def made_by(loaded: LoadedExpert, pair: Pair, lyrics: str = "", scale: float = 1.0, **options) -> torch.Tensor:
    """What the pipeline makes."""
    return pipeline_of(loaded)(
        WORDS, lyrics, pair.seconds, num_inference_steps=STEPS, guidance_scale=scale,
        latents=pair.noise().audio.transpose(1, 2), output_type="latent", **options,
    ).audios.transpose(1, 2)  # fmt: skip


@pytest.mark.parametrize("kind", ["loaded", "turbo"])
def test_in_parity_mode_the_sound_is_that_of_the_pipeline(kind, request):
    """Without guidance: its own is another than Duet's."""
    expert = request.getfixturevalue(kind)
    pair = Pair.of(expert, FPS)
    assert torch.equal(pair.by_own_schedulers(batch_branches=False), made_by(expert, pair))


@torch.no_grad()
def test_every_prediction_is_that_of_diffusers_network(loaded, pair):
    """Also of ∅, which the pipeline repeats to the length of the prompt, and of prompts with other lengths in the same batch."""
    pipeline, words = pipeline_of(loaded), [SUNG, WORDS]
    conditions = [pair.prompts(each).audio for each in (*words, "")]
    latent, t = pair.noise().audio, torch.tensor([0.7])
    silence, steps = pipeline.prepare_src_latents(torch.device("cpu"), torch.float32, 1, latent_length=latent.shape[2])
    x, context = latent.transpose(1, 2), torch.cat([silence, torch.ones_like(silence)], -1)

    def theirs(tokens: torch.Tensor) -> torch.Tensor:
        return pipeline.transformer(x, t, t, tokens, context).sample.transpose(1, 2)

    null = pipeline.condition_encoder.null_condition_emb
    wanted = [*(theirs(each.tokens) for each in conditions[:2]), theirs(null.expand_as(conditions[0].tokens))]
    together = loaded.expert(latent.repeat(3, 1, 1), t.repeat(3), Condition.cat(conditions))
    guided = loaded.expert(latent.repeat(2, 1, 1), t.repeat(2), Condition.cat([conditions[2], conditions[0]]))
    for ours, expected in zip((*together, guided[1], guided[0]), (*wanted, wanted[0], wanted[2])):
        assert distance(ours, expected[0]) <= 1e-5
    assert torch.equal(loaded.expert(latent, t, conditions[0]), wanted[0])
    assert distance(wanted[0], wanted[1]) > 0.001 and distance(wanted[0], wanted[2]) > 0.001


def test_prompts_say_how_long_the_clip_is_and_what_is_sung(loaded, pair):
    pipeline, cpu = pipeline_of(loaded), torch.device("cpu")
    assert formatted(SUNG, 2.9).split("\0") == list(pipeline._format_prompt(WORDS, "[verse]\nla la", "en", 2.9))
    text, text_mask, lyrics, lyrics_mask = pipeline.encode_prompt(WORDS, "[verse]\nla la", cpu, "en", pair.seconds)
    silence = pipeline.condition_encoder.silence_latent[:, :750]
    order = torch.zeros(1, dtype=torch.long)
    tokens, mask = pipeline.condition_encoder(text, text_mask, lyrics, lyrics_mask, silence, order)
    ours = pair.prompts(SUNG).audio
    assert distance(ours.tokens, tokens) <= 1e-5 and torch.equal(ours.mask, mask)
    null = pair.prompts(" ").audio
    assert torch.equal(null.tokens, pipeline.condition_encoder.null_condition_emb) and null.mask.all()
    with pytest.raises(ValueError, match="^ACE-Step takes no CONDITIONING of ComfyUI; write the prompt"):
        loaded.conditioner.from_embedding(TextEmbedding(torch.ones(1, 4, 5), torch.ones(1, 4, dtype=torch.bool), None))


def test_guidance_and_the_aligner_work(pair):
    assert torch.isfinite(pair.sampled(scale=3.0).audio).all()
    aligned, free = pair.distances(rate=1.0)
    assert aligned < 0.9 * free


def test_turbo_takes_no_guidance_of_the_audio(loaded, turbo):
    with pytest.raises(ValueError, match=r"^audio_scale is 3, but this ACE-Step is distilled \(turbo\), .*; use 1$"):
        Pair.of(turbo, FPS).sampled(scale=3.0)
    assert (turbo.sampling, loaded.sampling) == ({"steps": 8, "scale": 1.0}, {"steps": 50, "scale": 6.0})
    assert "Distilled" in turbo.card["notes"][0] and "APG" in loaded.card["notes"][0] and "turbo" in turbo.card["name"]


def test_loud_waveforms_are_made_quieter_and_not_cut_off(loaded, monkeypatch):
    for peak, kept in ((0.5, 0.5), (4.0, 1.0)):
        raw = torch.linspace(-peak, peak, 100).expand(1, 2, -1)
        monkeypatch.setattr(loaded.codec.vae, "decode", lambda latent, return_dict, raw=raw: (raw,))
        torch.testing.assert_close(loaded.codec.decode(torch.zeros(1, 4, 1)), raw * kept / peak)


def test_a_folder_is_found_described_and_loads_in_other_precisions(small_ace_step, loaded):
    found, card = find_expert(small_ace_step), published_card(small_ace_step)
    assert (found.model, found.family, found.precision) == ("ACE-Step 1.5 (32 wide)", "ace_step", "fp32")
    assert (card["blocks"], card["heads"], card["head_size"], card["needs"]) == (2, 2, 16, [])
    assert small_ace_step / "condition_encoder" / "config.json" in published_files(small_ace_step)
    half = load_published(small_ace_step, "audio", ExpertOptions(dtype="bfloat16", quantize="fp8"))
    latent, text = torch.ones(1, 4, 5), Condition(torch.ones(1, 3, 32), torch.ones(1, 3, dtype=torch.bool))
    with torch.no_grad():
        made, whole = (each.expert(latent, torch.tensor([0.5]), text) for each in (half, loaded))
    assert made.dtype == torch.float32 and 0 < distance(made, whole) < 0.1


def test_what_is_missing_or_does_not_fit_is_named_in_one_line(small_ace_step, tmp_path):
    folder = Path(shutil.copytree(small_ace_step, tmp_path / "ace"))
    shutil.rmtree(folder / "text_encoder")
    assert published_card(folder)["needs"] == ["text encoder Qwen3-Embedding-0.6B (folder text_encoder)"]
    pair = Pair.of(load_published(folder, "audio"), FPS)
    with pytest.raises(FileNotFoundError, match="needs the text encoder Qwen3-Embedding-0.6B to encode prompts; download it"):
        pair.prompts(WORDS)
    encoder = folder / "condition_encoder" / "diffusion_pytorch_model.safetensors"
    save_file({name: x for name, x in load_file(encoder).items() if name != "silence_latent"}, encoder)
    with pytest.raises(ValueError, match="condition_encoder lacks silence_latent; download it again$"):
        load_published(folder, "audio")


@pytest.mark.parametrize("prefix", ["", "model.diffusion_model."])
def test_one_file_is_named_and_refused_in_one_line(tmp_path, prefix):
    file = tmp_path / "acestep_v1.5_turbo.safetensors"
    names = ("decoder.layers.0.self_attn.q_proj.weight", "encoder.lyric_encoder.embed_tokens.weight")
    save_file({prefix + name: torch.zeros(2, 2, dtype=torch.bfloat16) for name in names}, file)
    assert (find_expert(file).model, find_expert(file).precision) == ("ACE-Step 1.5 as one file", "bf16")
    with pytest.raises(ValueError, match="is ACE-Step 1.5 as one file, which Duet does not load; use a folder of diffusers"):
        load_published(file, "audio")
