"""Progress on the terminal: a bar for each node that takes more than two seconds."""

from __future__ import annotations

from tqdm import tqdm

PATIENCE = 2.0


class Bars:
    """The `Progress` of a run, on standard error."""

    def __init__(self) -> None:
        self.bar = None

    def start(self, title: str) -> None:
        self.bar = tqdm(total=1, desc=title, delay=PATIENCE, leave=False, bar_format=_FORMAT)

    def update(self, value: float, total: float) -> None:
        if total:
            self.bar.total = total
        self.bar.update(value - self.bar.n)

    def stop(self) -> None:
        self.bar.close()


_FORMAT = "{desc}: {percentage:3.0f}%|{bar:30}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}]"
