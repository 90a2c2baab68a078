"""Negatives by ComfyUI-KJNodes' LTX2 NAG beside our guider. KJNODES_PATH names a checkout of it, which is not changed."""

import os
from pathlib import Path

import pytest

from duet_av.tests.comfyui.scenes import Scene, check, compare_with_core
from duet_av.tests.comfyui.server import NATIVE_PACK, is_named, named_by_environment

FILE = "nodes/ltxv_nodes.py"
NODES = "from .theirs import LTX2_NAG\n\nNODE_CLASS_MAPPINGS = {'LTX2_NAG': LTX2_NAG}\n"
STRENGTH = {"nag_scale": 11.0, "nag_alpha": 0.25, "nag_tau": 2.5}  # that node's own


@pytest.fixture(scope="module")
def native(tmp_path_factory):
    """A ComfyUI with the small models and that node."""
    path = os.environ.get("KJNODES_PATH")
    if not path or not is_named():
        pytest.skip("KJNODES_PATH or COMFYUI_PATH is not set; give the folders of ComfyUI-KJNodes and ComfyUI")
    pack = tmp_path_factory.mktemp("packs") / "kjnodes"
    pack.mkdir()
    (pack / "theirs.py").symlink_to(Path(path).resolve() / FILE)
    (pack / "__init__.py").write_text(NODES)
    with named_by_environment(tmp_path_factory.mktemp("nag"), packs=[NATIVE_PACK, pack]) as server:
        yield server


def nag(scene: Scene, video: int = 31, audio: int = 32) -> list:
    """The scene's model with negatives, by the seeds of their prompts."""
    unwanted = [scene.add("TinyPrompt", kind=scene.kind, seed=seed, words=6) for seed in (video, audio)]
    return scene.add("LTX2_NAG", model=scene.plain, **STRENGTH, nag_cond_video=unwanted[0], nag_cond_audio=unwanted[1])


def video(scene: Scene, latent: list, index: int) -> list:
    """That of one clip of a batch."""
    streams = scene.add("LTXVSeparateAVLatent", av_latent=latent)
    return scene.add("LatentFromBatch", samples=streams, batch_index=index, length=1)


def test_without_guidance_it_is_as_beside_the_guider_of_comfyui(native):
    scene = Scene("ltx23")
    plain = scene.sampled(scene.ours("none"))
    scene.model = nag(scene)
    mine = scene.sampled(scene.ours("none"))
    scene.compare("none", mine, scene.sampled(scene.add("BasicGuider", model=scene.model, conditioning=scene.yes)))
    scene.compare("unpatched", plain, mine)
    compare_with_core(scene)
    found = scene.run(native)
    changed = found.pop("unpatched")
    assert min(changed.video, changed.audio) > 1e-3
    check(found)


def test_cut_streams_have_negatives_of_their_own(native):
    scene = Scene("ltx23")
    scene.model = nag(scene)
    cut = scene.ours("none", coupling=0.0)
    first = scene.sampled(cut)
    scene.compare("cut, other audio", first, scene.sampled(cut, audio_seed=5))
    scene.compare("cut, other video", first, scene.sampled(cut, video_seed=7))
    scene.model = nag(scene, audio=33)
    scene.compare("negative, other audio", first, scene.sampled(scene.ours("none", coupling=0.0)))
    scene.model = nag(scene, video=33)
    scene.compare("negative, other video", first, scene.sampled(scene.ours("none", coupling=0.0)))
    check(scene.run(native), moves=1e-4)


def test_of_two_rows_it_changes_the_first_alone(native):
    """So it is for one clip without guidance: of a prompt and a negative, the negative is first."""
    scene = Scene("ltx23", batch=2)
    plain = scene.sampled(scene.ours("none"))
    scene.model = nag(scene)
    patched = scene.sampled(scene.ours("none"))
    for clip in (0, 1):
        scene.compare(f"clip {clip}", video(scene, plain, clip), video(scene, patched, clip))
    run = native.run(scene.graph)
    assert run.succeeded, run.error
    first, second = (float(run.texts[f"clip {clip}"][0]) for clip in (0, 1))
    assert first > 1e-3 and second < 1e-5
