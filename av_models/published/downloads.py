"""Where joint models are downloaded from, and the folder below `models` that they go to."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Download:
    """Files of a repository.

    folder: below `models`. gigabytes: about, of everything that is needed. choice: options of the command that leave out others.
    """

    repository: str
    folder: str
    gigabytes: float
    choice: str = ""

    @property
    def command(self) -> str:
        """The command that downloads the files, from the folder that holds `models`."""
        return " ".join(filter(None, ("hf download", self.repository, self.choice, f"--local-dir models/{self.folder}")))

    def __str__(self) -> str:
        return f"download about {self.gigabytes:g} GB: {self.command}"


def _diffusers(repository: str, gigabytes: float, choice: str = "") -> tuple[str, Download]:
    name = repository.split("/")[1]
    return name, Download(repository, f"diffusers/{name}", gigabytes, choice)


DOWNLOADS: dict[str, Download] = dict([
    _diffusers("kandinskylab/Kandinsky-6.0-Lite-5s-Diffusers", 26),
    _diffusers("kandinskylab/Kandinsky-6.0-Lite-distill-5s-Diffusers", 26),
    _diffusers("kandinskylab/Kandinsky-6.0-Pro-5s-Diffusers", 78),
    _diffusers("kandinskylab/Kandinsky-6.0-Pro-distill-5s-Diffusers", 78),
    _diffusers("Lightricks/LTX-2", 70, '--exclude "ltx-2-*"'),
])  # fmt: skip
"""By the names that Load Joint Model shows. Sizes: of the parameters at two bytes each, not measured."""
