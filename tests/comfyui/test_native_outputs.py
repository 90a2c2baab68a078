"""Our nodes on what ComfyUI's own nodes make of LTX-2 and MiniMax-H3: small models and VAEs of its classes, with random weights."""

from fractions import Fraction
from pathlib import Path

import av
import pytest

from duet_av.tests.comfyui.graphs import node, saved
from duet_av.tests.comfyui.server import named_by_environment

PACK = Path(__file__).parent / "native_pack"
RATES = {"ltx2": (25, 48000), "h3": (24, 32000)}  # of the video and the audio
KINDS = pytest.mark.parametrize("kind", list(RATES))


@pytest.fixture(scope="module")
def native(tmp_path_factory):
    """A ComfyUI with the small models beside our pack."""
    with named_by_environment(tmp_path_factory.mktemp("native"), packs=[PACK]) as server:
        yield server


def decoded(kind: str, frames: int, batch: int = 1, audio_frames: int | None = None) -> dict:
    """A graph that samples and decodes as the official workflows do. audio_frames: that the audio's latent is made for."""
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


@KINDS
def test_the_report_and_the_file_have_the_streams_as_decoded(native, kind):
    fps, rate = RATES[kind]
    graph = decoded(kind, 22 if kind == "h3" else 25)
    graph["report"] = node("DuetSyncReport", images=["images", 0], audio=["audio", 0], fps=fps)
    graph["saved"] = saved(["images", 0], fps, audio=["audio", 0])
    run = native.run(graph)
    clip = facts(run, "report")["clips"][0]
    assert (clip["fps"], clip["sound"]["sample_rate"], clip["sound"]["channels"]) == (fps, rate, 2)
    assert 0 < abs(clip["sound"]["surplus_ms"]) <= 30
    with av.open(run.files[0]) as file:
        video, audio = file.streams.video[0], file.streams.audio[0]
        assert (video.width, video.height, video.average_rate) == (96, 64, Fraction(fps))
        assert audio.rate in (rate, 48000) and audio.channels == 2
