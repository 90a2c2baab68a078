"""The latent of a joined model in ComfyUI: its sizes for each pair, given latents and their masks, and bad input."""

import json

import pytest

from duet_av.tests.comfyui.graphs import node

SIZE = {"width": 128, "height": 64, "seconds": 5.0, "fps": 0.0, "batch_size": 1, "keep": "nothing"}
PAIRS = {  # the sizes of both streams, frames and frame rate of a clip of 5 s
    ("wan21", "stable_audio_3"): ([1, 16, 21, 8, 16], [1, 256, 55], 81, 16),
    ("wan22_5b", "stable_audio"): ([1, 48, 31, 4, 8], [1, 64, 109], 121, 24),
    ("hunyuan15", "ace_step_15"): ([1, 32, 31, 4, 8], [1, 64, 127], 121, 24),
    ("ltxv", "ace_step_15"): ([1, 128, 17, 2, 4], [1, 64, 129], 129, 25),
    ("cosmos", "stable_audio_3"): ([1, 16, 16, 8, 16], [1, 256, 55], 121, 24),
    ("svd", "ace_step"): ([1, 4, 30, 8, 16], [1, 8, 16, 54], 30, 6),
}
WAN = ("wan21", "stable_audio_3")
FILM = {"sizes": "[1, 16, 3, 4, 6]", "mask": "[1, 1, 3, 1, 1]", "value": 0.5}  # 9 frames: 0.5625 s, 7 latent steps of audio
SOUND = {"sizes": "[1, 256, 7]", "mask": "[1, 1, 7]", "value": 0.25}


def made(pair=WAN, video=None, audio=None, **size) -> dict:
    """A graph that makes a latent for a pair. video, audio: the latents that are given."""
    graph = {half: node("TinyHalf", kind=half, seed=1) for half in pair}
    graph["joined"] = node("DuetJoinModels", video=[pair[0], 0], audio=[pair[1], 0])
    given = {"video_latent": video, "audio_latent": audio}
    graph |= {name: node("MaskedLatent", **{"dim": 2} | values) for name, values in given.items() if values}
    links = {name: [name, 0] for name, values in given.items() if values}
    graph["made"] = node("DuetEmptyJointLatent", model=["joined", 0], **SIZE | size, **links)
    graph["told"] = node("TellClip", latent=["made", 0], frames=["made", 1], seconds=["made", 2], fps=["made", 3])
    return graph


def told(server, *args, **kwargs) -> dict:
    run = server.run(made(*args, **kwargs))
    assert run.succeeded, run.error
    return json.loads(run.texts["told"][0]) | {"report": run.texts["made"]}


@pytest.mark.parametrize("pair", PAIRS, ids="+".join)
def test_video_and_audio_are_equally_long(native, pair):
    video, audio, frames, fps = PAIRS[pair]
    found = told(native, pair)
    assert found["sizes"] == [video, audio] and found["masks"] == []
    assert (found["frames"], found["fps"]) == (frames, fps) and found["seconds"] == pytest.approx(frames / fps)


def test_the_report_says_what_the_clip_will_be(native):
    found = told(native, ("ltxv", "ace_step_15"), width=144, height=80)
    assert found["report"] == [
        "129 frames of 128×64 at 25 fps, 5.16 s", "129 latent steps of audio, 5.16 s",
        "144×80 is cut, because LTX-Video makes multiples of 32",
    ]  # fmt: skip


def test_size_rate_and_batch_are_those_that_are_set(native):
    found = told(native, seconds=1.0, fps=30.0, batch_size=3)
    assert found["sizes"] == [[3, 16, 9, 8, 16], [3, 256, 12]] and (found["frames"], found["fps"]) == (33, 30)


@pytest.mark.parametrize("seconds", [0.0, 0.5])
def test_a_given_video_is_used_with_its_mask_for_every_clip(native, seconds):
    found = told(native, video=FILM, seconds=seconds, batch_size=2)
    assert found["sizes"] == [[2, 16, 3, 4, 6], [2, 256, 7]] and found["means"] == [0.5, 0]
    assert found["mask_sizes"] == [[2, 1, 3, 4, 6], [2, 1, 7]] and found["masks"] == pytest.approx([2 / 3, 1])
    assert found["frames"] == 9 and found["seconds"] == 0.5625


def test_a_given_audio_decides_the_length(native):
    found = told(native, audio=SOUND, seconds=0.0)  # 0.650 s are 10 frames
    assert found["sizes"] == [[1, 16, 3, 8, 16], [1, 256, 7]] and found["means"] == [0, 0.25]
    assert found["masks"] == pytest.approx([1, 6 / 7]) and found["frames"] == 9


@pytest.mark.parametrize("keep", ["video", "audio"])
def test_what_is_kept_has_mask_0(native, keep):
    found = told(native, video=FILM, audio=SOUND, seconds=0.0, keep=keep)
    assert found["means"] == [0.5, 0.25]
    assert found["masks"] == pytest.approx([0, 6 / 7] if keep == "video" else [2 / 3, 0])


def test_frames_in_the_batch_become_a_clip(native):
    film = {"sizes": "[5, 4, 4, 6]", "mask": "[5, 1, 4, 6]", "value": 0.5, "dim": 0}
    found = told(native, ("svd", "stable_audio_3"), video=film, seconds=0.0)
    assert found["sizes"] == [[1, 4, 5, 4, 6], [1, 256, 9]] and found["frames"] == 5
    assert found["mask_sizes"][0] == [1, 1, 5, 4, 6] and found["masks"] == pytest.approx([0.8, 1])


def sampled(latent: list, graph: dict) -> dict:
    """Adds a sampler and the nodes that separate what it makes from `latent`, a link."""
    graph |= {name: node("TinyHalfPrompt", kind="wan21", seed=seed) for seed, name in enumerate(("yes", "no"))}
    graph |= {f"{name} audio": node("TinyHalfPrompt", kind=WAN[1], seed=seed) for seed, name in enumerate(("yes", "no"))}
    for name in ("yes", "no"):
        graph[f"{name} both"] = node("DuetJoinConditioning", model=["joined", 0], video=[name, 0], audio=[f"{name} audio", 0])
    settings = {"seed": 3, "steps": 2, "cfg": 3.0, "sampler_name": "euler", "scheduler": "simple", "denoise": 1.0}
    graph["sampled"] = node(
        "KSampler", model=["joined", 0], positive=["yes both", 0], negative=["no both", 0], latent_image=latent, **settings
    )
    return graph | {"apart": node("LTXVSeparateAVLatent", av_latent=["sampled", 0])}


def test_what_is_kept_comes_back_from_the_sampler(native):
    graph = sampled(["made", 0], made(video=FILM, audio=SOUND, seconds=0.0, keep="audio"))
    graph["video"] = node("HowFarApart", a=["apart", 0], b=["video_latent", 0])
    graph["audio"] = node("HowFarApart", a=["apart", 1], b=["audio_latent", 0])
    run = native.run(graph)
    assert run.succeeded, run.error
    assert float(run.texts["audio"][0]) < 1e-6 and float(run.texts["video"][0]) > 0.1


def test_a_drawn_mask_and_another_audio_can_be_set(native):
    """By core's nodes: a mask of the video before, and an audio that keeps its first step after."""
    graph = made(video=FILM, audio=SOUND, seconds=0.0)
    graph["drawn"] = node("SolidMask", value=0.0, width=48, height=32)
    graph["masked"] = node("SetLatentNoiseMask", samples=["video_latent", 0], mask=["drawn", 0])
    graph["made"]["inputs"]["video_latent"] = ["masked", 0]
    graph["other"] = node("MaskedLatent", **SOUND | {"value": 0.75, "dim": 2})
    graph["joint"] = node("LTXVConcatAVLatent", video_latent=["made", 0], audio_latent=["other", 0])
    graph["told"]["inputs"]["latent"] = ["joint", 0]
    graph = sampled(["joint", 0], graph)
    graph["video"] = node("HowFarApart", a=["apart", 0], b=["video_latent", 0])
    graph["audio"] = node("HowFarApart", a=["apart", 1], b=["other", 0])
    run = native.run(graph)
    assert run.succeeded, run.error
    found = json.loads(run.texts["told"][0])
    assert found["means"] == [0.5, 0.75] and found["masks"] == pytest.approx([0, 6 / 7])
    assert float(run.texts["video"][0]) < 1e-6 and float(run.texts["audio"][0]) > 0.1


def test_it_is_decoded_to_the_frames_that_it_says(native):
    graph = made(("ltxv", "ace_step_15"), seconds=1.0)
    graph["vae"] = node("TinyVAE", kind="ltx", seed=1)
    graph["images"] = node("VAEDecode", samples=["made", 0], vae=["vae", 0])
    graph["size"] = node("GetImageSize", image=["images", 0])
    graph |= {name: node("PreviewAny", source=["size", place]) for place, name in enumerate(("width", "height", "count"))}
    graph["frames"] = node("PreviewAny", source=["made", 1])
    run = native.run(graph)
    assert run.succeeded, run.error
    assert [run.texts[name] for name in ("width", "height", "count", "frames")] == [["128"], ["64"], ["25"], ["25"]]


BAD = {
    "no length": (
        {"seconds": 0.0}, "seconds is 0 and no latent is connected; set seconds, or connect video_latent or audio_latent",
    ),
    "another length": (
        {"video": FILM, "seconds": 5.0}, "video_latent lasts 0.5625 s at 16 fps, and seconds is 5; set seconds to 0",
    ),
    "audio too long": (
        {"audio": SOUND | {"sizes": "[1, 256, 60]"}, "seconds": 2.0},
        "audio_latent lasts 5.573 s and the video 2.062 s; give both the same length",
    ),
    "audio too short": (
        {"audio": SOUND | {"sizes": "[1, 256, 1]"}, "seconds": 0.0, "fps": 8.0},
        "audio_latent lasts 0.0929 s, less than one frame; use a longer one",
    ),
    "wrong channels": (
        {"video": FILM | {"sizes": "[1, 48, 3, 4, 6]"}, "seconds": 0.0},
        "video_latent is 48×3×4×6, and Wan 2.1 / 2.2 needs 16×any×any×any; make the latent for this model",
    ),
    "an image": (
        {"video": FILM | {"sizes": "[3, 16, 4, 6]", "mask": "[1, 1, 4, 6]"}, "seconds": 0.0},
        "video_latent is 16×4×6, and Wan 2.1 / 2.2 needs 16×any×any×any; make the latent for this model",
    ),
    "wrong audio": (
        {"audio": SOUND | {"sizes": "[1, 64, 7]"}},
        "audio_latent is 64×7, and Stable Audio 3 needs 256×any; make the latent for this model",
    ),
    "drawn mask": (
        {"audio": SOUND | {"mask": "[1, 1, 8, 8]"}, "seconds": 0.0},
        "the mask of audio_latent is drawn on a picture, and Stable Audio 3 makes audio; use a mask of the latent's size",
    ),
    "nothing to keep": ({"keep": "video"}, "keep is video and video_latent is not connected; connect it, or set keep to nothing"),
    "no audio to keep": (
        {"keep": "audio", "video": FILM, "seconds": 0.0},
        "keep is audio and audio_latent is not connected; connect it, or set keep to nothing",
    ),
    "too small": ({"pair": ("ltxv", "ace_step_15"), "width": 16}, "width is 16; LTX-Video makes at least 32 pixels"),
    "batches": (
        {"video": FILM | {"sizes": "[2, 16, 3, 4, 6]"}, "seconds": 0.0, "batch_size": 3},
        "the numbers of clips disagree (batch_size: 3, video_latent: 2); use the same, or 1",
    ),
    "clips of SVD": (
        {"pair": ("svd", "ace_step"), "batch_size": 2},
        "the latent would have 2 clips, and Stable Video Diffusion makes one at a time; set batch_size to 1",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_line(native, case):
    changes, line = BAD[case]
    run = native.run(made(**changes))
    assert not run.succeeded and run.error == line


def test_both_streams_at_once_are_refused(native):
    graph = made()
    graph["again"] = node("DuetEmptyJointLatent", model=["joined", 0], **SIZE, audio_latent=["made", 0])
    graph["told"] = node("TellClip", latent=["again", 0], frames=["again", 1], seconds=["again", 2], fps=["again", 3])
    run = native.run(graph)
    assert run.error == "audio_latent holds video and audio; connect one of them, from Separate AV Latent"


def test_a_model_alone_is_refused(native):
    graph = made()
    graph["made"]["inputs"]["model"] = ["wan21", 0]
    run = native.run(graph)
    assert run.error == "model is a WAN21, which is not a joined model; connect Join Models"
