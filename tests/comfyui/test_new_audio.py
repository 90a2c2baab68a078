"""Audio for the user's own video: its frames are copied, by the template and by the shortest graph."""

from pathlib import Path

import av
import torch

from duet_av.av_models.media import read_video, write_video
from duet_av.tests.comfyui.graphs import node, prompt
from duet_av.tests.conftest import WORKFLOW

SIZE, FPS, FRAMES = (720, 1280), 24, 36


def write(path: Path) -> Path:
    """Writes a video of 1280×720 with audio."""
    ramp = torch.linspace(0, 1, SIZE[1]).expand(*SIZE)
    frames = torch.stack(
        [torch.stack([ramp.roll(20 * i, 1), ramp.flip(1), ramp.new_full(SIZE, i / FRAMES)], -1) for i in range(FRAMES)]
    )
    write_video(frames, path, fps=FPS, audio=torch.zeros(1, 24_000), sample_rate=16_000)
    return path


def packets(path: Path) -> list[bytes]:
    """The encoded frames."""
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(container.streams.video[0]) if packet.size]


def shortest(video: list) -> dict:
    """From a video to a saved new audio in six nodes, with `Load Video` or `Bounce Clip` as the first."""
    return {
        "2": node("DuetLoadJointModel", model="Bounce"),
        "3": node("DuetEncode", model=["2", 0], video=video, fps=16.0, seconds=0.0, keep="the video"),
        "4": node(
            "DuetJointSampler", model=["2", 0], latent=["3", 0], video_seed=1, audio_seed=2, steps=0, shift=0.0,
            batch_branches=True,
        ),
        "5": node("DuetDecode", model=["2", 0], latent=["4", 0]),
        "6": node("DuetReplaceSound", video=video, audio=["5", 0 + 1], filename_prefix="six", audio_kbps=192),
    }  # fmt: skip


def check(run, source: Path) -> None:
    assert run.succeeded, run.messages
    (saved,) = run.files
    assert packets(saved) == packets(source)
    assert read_video(saved).audio.abs().max() > 0.01


def test_load_video_in_place_of_the_clip_keeps_its_packets(comfyui):
    source = write(comfyui.base / "input" / "wide.mp4")
    for name in ("bounce_v2a", "bounce_align_v2a"):
        graph = prompt(WORKFLOW.parent / f"{name}.json")
        (clip,) = [key for key, each in graph.items() if each["class_type"] == "DuetBounceClip"]
        graph[clip] = node("LoadVideo", file="wide.mp4")
        for each in graph.values():
            inputs = each["inputs"]
            inputs |= {key: [clip, 0] if value == [clip, 6] else "a ball" for key, value in inputs.items() if _is_from(clip, value)}
        check(comfyui.run(graph), source)


def test_six_nodes_are_enough(comfyui):
    source = write(comfyui.base / "input" / "six.mp4")
    graph = {"1": node("LoadVideo", file="six.mp4"), **shortest(["1", 0])}
    assert len(graph) == 6
    check(comfyui.run(graph), source)


def _is_from(key: str, value) -> bool:
    return isinstance(value, list) and value[0] == key
