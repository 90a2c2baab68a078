"""Bad input in the real ComfyUI: one line that says what is wrong, in the place where the page shows it."""

import json
import resource
import shutil
from contextlib import contextmanager

import pytest
import torch
from safetensors.torch import save_file

from duet_av.av_models.load_parts import AUDIO_EXPERT
from duet_av.av_models.media import read_metadata, read_video
from duet_av.benchmarks.odd_files import make_odd_file
from duet_av.bounce.shipped import shipped
from duet_av.tests.comfyui.graphs import DECODE, LATENT, MODEL, MUX, SAMPLER, node, sampling, saved, short

MINE = "mine.safetensors"


def encoding(**inputs) -> dict:
    return node("DuetEncode", **{"model": [MODEL, 0], "fps": 16.0, "seconds": 0.5, "keep": "what is connected"} | inputs)


def decoding(latent: list) -> dict:
    return node("DuetDecode", model=[MODEL, 0], latent=latent)


def grey(frames: int = 1, width: int = 64, height: int = 64) -> dict:
    return node("EmptyImage", width=width, height=height, batch_size=frames, color=0x808080)


# Each: nodes put into the shipped graph, and words of what is said.
REFUSED = {
    "a latent that is no pair": (
        {"x": node("EmptyLatentImage", width=64, height=64, batch_size=1), DECODE: decoding(["x", 0])},
        ("latent does not hold both video and audio", "connect"),
    ),
    "a latent of another codec": (
        {
            "x": node("EmptyLTXVLatentVideo", width=64, height=64, length=9, batch_size=1),
            "y": node("LTXVConcatAVLatent", video_latent=["x", 0], audio_latent=["x", 0]),
            DECODE: decoding(["y", 0]),
        },
        ("latent is 1×128×2×2×2 (video)", "make the latent with the same model"),
    ),
    "a mask of another length": (
        {
            "x": grey(frames=3),
            "y": node("ImageToMask", image=["x", 0], channel="red"),
            "z": node("SetLatentNoiseMask", samples=["pair", 0], mask=["y", 0]),
            "pair": node("DuetEmptyLatent", model=[MODEL, 0], seconds=0.5, batch=1, size="as trained"),
            LATENT: node("LatentBatchSeedBehavior", samples=["z", 0], seed_behavior="fixed"),
        },
        ("latent's mask of the video is", "use a mask of the latent's size"),
    ),
    "sound without a sample": (
        {"x": node("EmptyAudio", duration=0.0, sample_rate=16000, channels=1), LATENT: encoding(audio=["x", 0])},
        ("no samples",),
    ),
    "no frames a second": (
        {"x": node("PrimitiveFloat", value=0.0), MUX: saved([DECODE, 0], ["x", 0])},
        ("fps is 0",),
    ),
    "a container that is not offered": (
        {MUX: saved([DECODE, 0]) | {"inputs": saved([DECODE, 0])["inputs"] | {"container": "avi"}}},
        ("container has a value that the node does not offer", "mp4, mkv"),
    ),
    "a guidance of a later version": (
        {"4": node("DuetGuidance", guidance="x", a_to_v=1.0, v_to_a=1.0)},
        ("guidance has", "joint_cfg"),
    ),
    "a size that comes from a node": (
        {
            "x": node("PrimitiveString", value="custom"),
            LATENT: node("DuetEmptyLatent", model=[MODEL, 0], seconds=0.5, batch=1, size=["x", 0]),
        },
        ("size has", "as trained, custom"),
    ),
    "too many steps": (
        {
            "x": node("PrimitiveInt", value=10**12),
            SAMPLER: node(
                "DuetJointSampler", model=[MODEL, 0], latent=[LATENT, 0], video_seed=1, audio_seed=2, steps=["x", 0], shift=0.0,
                batch_branches=True,
            ),
        },
        ("steps is 1000000000000", "at most"),
    ),
    "an expert of the other kind": (
        {
            "x": node("DuetLoadVideoExpert", expert=MINE),
            "y": node("PreviewAny", source=["x", 0]),
        },
        (MINE, "Load Audio Expert"),
    ),
}  # fmt: skip


@pytest.fixture
def mine(comfyui):
    """Where a model file of the user's may be put, beside its codecs; gone with the test."""
    folder = comfyui.base / "models" / "duet"
    folder.mkdir(parents=True, exist_ok=True)
    for part in ("video_codec", "audio_codec"):
        shutil.copy(shipped(part), folder)
    yield folder / MINE
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_node_refuses_is_one_line(comfyui, mine, name):
    shutil.copy(shipped(AUDIO_EXPERT), mine)
    nodes, words = REFUSED[name]
    error = comfyui.run(short(seed=41) | nodes).error
    assert "\n" not in error and all(word in error for word in words), error


BAD_FILES = {
    "empty.mp4": (b"", "it is empty"),
    "text.mp4": (b"no video", "damaged or is not a readable video"),
    "cover.mp3": (None, "is a cover"),
}


@pytest.mark.parametrize("name", BAD_FILES)
@pytest.mark.parametrize("reads", ["DuetEncode", "DuetSyncReport", "DuetReplaceSound"])
def test_a_file_that_is_no_video_is_one_line(comfyui, name, reads):
    content, words = BAD_FILES[name]
    if content is None:
        make_odd_file(name, comfyui.base / "input")
    else:
        (comfyui.base / "input" / name).write_bytes(content)
    video = {"video": ["load", 0]}
    nodes = {
        "DuetEncode": {LATENT: encoding(**video)},
        "DuetSyncReport": {"report": node("DuetSyncReport", fps=16.0, **video)},
        "DuetReplaceSound": {
            "clip": node("DuetBounceClip", seed=1, split="val", balls="1"),
            "save": node("DuetReplaceSound", audio=["clip", 1], filename_prefix="bad/x", audio_kbps=128, **video),
        },
    }[reads]
    error = comfyui.run((short(seed=42) if reads == "DuetEncode" else {}) | {"load": node("LoadVideo", file=name)} | nodes).error
    assert "\n" not in error and name in error and words in error, error


MODEL_CARDS = {"[]": "has a model card that is []", "null": "has a model card that is", "[" * 100_000: "is not valid JSON"}


@pytest.mark.parametrize("card", MODEL_CARDS, ids=["a list", "null", "nested"])
def test_a_strangers_model_card_is_one_line(comfyui, mine, card):
    save_file({"x": torch.zeros(1)}, mine, {"duet": card})
    error = comfyui.run(with_model(MINE, 66)).error
    assert "\n" not in error and MINE in error and MODEL_CARDS[card] in error, error


@pytest.mark.parametrize(("frames", "width", "height"), [(1, 64, 64), (3, 33, 17)])
def test_few_frames_of_odd_sizes_with_alpha_are_saved(comfyui, frames, width, height):
    graph = {
        "1": grey(frames, width, height),
        "2": node("ImageToMask", image=["1", 0], channel="red"),
        "3": node("JoinImageWithAlpha", image=["1", 0], alpha=["2", 0]),
        "4": saved(["3", 0]),
    }
    run = comfyui.run(graph)
    assert run.succeeded, run.messages
    assert read_video(run.files[0]).frames.shape == (frames, height + height % 2, width + width % 2, 3)


def test_prompts_queued_at_once_each_get_their_own_clip(comfyui):
    """The second is the first with another seed, whose clip alone is known beforehand."""
    (alone,) = comfyui.run(short(seed=51)).files
    waiting = [comfyui.submit(short(seed=seed)) for seed in (52, 51)]
    runs = [comfyui.finish(prompt_id) for prompt_id in waiting]
    assert all(run.succeeded for run in runs)
    (first,), (second,) = (run.files for run in runs)
    seeds = [json.loads(read_metadata(file)["prompt"])[SAMPLER]["inputs"]["video_seed"] for file in (first, second)]
    assert seeds == [52, 51]
    expected, other = read_video(alone).frames, read_video(first).frames
    assert (read_video(second).frames == expected).all() and (other != expected).any()


def with_model(name: str, seed: int) -> dict:
    graph = short(seed)
    graph[MODEL]["inputs"]["model"] = name
    return graph


def test_a_model_file_that_is_gone_is_named_before_anything_runs(comfyui, mine):
    shutil.copy(shipped("bounce"), mine)
    assert comfyui.run(with_model(MINE, 61)).succeeded
    mine.unlink()
    status, text = comfyui.post("/prompt", {"prompt": with_model(MINE, 62)})
    (error,) = json.loads(text)["node_errors"][MODEL]["errors"]
    assert status == 400 and f"model file '{MINE}' was not found" in error["details"] and "\n" not in error["details"]


def test_bounce_runs_where_the_users_model_folder_is_gone(comfyui, mine):
    shutil.copy(shipped("bounce"), mine)
    assert comfyui.run(with_model(MINE, 65)).succeeded
    shutil.rmtree(mine.parent)
    assert comfyui.run(short(seed=65)).succeeded


def test_a_model_file_that_goes_while_its_prompt_waits_is_named(comfyui, mine):
    shutil.copy(shipped("bounce"), mine)
    before = comfyui.submit(sampling(63, 20))
    waiting = comfyui.submit(with_model(MINE, 64))
    mine.unlink()
    run = comfyui.finish(waiting)
    assert run.messages["execution_error"]["node_type"] == "DuetLoadJointModel"
    assert f"model file '{MINE}' was not found" in run.error and "\n" not in run.error
    assert comfyui.finish(before).succeeded


@contextmanager
def files_no_larger_than(size: int, pid: int):
    """Lets the process `pid` write no file larger, as if the disk were full. What it has written stays."""
    limits = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, limits)


def test_a_full_disk_is_one_line_and_leaves_nothing(comfyui):
    graph = {
        "1": node("DuetBounceClip", seed=1, split="val", balls="2"),
        "2": node("ImageScale", image=["1", 0], upscale_method="nearest-exact", width=1024, height=1024, crop="disabled"),
        "3": saved(["2", 0], prefix="full/clip", crf=0.0),
    }
    room = (comfyui.base / "comfyui.log").stat().st_size + 100_000  # its log grows too
    with files_no_larger_than(room, comfyui.pid):
        run = comfyui.run(graph)
    assert run.error.startswith("cannot write ") and "free some space" in run.error and "\n" not in run.error
    assert list((comfyui.base / "output" / "full").iterdir()) == []
    assert comfyui.run(graph).succeeded
