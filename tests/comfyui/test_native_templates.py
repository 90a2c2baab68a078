"""The templates of LTX-2 and MiniMax-H3: the host takes them as they are, and small models make files with them."""

from __future__ import annotations

import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest
import torch
from PIL import Image, ImageColor

from duet_av.av_models.media import write_video
from duet_av.tests.comfyui.graphs import node
from duet_av.tests.comfyui.server import Run, Server
from duet_av.tests.comfyui.test_new_audio import packets
from duet_av.tests.page import FOLDER, NATIVE

FILES = {  # the widgets of the loaders, which name files that the user downloads or has
    "ckpt_name", "text_encoder", "unet_name", "clip_name", "vae_name", "model_name", "image", "file",
}  # fmt: skip
SMALL = {"width": 96, "height": 64}
FRAMES, STEPS = 9, 2
FOUR = {"none": 1, "cfg": 2, "joint_cfg": 2, "modality_cfg": 4}  # the compared guidances, and the rows of a step
KEPT = 2e-7  # of a stream that a mask keeps: the samplers scale it, and back


def shipped(name: str) -> dict[str, Any]:
    return json.loads((FOLDER / "api" / f"{name}.json").read_text(encoding="utf-8"))


class Small:
    """A shipped graph with small models in place of the published ones, few steps and a small clip.

    folder: where ComfyUI reads the user's files; the image and the video are written there.
    """

    def __init__(self, name: str, folder: Path, hue: str = "brown") -> None:
        self.graph, self.folder, self.hue = shipped(name), folder, hue
        self.kind, self.vae = ("h3", "h3") if "minimax" in name else ("ltx2", "ltx")
        for key, each in list(self.graph.items()):
            getattr(self, each["class_type"], self._keep)(key, each["inputs"])

    def key(self, title: str) -> str:
        (key,) = [key for key, each in self.graph.items() if each.get("_meta", {}).get("title") == title]
        return key

    def __getitem__(self, title: str) -> dict[str, Any]:
        """The inputs of the node with this title."""
        return self.graph[self.key(title)]["inputs"]

    def _put(self, key: str, class_type: str, **inputs: Any) -> None:
        self.graph[key] = node(class_type, **inputs) | {"_meta": self.graph[key].get("_meta", {})}

    def _keep(self, key: str, inputs: dict[str, Any]) -> None:
        sizes = {name: SMALL[name] for name in SMALL if isinstance(inputs.get(name), int)}
        inputs |= sizes | ({"steps": STEPS} if "steps" in inputs else {})

    def _move(self, old: list, new: list) -> None:
        for each in self.graph.values():
            each["inputs"] |= {name: new for name, value in each["inputs"].items() if value == old}

    def CheckpointLoaderSimple(self, key: str, inputs: dict[str, Any]) -> None:
        self._put(key, "TinyModel", kind=self.kind, seed=1)
        self.graph["vae"] = node("TinyVAE", kind=self.vae, seed=1)
        self._move([key, 2], ["vae", 0])

    def UNETLoader(self, key: str, inputs: dict[str, Any]) -> None:
        self._put(key, "TinyModel", kind=self.kind, seed=1)

    def VAELoader(self, key: str, inputs: dict[str, Any]) -> None:
        self._put(key, "TinyAudioVAE" if "audio" in inputs["vae_name"] else "TinyVAE", kind=self.vae, seed=1)

    def LTXVAudioVAELoader(self, key: str, inputs: dict[str, Any]) -> None:
        self._put(key, "TinyAudioVAE", kind=self.vae, seed=1)

    def LTXAVTextEncoderLoader(self, key: str, inputs: dict[str, Any]) -> None:
        del self.graph[key]

    CLIPLoader = LTXAVTextEncoderLoader

    def CLIPTextEncode(self, key: str, inputs: dict[str, Any]) -> None:
        self._put(key, "TinyPrompt", kind=self.kind, seed=int(key), words=6)

    def LatentUpscaleModelLoader(self, key: str, inputs: dict[str, Any]) -> None:
        self._put(key, "TinyUpscaler", seed=1)

    def MiniMaxH3ImageToVideo(self, key: str, inputs: dict[str, Any]) -> None:
        self._put(key, "TinyPrompt", kind=self.kind, seed=int(key), words=6)
        self.graph["latent"] = node("EmptyMiniMaxH3LatentAV", **SMALL, length=22)
        self._move([key, 1], ["latent", 0])

    def DuetGuidance(self, key: str, inputs: dict[str, Any]) -> None:
        if "guidance.skip_block" in inputs:
            inputs["guidance.skip_block"] = 1  # the small models have no block 28

    def ManualSigmas(self, key: str, inputs: dict[str, Any]) -> None:
        first, *_, last = inputs["sigmas"].split(",")
        inputs["sigmas"] = f"{first}, 0.4, {last}"

    def LoadImage(self, key: str, inputs: dict[str, Any]) -> None:
        Image.new("RGB", (SMALL["width"], SMALL["height"]), self.hue).save(self.folder / inputs["image"])

    def LoadVideo(self, key: str, inputs: dict[str, Any]) -> None:
        inputs["file"] = f"{self.hue}.mp4"
        color = torch.tensor(ImageColor.getrgb(self.hue)) / 255
        frames = torch.linspace(0.2, 1, FRAMES + 3)[:, None, None, None] * color.expand(SMALL["height"], SMALL["width"], 3)
        write_video(frames, self.folder / inputs["file"], fps=24, audio=torch.zeros(1, 8000), sample_rate=16_000)

    def PrimitiveInt(self, key: str, inputs: dict[str, Any]) -> None:
        inputs["value"] = FRAMES


def run(server: Server, graph: dict[str, Any]) -> Run:
    made = server.run(graph)
    assert made.succeeded, made.error
    return made


def apart(server: Server, graph: dict[str, Any], a: list, b: list) -> list[float]:
    """How far two latents are apart, stream by stream, and how large those of the first are."""
    keys = {key for key, each in graph.items() if each["class_type"] in ("DuetMux", "DuetReplaceSound")}
    sampled = {key: each for key, each in graph.items() if key not in keys}
    return [float(number) for number in run(server, sampled | {"told": node("HowFarApart", a=a, b=b)}).texts["told"]]


def facts(path: Path) -> tuple[int, Fraction, int]:
    """Frames, frame rate, and the samples of the audio for each frame."""
    with av.open(path) as file:
        video, audio = file.streams.video[0], file.streams.audio[0]
        seconds = float(audio.duration * audio.time_base) if audio.duration else 0
        return sum(1 for _ in file.decode(video)), video.average_rate, round(seconds * video.average_rate)


def sounds(path: Path) -> bytes:
    with av.open(path) as file:
        return b"".join(bytes(packet) for packet in file.demux(file.streams.audio[0]) if packet.size)


def _renamed(inputs: dict[str, Any]) -> dict[str, Any]:
    return {name: [f"other {value[0]}", value[1]] if isinstance(value, list) else value for name, value in inputs.items()}


@pytest.mark.parametrize("name", NATIVE)
def test_the_host_misses_nothing_but_the_files(native, name):
    status, text = native.post("/prompt", {"prompt": shipped(name)})
    errors = [each for found in json.loads(text)["node_errors"].values() for each in found["errors"]]
    assert status == 400 and errors
    for error in errors:
        kinds = ("value_not_in_list", "custom_validation_failed")
        assert error["type"] in kinds and error["extra_info"]["input_name"] in FILES, error


@pytest.mark.parametrize("name", [name for name in NATIVE if name != "ltx23_v2a"])
def test_each_makes_files_with_both_streams(native, name):
    made = run(native, Small(name, native.base / "input").graph)
    frames = 22 if "minimax" in name else FRAMES
    muxes = [each for each in shipped(name).values() if each["class_type"] == "DuetMux"]
    assert [facts(path) for path in made.files] == [(frames, Fraction(24), frames)] * len(muxes) != []


def test_the_image_stays_the_first_frame(native):
    small = Small("ltx23_i2av", native.base / "input")
    given = {"samples": [small.key("First frame"), 0]}
    small.graph |= {
        "made": node("LTXVSeparateAVLatent", av_latent=[small.key("Sampler"), 0]),
        "start": node("LatentCut", samples=["made", 0], dim="t", index=0, amount=1),
        "given": node("LatentCut", **given, dim="t", index=0, amount=1),
        "rest": node("LatentCut", **given, dim="t", index=1, amount=1),
        "of the rest": node("LatentCut", samples=["made", 0], dim="t", index=1, amount=1),
    }
    assert apart(native, small.graph, ["start", 0], ["given", 0])[0] < KEPT
    assert apart(native, small.graph, ["of the rest", 0], ["rest", 0])[0] > 0.1


def test_audio_for_a_video_keeps_the_video(native):
    small = Small("ltx23_v2a", native.base / "input")
    small.graph["made"] = node("LTXVSeparateAVLatent", av_latent=[small.key("Sampler"), 0])
    assert apart(native, small.graph, ["made", 0], [small.key("Video latent"), 0])[0] < KEPT
    (path,) = run(native, small.graph).files
    assert packets(path) == packets(native.base / "input" / "brown.mp4") and facts(path) == (FRAMES + 3, Fraction(24), FRAMES + 3)


def test_audio_for_a_video_is_made_for_it(native):
    small = Small("ltx23_v2a", native.base / "input")
    other = Small("ltx23_v2a", native.base / "input", hue="teal").graph
    mine = small.key("Sampler")
    small.graph |= {f"other {key}": node(each["class_type"], **_renamed(each["inputs"])) for key, each in other.items()}
    video, audio, *_ = apart(native, small.graph, [mine, 0], [f"other {mine}", 0])
    assert min(video, audio) > 1e-3


def test_other_audio_keeps_the_video(native):
    small = Small("ltx23_reroll_audio", native.base / "input")
    first, second = small.key("Sampler"), small.key("Sampler 2")
    video, audio, *_ = apart(native, small.graph, [first, 0], [second, 0])
    assert video < KEPT and audio > 0.1
    one, two = run(native, small.graph).files
    assert packets(one) == packets(two) and sounds(one) != sounds(two)


def test_other_audio_follows_its_seed_alone(native):
    """The audio of the first run leaves no trace in the second."""
    small, key = Small("ltx23_reroll_audio", native.base / "input"), "Noise 2"
    second = [small.key("Sampler 2"), 0]
    small.graph |= {
        "same noise": node("DuetJointNoise", video_seed=77, audio_seed=small[key]["audio_seed"]),
        "again": node("SamplerCustomAdvanced", **small["Sampler 2"] | {"noise": ["same noise", 0]}),
    }
    video, audio, *_ = apart(native, small.graph, second, ["again", 0])
    assert max(video, audio) < KEPT


def test_four_guidances_are_compared_by_the_prompts_and_seeds_of_one_clip(native):
    """Each cell is what ComfyUI's sampler makes of its guider, and each is another clip."""
    small = Small("ltx23_compare", native.base / "input")
    compared = small["Compare"]
    shared = {name: compared[name] for name in ("noise", "sampler", "sigmas")} | {"latent_image": compared["latent"]}
    for cell in range(4):
        theirs = {"images": [f"images{cell}", 0], "audio": [f"audio{cell}", 0]}
        small.graph |= {
            f"latent{cell}": node("SamplerCustomAdvanced", guider=compared[f"guiders.guider{cell}"], **shared),
            f"images{cell}": node("VAEDecode", samples=[f"latent{cell}", 0], vae=compared["vae"]),
            f"audio{cell}": node("VAEDecodeAudio", samples=[f"latent{cell}", 0], vae=compared["audio_vae"]),
            f"same{cell}": node("SameAsCell", comparison=[small.key("Compare"), 0], cell=cell, **theirs),
        }
    made = run(native, small.graph)
    (told,) = made.outputs[small.key("Compare")]["duet"]
    assert [(each["label"], each["branches_per_step"]) for each in told["cells"]] == [*FOUR.items()]
    assert all([float(each) for each in made.texts[f"same{cell}"][:2]] == [0, 0] for cell in range(4))
    apart_from_first = [apart(native, small.graph, ["latent0", 0], [f"latent{cell}", 0]) for cell in (1, 2, 3)]
    assert all(min(video, audio) > 1e-3 for video, audio, *_ in apart_from_first)
