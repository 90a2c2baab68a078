"""A cache of encoded items in safetensors files. Several processes fill it together, and it is read by memory map.

A file appears under its name only when it is complete. What a killed process has encoded stays up to its last file. The card of
a file lists its rows [item, number] (`rows`), the items that end in it with their number of rows (`ends`), and the items that
cannot be encoded, with the reason (`skipped`).
"""

from __future__ import annotations

import hashlib
import os
import secrets
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ..atomic import explain_write_errors
from ..checkpoint import open_tensors, read_card, save_checkpoint

try:
    import fcntl
except ImportError:  # Windows: processes may encode the same items; the first result counts
    fcntl = None  # type: ignore[assignment]

BUCKETS = 32  # shares of the items that one process claims at a time
MOST_BYTES, MOST_ROWS, MOST_SECONDS = 256 * 2**20, 2000, 60.0  # of a file; after so many seconds it is written in any case
MOST_OPEN = 128  # files
WAIT = 0.2  # seconds between looks at what other processes have done
BLOCKS, BLOCK = 16, 4096  # of a file or a tensor that its key depends on
KIND = "shard"
Rows = Iterator[Mapping[str, Tensor]]


class Shards:
    """The items in a folder. An item is known by its key, and has one or more rows of named tensors."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows: dict[tuple[str, int], tuple[Path, int]] = {}  # of (item, number): the file, and its row in it
        self.counts: dict[str, int] = {}  # rows of each complete item
        self.skipped: dict[str, str] = {}
        self._read: set[Path] = set()
        self._open: OrderedDict[Path, tuple[Any, dict[int, list[str]]]] = OrderedDict()

    def read(self, pattern: str = "*") -> None:
        """Read the cards of the files that are new."""
        for path in sorted(set(self.folder.glob(f"{pattern}.safetensors")) - self._read):
            card = _card(path)
            self._read.add(path)
            self.skipped |= card["skipped"]
            for row, (key, number) in enumerate(card["rows"]):
                self.rows.setdefault((key, number), (path, row))
            self.counts |= card["ends"]

    def has(self, key: str) -> bool:
        """Return whether an item is complete, or known to be skipped."""
        count = self.counts.get(key)
        return key in self.skipped or (count is not None and all((key, number) in self.rows for number in range(count)))

    def fill(
        self,
        items: Mapping[str, Any],
        encode: Callable[[Any], Rows],
        first: int = 0,
        on_item: Callable[[int, int], None] | None = None,
    ) -> None:
        """Encode the items that are missing, together with other processes that do the same; return when all are there.

        items: what to encode, by key. encode: yields the rows of an item; an item for which it raises ValueError is skipped.
        first: of several processes, each begins elsewhere. on_item(done, total): called as items become complete.
        """
        order = [(first + number) % BUCKETS for number in range(BUCKETS)]
        parts = {bucket: {key: item for key, item in items.items() if _bucket(key) == bucket} for bucket in order}

        def tell() -> None:
            if on_item:
                on_item(sum(map(self.has, items)), len(items))

        while True:
            self.read()
            left = [bucket for bucket in order if not all(map(self.has, parts[bucket]))]
            if not left:
                break
            if not any([self._fill_bucket(bucket, parts[bucket], encode, tell) for bucket in left]):
                time.sleep(WAIT)
        tell()

    def _fill_bucket(self, bucket: int, items: Mapping[str, Any], encode: Callable[[Any], Rows], tell: Callable[[], None]) -> bool:
        """Encode what is missing of a bucket, unless another process does. Returns whether it was free."""
        name = f"{bucket:02x}"
        with _lock(self.folder, name) as is_free:
            if not is_free:
                return False
            self.read(f"{name}_*")
            writer = _Writer(self.folder, name)
            for key in [key for key in items if not self.has(key)]:
                writer.encode(key, encode(items[key]))
                if writer.is_due():
                    writer.write()
                    self.read(f"{name}_*")
                    tell()
            writer.write()
            self.read(f"{name}_*")
            tell()
        return True

    def tensors(self, key: str, number: int = 0) -> dict[str, Tensor]:
        """Return the tensors of a row. Only this row is read from the file."""
        path, row = self.rows[key, number]
        file, names = self._opened(path)
        return {name.split(".", 1)[1]: file.get_tensor(name) for name in names[row]}

    def _opened(self, path: Path) -> tuple[Any, dict[int, list[str]]]:
        """Return a file by memory map, and the names of the tensors of each row. Only the files that were used last stay open."""
        if path not in self._open:
            file, names = open_tensors(path), dict[int, list[str]]()
            for name in file.keys():
                names.setdefault(int(name.split(".", 1)[0]), []).append(name)
            self._open[path] = file, names
        self._open.move_to_end(path)
        if len(self._open) > MOST_OPEN:
            self._open.popitem(last=False)
        return self._open[path]


class _Writer:
    """Collects rows of items, and writes them to files of a bucket."""

    def __init__(self, folder: Path, bucket: str) -> None:
        self.folder, self.bucket = folder, bucket
        self._clear()

    def _clear(self) -> None:
        self.rows: list[tuple[str, int]] = []
        self.parts: list[dict[str, Tensor]] = []
        self.ends: dict[str, int] = {}
        self.skipped: dict[str, str] = {}
        self.bytes, self.begun = 0, time.monotonic()

    def encode(self, key: str, rows: Rows) -> None:
        """Take all rows of an item. What is full before the item ends is written."""
        number = 0
        try:
            for number, row in enumerate(rows, 1):
                self.parts.append({name: tensor.detach().cpu().contiguous() for name, tensor in row.items()})
                self.rows.append((key, number - 1))
                self.bytes += sum(tensor.nbytes for tensor in self.parts[-1].values())
                if self.bytes >= MOST_BYTES:
                    self.write()
        except ValueError as error:
            self.skipped[key] = str(error)
            kept = [place for place, (item, _) in enumerate(self.rows) if item != key]
            self.rows, self.parts = [self.rows[place] for place in kept], [self.parts[place] for place in kept]
            return
        self.ends[key] = number

    def is_due(self) -> bool:
        return self.bytes >= MOST_BYTES or len(self.rows) >= MOST_ROWS or time.monotonic() - self.begun > MOST_SECONDS

    def write(self) -> None:
        """Write what was collected, if anything was."""
        if self.rows or self.ends or self.skipped:
            path = self.folder / f"{self.bucket}_{secrets.token_hex(4)}.safetensors"
            tensors = {f"{row}.{name}": tensor for row, part in enumerate(self.parts) for name, tensor in part.items()}
            save_checkpoint(path, tensors, {"kind": KIND, "rows": self.rows, "ends": self.ends, "skipped": self.skipped})
        self._clear()


def _card(path: Path) -> dict[str, Any]:
    try:
        card = read_card(path)
        rows = [(str(key), int(number)) for key, number in card["rows"]]
        return {"rows": rows, "ends": dict(card["ends"]), "skipped": dict(card["skipped"])}
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is not a file of this cache; delete it") from error


@contextmanager
def _lock(folder: Path, name: str) -> Iterator[bool]:
    """Hold a lock of this name as long as the process lives; yields False if another process holds it."""
    with explain_write_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        file = os.open(folder / f"{name}.lock", os.O_CREAT | os.O_RDWR, 0o666)
    try:
        yield _is_locked(file)
    finally:
        os.close(file)


def _is_locked(file: int) -> bool:
    try:
        if fcntl is not None:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        pass
    return True


def _bucket(key: str) -> int:
    return int(key[:8], 16) % BUCKETS


def hash_of(parts: Iterable[str | bytes]) -> str:
    """Return a short hash of several texts or bytes."""
    digest = hashlib.sha256()
    for part in parts:
        content = part.encode(errors="surrogatepass") if isinstance(part, str) else part
        digest.update(f"{len(content)} ".encode() + content)
    return digest.hexdigest()[:16]


def file_key(path: Path) -> str:
    """Return a hash of the size of a file and of evenly spaced parts of it, which is quick and does not depend on its name."""
    size = path.stat().st_size
    with path.open("rb") as file:
        starts = [round(number * max(0, size - BLOCK) / (BLOCKS - 1)) for number in range(BLOCKS)]
        return hash_of([str(size), *(_block(file, start) for start in starts)])


def _block(file: Any, start: int) -> bytes:
    file.seek(start)
    return file.read(BLOCK)


def module_key(module: nn.Module, without: str = "") -> str:
    """Return a hash of the weights of a network: names, shapes, and evenly spaced values. without: a part of names to leave out."""
    parts: list[str | bytes] = []
    for name, tensor in sorted(module.state_dict().items()):
        if isinstance(tensor, Tensor) and not (without and without in name):
            parts += [name, str(tuple(tensor.shape)), _values(tensor)]
    return hash_of(parts)


def _values(tensor: Tensor) -> bytes:
    flat = tensor.detach().reshape(-1)
    step = max(1, flat.numel() // 64)
    return (flat[::step].cpu().float() + 0).numpy().tobytes()  # −0 becomes 0


def files_key(paths: Sequence[Path]) -> str:
    """Return a hash of the contents of files (see `file_key`), in any order."""
    return hash_of(sorted(file_key(path) for path in paths if path.is_file()))
