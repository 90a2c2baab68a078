"""Networks whose weights are brought to the device layer by layer compute the same."""

from __future__ import annotations

import logging
from copy import copy

import pytest
import torch
from diffusers.hooks import group_offloading
from torch import nn

from duet_av.av_models import offload as offload_module
from duet_av.av_models.load_joint import load_joint_model
from duet_av.av_models.offload import device_of, is_offloaded, offload
from duet_av.av_models.published.joint import LoadOptions
from duet_av.tests.kandinsky6 import by_sampler, draw_noise

CPU = torch.device("cpu")


def to_disk(network: nn.Module, folder) -> None:
    """Offloads to files, so that weights that are not brought back are wrong on a CPU too."""
    offload(network, CPU, offload_to_disk_path=str(folder))
    for layer in network.modules():
        if isinstance(layer, nn.Linear):
            layer.weight.data.fill_(float("nan"))


@pytest.mark.parametrize("options", [LoadOptions(), LoadOptions(quantize="fp8")])
def test_a_joint_model_makes_the_same_clip(small_kandinsky6, tmp_path, options):
    model = load_joint_model(small_kandinsky6, options)
    noise = draw_noise(model)
    expected = by_sampler(model, noise).latent
    to_disk(model.denoiser, tmp_path)
    assert is_offloaded(model.denoiser) and model.device == CPU and list(tmp_path.iterdir())
    for _ in range(2):
        clip = by_sampler(model, noise).latent
        assert torch.equal(clip.video, expected.video) and torch.equal(clip.audio, expected.audio)
    assert not model.movable(["denoiser"]) and len(model.movable()) == 3


class Towers(nn.Module):
    """A network with weights beside its layers, in a module whose forward pass is never called."""

    def __init__(self) -> None:
        super().__init__()
        self.block = nn.ModuleDict({"layer": nn.Linear(4, 4)})
        self.block.scale = nn.Parameter(torch.rand(4))
        self.factor = 1.0

    def predict(self, x: torch.Tensor) -> torch.Tensor:
        return self.predict_stream(x) * self.factor

    def predict_stream(self, x: torch.Tensor) -> torch.Tensor:
        return self.block["layer"](x) * self.block.scale


@torch.no_grad()
def test_methods_weights_beside_layers_and_copies_work(tmp_path):
    network, x = Towers(), torch.rand(2, 4)
    expected = network.predict(x)
    to_disk(network, tmp_path)
    offload(network, CPU)  # once is enough
    other = copy(network)
    other.factor = 3.0
    assert torch.equal(network.predict(x), expected) and torch.equal(network.predict_stream(x), expected)
    assert torch.equal(other.predict(x), 3 * expected) and isinstance(network, Towers)


@torch.no_grad()
def test_a_call_is_one_forward_pass_for_diffusers(tmp_path, monkeypatch):
    calls, forward = [], offload_module._Entry.forward
    monkeypatch.setattr(offload_module._Entry, "forward", lambda self, call: calls.append(call) or forward(self, call))
    network = Towers()
    to_disk(network, tmp_path)
    network.predict(torch.rand(2, 4))
    assert len(calls) == 1


@torch.no_grad()
def test_diffusers_lists_no_layers_of_other_couplings(tmp_path, monkeypatch):
    class Warns(Towers):
        def predict(self, x: torch.Tensor) -> torch.Tensor:
            for line in ("some layers were not executed: a, b", "another line"):
                group_offloading.logger.warning(line)
            return super().predict(x)

    shown, handler = [], logging.Handler()
    monkeypatch.setattr(handler, "emit", lambda record: shown.append(record.getMessage()))
    monkeypatch.setattr(group_offloading.logger, "handlers", [handler])
    network = Warns()
    to_disk(network, tmp_path)
    network.predict(torch.rand(2, 4))
    assert shown == ["another line"]
    group_offloading.logger.warning("layers were not executed")
    assert len(shown) == 2


@torch.no_grad()
def test_a_text_encoder_is_called_as_before(tmp_path):
    network, x = nn.Sequential(nn.Embedding(5, 4), nn.LayerNorm(4), nn.Linear(4, 4)), torch.arange(5)
    expected = network(x)
    to_disk(network, tmp_path)
    assert torch.equal(network(x), expected)


def test_the_device_is_where_layers_run(small_kandinsky6):
    model = load_joint_model(small_kandinsky6)
    offload(model.denoiser, CPU)
    for _, hook in offload_module._hooks(model.denoiser):
        hook.group.onload_device = torch.device("meta")
    assert model.device.type == "meta" and device_of(model.video_codec) == CPU
    assert device_of(nn.Module()) == CPU and device_of(nn.Linear(1, 1, device="meta")).type == "meta"
