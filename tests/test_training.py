import csv
import os
import re
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers.models.downsampling import Downsample2D
from torch.nn import functional as F
from torch.optim import _muon
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

from duet_av.av_models.binders.base import cosine_distance, require_modalities
from duet_av.av_models.checkpoint import load_checkpoint, read_card, save_checkpoint, sub_tensors
from duet_av.av_models.contract import CouplingKind
from duet_av.av_models.experts.flux import FluxExpert
from duet_av.av_models.guidance import make_guidance
from duet_av.av_models.joint.avfulldit import added_cross_attention
from duet_av.av_models.load_parts import load_codec, load_expert
from duet_av.av_models.media import write_video
from duet_av.av_models.parameterization import convert, to_x0
from duet_av.av_models.schedule import SamplingSchedule
from duet_av.av_models.training import config as training_config
from duet_av.av_models.training import random_masks as given
from duet_av.av_models.training.batched_muon import BatchedMuon, orthogonalize
from duet_av.av_models.training.bf16 import muon_in_float32
from duet_av.av_models.training.captured_step import CapturedStep
from duet_av.av_models.training.coupled_rows import coupled_rows, null_rows
from duet_av.av_models.training.curves import compare_curves, plot_curve, read_curve
from duet_av.av_models.training.loop import CURVE, STATE, Intervals, Schedule, precision
from duet_av.av_models.training.plain_attention import attend, plain_attention
from duet_av.bounce.binder import load_bounce_bind
from duet_av.bounce.measure.generate import Prompt, generate
from duet_av.bounce.shipped import load_joint_model
from duet_av.bounce.studies import jointdit_study
from duet_av.bounce.training import stages as training
from duet_av.bounce.training.binder_stage import contrastive_loss
from duet_av.bounce.training.feature_alignment import PathAlignment, path_targets, strike_targets
from duet_av.bounce.training.robust_binder_stage import splice_sounds
from duet_av.bounce.training.stages import train_config
from duet_av.bounce.world.world import SECONDS, simulate
from duet_av.commands import main
from duet_av.tests import small

STEPS, SIZE = 6, 32
DEAF = {"lambda_a": 0.0, "cut_rows": 0, "removed_rows": 6, "given_rows": 0}  # the T2V-only counterpart
DATA = {"cache": "cache", "clips": 8, "size": SIZE, "seed": 3}
VIDEO_CODEC, AUDIO_CODEC = "models/video_codec.safetensors", "models/audio_codec.safetensors"
EXPERT = {"batch": 2, "text_dropout": 0.5, "time": {"loc": 0.0, "scale": 1.0}, "text": {"length": 20, "width": small.TEXT}}
VIDEO_STAGE = {"size": SIZE, "crop": 16, "batch": 3, "whole": 0.5, "clips_per_pool": 4, "steps_per_pool": 100}
VIDEO_NETWORK = {"channels": small.VIDEO_CHANNELS, "fine": 8, "middle": 8, "coarse": 16}

CONFIGS = {
    "video_codec": {"out": VIDEO_CODEC, "stage_config": VIDEO_STAGE | {"model": VIDEO_NETWORK}},
    "video_decoder": {
        "stage": "video_codec", "out": "models/decoder.safetensors",
        "stage_config": VIDEO_STAGE | {"decoder_of": "video_codec.safetensors"},
    },
    "audio_codec": {
        "out": AUDIO_CODEC,
        "stage_config": {
            "batch": 2, "clips_per_pool": 4, "steps_per_pool": 100,
            "model": {"latent_channels": small.AUDIO_CHANNELS, "width": 16},
        },
    },
    "video_expert": {
        "out": "models/video_expert.safetensors", "data": DATA | {"video_codec": VIDEO_CODEC},
        "stage_config": EXPERT | {"model": small.video_config()},
    },
    "audio_expert": {
        "out": "models/audio_expert.safetensors", "data": DATA | {"audio_codec": AUDIO_CODEC},
        "stage_config": EXPERT | {"neutral": 0.5, "rope_scale": small.ROPE_SCALE, "model": small.audio_config()},
    },
    "joint": {
        "out": "models/joint.safetensors", "data": DATA | {"video_codec": VIDEO_CODEC, "audio_codec": AUDIO_CODEC},
        "video_expert": "models/video_expert.safetensors", "audio_expert": "models/audio_expert.safetensors",
        "stage_config": {
            "batch": 6, "joint_blocks": 2, "text_dropout": 0.1, "lambda_a": 1.0, "cut_rows": 2, "removed_rows": 2,
            "given_rows": 1,
            "time": {"loc": 0.0, "scale": 1.0},
            "codecs": {"video": "video_codec.safetensors", "audio": "audio_codec.safetensors"},
            "sample_rate": 16_000,
            "clip": {"frames": 8, "height": SIZE, "width": SIZE, "fps": 16},
        },
    },
    "svd_expert": {
        "out": "models/svd_expert.safetensors", "data": DATA | {"video_codec": VIDEO_CODEC},
        "stage_config": {
            "batch": 2, "condition_dropout": 0.5, "fps": 16, "motion_bucket": 127, "edm": {"mean": 1.0, "std": 1.5},
            "model": small.svd_config(),
        },
    },
    "audioldm2_expert": {
        "out": "models/audioldm2_expert.safetensors", "data": DATA | {"audio_codec": AUDIO_CODEC},
        "stage_config": {
            "batch": 2, "condition_dropout": 0.5, "prediction": "v", "text": {"length": 20, "width": small.TEXT},
            "model": small.audioldm2_config(),
        },
    },
    "jointdit": {
        "out": "models/jointdit.safetensors", "data": DATA | {"video_codec": VIDEO_CODEC, "audio_codec": AUDIO_CODEC},
        "video_expert": "models/svd_expert.safetensors", "audio_expert": "models/audioldm2_expert.safetensors",
        "stage_config": {
            "batch": 6, "condition_dropout": 0.1, "loss": "prediction", "lambda_v": 1.0, "lambda_a": 1.0, "cut_rows": 2,
            "removed_rows": 2,
            "joint": {"inputs": [1, 1], "joint_blocks": 2, "audio_rate": 0.125, "qk_width": 32, "v_width": 16, "heads": 2},
            "codecs": {"video": "video_codec.safetensors", "audio": "audio_codec.safetensors"},
            "sample_rate": 16_000,
            "clip": {"frames": 8, "height": SIZE, "width": SIZE, "fps": 16},
        },
    },
    "binder": {
        "out": "models/bind.safetensors",
        "stage_config": {
            "batch": 4, "size": SIZE, "picture_noise": 0.1, "sound_noise": 0.01, "clips_per_pool": 8, "steps_per_pool": 100,
            "model": {"width": 32, "out": 8},
        },
    },
    "robust_binder": {
        "out": "models/robust.safetensors", "start": "models/bind.safetensors",
        "audio_codec": AUDIO_CODEC, "audio_expert": "models/audio_expert.safetensors",
        "stage_config": {
            "batch": 4, "size": SIZE, "picture_noise": 0.1, "sound_noise": 0.01, "clips_per_pool": 8, "steps_per_pool": 100,
            "model": {"width": 32, "out": 8}, "estimates": 0.8, "attack": {"moves": 2, "far": 0.6},
        },
    },
    "binder_in_time": {
        "out": "models/times.safetensors", "audio_codec": AUDIO_CODEC, "audio_expert": "models/audio_expert.safetensors",
        "stage_config": {
            "batch": 4, "size": SIZE, "picture_noise": 0.1, "sound_noise": 0.01, "clips_per_pool": 8, "steps_per_pool": 100,
            "model": {"width": 32, "out": 8}, "estimates": 0.6, "attack": {"moves": 1, "far": 0.6}, "window": 24, "shifts": 2,
        },
    },
}  # fmt: skip


class Killed(Exception):
    pass


def write(folder: Path, name: str, **changes) -> Path:
    schedule = {"steps": STEPS, "lr": 1e-3, "warmup": 2}
    config = {"stage": name, "run": f"runs/{name}", "seed": 1, "schedule": schedule} | CONFIGS.get(name, {}) | changes
    path = folder / f"{name}.toml"
    path.write_text("\n".join(f"{key} = {toml(value)}" for key, value in config.items() if value is not None))
    return path


def toml(value) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {toml(each)}" for key, each in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    return f'"{value}"' if isinstance(value, str) else str(value).lower()


@pytest.fixture(scope="module", autouse=True)
def eager():
    """The loop logs every second step and saves after each."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(training_config, "train", partial(training_config.train, intervals=Intervals(2, -1)))
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """All stages trained, in the order of their dependencies."""
    folder = tmp_path_factory.mktemp("bounce")
    for name in CONFIGS:
        train_config(write(folder, name))
    return folder


def state(folder: Path) -> dict[str, torch.Tensor]:
    return load_checkpoint(folder / STATE)[0]


def same(one: dict, other: dict) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[key]) for key, value in one.items())


def until(step: int):
    def on_step(done: int, *_) -> None:
        if done == step:
            raise Killed

    return on_step


def test_every_row_has_a_known_and_an_unknown_part():
    known = given.draw_known_masks(np.random.default_rng(0), 500, frames=9, steps=64)
    video, audio = known.video[:, 0, :, 0, 0], known.audio[:, 0]
    every = torch.cat([video, audio], 1)
    assert every.any(1).all() and not every.all(1).any()
    assert (video.all(1) & ~audio.any(1)).any() and (audio.all(1) & ~video.any(1)).any()
    first_frame = (video.sum(1) == 1) & video[:, 0] & ~audio.any(1)
    assert first_frame.any()


def test_known_parts_have_no_weight_in_the_loss():
    known = torch.tensor([[True, False, False], [True, True, True]])[:, None, :, None, None]
    error = torch.zeros(2, 4, 3, 2, 2)
    error[:, :, 0], error[0, :, 1] = 100.0, 2.0
    assert given.mean_unknown_error(error, known).tolist() == [1.0, 0.0]


@pytest.mark.parametrize("name", CONFIGS)
def test_the_curve_has_a_row_per_interval_and_finite_losses(folder, name):
    with (folder / "runs" / name / CURVE).open() as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["2", "4", "6"]
    assert all(0 < float(row["loss"]) < 100 for row in rows)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_killed_run_resumes_to_the_same_bits(folder, tmp_path, name):
    path, run, out = folder / f"{name}.toml", tmp_path / "run", folder / "models" / f"{name}_again.safetensors"
    with pytest.raises(Killed):
        train_config(path, folder=run, out=out, on_step=until(4))
    assert read_card(run / STATE)["step"] == 3 and not out.exists()
    train_config(path, folder=run, out=out, resume=True)
    assert same(state(run), state(folder / "runs" / name))
    assert same(load_checkpoint(out)[0], load_checkpoint(folder / CONFIGS[name]["out"])[0])
    assert without_seconds(run / CURVE) == without_seconds(folder / "runs" / name / CURVE)


def without_seconds(curve: Path) -> list[bytes]:
    """The bytes of a curve without its column of seconds."""
    rows = [row.split(b",") for row in curve.read_bytes().splitlines(keepends=True)]
    return [b",".join(row[:1] + row[2:]) for row in rows]


@pytest.fixture
def halted(folder, tmp_path):
    """A run of the audio codec that stopped after three of six steps, and a function that resumes it."""
    run = tmp_path / "run"
    train_config(folder / "audio_codec.toml", folder=run, out=tmp_path / "m", steps=3)
    return run, lambda: train_config(folder / "audio_codec.toml", folder=run, out=tmp_path / "m", resume=True)


@pytest.mark.parametrize("content, reason", [
    (b"", "is empty"),
    (b"a,b\n1,2\n", "is not the loss curve of a run"), (b"\x89PNG\r\n\x1a\n\x00", "is not the loss curve of a run"),
    (b"step,seconds,loss\nx,y,z\n4,5,6\n", "has rows that are not of a loss curve"), (None, "has rows up to step 0, but"),
    (b"step,seconds,loss\n", "has rows up to step 0, but the saved state needs them up to step 2"),
    (b"step,seconds,loss\n3,0,0\n", "has rows up to step 3, but the saved state needs them up to step 2"),
    (b"step,seconds,loss\n2,0,1", "has rows up to step 0, but the saved state needs them up to step 2"),
])  # fmt: skip
def test_a_curve_of_another_run_is_named(halted, content, reason):
    run, resume = halted
    curve = run / CURVE
    curve.unlink() if content is None else curve.write_bytes(content)
    with pytest.raises(ValueError) as error:
        resume()
    message = str(error.value)
    assert message.startswith(f"{curve} {reason}") and message.endswith("or start a new run without --resume")
    assert content is None or curve.read_bytes() == content


def test_a_row_that_was_not_written_to_its_end_is_written_again(halted, folder):
    run, resume = halted
    with (run / CURVE).open("ab") as file:
        file.write(b"4,0,0.1")
    resume()
    assert without_seconds(run / CURVE) == without_seconds(folder / "runs" / "audio_codec" / CURVE)


def test_states_of_older_versions_resume(halted, folder):
    run, resume = halted
    tensors, card = load_checkpoint(run / STATE)
    del card["logged"]
    save_checkpoint(run / STATE, {key: value for key, value in tensors.items() if key != "logged"}, card)
    resume()
    assert read_curve(run / CURVE)["step"] == [2, 4, 6]
    assert same(state(run), state(folder / "runs" / "audio_codec"))


@pytest.mark.parametrize("change", ["no step", "no average", "another optimizer", "no state at all"])
def test_a_state_of_another_run_is_named(halted, change):
    run, resume = halted
    tensors, card = load_checkpoint(run / STATE)
    if change == "no step":
        del card["step"]
    if change == "no average":
        tensors = {key: value for key, value in tensors.items() if not key.startswith("average.")}
    if change == "another optimizer":
        tensors |= {"optimizer0.x.exp_avg": torch.zeros(1)}
    save_checkpoint(run / STATE, tensors, card)
    if change == "no state at all":
        (run / STATE).write_bytes(b"PK")
    with pytest.raises(ValueError) as error:
        resume()
    assert str(run / STATE) in str(error.value) and "\n" not in str(error.value) and "; " in str(error.value)


def test_rows_logged_after_the_last_save_are_not_logged_twice(folder, tmp_path):
    run = tmp_path / "run"
    train_config(folder / "audio_codec.toml", folder=run, out=tmp_path / "m", steps=3)
    with (run / CURVE).open("a") as file:
        file.write("4,9,9,9,9\n")
    train_config(folder / "audio_codec.toml", folder=run, out=tmp_path / "m", resume=True)
    assert read_curve(run / CURVE)["step"] == [2, 4, 6]
    assert 9 not in read_curve(run / CURVE)["loss"]


def test_steps_stops_early_with_the_schedule_of_the_whole_run(folder, tmp_path):
    run, out = tmp_path / "run", tmp_path / "m.safetensors"
    train_config(folder / "audio_codec.toml", folder=run, out=out, steps=4)
    assert not out.exists() and read_card(run / STATE)["step"] == 4
    whole, part = (read_curve(f / CURVE) for f in (folder / "runs" / "audio_codec", run))
    assert part["loss"] == whole["loss"][:2]
    train_config(folder / "audio_codec.toml", folder=run, out=out, resume=True, steps=2)
    assert read_card(run / STATE)["step"] == 4, "a state keeps its step when asked for fewer"


def test_the_learning_rate_rises_then_falls_to_its_floor():
    schedule = Schedule(steps=100, lr=1.0, warmup=10, floor=0.02)
    rates = [schedule.rate(step) for step in range(101)]
    assert rates[0] == 0.1 and max(rates) == rates[9] == rates[10] == 1 and rates[100] == pytest.approx(0.02)
    assert rates[:10] == sorted(rates[:10]) and rates[10:] == sorted(rates[10:], reverse=True)


# Checkpoints.


def test_codec_checkpoints_have_cards_and_latents_of_unit_scale(folder):
    for name, kind in (("video_codec", "video_codec"), ("audio_codec", "audio_codec")):
        tensors, card = load_checkpoint(folder / CONFIGS[name]["out"])
        assert card["kind"] == kind and card["trained"] is True and card["licence"]
        assert card["run"]["steps"] == STEPS and card["run"]["seed"] == 1 and "seconds" in card["run"]
        assert all(tensor.dtype == torch.float16 for tensor in tensors.values())
        assert bool((load_codec(folder / CONFIGS[name]["out"]).latent_std != 1).all())


def test_training_a_decoder_does_not_change_the_encoder(folder):
    before, after = (load_checkpoint(folder / CONFIGS[n]["out"])[0] for n in ("video_codec", "video_decoder"))
    changed = {key.split(".")[0] for key in before if not torch.equal(before[key], after[key])}
    assert changed == {"group_decoder", "frame_decoder"}


def test_expert_checkpoints_hold_their_text_encoders(folder):
    for name in ("video_expert", "audio_expert"):
        expert, text, card = load_expert(folder / CONFIGS[name]["out"])
        assert card["kind"] == name and text.config["length"] == 20 and not expert.training
    assert expert.rope_scale == small.ROPE_SCALE


def test_the_joint_checkpoint_loads_as_a_trained_model(folder):
    model = load_joint_model(folder / CONFIGS["joint"]["out"])
    assert model.trained and model.name == "joint" and model.denoiser.joint_blocks == 2
    assert model.ignored_prompts("a red ball", "") == []
    assert any(bool(new.to_out.weight.any()) for new in model.denoiser.new_heads)


def test_joint_training_changes_the_text_encoders(folder):
    joint = load_joint_model(folder / CONFIGS["joint"]["out"])
    for modality in ("video", "audio"):
        _, text, _ = load_expert(folder / CONFIGS[f"{modality}_expert"]["out"])
        assert not same(getattr(joint.conditioner, f"{modality}_text").state_dict(), text.state_dict())


def test_frozen_text_keeps_the_experts_text_encoders(folder, tmp_path):
    settings = CONFIGS["joint"]["stage_config"] | {"frozen_text": True}
    config = write(folder, "joint", out="models/frozen.safetensors", stage_config=settings)
    train_config(config, folder=tmp_path, out=folder / "models/frozen.safetensors")
    joint = load_joint_model(folder / "models/frozen.safetensors")
    _, text, _ = load_expert(folder / CONFIGS["video_expert"]["out"])
    assert same(joint.conditioner.video_text.state_dict(), text.state_dict())


@pytest.mark.parametrize("rope, stride, scale", [("vanilla", 1, 1.0), ("expand_video", 8, 1.0)])
def test_ablation_options_are_written_to_the_card(folder, tmp_path, rope, stride, scale):
    settings = CONFIGS["joint"]["stage_config"] | {"rope": rope, "attention": "cross"}
    train_config(write(folder, "joint", stage_config=settings), folder=tmp_path, out=folder / "models/ablated.safetensors")
    denoiser = load_joint_model(folder / "models/ablated.safetensors").denoiser
    assert (denoiser.video.time_stride, denoiser.audio.rope_scale) == (stride, scale)
    assert denoiser.cross_modal_attention is added_cross_attention


@pytest.mark.parametrize("name", ["joint", "video_expert"])
def test_recommended_settings_are_written_to_the_card(folder, tmp_path, name):
    sampling = {"steps": 12, "shift": 5.0, "scales": {"cfg": [2.5, 1.0]}}
    out, settings = tmp_path / "m.safetensors", CONFIGS[name]["stage_config"]
    train_config(write(folder, name, stage_config=settings | {"sampling": sampling}), folder=tmp_path / "run", out=out)
    assert read_card(out)["sampling"] == sampling
    assert "sampling" not in read_card(folder / CONFIGS[name]["out"])
    write(folder, name)


def test_video_only_training_leaves_the_audio_tower_unchanged(folder, tmp_path):
    """With λ_a = 0 and every row removed, the audio tower and the new heads do not change."""
    settings = CONFIGS["joint"]["stage_config"] | DEAF
    out = folder / "models/deaf.safetensors"
    train_config(write(folder, "joint", stage_config=settings), folder=tmp_path, out=out)
    after, (expert, _, _) = load_checkpoint(out)[0], load_expert(folder / CONFIGS["audio_expert"]["out"])
    assert same(sub_tensors(after, "denoiser.audio"), {k: v.half() for k, v in expert.state_dict().items()})
    video, _, _ = load_expert(folder / CONFIGS["video_expert"]["out"])
    assert not same(sub_tensors(after, "denoiser.video"), {k: v.half() for k, v in video.state_dict().items()})


def test_video_only_training_does_not_run_the_audio_tower(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(FluxExpert, "embed", None)
    settings = CONFIGS["joint"]["stage_config"] | DEAF
    train_config(write(folder, "joint", stage_config=settings), folder=tmp_path, out=folder / "models/deaf.safetensors")
    assert (tmp_path / CURVE).read_text().splitlines()[0] == "step,seconds,loss,video"


@pytest.fixture
def processor(monkeypatch):
    """Sets the CPU capability that torch reports."""
    return lambda kind: monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: kind)


def test_bfloat16_follows_the_float32_curve_with_weights_in_float32(folder, tmp_path, processor):
    processor("AVX512")
    schedule = {"steps": STEPS, "lr": 1e-3, "warmup": 2}
    whole, half = tmp_path / "whole", tmp_path / "half"
    train_config(write(folder, "joint", schedule=schedule), folder=whole, out=folder / "models/whole.safetensors")
    train_config(write(folder, "joint", schedule=schedule | {"bf16": True}), folder=half, out=folder / "models/half.safetensors")
    losses = [read_curve(run / CURVE)["loss"] for run in (whole, half)]
    assert losses[0] != losses[1] and losses[0] == pytest.approx(losses[1], rel=0.01)
    assert {value.dtype for key, value in state(half).items() if key.startswith("model.")} == {torch.float32}


def test_a_processor_without_bfloat16_trains_in_float32(folder, tmp_path, processor):
    """Both the losses and the Newton–Schulz iterations of Muon."""
    seen = []

    class Watch(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            out = func(*args, **(kwargs or {}))
            seen.append(getattr(out, "dtype", None))
            return out

    schedule = {"steps": 1, "lr": 1e-3, "warmup": 2, "bf16": True, "muon": True}
    for kind in ("AVX2", "AVX512"):
        processor(kind)
        with Watch():
            train_config(write(folder, "joint", schedule=schedule), folder=tmp_path / kind, out=folder / "models/kind.safetensors")
        assert (torch.bfloat16 in seen) == (kind == "AVX512")


@pytest.mark.parametrize("size", [(8, 24), (24, 8), (16, 16)])
def test_newton_schulz_in_float32_equals_torchs_in_bfloat16(size):
    grad, settings = torch.randn(size), ((3.4445, -4.7750, 2.0315), 5, 1e-7)
    with muon_in_float32():
        ours = _muon._zeropower_via_newtonschulz(grad, *settings)
    theirs = _muon._zeropower_via_newtonschulz(grad, *settings)
    assert ours.dtype == torch.float32 and theirs.dtype == torch.bfloat16
    assert (ours - theirs).norm() < 0.03 * ours.norm()


# Muon in batches, and a step as a CUDA graph.


def test_batched_muon_equals_torchs_muon(processor):
    """Over three steps, with weight decay and matrices of three shapes."""
    processor("AVX2")
    torch.manual_seed(0)
    network = torch.nn.Sequential(*(torch.nn.Linear(*size, bias=False) for size in ((8, 24), (24, 8), (8, 24), (24, 24))))
    weights = [[torch.nn.Parameter(p.detach().clone()) for p in network.parameters()] for _ in range(2)]
    settings = {"lr": 0.02, "weight_decay": 0.1}
    batched = BatchedMuon(weights[0], **settings)
    plain = torch.optim.Muon(weights[1], adjust_lr_fn="match_rms_adamw", **settings)
    for step in range(3):
        for pair in zip(*weights):
            grad = torch.randn_like(pair[0])
            for weight in pair:
                weight.grad = grad.clone()
        batched.step()
        with muon_in_float32():
            plain.step()
        for one, other in zip(*weights):
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
    assert plain.state_dict()["state"].keys() == batched.state_dict()["state"].keys()
    for index, values in plain.state_dict()["state"].items():
        torch.testing.assert_close(batched.state_dict()["state"][index], values, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("size", [(8, 24), (24, 8)])
def test_batched_newton_schulz_uses_bfloat16_on_a_cpu_with_it(processor, size):
    processor("AVX512")
    matrices, coefficients = torch.randn(3, *size), (3.4445, -4.7750, 2.0315)
    together = orthogonalize(list(matrices))
    one_by_one = torch.stack([_muon._zeropower_via_newtonschulz(matrix, coefficients, 5, 1e-7) for matrix in matrices])
    assert together.dtype == torch.float32
    torch.testing.assert_close(together, one_by_one.float(), rtol=0.02, atol=0.02)


FAST = {"steps": 3, "lr": 1e-3, "warmup": 2, "muon": True, "batched_muon": True, "cuda_graph": True}
# In these small networks a GroupNorm has one channel per group. It removes whatever these parameters add, so their gradients are
# rounding errors, which the optimizers enlarge.
ONLY_ROUNDING = re.compile("bias$|_emb")
ALIGNED = {"align": {"path": 0, "strike": 1, "weight": 0.3}, "cut_rows": 1, "removed_rows": 1, "ahead": [1, 1]}


@pytest.mark.parametrize("name, changes", [("jointdit", ALIGNED), ("svd_expert", {}), ("audioldm2_expert", {})])
def test_a_captured_step_with_batched_muon_equals_the_plain_loop(folder, tmp_path, processor, name, changes):
    """Three steps: the same losses, and the same weights up to rounding. Without CUDA there is no graph."""
    processor("AVX2")
    settings = CONFIGS[name]["stage_config"] | changes
    losses: dict[bool, list[float]] = {}
    for fast in (True, False):
        schedule = FAST | {"batched_muon": fast, "cuda_graph": fast}
        config, seen = write(folder, name, schedule=schedule, stage_config=settings), losses.setdefault(fast, [])
        train_config(config, folder=tmp_path / str(fast), out=tmp_path / "out", on_step=lambda *at, seen=seen: seen.append(at[2]))
    write(folder, name)
    assert len(losses[True]) == 3 and losses[True] == pytest.approx(losses[False], rel=1e-5)
    one, other = state(tmp_path / "True"), state(tmp_path / "False")
    assert one.keys() == other.keys()
    for key in (key for key in one if key.startswith("model.") and not ONLY_ROUNDING.search(key)):
        torch.testing.assert_close(one[key], other[key], rtol=1e-3, atol=2e-5, msg=key)
    curves = [read_curve(tmp_path / run / CURVE) for run in ("True", "False")]
    assert curves[0].keys() == curves[1].keys()


def test_a_captured_run_resumes_to_the_same_bits(folder, tmp_path):
    config = write(folder, "jointdit", schedule=FAST)
    train_config(config, folder=tmp_path / "whole", out=tmp_path / "whole.safetensors")
    train_config(config, folder=tmp_path / "run", out=tmp_path / "run.safetensors", steps=2)
    assert read_card(tmp_path / "run" / STATE)["step"] == 2
    train_config(config, folder=tmp_path / "run", out=tmp_path / "run.safetensors", resume=True)
    write(folder, "jointdit")
    assert same(state(tmp_path / "run"), state(tmp_path / "whole"))


def test_a_captured_step_reuses_its_buffers():
    seen = []

    def run(batch):
        seen.append([part.data_ptr() for part in (batch[0], batch[1]["b"])])
        return (batch[0] * batch[1]["b"]).sum(), {}

    step = CapturedStep(run, torch.device("cpu"))
    batches = [(torch.full((2,), float(n)), {"b": torch.tensor([n, n])}) for n in (1, 2, 3)]
    assert [step(batch)[0].item() for batch in batches] == [2, 8, 18]
    assert seen[0] == seen[1] == seen[2] and batches[0][0].tolist() == [1, 1]


class HostWatch(TorchDispatchMode):
    """Collects operations that read a tensor on the CPU."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        inputs = [part for part in tree_leaves((args, kwargs or {})) if isinstance(part, torch.Tensor)]
        if any(part.device.type == "cpu" for part in inputs):
            self.seen.append(str(func))
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("name, changes", [("jointdit", ALIGNED), ("svd_expert", {}), ("audioldm2_expert", {})])
def test_a_captured_step_neither_copies_from_the_host_nor_reads_back(folder, tmp_path, name, changes):
    """A CUDA graph allows neither. On torch's meta device an operation on a CPU tensor is seen, and reading a value is an error."""
    stage = stage_of(name, folder, tmp_path, **changes)
    batch = tree_map(lambda part: part.to("meta"), stage.draw_batch(0))
    model = stage.model.to("meta")
    muon = BatchedMuon([p for p in model.parameters() if p.ndim == 2], lr=torch.zeros((), device="meta"))
    for _ in range(2):  # the first run is the warm-up, which may move what the stage keeps
        with HostWatch() as watch:
            loss, _ = stage.compute_losses(batch)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            muon.step()
    assert watch.seen == []


def test_a_stage_that_cannot_be_captured_is_one_line(folder, capsys):
    assert main(["train", str(write(folder, "joint", schedule={"steps": 1, "lr": 1e-3, "cuda_graph": True}))]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert "schedule.cuda_graph is true, but JointStage cannot be captured; set it to false" in line
    write(folder, "joint")


@pytest.mark.parametrize("mask", [None, torch.tensor([[True, True, False]]), torch.tensor([[0.0, -1.0, -torch.inf]])])
@pytest.mark.parametrize("scale", [None, 0.3])
def test_plain_attention_is_attention(mask, scale):
    q, k, v = torch.randn(3, 2, 4, 3, 8).unbind()
    expected = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale)
    with plain_attention():
        assert F.scaled_dot_product_attention is attend
        torch.testing.assert_close(F.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=scale), expected)
    assert F.scaled_dot_product_attention is not attend


def test_a_joint_run_continues_from_a_checkpoint(folder, tmp_path):
    """With a learning rate near 0 the weights are those of the checkpoint."""
    first = folder / CONFIGS["joint"]["out"]
    still = {"steps": 1, "lr": 1e-12, "warmup": 1}
    train_config(write(folder, "joint", start=str(first), schedule=still), folder=tmp_path, out=folder / "models/next.safetensors")
    before, after = (load_checkpoint(path)[0] for path in (first, folder / "models/next.safetensors"))
    assert same(after, before)


def test_the_jointdit_checkpoint_loads_and_generates(folder):
    model = load_joint_model(folder / CONFIGS["jointdit"]["out"])
    assert model.trained and model.takes_image and model.name == "Bounce JointDiT"
    assert model.denoiser.paths[0].mean == 1.0 and len(model.denoiser.blocks) == 2
    assert any(bool(after.modulation[1].weight.any()) for block in model.denoiser.blocks for after in block.after_attention)
    assert model.ignored_prompts("a ball", "") == ["video_prompt: this model takes an image and ignores text prompts"]
    [clip] = generate(model, [Prompt("", "", torch.rand(40, 50, 3))], make_guidance("joint_cfg"), SamplingSchedule(2), seed=0)
    assert clip[0].shape == (8, SIZE, SIZE, 3) and clip[1].shape == (1, 8000)


def test_jointdit_starts_as_its_two_experts(folder, tmp_path):
    """With a learning rate near 0 both towers equal the experts' files, and the gates of the Joint Blocks are 0."""
    still = {"steps": 1, "lr": 1e-12, "warmup": 1}
    out = folder / "models/still.safetensors"
    train_config(write(folder, "jointdit", schedule=still), folder=tmp_path, out=out)
    joint = load_checkpoint(out)[0]
    for stream, expert in (("video", "svd_expert"), ("audio", "audioldm2_expert")):
        alone, _ = load_checkpoint(folder / CONFIGS[expert]["out"])
        assert same(sub_tensors(joint, f"denoiser.{stream}.unet"), sub_tensors(alone, "expert.unet"))
    gates = [value for name, value in joint.items() if ".after_" in name]
    assert gates and not any(bool(gate.any()) for gate in gates)


def test_jointdit_trains_on_a_folder_of_videos(folder, tmp_path):
    """Laid out as AVSync15: a folder per class and a list of training videos, without captions and ground truth."""
    videos = folder / "videos"
    for name, frames in (("dog/one.mp4", 40), ("dog/short.mp4", 3), ("rain/two.mp4", 20), ("rain/held_out.mp4", 40)):
        (videos / name).parent.mkdir(parents=True, exist_ok=True)
        sound = torch.sin(torch.arange(frames * 1920) / 20)[None] / 4
        write_video(torch.rand(frames, 48, 64, 3), videos / name, fps=25, audio=sound, sample_rate=48_000)
    (videos / "train.txt").write_text("dog/one.mp4\ndog/short.mp4\nrain/two.mp4\n")
    codecs = {"video_codec": VIDEO_CODEC, "audio_codec": AUDIO_CODEC}
    data = codecs | {"cache": "cache", "folder": "videos", "list": "videos/train.txt"}
    seen = []
    config = write(folder, "jointdit", data=data, out="models/real.safetensors")
    train_config(config, folder=tmp_path, out=folder / "models/real.safetensors", on_clip=lambda *at: seen.append(at))
    assert seen == [(1, 3), (2, 3), (3, 3)]
    # 8 frames at 16 fps are half a second: 1.6 s hold three clips, 0.12 s none, 0.8 s one
    assert load_joint_model(folder / "models/real.safetensors").card["data"] == {"videos": 4}
    align = {"path": 0, "strike": 1, "weight": 0.3}
    config = write(folder, "jointdit", data=data, stage_config=CONFIGS["jointdit"]["stage_config"] | {"align": align})
    with pytest.raises(ValueError, match="align needs simulated clips"):
        train_config(config, folder=tmp_path / "aligned")


@pytest.mark.parametrize("data, said", [
    ({"folder": "nowhere"}, "there is no folder"),
    ({"folder": "models"}, "has no videos"),
    ({"folder": "models", "list": "wrong.txt"}, "lists .*gone.mp4, which does not exist; correct the list"),
])  # fmt: skip
def test_a_folder_that_cannot_be_trained_on_is_one_line(folder, tmp_path, capsys, data, said):
    (folder / "wrong.txt").write_text("gone.mp4\n")
    data = {"cache": "cache", "video_codec": VIDEO_CODEC, "audio_codec": AUDIO_CODEC} | data
    assert main(["train", str(write(folder, "jointdit", data=data))]) == 2
    line = capsys.readouterr().err
    assert re.search(said, line) and line.count("\n") == 1


def test_a_stage_that_needs_captions_cannot_have_a_folder(folder, capsys):
    data = {"cache": "cache", "video_codec": VIDEO_CODEC, "audio_codec": AUDIO_CODEC, "folder": "models"}
    assert main(["train", str(write(folder, "joint", data=data))]) == 2
    assert "stage is joint, which needs captions; a folder of videos has none, train jointdit on it" in capsys.readouterr().err
    write(folder, "joint")


class Oracle(torch.nn.Module):
    """Returns the exact prediction for the clean latents that it was made with."""

    def __init__(self, x0, path, prediction):
        super().__init__()
        self.x0, self.path, self.prediction = x0, path, prediction

    def forward(self, x_t, step, text):
        alpha, sigma = (part.view(-1, 1, 1) for part in self.path.at((step + 1) / self.path.steps))
        return convert(self.x0, x_t, alpha, sigma, "x0", self.prediction)


@pytest.mark.parametrize("prediction", ["epsilon", "v"])
def test_the_audio_experts_loss_uses_the_prediction_of_its_card(folder, tmp_path, prediction):
    config = training.read_config(write(folder, "audioldm2_expert"))
    config["stage_config"]["prediction"] = prediction
    stage = training.make_stage(config, folder, STEPS, tmp_path / "sound.safetensors")
    stage.finish(stage.model, {})
    assert read_card(tmp_path / "sound.safetensors")["prediction"] == stage.model["expert"].prediction == prediction
    assert stage.loss(0)[0] > 0.1
    stage.model["expert"] = Oracle(stage.data.audio[stage.draw_rows(0, 6)].float(), stage.path, prediction)
    assert stage.loss(0)[0] == pytest.approx(0, abs=1e-6)


def test_the_joint_model_has_its_experts_predictions(folder):
    assert load_joint_model(folder / CONFIGS["jointdit"]["out"]).denoiser.prediction == ("v", "v")


def test_loss_x0_is_eq_7(folder, tmp_path):
    """L = λ1 ‖v_0 − v̂_0‖² + λ2 ‖a_0 − â_0‖², from the networks' v and ε (JointDiT, eq. 7)."""
    stages = {}
    for loss in ("prediction", "x0"):
        config = training.read_config(write(folder, "jointdit"))
        config["stage_config"]["loss"] = loss
        stages[loss] = training.make_stage(config, folder, STEPS, tmp_path / "out.safetensors")
    losses = {}
    for loss, stage in stages.items():
        stage.model.load_state_dict(stages["x0"].model.state_dict())
        torch.manual_seed(0)
        losses[loss] = stage.loss(0)[1]
    stage = stages["x0"]
    torch.manual_seed(0)
    t = torch.rand(stage.batch)
    seen = {}
    predict = stage.model["denoiser"].predict
    stage.model["denoiser"].predict = lambda x, *rest: seen.setdefault("out", (x, predict(x, *rest)))[1]
    torch.manual_seed(0)
    stage.loss(0)
    x, out = seen["out"]
    rows = stage.draw_rows(0, 7)
    alpha_v, sigma_v = (part.view(-1, 1, 1, 1, 1) for part in stage.model["denoiser"].paths[0].at(t))
    alpha_a, sigma_a = (part.view(-1, 1, 1) for part in stage.model["denoiser"].paths[1].at(t))
    clean_v, clean_a = to_x0(out.video, x.video, alpha_v, sigma_v, "v"), to_x0(out.audio, x.audio, alpha_a, sigma_a, "v")
    error_v, error_a = (
        (clean_v - stage.data.video[rows].float()).square().mean(),
        (clean_a - stage.data.audio[rows].float()).square().mean(),
    )
    assert losses["x0"]["loss"] == pytest.approx((error_v + error_a).item(), rel=1e-3)
    assert losses["prediction"]["loss"] != pytest.approx(losses["x0"]["loss"], rel=0.1)


def stage_of(name, folder, tmp_path, **changes):
    config = training.read_config(write(folder, name))
    config["stage_config"] |= changes
    return training.make_stage(config, folder, STEPS, tmp_path / "out.safetensors")


def jointdit_stage(folder, tmp_path, **changes):
    return stage_of("jointdit", folder, tmp_path, **changes)


def test_both_modalities_have_one_time_except_in_rows_with_one_ahead(folder, tmp_path):
    """JointDiT, eqs. 4–5. The video is ahead in rows 0 and 1, the audio in row 2; all three are fully coupled."""
    torch.manual_seed(0)
    video, audio = jointdit_stage(folder, tmp_path).draw_times()
    assert torch.equal(video, audio)
    torch.manual_seed(0)
    ahead_v, ahead_a = jointdit_stage(folder, tmp_path, batch=8, ahead=[2, 1]).draw_times()
    assert (ahead_v[:2] < ahead_a[:2]).all() and ahead_a[2] < ahead_v[2] and torch.equal(ahead_v[3:], ahead_a[3:])
    with pytest.raises(ValueError, match=r"ahead is \[2, 1\]; use \[videos, audios\] that fit 2"):
        jointdit_stage(folder, tmp_path, ahead=[2, 1])


def test_the_order_of_a_joint_batchs_random_draws_is_fixed(folder, tmp_path):
    """Times, shares of rows with one ahead, noise of video and audio, rows without an image: all on the CPU."""
    stage = jointdit_stage(folder, tmp_path, batch=8, ahead=[2, 1])
    torch.manual_seed(1)
    batch = stage.draw_batch(0)
    torch.manual_seed(1)
    torch.rand(8), torch.rand(3)
    for noise, latents in ((batch.video_noise, stage.data.video), (batch.audio_noise, stage.data.audio)):
        assert torch.equal(noise.epsilon, torch.randn(8, *latents.shape[1:]))
    kept = (torch.rand(8) >= stage.drop).float() * ~null_rows(stage.kinds, 0)
    rows = stage.draw_rows(0, 7)
    assert torch.equal(batch.keep_condition, kept) and torch.equal(batch.video, stage.data.video[rows])
    assert torch.equal(batch.audio, stage.data.audio[rows])


def test_a_drawn_batch_determines_the_loss(folder, tmp_path):
    stage = jointdit_stage(folder, tmp_path)
    torch.manual_seed(1)
    batch = stage.draw_batch(0)
    torch.manual_seed(1)
    loss, parts = stage.loss(0)
    again, _ = stage.compute_losses(batch)
    assert torch.equal(again, loss) and parts["loss"] == stage.compute_losses(batch)[1]["loss"].item()


def test_the_binder_checkpoint_loads_and_embeds(folder):
    binder = load_bounce_bind(folder / CONFIGS["binder"]["out"])
    require_modalities(binder, "video", "image", "audio", "text")
    frames, wave = torch.rand(2, 10, 40, 48, 3, requires_grad=True), torch.rand(2, 2, 9000, requires_grad=True)
    v, a, w = binder.embed_video(frames, 12.0), binder.embed_audio(wave, 24_000), binder.embed_text(["a red ball", ""])
    for each in (v, a, w, binder.embed_image(frames[:, 0])):
        assert each.shape == (2, 8) and each.norm(dim=-1).detach().tolist() == pytest.approx([1, 1])
    cosine_distance(v, a).sum().backward()
    assert frames.grad.abs().sum() > 0 and wave.grad.abs().sum() > 0


def test_neutral_is_the_share_of_captions_that_say_only_bouncing(folder, tmp_path):
    stage = stage_of("audio_expert", folder, tmp_path, neutral=0.25)
    torch.manual_seed(0)
    told = stage._replace_captions(stage.words[:1].expand(4000, -1))
    assert (told == stage.plain).all(1).float().mean().item() == pytest.approx(0.25, abs=0.03)


def test_attacks_move_audio_away_from_its_video_within_a_limit(folder, tmp_path):
    stage = stage_of("robust_binder", folder, tmp_path)
    torch.manual_seed(0)
    latent, picture = torch.randn(16, small.AUDIO_CHANNELS, 64), F.normalize(torch.randn(16, 8), dim=-1)
    offsets, render = [], stage.codec.decode_with_grad
    stage.codec.decode_with_grad = lambda z: offsets.append(z.detach() - latent) or render(z)
    attacked = stage._attack(latent, picture, torch.tensor(0.1))
    assert max(float(offset.square().mean((1, 2)).sqrt().max()) for offset in offsets) <= stage.far * 1.001
    embed = partial(stage.model.embed_audio, sample_rate=16_000)
    own = ((embed(render(latent)) - embed(attacked)) * picture).sum(-1)
    assert own.mean() > 0
    assert all(p.requires_grad for p in stage.model.parameters())


def test_spliced_audio_joins_two_clips_with_other_balls():
    kinds = torch.tensor([0, 0, 1, 1])
    waves = torch.tensor([1.0, 2.0, 3.0, 4.0])[:, None, None].expand(4, 1, 1000)
    torch.manual_seed(0)
    made = splice_sounds(waves, kinds)
    for row in range(4):
        ends = {round(float(made[row, 0, at])) for at in (0, -1)}
        assert row + 1 in ends and len(ends) == 2
        assert all(kinds[end - 1] != kinds[row] for end in ends - {row + 1})


def test_clips_with_the_same_balls_are_no_negatives():
    a = torch.eye(4)
    alike = torch.ones(4, 4, dtype=torch.bool)
    assert contrastive_loss(a, a.roll(1, 0), torch.tensor(0.1), same=alike) == pytest.approx(0, abs=1e-6)


def test_matching_rows_have_the_lowest_contrastive_loss():
    a = torch.eye(4)
    low = contrastive_loss(a, a, torch.tensor(0.1))
    assert low < 0.01 < contrastive_loss(a, a.roll(1, 0), torch.tensor(0.1))


@pytest.mark.parametrize("stage, changed", [
    ("joint", {"align": {"block": 0, "place": 1.0, "kind": 0.1}}),
    ("joint", {"align": {"block": 0, "place": 1.0, "kind": 0.1}} | DEAF),
    ("jointdit", {"align": {"path": 0, "strike": 1, "weight": 0.3, "place": 1.0, "kind": 0.03}}),
])  # fmt: skip
def test_alignment_trains_the_towers_and_stays_out_of_the_checkpoint(folder, tmp_path, stage, changed):
    settings = CONFIGS[stage]["stage_config"] | changed
    config = write(folder, stage, out="models/aligned.safetensors", stage_config=settings)
    train_config(config, folder=tmp_path, out=folder / "models/aligned.safetensors")
    aligned, plain = (load_checkpoint(folder / name)[0] for name in ("models/aligned.safetensors", CONFIGS[stage]["out"]))
    assert set(aligned) == set(plain) and not same(aligned, plain)
    with (tmp_path / "curve.csv").open() as file:
        assert float(next(csv.DictReader(file))["alignment"]) > 0


def test_strikes_have_the_times_and_materials_of_the_contacts():
    worlds = simulate(50, "train", seed=1)
    struck = strike_targets(worlds, 64)
    for clip in range(50):
        times = worlds.contact_time[clip][worlds.contact_time[clip] < SECONDS]
        materials = worlds.material[clip, worlds.contact_ball[clip, : len(times)]]
        assert struck[clip].nonzero()[:, 0].tolist() == [int(t * 32) for t in times]
        assert struck[clip][struck[clip] > 0].tolist() == [1 + m for m in materials]


@pytest.mark.parametrize("cut, removed", [(4, 2), (2, 1), (1, 1)])
def test_half_of_the_cut_and_removed_rows_have_no_condition(cut, removed):
    kinds = coupled_rows(16, cut, removed)
    null = torch.stack([null_rows(kinds, step) for step in range(10)]).float().mean(0)
    for kind, wanted in ((CouplingKind.FULL, 0), (CouplingKind.CUT, cut / 2), (CouplingKind.REMOVED, removed / 2)):
        assert null[[row for row, each in enumerate(kinds) if each is kind]].sum() == pytest.approx(wanted)


def test_rows_keep_their_condition_if_no_row_is_coupled():
    assert not null_rows(coupled_rows(6, 0, 6), 1).any()


def test_alignment_needs_joint_blocks(folder, tmp_path):
    aligned = CONFIGS["jointdit"]["stage_config"] | {"align": {"path": 0, "strike": 1, "weight": 0.3}}
    none = jointdit_study.ARMS["without Joint Block"]
    out = folder / "models/apart.safetensors"
    settings = jointdit_study.arm_config({"stage_config": aligned}, none)["stage_config"]
    train_config(write(folder, "jointdit", stage_config=settings), folder=tmp_path, out=out)
    assert len(load_joint_model(out).denoiser.blocks) == 0
    config = write(folder, "jointdit", stage_config=aligned | {"joint": aligned["joint"] | none})
    with pytest.raises(ValueError, match="align names Joint Blocks 0 and 1, the model has 0"):
        train_config(config, folder=tmp_path / "aligned")


def test_path_alignment_compares_with_the_simulated_paths():
    """A head that returns the true paths has no path error; one that returns another clip's paths has."""
    worlds = simulate(3, "train", seed=1)
    places, kinds, exists = path_targets(worlds)
    assert places.shape == (3, 9, 2, 4, 2)
    clip, ball, frame = 1, 0, 14  # frame 14 is the second of the four in latent frame 4
    assert places[clip, 4, ball, 1].tolist() == pytest.approx((2 * worlds.position[clip, ball, frame] - 1).tolist())
    assert kinds[clip, ball].tolist() == [worlds.colour[clip, ball], worlds.size[clip, ball], worlds.material[clip, ball]]
    head = PathAlignment(places[0, 0].numel(), kind=0.0)
    head.norm = torch.nn.Identity()
    head.path = torch.nn.Identity()
    assert head(places.flatten(2), 9, (places, kinds, exists)) == 0
    assert head(places.flatten(2), 9, (places.roll(1, 0), kinds, exists)) > 0.01


def test_strided_convolutions_of_one_column_have_correct_gradients_in_bfloat16(processor):
    """oneDNN's own gradient is wrong by a third, or NaN."""
    processor("AVX512")
    torch.manual_seed(0)
    down = Downsample2D(64, use_conv=True)
    for _ in range(5):
        x = torch.randn(32, 64, 64, 1)
        torch.full((2**20,), torch.nan)  # what memory is left with
        with precision(Schedule(1, 1.0, bf16=True), x.device):
            y = down(x)
        wanted = torch.nn.grad.conv2d_weight(x, down.conv.weight.shape, torch.ones_like(y), stride=2, padding=1)
        y.sum().backward()
        assert torch.allclose(down.conv.weight.grad, wanted, rtol=1e-3, atol=1e-2)
        down.zero_grad()


def test_latents_are_encoded_once(folder):
    """A second run reads them from the cache."""
    seen = []
    before = sorted(os.listdir(folder / "cache"))
    train_config(folder / "video_expert.toml", folder=folder / "runs" / "cached", steps=1, on_clip=lambda *a: seen.append(a))
    assert seen == [] and sorted(os.listdir(folder / "cache")) == before


# Bad configs.


@pytest.mark.parametrize("changes, said", [
    ({"stage": "painter"}, "stage is 'painter'; give one of video_codec"),
    ({"seed": None}, "seed is missing"),
    ({"schedule": {"lr": 1e-3}}, "schedule.steps is None"),
    ({"schedule": {"steps": 0, "lr": 1e-3}}, "schedule.steps is 0"),
    ({"schedule": {"steps": 5, "lr": float("nan")}}, "schedule.lr is nan"),
    ({"schedule": {"steps": 5, "lr": 1e-3, "warm": 3}}, "schedule has no warm; it has steps, lr, warmup"),
    ({"schedule": {"steps": 5, "lr": 1e-3, "batched_muon": True}}, "batched_muon is true without muon; add muon = true"),
    ({"schedule": {"steps": 5, "lr": 1e-3, "muon": True, "cuda_graph": True}}, "add batched_muon = true"),
    ({"stage_config": {"batch": 2}}, "clips_per_pool is missing"),
    ({"stage_config": {"batch": 2, "sampling": {"steps": 0}}}, "stage_config: sampling.steps is 0; use a whole number from 1"),
    ({"stage_config": CONFIGS["audio_codec"]["stage_config"] | {"model": {"depth": 3}}}, "depth"),
])  # fmt: skip
def test_a_bad_config_is_one_line_that_names_file_and_setting(tmp_path, capsys, changes, said):
    path = write(tmp_path, "audio_codec", **changes)
    assert main(["train", str(path)]) == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1 and str(path) in line and said in line
    assert os.listdir(tmp_path) == [path.name]


def test_no_toml_and_no_file_are_one_line(tmp_path, capsys):
    (tmp_path / "bad.toml").write_text("stage = \n")
    for name, said in (("bad.toml", "is not TOML"), ("none.toml", "no training config")):
        assert main(["train", str(tmp_path / name)]) == 2
        line = capsys.readouterr().err
        assert line.count("\n") == 1 and name in line and said in line


def test_a_missing_codec_is_one_line(tmp_path, capsys):
    assert main(["train", str(write(tmp_path, "video_expert"))]) == 2
    assert "no model file" in capsys.readouterr().err


def test_a_missing_start_checkpoint_is_reported_before_encoding(folder, tmp_path, capsys):
    path = write(folder, "joint", start="models/never.safetensors", data=CONFIGS["joint"]["data"] | {"cache": "new"})
    assert main(["train", str(path)]) == 2
    said = capsys.readouterr().err.splitlines()
    assert said[-1].endswith("never.safetensors, which does not exist; train it first, or leave start out")
    assert not (folder / "new").exists()
    write(folder, "joint")


@pytest.mark.parametrize("stage", ["joint", "jointdit"])
def test_a_missing_expert_is_reported_before_encoding(folder, capsys, stage):
    path = write(folder, stage, audio_expert="models/never.safetensors", data=CONFIGS[stage]["data"] | {"cache": "new"})
    assert main(["train", str(path)]) == 2
    assert "never.safetensors" in capsys.readouterr().err.splitlines()[-1] and not (folder / "new").exists()
    write(folder, stage)


@pytest.mark.parametrize("steps", ["0", "-5"])
def test_steps_below_1_are_refused_in_one_line(tmp_path, capsys, steps):
    assert main(["train", str(write(tmp_path, "audio_codec")), "--steps", steps]) == 2
    assert f"--steps is {steps}; use at least 1" in capsys.readouterr().err


# The command.


def duet_train(capsys, *args) -> str:
    assert main(["train", *map(str, args)]) == 0
    return capsys.readouterr().out


def test_a_second_run_goes_beside_the_first_and_resumes_where_it_halted(tmp_path, capsys):
    path = write(tmp_path, "audio_codec")
    runs, models = tmp_path / "runs", tmp_path / "models"
    assert str(models / "audio_codec.safetensors") in duet_train(capsys, path)
    first = {file: file.read_bytes() for file in (runs / "audio_codec" / CURVE, models / "audio_codec.safetensors")}
    out = duet_train(capsys, path, "--steps", 4)
    assert "stopped at step 4 of 6" in out and "audio_codec_2" in out
    assert f"agrees with {runs / 'audio_codec' / CURVE}: largest difference 0.00%" in out
    out = duet_train(capsys, path, "--resume")
    assert str(models / "audio_codec_2.safetensors") in out
    assert all(file.read_bytes() == content for file, content in first.items())
    tensors = [load_checkpoint(models / f"audio_codec{n}.safetensors")[0] for n in ("", "_2")]
    assert same(*tensors)
    assert main(["train", str(path), "--resume"]) == 2
    assert "no unfinished run to resume" in capsys.readouterr().err


def test_an_interrupted_run_says_how_to_resume(tmp_path, capsys, monkeypatch):
    def interrupt(*args, **options):
        raise KeyboardInterrupt

    path = write(tmp_path, "audio_codec")
    duet_train(capsys, path, "--steps", 2)
    monkeypatch.setattr(training_config, "train", interrupt)
    assert main(["train", str(path), "--resume"]) == 130
    assert "continue with --resume" in capsys.readouterr().err
    assert main(["train", str(path)]) == 130
    assert "cannot be resumed" in capsys.readouterr().err


# Curves.


def curve(path: Path, losses: dict[int, float]) -> Path:
    path.write_text("step,seconds,loss,psnr_db\n" + "".join(f"{step},{step},{loss},20\n" for step, loss in losses.items()))
    return path


def test_curves_are_compared_at_their_common_steps(tmp_path):
    shipped = curve(tmp_path / "a.csv", {25: 2.0, 50: 1.0, 75: 0.5})
    assert compare_curves(shipped, curve(tmp_path / "b.csv", {25: 2.1, 50: 0.9})) == pytest.approx(0.1)
    assert compare_curves(shipped, shipped) == 0
    assert compare_curves(shipped, curve(tmp_path / "b.csv", {30: 1.0})) is None


def test_an_empty_curve_is_named(tmp_path):
    with pytest.raises(ValueError, match="c.csv has no rows"):
        read_curve(curve(tmp_path / "c.csv", {}))


def test_a_curve_is_drawn(folder, tmp_path):
    pytest.importorskip("matplotlib")
    for name in ("video_codec", "joint"):
        plot_curve(folder / "runs" / name / CURVE, tmp_path / f"{name}.png")
        assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")
