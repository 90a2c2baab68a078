"""Memory in the real ComfyUI: parts of a model are loaded one by one, and a latent is decoded while it is saved."""

import av

from duet_av.benchmarks.memory import resident_mib
from duet_av.tests.comfyui.graphs import DECODE, MUX, short

WARM, RUNS, MOST = 4, 8, 40  # runs until everything is loaded, all runs, MiB that the others may add


def streamed(seed: int) -> dict:
    """The shipped workflow, without its node for decoding."""
    graph = short(seed)
    mux, decode = graph[MUX]["inputs"], graph.pop(DECODE)["inputs"]
    for name in ("images", "audio"):
        del mux[name]
    mux |= {"fps": 0.0, "model": decode["model"], "latent": decode["latent"]}
    return graph


def test_a_latent_is_saved_as_its_decoded_frames_are(comfyui):
    files = []
    for graph in (short(31), streamed(31)):
        run = comfyui.run(graph)
        assert run.succeeded, run.messages
        files += run.files
    frames = []
    for file in files:
        with av.open(str(file)) as container:
            frames.append([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    assert len(frames[0]) == len(frames[1]) > 1
    assert all(abs(one.astype(int) - other).max() <= 3 for one, other in zip(*frames))


def test_parts_are_loaded_one_by_one(comfyui):
    assert comfyui.run(short(32)).succeeded
    loaded = {line.split()[-1] for line in (comfyui.base / "comfyui.log").read_text().splitlines() if "Requested to load" in line}
    assert {"AVFullDiT", "PatchVideoCodec", "SpectrogramCodec", "JointTextConditioner"} <= loaded


def test_later_runs_leave_no_more_behind(comfyui):
    seen = []
    for seed in range(RUNS):
        assert comfyui.run(short(100 + seed)).succeeded
        seen.append(resident_mib(comfyui.pid))
    assert seen[-1] - seen[WARM - 1] < MOST, seen
