from dataclasses import dataclass
from fractions import Fraction

import pytest
import torch
from torch import nn

from duet_av.av_models.fingerprint import fingerprint
from duet_av.av_models.guidance import Curve, make_guidance


@dataclass(frozen=True)
class Pair:
    first: object
    second: object = None


@dataclass(frozen=True)
class OtherPair(Pair):
    pass


def same() -> list:
    """Equal content in new objects."""
    with torch.inference_mode():
        tensor = torch.arange(6.0).reshape(2, 3)
    network = nn.Linear(2, 2)
    nn.init.ones_(network.weight)
    nn.init.ones_(network.bias)
    fading = make_guidance("cfg", scale_curve=Curve(((0, 1), (1, 0))))
    tensors = [torch.zeros(0), torch.tensor(1), torch.ones(2, dtype=torch.bfloat16)]
    return [1, 0.1, "a", None, True, Fraction(1, 3), (1, (2, "b")), {"a": [1]}, Pair(tensor, network), *tensors, fading]


def test_equal_content_has_one_fingerprint():
    for a, b in zip(same(), same()):
        assert fingerprint(a) == fingerprint(b), a


def test_all_different_content_has_different_fingerprints():
    x = torch.arange(6.0)
    values = [
        *same(), x, x.reshape(2, 3), x.reshape(3, 2), x.int(), x.double(), -x, x.flip(0), [x], (x, x), torch.tensor(1.0),
        1.0, "1", "1.0", 2, b"1", (1, 2), ((1,), 2), (1, (2,)), ("ab", "c"), ("a", "bc"), {"a": 1}, {"b": 1}, {"a": None}, {}, (),
        Pair(1), Pair(None, 1), OtherPair(1), nn.Linear(1, 1), nn.Linear(1, 2), nn.LayerNorm(2), make_guidance("cfg"),
        make_guidance("joint_cfg"), make_guidance("cfg", scale=2.0), make_guidance("cfg", interval_low=0.1),
    ]  # fmt: skip
    assert len({fingerprint(value) for value in values}) == len(values)


@pytest.mark.parametrize("name", ["weight", "running_mean", "num_batches_tracked"])
def test_weights_and_buffers_changed_in_place_count(name):
    network = nn.BatchNorm1d(3)
    before = fingerprint(network)
    with torch.no_grad():
        getattr(network, name).add_(1)
    assert fingerprint(network) != before


def test_the_values_of_weights_are_not_read():
    with torch.device("meta"):
        assert fingerprint(nn.Linear(2, 2)) != fingerprint(nn.Linear(2, 3))


def test_attributes_of_modules_changed_in_place_count():
    network = nn.Sequential(nn.Dropout(0.1), nn.Linear(1, 1))
    found = [fingerprint(network)]
    network.eval()
    found.append(fingerprint(network))
    network[0].p = 0.2
    assert len({*found, fingerprint(network)}) == 3


def test_a_value_of_another_kind_never_equals_another():
    value = object()
    assert fingerprint(value) != fingerprint(value) and fingerprint({"a": value}) != fingerprint({"a": value})
