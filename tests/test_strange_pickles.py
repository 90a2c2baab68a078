"""`duet convert` with pickles of strangers: none runs code, and each that is not a checkpoint of tensors is one line."""

from __future__ import annotations

import io
import os
import pickle
import struct
import tarfile
import warnings
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from duet_av.av_models.checkpoint import load_checkpoint
from duet_av.commands import main

KEY = "modality_trunks.vision.x"
GOOD = {KEY: torch.arange(6.0).view(2, 3), "modality_trunks.text.y": torch.full((3,), float("nan"))}


class Runs:
    """A pickle of it calls a function when it is read."""

    def __reduce__(self):
        return os.mkdir, ("the code ran",)


class Claims:
    """A pickle of it is a tensor with a storage of `size` numbers."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __reduce__(self):
        return torch._utils._rebuild_tensor_v2, ("here", 0, (self.size,), (1,), False, OrderedDict())


def torch_zip(content: object, path: Path) -> None:
    torch.save(content, path)


def torch_old(content: object, path: Path) -> None:
    torch.save(content, path, _use_new_zipfile_serialization=False)


def plain(content: object, path: Path) -> None:
    path.write_bytes(pickle.dumps(content))


def claiming(size: int) -> bytes:
    class Pickler(pickle.Pickler):
        def persistent_id(self, value):
            return ("storage", torch.FloatStorage, "0", "cpu", size) if value == "here" else None

    file = io.BytesIO()
    Pickler(file, 2).dump({KEY: Claims(size)})
    return file.getvalue()


def zipped(path: Path, data: bytes, storage: bytes, how: int = zipfile.ZIP_STORED) -> None:
    with zipfile.ZipFile(path, "w", how) as file:
        for name, content in (("data.pkl", data), ("version", b"3\n"), ("data/0", storage)):
            file.writestr(f"archive/{name}", content)


def tarred(path: Path) -> None:
    with tarfile.open(path, "w") as file:
        for name, content in (("storages", 1), ("tensors", Runs()), ("pickle", Runs())):
            info = tarfile.TarInfo(name)
            info.size = len(pickle.dumps(content))
            file.addfile(info, io.BytesIO(pickle.dumps(content)))


def cut(save: Callable, part: float) -> Callable[[Path], None]:
    def write(path: Path) -> None:
        save(GOOD, path)
        path.write_bytes(path.read_bytes()[: int(path.stat().st_size * part)])

    return write


def content(save: Callable, make: Callable) -> Callable[[Path], None]:
    return lambda path: save(make(), path)


def raw(data: bytes) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(data)


BAD: dict[str, Callable[[Path], None]] = {
    **{f"code in {save.__name__}": content(save, lambda: {KEY: Runs()}) for save in (torch_zip, torch_old, plain)},
    **{f"{part} of {save.__name__}": cut(save, part) for save in (torch_zip, torch_old) for part in (0, 0.01, 0.5, 0.95)},
    "code in tar": tarred,
    "protocol": raw(b"\x80\xff}."),
    "nested": raw(b"\x80\x02" + b"]" * 100_000 + b"."),
    "marks": raw(b"\x80\x02" + b"(" * 100_000 + b"t" * 100_000 + b"."),
    "text": raw(b"hello\n" * 100),
    "a list": content(torch_zip, lambda: [torch.zeros(1)]),
    "a tensor": content(torch_zip, lambda: torch.zeros(1)),
    "texts": content(torch_zip, lambda: {KEY: "x"}),
    "tables": content(torch_zip, lambda: {KEY: {"x": torch.zeros(1)}}),
    "numbers as keys": content(torch_zip, lambda: {1: torch.zeros(1)}),
    "tuples as keys": content(torch_zip, lambda: {(KEY,): torch.zeros(1)}),
    "control characters": content(torch_zip, lambda: {f"{KEY}\x1b[2J": torch.zeros(1)}),
    "no tensors": content(torch_zip, dict),
    "other tensors": content(torch_zip, lambda: {"a": torch.zeros(1)}),
    "expanded": content(torch_zip, lambda: {KEY: torch.zeros(1).expand(10**6, 10**6)}),
    "strided": content(torch_zip, lambda: {KEY: torch.zeros(4).as_strided((2**20, 2**20), (0, 0))}),
    "one storage for many": content(torch_zip, lambda: {f"{KEY}{i}": GOOD[KEY] for i in range(1000)}),
    "sparse": content(torch_zip, lambda: {KEY: torch.eye(4).to_sparse()}),
    "meta": content(torch_zip, lambda: {KEY: torch.zeros(10**6, 10**6, device="meta")}),
    "complex": content(torch_zip, lambda: {KEY: torch.zeros(4, dtype=torch.complex64)}),
    "a claim in a zip": lambda path: zipped(path, claiming(10**10), bytes(16)),
    "a compressed zip": lambda path: zipped(path, claiming(10**7), bytes(4 * 10**7), zipfile.ZIP_DEFLATED),
    "another zip": lambda path: zipped(path, b"x", b""),
    "a claim without a zip": raw(b"".join(pickle.dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001, {}))
                                 + claiming(10**12) + pickle.dumps(["0"], 2) + struct.pack("<q", 10**12)),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_a_strange_pickle_is_one_line_and_runs_nothing(tmp_path, capsys, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        BAD[name](tmp_path / "x.pth")
    assert main(["convert", "imagebind", "x.pth", "out.safetensors"]) == 2
    line = capsys.readouterr().err
    assert len(line.splitlines()) == 1 and "x.pth" in line and "; " in line and line.strip().isprintable()
    assert os.listdir(tmp_path) == ["x.pth"]


@pytest.mark.parametrize("save", [torch_zip, torch_old])
def test_a_checkpoint_of_tensors_is_converted(tmp_path, save):
    save({name: torch.nn.Parameter(value) for name, value in GOOD.items()}, tmp_path / "x.pth")
    assert main(["convert", "imagebind", str(tmp_path / "x.pth"), str(tmp_path / "out.safetensors")]) == 0
    tensors, _ = load_checkpoint(tmp_path / "out.safetensors")
    assert all(torch.equal(tensors[name].nan_to_num(), GOOD[name].nan_to_num()) for name in GOOD)


@pytest.mark.parametrize("target", ["folder", "x.pth/out.safetensors", "no\0name.safetensors", "n" * 300 + ".safetensors"])
def test_a_target_that_cannot_be_written_is_one_line(tmp_path, capsys, target):
    torch.save(GOOD, tmp_path / "x.pth")
    (tmp_path / "folder").mkdir()
    assert main(["convert", "imagebind", str(tmp_path / "x.pth"), str(tmp_path / target)]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1 and sorted(os.listdir(tmp_path)) == ["folder", "x.pth"]


def test_an_old_torch_reads_no_pickle(tmp_path, capsys, monkeypatch):
    torch.save(GOOD, tmp_path / "x.pth")
    monkeypatch.setattr(torch, "__version__", "2.9.1+cpu")
    assert main(["convert", "imagebind", str(tmp_path / "x.pth"), str(tmp_path / "out.safetensors")]) == 2
    assert "torch is 2.9.1+cpu, in which a pickle can do harm; install torch 2.10" in capsys.readouterr().err
