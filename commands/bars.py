"""Progress bars on the terminal: one for each node and each file that takes more than two seconds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tqdm import tqdm

from ..av_models.printable import printable

DELAY = 2.0  # seconds before a bar appears


class Bars:
    """Implements the `Progress` of a headless run with a progress bar on standard error."""

    bar: tqdm

    def start(self, title: str) -> None:
        """Begin a bar for the node `title`."""
        self.bar = tqdm(total=1, desc=title, delay=DELAY, leave=False, bar_format=_FORMAT)

    def update(self, value: float, total: float) -> None:
        """Set the progress to `value` of `total`; a `total` of 0 keeps the last one."""
        if total:
            self.bar.total = total
        self.bar.update(value - self.bar.n)

    def stop(self) -> None:
        """Remove the bar."""
        self.bar.close()


@contextmanager
def frame_bar(path: Path) -> Iterator[Callable[[], object]]:
    """Show a bar while a file is measured; yield a function to call after each frame."""
    from ..av_models.media.read import estimate_frames

    try:
        total = estimate_frames(path)
    except (ValueError, OSError):  # the one who measures it says why
        total = 0
    with tqdm(total=total or None, desc=printable(path.name), unit=" frames", delay=DELAY, leave=False) as bar:
        yield bar.update


_FORMAT = "{desc}: {percentage:3.0f}%|{bar:30}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}]"
