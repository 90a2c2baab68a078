"""Every sampler of ComfyUI with our guidance on its own joint models: as with its guider, and isolated where a stream is cut."""

import json
from typing import Any

import pytest

from duet_av.tests.comfyui.scenes import Scene, check
from duet_av.tests.comfyui.test_native import KINDS

WHOLE = {"dpm_adaptive"}  # chooses its steps by the error of both streams together
STEPS = 3


def samplers(server) -> list[str]:
    _, settings = json.loads(server.get("/object_info/KSamplerSelect"))["KSamplerSelect"]["input"]["required"]["sampler_name"]
    return settings["options"]


def sampled_by(scene: Scene, name: str, guider: list, **changes: Any) -> list:
    own = 1 - 1e-6 * ("uni_pc" in name)  # UniPC changes the last of the steps that it is given, for others too
    sigmas = scene.add("BasicScheduler", model=scene.plain, scheduler="simple", steps=STEPS, denoise=own)
    return scene.sampled(guider, sampler=scene.add("KSamplerSelect", sampler_name=name), sigmas=sigmas, **changes)


@pytest.mark.long
@KINDS
def test_every_sampler(native, kind):
    scene, names = Scene(kind, steps=STEPS), samplers(native)
    assert len(names) > 40
    ours, theirs = scene.ours("cfg"), scene.add("CFGGuider", model=scene.model, **scene.prompts, cfg=3.0)
    joint = scene.ours("joint_cfg")
    alone = scene.naive(joint)
    video, audio = (scene.ours("joint_cfg", **{f"{stream}_scale": 0.0}) for stream in ("video", "audio"))
    one_seed = {"noise": scene.add("RandomNoise", noise_seed=1)}  # samplers then draw as with core's guiders
    for name in names:
        scene.compare(name, sampled_by(scene, name, ours, **one_seed), sampled_by(scene, name, theirs, **one_seed))
        if "cfg_pp" not in name:  # those go by the negative
            scene.compare(f"naive {name}", *(sampled_by(scene, name, each, **one_seed) for each in (joint, alone)))
        if "cfg_pp" not in name and name not in WHOLE:
            first, other = sampled_by(scene, name, video), sampled_by(scene, name, video, audio_seed=5)
            scene.compare(f"{name}, other audio", first, other)
            first, other = sampled_by(scene, name, audio), sampled_by(scene, name, audio, video_seed=7)
            scene.compare(f"{name}, other video", first, other)
    check(scene.run(native))
