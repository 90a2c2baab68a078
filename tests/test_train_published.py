"""Training of JointDiT's joint layers between Stable Video Diffusion and AudioLDM2 on a folder of videos, and loading them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from duet_av.av_models.checkpoint import load_checkpoint, save_checkpoint
from duet_av.av_models.contract import FULL, REMOVED, AVLatent, AVTime, denoise
from duet_av.av_models.guidance import make_guidance
from duet_av.av_models.joining import join_experts
from duet_av.av_models.media import write_video
from duet_av.bounce.training.stages import make_stage, read_config, train_config
from duet_av.commands import main
from duet_av.tests.pipelines import audioldm
from duet_av.tests.published import audioldm2_pipeline, saved, svd_pipeline
from duet_av.tests.sample_with import sample_with
from duet_av.tests.test_training import toml

SHIPPED = Path(__file__).parent.parent / "bounce" / "configs" / "jointdit_avsync15.toml"
SIZE, FRAMES, FPS = 16, 3, 5
CONFIG = {
    "stage": "jointdit", "run": "run", "out": "layers.safetensors", "seed": 3,
    "schedule": {"steps": 3, "lr": 1e-2, "warmup": 1}, "video_expert": "svd", "audio_expert": "audioldm2",
    "data": {"folder": "videos", "cache": "cache"},
    "stage_config": {
        "batch": 4, "condition_dropout": 0.5, "loss": "prediction", "lambda_v": 1.0, "lambda_a": 1.0, "cut_rows": 1,
        "removed_rows": 1, "joint": {"inputs": [1, 1], "joint_blocks": 2, "qk_width": 32, "v_width": 16, "heads": 2},
        "clip": {"frames": FRAMES, "height": SIZE, "width": SIZE, "fps": FPS},
    },
}  # fmt: skip
EXPERTS = "svd", "audioldm2", "none", "none"


def write(folder, **changes):
    path = folder / "train.toml"
    path.write_text("\n".join(f"{name} = {toml(value)}" for name, value in (CONFIG | changes).items()))
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("published")
    saved(svd_pipeline(), root / "svd")
    saved(audioldm2_pipeline(), root / "audioldm2")
    (root / "videos").mkdir()
    torch.manual_seed(0)
    for name in ("one", "two"):
        write_video(torch.rand(8, 20, 24, 3), root / f"videos/{name}.mp4", fps=FPS, audio=torch.rand(1, 25600), sample_rate=16_000)
    train_config(write(root))
    return root


def join(folder, **options):
    return join_experts(*(folder / name for name in EXPERTS), joint_blocks=2, name="Pair", **options)


@pytest.fixture(scope="module")
def model(folder):
    return join(folder, layers=folder / "layers.safetensors")


def denoised(model, cond, kind):
    torch.manual_seed(1)
    noise = AVLatent(torch.randn(1, 4, FRAMES, 8, 8), torch.randn(1, 4, 16, 4))
    return denoise(model.denoiser, noise, AVTime(torch.tensor([0.2]), torch.tensor([500.0])), cond, [kind])


def test_the_checkpoint_holds_the_joint_layers_only(folder):
    tensors, card = load_checkpoint(folder / "layers.safetensors")
    assert {name.split(".")[0] for name in tensors} == {"blocks", "image"}
    assert (card["kind"], card["trained"], card["data"]) == ("joint_layers", True, {"videos": 4})
    assert tensors["image.weight"].any() and tensors["blocks.0.after_attention.0.modulation.1.weight"].any()


def test_joined_with_its_experts_it_is_a_trained_image_to_video_model(model):
    assert model.trained and model.takes_image and model.clip.fps == FPS
    assert [line.split(":")[0] for line in model.ignored_prompts("a ball", "metal")] == ["video_prompt", "audio_prompt"]
    asked, empty = (model.encode("", "", picture, model.shape()) for picture in (torch.rand(20, 24, 3), None))
    assert torch.equal(asked.audio.vector, asked.video.tokens[:, 0]) and asked.audio.vector.any()
    assert not empty.audio.vector.any() and torch.equal(empty.audio.tokens, asked.audio.tokens)
    latent = sample_with(
        model.denoiser, model.latent_shape(model.shape()), asked, empty, make_guidance("joint_cfg"), steps=2
    ).latent
    frames, sound = model.decode(latent, model.shape())
    assert frames.shape == (1, FRAMES, SIZE, SIZE, 3) and sound.shape == (1, 1, 9600) and sound.isfinite().all()


def test_coupling_changes_the_audio_of_a_trained_model_only(folder, model):
    """Joint Blocks keep their feed-forward in removed rows, so only untrained layers give the experts' own output there."""
    picture = torch.rand(20, 24, 3)
    asked, fresh = model.encode("", "", picture, model.shape()), join(folder)
    assert not torch.allclose(denoised(model, asked, FULL).audio, denoised(model, asked, REMOVED).audio, atol=1e-6)
    own = fresh.encode("", "", picture, model.shape())
    assert torch.equal(denoised(fresh, own, FULL).audio, denoised(fresh, own, REMOVED).audio)
    for name in ("video", "audio"):
        trained, published = (getattr(each.denoiser, name).unet.state_dict() for each in (model, fresh))
        assert all(torch.equal(trained[key], published[key]) for key in published)


def test_the_condition_of_a_first_frame_is_cached_with_the_latents(folder, model):
    stage = make_stage(read_config(folder / "train.toml"), folder, 1, folder / "other.safetensors")
    rows, given = torch.tensor([0, 1, 2, 3]), torch.tensor([1.0, 0.0, 1.0, 1.0])
    cond = stage.make_condition(stage.data.video[rows].float(), given, stage.gather_extra(rows))
    assert cond.video.image.shape == (4, 4, 1, 8, 8) and cond.audio.vector.shape == (4, 12)
    assert not cond.video.tokens[1].any() and not cond.video.image[1].any() and not cond.audio.vector[1].any()
    assert cond.video.tokens[0].any() and not torch.equal(cond.video.tokens[0], cond.video.tokens[2])
    assert cond.video.vector.tolist() == [[FPS - 1, 127, pytest.approx(0.02, abs=1e-4)]] * 4
    silent = model.encode("", "", None, model.shape()).audio
    assert torch.equal(cond.audio.tokens[:1], silent.tokens) and torch.equal(cond.audio.second.tokens[3:], silent.second.tokens)


def test_the_shipped_config_trains_with_small_experts(folder, tmp_path):
    """Its paths and sizes are replaced by those of small experts and clips."""
    config = read_config(SHIPPED)
    config |= {"video_expert": str(folder / "svd"), "audio_expert": str(folder / "audioldm2")}
    config["data"] = CONFIG["data"] | {"list": "list.txt"}
    config["stage_config"] |= {"clip": CONFIG["stage_config"]["clip"], "joint": CONFIG["stage_config"]["joint"]}
    (folder / "list.txt").write_text("one.mp4\n")
    stage = make_stage(config, folder, 1, tmp_path / "out.safetensors")
    assert len(stage.data) == 2 and float(stage.loss(0)[0]) > 0


@pytest.mark.parametrize("changes, said", [
    ({"data": {"clips": 8, "size": SIZE, "seed": 3, "cache": "cache"}}, "trained on a folder of videos; add data.folder"),
    ({"audio_expert": "nowhere"}, "nowhere"),
    ({"audio_expert": "svd"}, "svd is of kind video_expert"),
])  # fmt: skip
def test_wrong_experts_or_data_are_refused_in_one_line(folder, capsys, changes, said):
    assert main(["train", str(write(folder, **changes))]) == 2
    line = capsys.readouterr().err
    assert said in line and line.count("\n") == 1
    write(folder)


def test_layers_of_other_experts_or_another_kind_are_refused_in_one_line(folder, tmp_path):
    tensors, card = load_checkpoint(folder / "layers.safetensors")
    save_checkpoint(tmp_path / "other.safetensors", tensors, card | {"kind": "joint"})
    with pytest.raises(ValueError, match="has kind 'joint'; use a file with kind joint_layers"):
        join(folder, layers=tmp_path / "other.safetensors")
    wide = card | {"joint": card["joint"] | {"qk_width": 64}}
    save_checkpoint(tmp_path / "wide.safetensors", tensors, wide)
    with pytest.raises(ValueError, match=re.escape("wide.safetensors: blocks.0.attention")):
        join(folder, layers=tmp_path / "wide.safetensors")
    saved(audioldm(), tmp_path / "audioldm")
    with pytest.raises(ValueError, match="the experts are SVD and AudioLDM; a JointDiT needs Stable Video Diffusion and AudioLDM2"):
        join_experts(folder / "svd", tmp_path / "audioldm", "none", "none", joint_blocks=2, name="Pair",
                     layers=folder / "layers.safetensors")  # fmt: skip
