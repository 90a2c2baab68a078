"""Progress bars on the terminal: one for each node that takes more than two seconds."""

from __future__ import annotations

from tqdm import tqdm

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


_FORMAT = "{desc}: {percentage:3.0f}%|{bar:30}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}]"
