"""What is known of ComfyUI's models that can be joined: of small ones of its classes, and which classes are refused."""

import json
import os
import subprocess
from pathlib import Path

import pytest

import duet_av

VIDEO = {  # name, channels, spatial, temporal, fps
    "wan21": ("Wan 2.1 / 2.2", 16, 8, 4, 16), "wan21_i2v": ("Wan 2.1 / 2.2", 16, 8, 4, 16),
    "wan22_5b": ("Wan 2.2 5B", 48, 16, 4, 24), "hunyuan": ("HunyuanVideo", 16, 8, 4, 24),
    "hunyuan15": ("HunyuanVideo 1.5", 32, 16, 4, 24), "ltxv": ("LTX-Video", 128, 32, 8, 25), "cosmos": ("Cosmos", 16, 8, 8, 24),
    "cogvideox": ("CogVideoX", 16, 8, 4, 8), "svd": ("Stable Video Diffusion", 4, 8, 1, 6),
}  # fmt: skip
AUDIO = {  # name, sizes, samples of a latent step, sample rate; as the VAE of each has them
    "stable_audio": ("Stable Audio 1", [64, None], 2048, 44100), "stable_audio_3": ("Stable Audio 3", [256, None], 4096, 44100),
    "ace_step": ("ACE-Step 1", [8, 16, None], 4096, 44100), "ace_step_15": ("ACE-Step 1.5", [64, None], 1920, 48000),
}  # fmt: skip
TAKES_VIDEO = "connect a video model, such as Wan 2.2, HunyuanVideo 1.5 or LTX-Video"
TAKES_AUDIO = "connect an audio model, such as Stable Audio 3 or ACE-Step 1.5"
VIDEO_CLASSES = {
    "CogVideoX": {"CogVideoX_T2V", "CogVideoX_I2V", "CogVideoX_Inpaint"}, "Cosmos": {"CosmosT2V", "CosmosI2V"},
    "Cosmos Predict2": {"CosmosI2VPredict2"}, "HunyuanVideo": {"HunyuanVideo", "HunyuanVideoI2V", "HunyuanVideoSkyreelsI2V"},
    "HunyuanVideo 1.5": {"HunyuanVideo15", "HunyuanVideo15_SR_Distilled"}, "Kandinsky 5": {"Kandinsky5"}, "LTX-Video": {"LTXV"},
    "Mochi": {"GenmoMochi"}, "Stable Video Diffusion": {"SVD_img2vid", "SV3D_u", "SV3D_p"}, "Wan 2.2 5B": {"WAN22_T2V"},
    "Wan VACE": {"WAN21_Vace"}, "Wan HuMo": {"WAN21_HuMo"}, "WanDancer": {"WAN22_WanDancer"},
    "Wan 2.1 / 2.2": {
        "WAN21_T2V", "WAN21_I2V", "WAN21_FunControl2V", "WAN21_Camera", "WAN22_Camera", "WAN22_S2V", "WAN22_Animate",
        "WAN_Animate2", "WAN21_CausalAR_T2V", "WAN21_FlowRVS", "WAN21_SCAIL", "WAN21_SCAIL2",
    },
}  # fmt: skip


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kinds")
    (folder / "duet_av").symlink_to(Path(duet_av.__file__).parent)
    paths = {"PYTHONPATH": f"{folder}{os.pathsep}{os.environ['COMFYUI_PATH']}", "PYTHONDONTWRITEBYTECODE": "1"}
    python, result = os.environ.get("COMFYUI_PYTHON", "python"), folder / "found.json"
    command = [python, "-m", "duet_av.tests.comfyui.run_joined_kinds", str(result)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=os.environ | paths)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(result.read_text(encoding="utf-8"))


@pytest.mark.parametrize("half", VIDEO)
def test_a_video_model_is_known(found, half):
    name, channels, spatial, temporal, fps = VIDEO[half]
    kind = found["small"][half]
    known = {key: kind[key] for key in ("name", "channels", "spatial", "temporal", "fps", "stream", "sizes", "text_widths")}
    assert known == {
        "name": name, "channels": channels, "spatial": spatial, "temporal": temporal, "fps": fps, "stream": "video",
        "sizes": [channels, None, None, None], "text_widths": [24],
    }  # fmt: skip
    assert kind["size"] == [2, channels, 1 + 8 // temporal, 96 // spatial, 160 // spatial]
    assert kind["multiple"] == (16 if half == "cosmos" else spatial)
    assert kind["frames"] == {1: 10, 4: 13, 8: 17}[temporal] and kind["in_batch"] is (half == "svd")


@pytest.mark.parametrize("half", AUDIO)
def test_an_audio_model_is_known(found, half):
    name, sizes, samples, rate = AUDIO[half]
    kind = found["small"][half]
    assert (kind["name"], kind["sizes"], kind["sample_rate"], kind["stream"]) == (name, sizes, rate, "audio")
    assert kind["steps_per_second"] == pytest.approx(rate / samples, rel=1e-12)
    assert kind["text_widths"] == [768 if half.startswith("stable") else 24]
    *others, steps = kind["size"]
    assert others == [2, *sizes[:-1]] and (steps - 1) * samples < 81 / 16 * rate <= steps * samples
    assert kind["seconds"] == pytest.approx(steps * samples / rate)


def test_classes_of_video_are_known_and_refused_for_the_audio(found):
    said = found["said"]
    for name, classes in VIDEO_CLASSES.items():
        for each in classes:
            assert said[each] == [name, f"audio is {name}, a video model; {TAKES_AUDIO}"]
    known = {each for each, (video, _) in said.items() if " is " not in video}
    assert known == set().union(*VIDEO_CLASSES.values())


def test_classes_of_audio_are_known_and_refused_for_the_video(found):
    for each, name in {"ACEStep": "ACE-Step 1", "ACEStep15": "ACE-Step 1.5", "MiniMaxMusic3": "MiniMax Music 3"}.items():
        assert found["said"][each] == [f"video is {name}, an audio model; {TAKES_VIDEO}", name]


def test_other_models_are_refused(found):
    said = found["said"]
    for each, shown in {"SD15": "Stable Diffusion", "SDXL": "SDXL", "Flux": "Flux", "QwenImage": "QwenImage"}.items():
        assert said[each] == [
            f"video is {shown}, an image model; {TAKES_VIDEO}",
            f"audio is {shown}, an image model; {TAKES_AUDIO}",
        ]
    for each in ("Kandinsky5Image", "CosmosT2IPredict2", "HunyuanImage21Refiner"):
        assert "an image model" in said[each][0]
    for each in ("Hunyuan3Dv2", "Trellis2", "SeedVR2"):
        assert f"{each}, which Duet cannot join; connect" in said[each][0]


def test_joint_models_are_refused(found):
    for each, name in {"LTXAV": "LTX-2", "MiniMaxH3": "MiniMax-H3"}.items():
        assert (
            found["said"][each][0]
            == f"video is {name}, which makes video and audio itself; use it as it is, or connect another model"
        )
    assert found["joined"][1] == "audio is a joined model already; connect one of the two that it was made of"
