"""LTX-2 from a diffusers folder: its sampling equals diffusers' own pipelines, on random networks of the same classes."""

from __future__ import annotations

import pytest
import torch
from diffusers import LTX2Pipeline

from duet_av.av_models.contract import AVLatent
from duet_av.av_models.guidance import make_guidance
from duet_av.av_models.known_parts import KnownParts
from duet_av.av_models.published.joint.ltx2 import distilled_times, pipeline_times
from duet_av.tests.ltx2 import FPS, FRAMES, HEIGHT, OFF, PROMPT, STEPS, WIDTH, Pair

VERSIONS = ("2.0", "2.3", "2.5")
CFG = {"guidance_scale": 3.0, "audio_guidance_scale": 7.0}
PROMPT_ONLY = {"video_scale": 3.0, "audio_scale": 7.0, "video_cross_scale": 1.0, "audio_cross_scale": 1.0}


@pytest.fixture(scope="module")
def pairs(small_ltx2_versions) -> dict[str, Pair]:
    return {version: Pair(version, folder) for version, folder in small_ltx2_versions.items()}


@pytest.fixture(params=VERSIONS)
def pair(request, pairs) -> Pair:
    return pairs[request.param]


def equal(ours, theirs) -> bool:
    assert all(float(each.std()) > 0.1 for each in theirs)
    return all(torch.equal(a, b) for a, b in zip(ours, theirs))


def close(ours, theirs, most: float = 1e-5) -> bool:
    return all(torch.allclose(a, b, rtol=most, atol=most) for a, b in zip(ours, theirs))


def test_cfg_equals_the_pipeline_bit_for_bit_in_its_grouping(pair):
    ours = pair.ours(make_guidance("modality_cfg", **PROMPT_ONLY))
    assert equal(ours, pair.theirs(**OFF | CFG))


@pytest.mark.parametrize("ours, theirs", [
    ({"video_cross_scale": 3.0, "audio_cross_scale": 3.0}, {"modality_scale": 3.0, "audio_modality_scale": 3.0}),
    ({"video_skip_scale": 2.0, "audio_skip_scale": 2.0}, {"stg_scale": 1.0, "audio_stg_scale": 1.0}),
])  # fmt: skip
def test_one_more_term_equals_the_pipeline_bit_for_bit(pairs, ours, theirs):
    pair = pairs["2.3"]
    assert equal(pair.ours(make_guidance("modality_cfg", **PROMPT_ONLY | ours)), pair.theirs(**OFF | CFG | theirs))


def test_the_pipelines_defaults_are_the_recommended_guidance(pair):
    """Not bit for bit: the pipeline adds its terms in another order, and rescales with other operations."""
    guidance = pair.model.recommended.make_guidance()
    assert guidance == make_guidance(
        "modality_cfg", video_scale=3.0, audio_scale=7.0, video_cross_scale=3.0, audio_cross_scale=3.0, video_skip_scale=2.0,
        audio_skip_scale=2.0, rescale=0.7, audio_rescale=0.7,
    )  # fmt: skip
    theirs = pair.theirs()
    assert close(pair.ours(guidance), theirs) and close(pair.ours(guidance, grouped=False), theirs)
    assert not close(pair.ours(make_guidance("cfg", video_scale=3.0, audio_scale=7.0)), theirs, 1e-2)


def test_without_guidance_and_with_cfg_in_flow_space(pairs):
    """The pipeline converts the velocity to a clean estimate and back, Duet does not."""
    pair = pairs["2.3"]
    assert close(pair.ours(make_guidance("none")), pair.theirs(**OFF))
    assert close(pair.ours(make_guidance("cfg", video_scale=3.0, audio_scale=7.0), grouped=False), pair.theirs(**OFF | CFG))


def first_frame(pair: Pair) -> tuple[torch.Tensor, KnownParts]:
    image = torch.rand(1, 1, HEIGHT, WIDTH, 3, generator=torch.Generator().manual_seed(1))
    first, sizes = pair.model.video_codec.encode(image), pair.noise.shape
    clip = AVLatent(torch.zeros(sizes.video), torch.zeros(sizes.audio))
    clip.video[:, :, :1] = first
    known = torch.zeros(1, 1, sizes.video[2], 1, 1, dtype=torch.bool)
    known[:, :, 0] = True
    nothing = torch.zeros(1, 1, 1, 1, dtype=torch.bool)
    vae = pair.pipeline.vae
    z = vae.encode((image * 2 - 1).movedim(-1, 1)).latent_dist.mode()
    assert torch.equal(first, LTX2Pipeline._normalize_latents(z, vae.latents_mean, vae.latents_std))
    return first, KnownParts(clip, AVLatent(known, nothing), *pair.model.known_modes)


def test_a_given_first_frame_equals_the_image_pipeline(pair):
    first, known = first_frame(pair)
    assert equal(pair.ours(make_guidance("modality_cfg", **PROMPT_ONLY), known), pair.theirs_from_image(first, **OFF | CFG))
    ours = pair.ours(pair.model.recommended.make_guidance(), known)
    assert close(ours, pair.theirs_from_image(first))
    vae = pair.pipeline.vae
    assert torch.equal(ours[0][:, :, :1], LTX2Pipeline._denormalize_latents(first, vae.latents_mean, vae.latents_std))


def test_the_frame_rate_of_the_clip_reaches_the_network(pairs):
    """The pipeline's motion_speed is another frame rate for the positions alone."""
    pair = pairs["2.3"]
    assert pair.model.denoiser_for(pair.shape).fps == FPS and pair.model.denoiser.fps == 24
    theirs, faster = pair.theirs(**OFF), pair.theirs(**OFF | {"motion_speed": 0.25})
    assert close(pair.ours(make_guidance("none")), theirs) and not close(faster, theirs, 1e-3)
    denoiser = pair.model.denoiser.at_frame_rate(4 * FPS)
    assert close(pair.ours(make_guidance("none"), denoiser=denoiser), faster)
    assert denoiser.transformer is pair.model.denoiser.transformer


def test_decoding_equals_the_pipeline_and_gives_the_asked_length(pair):
    model, latent = pair.model, pair.noise.initial(torch.device("cpu"))
    frames, waveform = model.decode(latent, pair.shape)
    assert frames.shape[1:4] == (FRAMES, HEIGHT, WIDTH) and waveform.shape[-1] == pair.shape.audio.samples
    pipeline, vae, audio_vae = pair.pipeline, pair.pipeline.vae, pair.pipeline.audio_vae
    with torch.no_grad():
        z = pipeline._denormalize_latents(latent.video, vae.latents_mean, vae.latents_std)
        theirs = pipeline.video_processor.postprocess_video(vae.decode(z, None, return_dict=False)[0], output_type="pt")
        packed = pipeline._denormalize_audio_latents(
            pipeline._pack_audio_latents(latent.audio), audio_vae.latents_mean, audio_vae.latents_std
        )
        mel = audio_vae.decode(pipeline._unpack_audio_latents(packed, *latent.audio.shape[2:]), return_dict=False)[0]
        sound = pipeline.vocoder(mel)
    assert torch.equal(frames, theirs.movedim(2, -1)) and torch.equal(waveform[..., : sound.shape[-1]], sound.clamp(-1, 1))
    assert float(sound.std()) > 0.01 and not waveform[..., sound.shape[-1] :].any()
    assert 0 <= waveform.shape[-1] - sound.shape[-1] <= 0.05 * model.audio_codec.sample_rate


def test_latents_are_as_long_as_the_pipelines(pairs):
    for version in ("2.0", "2.3"):
        model, pipeline = pairs[version].model, pairs[version].pipeline
        rate = pipeline.audio_sampling_rate / pipeline.audio_hop_length / pipeline.audio_vae_temporal_compression_ratio
        for fps in (23.976, 24, 25, 30, 50, 60):
            for frames in (1, 9, 25, 49, 97, 121, 241):
                shape = model.shape(frames=frames, height=HEIGHT, width=WIDTH, fps=fps)
                assert model.latent_shape(shape).audio[2] == max(1, round(frames / fps * rate)), (fps, frames)


def test_times_are_those_of_the_pipeline(pairs):
    pair = pairs["2.3"]
    pair.theirs(**OFF)
    times = pair.model.make_schedule(pair.noise.shape, STEPS).times
    assert times == tuple(pair.pipeline.scheduler.sigmas[:-1].tolist()) and times[-1] == pytest.approx(0.1)
    larger = pair.model.latent_shape(pair.model.shape(frames=121, height=512, width=768))
    assert pipeline_times(pair.pipeline.scheduler, STEPS, larger)[1] > times[1]
    assert pipeline_times(pair.pipeline.scheduler, 1, larger) == [1.0]
    eight = [1.0, 0.99375, 0.9875, 0.98125, 0.975, 0.909375, 0.725, 0.421875]
    assert distilled_times(8, larger) == pytest.approx(eight, abs=1e-7)
    assert distilled_times(4, larger) == pytest.approx(eight[::2], abs=1e-7)


def test_prompts_equal_the_pipelines(pair):
    pipeline = pair.pipeline
    with torch.no_grad():
        states, mask, nothing, nothing_mask = pipeline.encode_prompt(PROMPT, "", device="cpu")
        video, audio, _ = pipeline.connectors(torch.cat([nothing, states]), torch.cat([nothing_mask, mask]), padding_side="left")
    positive, negative = pair.prompts
    for ours, theirs in ((negative, 0), (positive, 1)):
        torch.testing.assert_close(ours.video.tokens[0], video[theirs], rtol=0, atol=1e-6)
        torch.testing.assert_close(ours.audio.tokens[0], audio[theirs], rtol=0, atol=1e-6)
        assert ours.video.mask.all() and ours.audio.mask.all()
    assert not torch.allclose(video[0], video[1], atol=1e-2)


@pytest.mark.parametrize("version", ["2.0", "2.3"])
def test_embeddings_of_comfyui_give_the_same_condition(pairs, version):
    """ComfyUI's encoder gives the text states of the prompt alone, projected; its network has the connectors."""
    pair, conditioner = pairs[version], pairs[version].model.conditioner
    pipeline = pair.pipeline
    with torch.no_grad():
        states, mask, *_ = pipeline.encode_prompt(PROMPT, do_classifier_free_guidance=False, device="cpu")
        out = states[mask.bool()][None].unflatten(2, (24, -1))
        if version == "2.0":  # comfy/text_encoders/lt.py, "single_linear"
            low, high = out.amin((1, 2), keepdim=True), out.amax((1, 2), keepdim=True)
            out = 8.0 * (out - out.mean((1, 2), keepdim=True)) / (high - low + 1e-6)
            tokens = pipeline.connectors.text_proj_in(out.flatten(2))
        else:  # "dual_linear"
            out = (out * torch.rsqrt(torch.mean(out**2, dim=2, keepdim=True) + 1e-6)).flatten(2)
            parts = ((pipeline.connectors.video_text_proj_in, 32), (pipeline.connectors.audio_text_proj_in, 16))
            tokens = torch.cat([linear(out * (width / 24) ** 0.5) for linear, width in parts], -1)
    ours = conditioner.from_embeddings(tokens, None, None)
    torch.testing.assert_close(ours.video.tokens, pair.prompts[0].video.tokens, rtol=0, atol=1e-5)
    torch.testing.assert_close(ours.audio.tokens, pair.prompts[0].audio.tokens, rtol=0, atol=1e-5)
    padded = torch.cat([torch.ones_like(tokens), tokens], 1)
    real = torch.arange(padded.shape[1])[None] >= tokens.shape[1]
    assert torch.equal(conditioner.from_embeddings(padded, real, None).video.tokens, ours.video.tokens)
    with pytest.raises(ValueError, match=rf"are 7 wide, and this LTX-2 needs {tokens.shape[-1]}; use LTXV Audio Text Encoder"):
        conditioner.from_embeddings(torch.zeros(1, 3, 7), None, None)
    if version == "2.0":
        both = conditioner.from_embeddings(torch.cat([ours.video.tokens, ours.audio.tokens], -1), None, None)
        assert torch.equal(both.video.tokens, ours.video.tokens) and torch.equal(both.audio.tokens, ours.audio.tokens)
