"""The templates of joined models: the host takes them, small models make files with them, and previews show both streams."""

from __future__ import annotations

import base64
import io
import json
from fractions import Fraction
from typing import Any

import pytest
import torch
from PIL import Image

from duet_av.av_models.media import read_video
from duet_av.benchmarks.small_models import joined_pair, pe_av
from duet_av.tests.comfyui.server import NATIVE_PACK, named_by_environment
from duet_av.tests.comfyui.test_native_templates import FILES, Small, facts, node, packets, run, shipped, sounds
from duet_av.tests.comfyui.test_preview import sent
from duet_av.tests.page import ALIGNED, JOINED, SMALL_JOINED

OWN_FILES = {"clip_name1", "clip_name2", "binder", "second_binder"}
VIDEO = {"wan2.2": "wan22_5b", "wan2.1": "wan21", "wan_2.1": "wan21", "hunyuan": "hunyuan15"}
AUDIO = {"stable_audio_3": "stable_audio_3", "ace_step_1.5": "ace_step_15"}
FRAMES = 9


class SmallPair(Small):
    """A shipped graph with small models of the same kinds, few steps and a small clip."""

    def _keep(self, key: str, inputs: dict[str, Any]) -> None:
        super()._keep(key, inputs)
        shorter = {"seconds": 0.3, "megapixels": 0.01}
        inputs |= {name: value for name, value in shorter.items() if inputs.get(name)}

    def UNETLoader(self, key: str, inputs: dict[str, Any]) -> None:
        self._put(key, "TinyHalf", kind=named(VIDEO, inputs["unet_name"]), seed=1)

    def CheckpointLoaderSimple(self, key: str, inputs: dict[str, Any]) -> None:
        self.audio = named(AUDIO, inputs["ckpt_name"])
        self._put(key, "TinyHalf", kind=self.audio, seed=2)
        self.graph["audio vae"] = node("TinyAudioVAE", kind=self.audio, seed=3)
        self._move([key, 2], ["audio vae", 0])

    def VAELoader(self, key: str, inputs: dict[str, Any]) -> None:
        self._put(key, "TinyVAE", kind=named(VIDEO, inputs["vae_name"]), seed=4)

    def CLIPLoader(self, key: str, inputs: dict[str, Any]) -> None:
        kinds = {"wan": "wan22_5b", "hunyuan_video_15": "hunyuan15", "stable_audio": "stable_audio_3"}
        for each in self.graph.values():
            if each["inputs"].get("clip") == [key, 0]:
                each["kind"] = kinds[inputs["type"]]
        del self.graph[key]

    DualCLIPLoader = CLIPLoader

    def CLIPTextEncode(self, key: str, inputs: dict[str, Any]) -> None:
        self._put(key, "TinyHalfPrompt", kind=self.graph[key].pop("kind"), seed=int(key), words=6, values=False)

    def TextEncodeAceStepAudio15(self, key: str, inputs: dict[str, Any]) -> None:
        self._put(key, "TinyHalfPrompt", kind=self.audio, seed=int(key), words=6, values=False)


setattr(SmallPair, "TextEncodeAceStepAudio1.5", SmallPair.TextEncodeAceStepAudio15)


def named(kinds: dict[str, str], file: str) -> str:
    return next(kind for start, kind in kinds.items() if file.startswith(start))


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """A ComfyUI that has the files of the small pair."""
    base = tmp_path_factory.mktemp("small")
    joined_pair.build(base / "models")
    pe_av.build(base / "models" / "duet" / "pe-av-small")
    with named_by_environment(base, "--preview-method", "auto", packs=[NATIVE_PACK]) as server:
        yield server


@pytest.mark.parametrize("name", (*JOINED, SMALL_JOINED))
def test_the_host_misses_nothing_but_the_files(native, name):
    status, text = native.post("/prompt", {"prompt": shipped(name)})
    errors = [each for found in json.loads(text)["node_errors"].values() for each in found["errors"]]
    assert status == 400 and errors
    for error in errors:
        kinds = ("value_not_in_list", "custom_validation_failed")
        assert error["type"] in kinds and error["extra_info"]["input_name"] in FILES | OWN_FILES, error


@pytest.mark.parametrize("name", ["wan_stable_audio", "hunyuan_ace_step"])
def test_each_makes_a_file_with_both_streams(native, name):
    (file,) = run(native, SmallPair(name, native.base / "input").graph).files
    assert facts(file) == (FRAMES, Fraction(24), FRAMES)


def test_audio_for_a_video_keeps_its_frames(native):
    small = SmallPair("stable_audio_v2a", native.base / "input")
    (file,) = run(native, small.graph).files
    assert packets(file) == packets(native.base / "input" / "brown.mp4") and facts(file)[2] == facts(file)[0]
    other = SmallPair("stable_audio_v2a", native.base / "input")
    other["Sampler"]["seed"] = 2
    (again,) = run(native, other.graph).files
    assert sounds(again) != sounds(file)


def test_the_small_pair_runs_as_it_is_and_its_seeds_are_apart(small):
    graph = shipped(SMALL_JOINED)
    (file,) = run(small, graph).files
    clip = read_video(file)
    assert clip.frames.shape[:3] == (29, 160, 256) and clip.fps == 24
    assert clip.audio is not None and clip.audio.std() > 0.01
    (noise,) = [each["inputs"] for each in graph.values() if each["class_type"] == "DuetJointNoise"]
    noise["audio_seed"] += 1
    (other,) = run(small, graph).files
    assert packets(other) == packets(file) and sounds(other) != sounds(file)


def test_a_preview_has_the_audio_under_the_picture_and_changes_nothing(small):
    graph = shipped(SMALL_JOINED)
    (key,) = [key for key, each in graph.items() if each["class_type"] == "SamplerCustomAdvanced"]
    (noise,) = [each["inputs"] for each in graph.values() if each["class_type"] == "DuetJointNoise"]
    noise["video_seed"] += 1
    shown = [Image.open(io.BytesIO(base64.b64decode(each))) for each in sent(small, graph, pictures=True)]
    width, height = 256, 160
    assert len(shown) >= 12 and {round(each.width / each.height, 2) for each in shown} == {round(width / (height + width // 4), 2)}
    last = torch.frombuffer(bytearray(shown[-1].convert("RGB").tobytes()), dtype=torch.uint8).view(shown[-1].height, -1, 3).float()
    audio = last[round(last.shape[0] * height / (height + width // 4)) + 4 :]
    assert audio[..., 0].std() > 10 and (audio[..., 0] - audio[..., 2]).mean() > 10  # orange on black
    graph["told"] = node("HowFarApart", a=[key, 0], b=[key, 1])
    video, audio_apart, *_ = (float(each) for each in run(small, graph).texts["told"])
    assert max(video, audio_apart) < 1e-5  # the last clean estimate is what was made


class SmallFiles(Small):
    """A shipped graph with the files of the small pair and of a small binder."""

    def _keep(self, key: str, inputs: dict[str, Any]) -> None:
        super()._keep(key, inputs)
        shorter = {"seconds": 0.3, "megapixels": 0.01, "steps": 4}
        inputs |= {name: value for name, value in shorter.items() if inputs.get(name)}

    def UNETLoader(self, key: str, inputs: dict[str, Any]) -> None:
        inputs["unet_name"] = joined_pair.VIDEO

    def CheckpointLoaderSimple(self, key: str, inputs: dict[str, Any]) -> None:
        inputs["ckpt_name"] = joined_pair.AUDIO

    def VAELoader(self, key: str, inputs: dict[str, Any]) -> None:
        inputs["vae_name"] = joined_pair.VIDEO_VAE

    def CLIPLoader(self, key: str, inputs: dict[str, Any]) -> None:
        inputs |= {"clip_name": joined_pair.TEXT, "type": "stable_audio"}

    CLIPTextEncode = _keep


@pytest.mark.parametrize("name", ALIGNED)
def test_aligned_audio_is_other_audio(small, name):
    graph = SmallFiles(name, small.base / "input")
    (file,) = run(small, graph.graph).files
    other = SmallFiles(name, small.base / "input")
    other["Aligner"].update(video_rate=0.0, audio_rate=0.0)
    (plain,) = run(small, other.graph).files
    assert facts(file) == facts(plain) and sounds(file) != sounds(plain)
    source = small.base / "input" / "brown.mp4"
    assert (packets(file) == packets(plain)) == (name == "stable_audio_v2a_aligned")
    assert name != "stable_audio_v2a_aligned" or packets(file) == packets(source)
