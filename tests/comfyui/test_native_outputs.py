"""Our nodes on what ComfyUI's own nodes make of LTX-2 and MiniMax-H3: small models and VAEs of its classes, with random weights."""

from fractions import Fraction

import av
import pytest

from duet_av.tests.comfyui.graphs import node, saved

RATES = {"ltx2": (25, 48000), "h3": (24, 32000)}  # of the video and the audio
KINDS = pytest.mark.parametrize("kind", list(RATES))


def decoded(kind: str, frames: int, batch: int = 1, audio_frames: int | None = None) -> dict:
    """A graph that samples and decodes as the official workflows do. audio_frames: those that the audio is made for, if others."""
    vae = "ltx" if kind == "ltx2" else kind
    return {
        "model": node("TinyModel", kind=kind, seed=1), "vae": node("TinyVAE", kind=vae, seed=1),
        "audio_vae": node("TinyAudioVAE", kind=vae, seed=1),
        "yes": node("TinyPrompt", kind=kind, seed=11, words=6), "no": node("TinyPrompt", kind=kind, seed=12, words=4),
        "guider": node("CFGGuider", model=["model", 0], positive=["yes", 0], negative=["no", 0], cfg=2.0),
        "noise": node("RandomNoise", noise_seed=3), "sampler": node("KSamplerSelect", sampler_name="euler"),
        "sigmas": node("BasicScheduler", model=["model", 0], scheduler="simple", steps=2, denoise=1.0),
        **(ltx_latent(frames, batch, audio_frames or frames) if vae == "ltx" else h3_latent(frames)),
        "sampled": node(
            "SamplerCustomAdvanced", noise=["noise", 0], guider=["guider", 0], sampler=["sampler", 0], sigmas=["sigmas", 0],
            latent_image=["latent", 0],
        ),
        "images": node("VAEDecode", samples=["sampled", 0], vae=["vae", 0]),
        "audio": node("VAEDecodeAudio", samples=["sampled", 0], vae=["audio_vae", 0]),
    }  # fmt: skip


def ltx_latent(frames: int, batch: int, audio_frames: int) -> dict:
    sound = {"frames_number": audio_frames, "frame_rate": 25.0, "batch_size": batch, "audio_vae": ["audio_vae", 0]}
    return {
        "video_latent": node("EmptyLTXVLatentVideo", width=96, height=64, length=frames, batch_size=batch),
        "audio_latent": node("LTXVEmptyLatentAudio", **sound),
        "latent": node("LTXVConcatAVLatent", video_latent=["video_latent", 0], audio_latent=["audio_latent", 0]),
    }


def h3_latent(frames: int) -> dict:
    return {"latent": node("EmptyMiniMaxH3LatentAV", width=96, height=64, length=frames)}


def facts(run, key: str) -> dict:
    assert run.succeeded, run.error
    return run.outputs[key]["duet"][0]


FRAMES = {"ltx2": 49, "h3": 56}


@KINDS
def test_the_report_and_the_file_have_the_streams_as_decoded(native, kind):
    """The frame rate is found: that of the model."""
    fps, rate = RATES[kind]
    graph = decoded(kind, FRAMES[kind])
    graph["report"] = node("DuetSyncReport", images=["images", 0], audio=["audio", 0], fps=0.0)
    graph["saved"] = saved(["images", 0], 0.0, audio=["audio", 0])
    run = native.run(graph)
    clip = facts(run, "report")["clips"][0]
    assert (clip["frames"], clip["fps"], clip["sound"]["sample_rate"], clip["sound"]["channels"]) == (FRAMES[kind], fps, rate, 2)
    assert 0 < abs(clip["sound"]["surplus_ms"]) <= 30
    assert f"fps: {fps}, found from the lengths of frames and audio" in run.texts["saved"]
    with av.open(run.files[0]) as file:
        video, audio = file.streams.video[0], file.streams.audio[0]
        assert (video.width, video.height, video.average_rate, video.frames) == (96, 64, Fraction(fps), FRAMES[kind])
        assert (audio.rate, audio.channels) == (rate, 2)
        lengths = [float(each.duration * each.time_base) for each in (video, audio)]
        assert lengths[0] == pytest.approx(FRAMES[kind] / fps, abs=1e-3) and lengths[1] == pytest.approx(lengths[0], abs=1e-3)


@KINDS
def test_a_video_of_create_video_is_measured_as_its_parts(native, kind):
    fps, _ = RATES[kind]
    graph = decoded(kind, FRAMES[kind])
    graph["video"] = node("CreateVideo", images=["images", 0], audio=["audio", 0], fps=float(fps))
    graph["parts"] = node("DuetSyncReport", images=["images", 0], audio=["audio", 0], fps=float(fps))
    graph["report"] = node("DuetSyncReport", video=["video", 0], fps=16.0)
    run = native.run(graph)
    assert facts(run, "report")["clips"] == facts(run, "parts")["clips"]


def test_each_clip_of_a_batch_is_measured_and_saved(native):
    graph = decoded("ltx2", FRAMES["ltx2"], batch=2)
    graph["report"] = node("DuetSyncReport", images=["images", 0], audio=["audio", 0], fps=0.0)
    graph["saved"] = saved(["images", 0], 0.0, audio=["audio", 0])
    run = native.run(graph)
    clips = facts(run, "report")["clips"]
    assert [(each["frames"], each["fps"]) for each in clips] == [(FRAMES["ltx2"], 25)] * 2
    assert clips[0]["motion"] != clips[1]["motion"] and len(run.files) == 2


@pytest.mark.parametrize("audio_frames, change", [(57, "trimmed"), (41, "padded")])
def test_audio_of_another_length_is_fitted_and_said(native, audio_frames, change):
    graph = decoded("ltx2", FRAMES["ltx2"], audio_frames=audio_frames)
    graph["saved"] = saved(["images", 0], 25.0, audio=["audio", 0])
    graph["report"] = node("DuetSyncReport", images=["images", 0], audio=["audio", 0], fps=25.0)
    run = native.run(graph)
    surplus = round((audio_frames - FRAMES["ltx2"]) / 25 * 48000) - 1440
    assert facts(run, "report")["clips"][0]["sound"]["surplus_samples"] == surplus
    assert f"{abs(surplus)} samples {change}" in run.texts["saved"][0]


def test_audio_of_another_length_fits_no_frame_rate(native):
    graph = decoded("ltx2", FRAMES["ltx2"], audio_frames=57)
    graph["saved"] = saved(["images", 0], 0.0, audio=["audio", 0])
    assert native.run(graph).error == "fps is 0, and 49 frames and 2.25 s of audio fit no usual frame rate; set fps"


def test_odd_sizes_and_uneven_cuts_are_saved_whole(native):
    graph = decoded("ltx2", FRAMES["ltx2"])
    graph["cropped"] = node("ImageCrop", image=["images", 0], width=95, height=63, x=0, y=0)
    graph["saved"] = saved(["cropped", 0], 25.0, audio=["audio", 0])
    graph["report"] = node("DuetSyncReport", images=["cropped", 0], audio=["audio", 0], fps=25.0)
    run = native.run(graph)
    assert (facts(run, "report")["clips"][0]["width"], facts(run, "report")["clips"][0]["height"]) == (95, 63)
    with av.open(run.files[0]) as file:
        assert len(list(file.decode(video=0))) == FRAMES["ltx2"]
