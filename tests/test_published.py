"""Folders of Stable Video Diffusion and AudioLDM2, as diffusers saves them, become a joint model."""

from __future__ import annotations

import json
from dataclasses import replace
from shutil import copytree

import pytest
import torch
from diffusers import AudioLDM2Pipeline, AutoencoderKL
from safetensors.torch import load_file, save_file

from duet_av.av_models.contract import REMOVED, AVLatent, AVTime, denoise
from duet_av.av_models.experts.svd_image import drop_image
from duet_av.av_models.guidance import make_guidance
from duet_av.av_models.joining import join_experts
from duet_av.av_models.joint.jointdit import JointDiT
from duet_av.av_models.joint.separate_experts import SeparateExperts
from duet_av.av_models.media.fit import fit_frames
from duet_av.av_models.published.load_published import load_published
from duet_av.tests import pipelines, small
from duet_av.tests.published import audioldm2_pipeline, saved, svd_pipeline
from duet_av.tests.sample_with import sample_with

SIZE, FRAMES, STEPS = 16, 3, 3
NO_CODEC = "none", "none"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("folders")
    saved(svd_pipeline(), root / "svd")
    saved(audioldm2_pipeline(), root / "audioldm2")
    return root


def joined(folders, video="svd", audio="audioldm2", **options):
    return join_experts(folders / video, folders / audio, *NO_CODEC, **{"joint_blocks": 2, "name": "Pair"} | options)


@pytest.fixture(scope="module")
def model(folders):
    return joined(folders)


@pytest.fixture(scope="module")
def picture():
    return torch.rand(20, 24, 3, generator=torch.Generator().manual_seed(1))


def clip(model):
    return model.shape(frames=FRAMES, height=SIZE, width=SIZE)


def sampled(model, picture, start=None, scale=2.0, **options):
    shape = clip(model)
    asked = model.encode("", "metal ball", picture, shape), model.encode("", "rain", None, shape)
    guidance = replace(make_guidance("cfg", video_scale=scale, audio_scale=scale), removed=True)
    return sample_with(model.denoiser, start or model.latent_shape(shape), *asked, guidance, **{"steps": 2} | options).latent


def test_both_folders_become_an_untrained_jointdit_that_makes_frames_and_sound(model, picture):
    assert isinstance(model.denoiser, JointDiT) and not model.trained and model.takes_image
    assert (model.clip.frames, model.clip.height, model.clip.width, model.clip.fps) == (3, 576, 1024, 7)
    assert model.denoiser.audio.image.in_features == 12 and model.denoiser.audio_rate == pytest.approx(7 * 20 / 16000)
    frames, sound = model.decode(sampled(model, picture), clip(model))
    assert frames.shape == (1, FRAMES, SIZE, SIZE, 3) and sound.shape == (1, 1, round(16000 * FRAMES / 7))
    assert frames.isfinite().all() and sound.isfinite().all()


def test_encoders_are_loaded_when_first_needed(folders, picture):
    fresh = joined(folders)
    video, audio = fresh.conditioner.video, fresh.conditioner.audio
    fresh.conditioner.video.condition("", None, clip(fresh))
    assert "image_encoder" not in vars(video) and "pipeline" not in vars(audio)
    fresh.encode("", "ball", picture, clip(fresh))
    assert "image_encoder" in vars(video) and "pipeline" in vars(audio)
    assert not any("conditioner" in name for name, _ in fresh.networks.named_parameters())


def test_no_picture_is_the_null_condition_of_any(model, picture):
    shown, empty = (model.encode("", "", image, clip(model)).video for image in (picture, None))
    expected = drop_image(shown)
    assert shown.tokens.any() and all(torch.equal(getattr(empty, n), getattr(expected, n)) for n in ("tokens", "vector", "image"))


def test_words_for_the_picture_are_named_as_left_out(model):
    assert model.ignored_prompts("a ball", "metal") == ["video_prompt: this model takes an image and ignores text prompts"]


@torch.no_grad()
def test_the_picture_is_the_pipelines(model, picture):
    pipeline = svd_pipeline()
    noise = AVLatent(torch.randn(1, 4, FRAMES, SIZE // 2, SIZE // 2), torch.randn(1, 4, 344, 4))
    shape = clip(model)
    asked = model.encode("", "", picture, shape), model.encode("", "", None, shape)
    guidance = make_guidance("cfg", video_scale=3.0, audio_scale=3.0, frame_ramp=0.0)
    ours = sample_with(model.denoiser, noise, *asked, guidance, steps=STEPS, parity=True, video_scheduler=pipeline.scheduler)
    theirs = pipeline(
        pipeline.video_processor.numpy_to_pil(fitted(model, picture).numpy()), SIZE, SIZE, FRAMES, STEPS, fps=7,
        latents=noise.video.transpose(1, 2).contiguous(), generator=torch.Generator().manual_seed(0), output_type="latent",
        min_guidance_scale=1.0, max_guidance_scale=3.0, return_dict=False,
    ).transpose(1, 2)  # fmt: skip
    assert (ours.latent.video - theirs).norm() <= 1e-5 * theirs.norm()


def fitted(model, picture):
    """What the clip's size makes of the user's picture."""
    return fit_frames(picture[None], 7, replace(clip(model).video, frames=1))[0]


@torch.no_grad()
def test_the_sound_is_the_pipelines_from_words_to_waveform(model, picture):
    text, reference = model.conditioner.audio.pipeline, audioldm2_pipeline()
    parts = {name: getattr(reference, name) for name in ("vae", "unet", "vocoder", "scheduler", "feature_extractor")}
    pipeline = AudioLDM2Pipeline(**parts, **{
        name: getattr(text, name) for name in
        ("text_encoder", "text_encoder_2", "projection_model", "language_model", "tokenizer", "tokenizer_2")
    })  # fmt: skip
    pipeline.set_progress_bar_config(disable=True)
    shape = model.shape(seconds=3 / 7, height=SIZE, width=SIZE)
    noise = AVLatent(torch.randn(1, 4, FRAMES, SIZE // 2, SIZE // 2), torch.randn(1, 4, 343, 4))
    asked = model.encode("", "metal ball", picture, shape)
    ours = sample_with(
        model.denoiser, noise, asked, asked, make_guidance("none"), steps=STEPS, parity=True,
        audio_scheduler=pipeline.scheduler,
    ).latent.audio  # fmt: skip
    options = {"num_inference_steps": STEPS, "guidance_scale": 1.0, "latents": noise.audio, "audio_length_in_s": 343 * 20 / 16000}
    theirs = pipeline("metal ball", output_type="latent", **options).audios
    assert (ours - theirs).norm() <= 1e-5 * theirs.norm()
    heard = pipeline("metal ball", output_type="pt", **options).audios
    assert torch.allclose(model.audio_codec.decode(theirs)[:, 0], heard, atol=1e-6)


def test_a_model_in_its_own_precision_takes_and_gives_float32(folders, tmp_path, picture):
    saved(svd_pipeline().to(torch.bfloat16), tmp_path / "svd")
    (tmp_path / "audioldm2").symlink_to(folders / "audioldm2")
    half, full = (joined(tmp_path, keep_dtype=own) for own in (True, False))
    assert half.denoiser.video.unet.dtype == half.video_codec.vae.dtype == torch.bfloat16
    assert half.denoiser.audio.unet.dtype == full.denoiser.video.unet.dtype == torch.float32
    for model in (half, full):
        cond = model.encode("", "", picture, clip(model))
        noise = AVLatent(torch.ones(1, 4, FRAMES, 8, 8), torch.ones(1, 4, 8, 4))
        out = denoise(model.denoiser, noise, AVTime(torch.ones(1), torch.ones(1)), cond, [REMOVED])
        assert out.video.dtype == out.audio.dtype == model.decode(out, clip(model))[0].dtype == torch.float32


def test_a_pair_apart_in_its_own_precision_takes_and_gives_float32(tmp_path):
    for name in ("animatediff", "audioldm"):
        saved(getattr(pipelines, name)().to(torch.bfloat16), tmp_path / name)
    model = joined(tmp_path, "animatediff", "audioldm", keep_dtype=True)
    assert model.denoiser.video.unet.dtype == model.audio_codec.vae.dtype == torch.bfloat16
    noise = AVLatent(torch.ones(1, 4, FRAMES, 8, 8), torch.ones(1, 4, 8, 4))
    out = denoise(model.denoiser, noise, AVTime(torch.ones(1), torch.ones(1)), model.encode("a ball", "rattle"), [REMOVED])
    frames, sound = model.decode(out, clip(model))
    assert out.video.dtype == out.audio.dtype == frames.dtype == sound.dtype == torch.float32


def test_folders_of_half_precision_files_are_read(folders, tmp_path):
    saved(svd_pipeline().to(torch.float16), tmp_path / "svd", variant="fp16")
    assert (tmp_path / "svd/unet/diffusion_pytorch_model.fp16.safetensors").is_file()
    unet, known = (load_published(root / "svd", "video").expert.unet for root in (tmp_path, folders))
    assert torch.equal(unet.conv_in.weight, known.conv_in.weight.half().float())


@pytest.mark.parametrize("video, audio", [("animatediff", "audioldm"), ("svd", "audioldm"), ("animatediff", "audioldm2")])
def test_a_pair_that_was_never_woven_stays_apart(folders, picture, video, audio):
    for name in ("animatediff", "audioldm"):
        if not (folders / name).exists():
            saved(getattr(pipelines, name)(), folders / name)
    model = joined(folders, video, audio)
    assert isinstance(model.denoiser, SeparateExperts) and not model.trained and model.card["architecture"] == "SeparateExperts"
    shape = clip(model)
    asked = model.encode("a ball", "rattle", picture if model.takes_image else None, shape)
    latent = sample_with(
        model.denoiser, model.latent_shape(shape), asked, asked, replace(make_guidance("none"), removed=True), steps=2
    ).latent  # fmt: skip
    frames, sound = model.decode(latent, shape)
    assert frames.shape == (1, FRAMES, SIZE, SIZE, 3) and sound.shape == (1, 1, shape.audio.samples)


def test_an_expert_of_ours_stays_apart_from_a_published_one(folders, tmp_path):
    video, codec = small.save_expert(tmp_path, "video_expert"), small.save_codec(tmp_path / "v.safetensors", small.video_codec())
    model = join_experts(video, folders / "audioldm2", codec, "none", joint_blocks=2, name="Pair")
    assert isinstance(model.denoiser, SeparateExperts) and model.ignored_prompts("a zebra", "zebra")[0].startswith("video_prompt")
    cond = model.encode("red ball", "rain")
    assert cond.video.tokens.shape[-1] == small.TEXT and cond.audio.second is not None
    wrong = small.save_codec(tmp_path / "a.safetensors", small.audio_codec())
    with pytest.raises(ValueError, match="a.safetensors is a SpectrogramCodec, which is not for video"):
        join_experts(video, folders / "audioldm2", wrong, "none", joint_blocks=2, name="Pair")


def refused(run, *words, kind=ValueError):
    with pytest.raises(kind) as error:
        run()
    assert "\n" not in str(error.value) and all(word in str(error.value) for word in words), str(error.value)


@pytest.fixture
def broken(folders, tmp_path):
    """A copy of a folder, to break."""
    return lambda name: copytree(folders / name, tmp_path / name)


def test_a_folder_of_pickles_is_told_how_to_get_safetensors(broken):
    folder = broken("audioldm2")
    (folder / "unet/diffusion_pytorch_model.safetensors").rename(folder / "unet/diffusion_pytorch_model.bin")
    refused(
        lambda: load_published(folder, "audio"), "audioldm2/unet has only diffusion_pytorch_model.bin", "hf download",
        kind=FileNotFoundError,
    )  # fmt: skip


def test_a_text_encoder_that_is_a_pickle_is_named_before_the_first_prompt(broken):
    folder = broken("audioldm2")
    (folder / "text_encoder_2/model.safetensors").rename(folder / "text_encoder_2/pytorch_model.bin")
    refused(lambda: load_published(folder, "audio"), "text_encoder_2 has only pytorch_model.bin", kind=FileNotFoundError)


def test_a_part_that_is_missing_cut_short_or_of_another_class_is_named(broken):
    folder = broken("svd")
    file = folder / "vae/diffusion_pytorch_model.safetensors"
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    refused(lambda: load_published(folder, "video"), str(file), "not a complete safetensors file")
    file.write_bytes(whole)
    tensors = load_file(file)
    save_file({name: value for name, value in tensors.items() if name != "decoder.conv_in.weight"}, file)
    refused(lambda: load_published(folder, "video"), "vae lacks 1 tensors of AutoencoderKLTemporalDecoder, such as decoder.conv_in")
    save_file(tensors | {"decoder.conv_in.weight": torch.zeros(3)}, file)
    refused(lambda: load_published(folder, "video"), "vae cannot be loaded as AutoencoderKLTemporalDecoder")
    AutoencoderKL().save_pretrained(folder / "vae")
    refused(lambda: load_published(folder, "video"), "vae holds AutoencoderKL; use a folder with AutoencoderKLTemporalDecoder")
    (folder / "unet").rename(folder / "other")
    refused(lambda: load_published(folder, "video"), "svd has no folder unet", kind=FileNotFoundError)


def test_a_folder_of_another_pipeline_is_refused(broken):
    folder = broken("svd")
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps(index | {"_class_name": "StableDiffusionPipeline"}))
    refused(lambda: load_published(folder, "video"), "svd holds StableDiffusionPipeline; use one of StableVideoDiffusionPipeline")


def test_two_video_experts_and_too_many_joint_blocks_are_refused(folders):
    refused(
        lambda: joined(folders, audio="svd"), "of kind video_expert (StableVideoDiffusionPipeline)", "use one of kind audio_expert"
    )
    refused(
        lambda: joined(folders, joint_blocks=5), "joint_blocks is 5, but the video UNet has 5 layers, which leaves -1 output layers"
    )
