"""Where joint models are downloaded from, and the folders below `models` that they go to."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Part:
    """Files of a repository. folder: below `models`. choice: the files' names, or options of the command that choose them."""

    repository: str
    folder: str
    choice: str = ""

    @property
    def command(self) -> str:
        """The command that downloads the files, run in the folder that holds `models`."""
        return " ".join(filter(None, ("hf download", self.repository, self.choice, f"--local-dir models/{self.folder}")))


@dataclass(frozen=True)
class Download:
    """What a model needs. gigabytes: about, of the parameters at two bytes each."""

    gigabytes: float
    parts: tuple[Part, ...]

    @property
    def command(self) -> str:
        """The commands of all parts, in one line."""
        return " && ".join(part.command for part in self.parts)

    def __str__(self) -> str:
        return f"download about {self.gigabytes:g} GB: {self.command}"


def _diffusers(repository: str, gigabytes: float, choice: str = "") -> tuple[str, Download]:
    name = repository.split("/")[1]
    return name, Download(gigabytes, (Part(repository, f"diffusers/{name}", choice),))


def _ovi(file: str) -> tuple[str, Download]:
    encoders = '--include "vae/*" --include "text_encoder/*" --include "tokenizer/*"'
    audio = "Ovi/mmaudio_vae_16k_fp32.safetensors Ovi/mmaudio_vocoder_bigvgan_best_netG_fp32.safetensors"
    parts = (
        Part("chetwinlow1/Ovi", "duet/Ovi", file),
        Part("Kijai/WanVideo_comfy", "duet", audio),
        Part("Wan-AI/Wan2.2-TI2V-5B-Diffusers", "duet/Ovi", encoders),
    )
    return f"Ovi/{file}", Download(39, parts)


DOWNLOADS: dict[str, Download] = dict([
    _diffusers("kandinskylab/Kandinsky-6.0-Lite-5s-Diffusers", 35),
    _diffusers("kandinskylab/Kandinsky-6.0-Lite-distill-5s-Diffusers", 35),
    _diffusers("kandinskylab/Kandinsky-6.0-Pro-5s-Diffusers", 89),
    _diffusers("kandinskylab/Kandinsky-6.0-Pro-distill-5s-Diffusers", 89),
    _diffusers("diffusers/LTX-2.3-Diffusers", 78),
    _diffusers("diffusers/LTX-2.3-Distilled-Diffusers", 78),
    _diffusers("Lightricks/LTX-2.5-Diffusers", 78, '--exclude "transformer_full/*.safetensors*" --exclude "prompt_enhancer/*"'),
    _diffusers("Lightricks/LTX-2", 70, '--exclude "ltx-2-*"'),
    _ovi("model_960x960.safetensors"),
    _ovi("model_960x960_10s.safetensors"),
])  # fmt: skip
"""By the names that Load Joint Model shows."""
