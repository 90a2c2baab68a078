"""VideoHelperSuite's nodes take what ours make, and ours what they load. VHS_PATH names a checkout of it."""

import os
from pathlib import Path

import pytest

from duet_av.av_models.media import read_video
from duet_av.tests.comfyui.graphs import DECODE, LATENT, MODEL, node, short
from duet_av.tests.comfyui.server import is_named, named_by_environment

FRAMES, RATE = 10, 16000


@pytest.fixture(scope="module")
def both(tmp_path_factory):
    """A ComfyUI with both packs."""
    path = os.environ.get("VHS_PATH")
    if not path or not is_named():
        pytest.skip("VHS_PATH or COMFYUI_PATH is not set; give the folders of VideoHelperSuite and ComfyUI")
    with named_by_environment(tmp_path_factory.mktemp("helper_suite"), packs=[Path(path)]) as server:
        yield server


@pytest.fixture(scope="module")
def combined(both) -> tuple[Path, Path]:
    """A clip that its Video Combine wrote, and the same as we did."""
    graph = short(seed=31, seconds=0.65)
    graph["combined"] = node(
        "VHS_VideoCombine", images=[DECODE, 0], audio=[DECODE, 1], frame_rate=[DECODE, 2], loop_count=0,
        filename_prefix="combined", format="video/h264-mp4", pingpong=False, save_output=True, pix_fmt="yuv420p", crf=19,
        save_metadata=True, trim_to_audio=False,
    )  # fmt: skip
    run = both.run(graph)
    assert run.succeeded, run.messages
    (file,) = (both.base / "output").glob("combined*-audio.mp4")
    return file, run.files[0]


def test_its_video_combine_takes_what_is_decoded(combined):
    clip, ours = (read_video(file) for file in combined)
    assert len(clip.frames) == FRAMES and float(clip.fps) == 16 and clip.sample_rate == RATE
    assert abs(clip.audio.shape[1] - FRAMES * RATE // 16) <= 1024  # its sound ends at a whole block of the codec
    assert (clip.frames.float() - ours.frames.float()).abs().mean() < 5  # of 255: compressed as each does it


def test_what_its_video_loader_gives_is_encoded_and_measured(both, combined):
    loaded = node("VHS_LoadVideoPath", video=str(combined[0]), force_rate=0, custom_width=0, custom_height=0, frame_load_cap=0,
                  skip_first_frames=0, select_every_nth=1)  # fmt: skip
    graph = short(seed=32) | {"loaded": loaded, "info": node("VHS_VideoInfoLoaded", video_info=["loaded", 3])}
    graph[LATENT] = node("DuetEncode", model=[MODEL, 0], images=["loaded", 0], audio=["loaded", 2], fps=["info", 0],
                         seconds=1.0, **{"keep": "a beginning", "keep.until": 0.25})  # fmt: skip
    graph["report"] = node("DuetSyncReport", images=["loaded", 0], audio=["loaded", 2], fps=["info", 0])
    run = both.run(graph)
    assert run.succeeded, run.messages
    assert len(read_video(run.files[0]).frames) == 16 and run.texts["report"]
