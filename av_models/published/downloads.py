"""Where published models and their parts are downloaded from, and the folders below `models` that they go to."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Part:
    """Files of a repository. folder: below `models`. choice: the files' names, or options of the command that choose them.

    moved: a single file in subfolders of the repository, which is moved to `folder` itself.
    """

    repository: str
    folder: str
    choice: str = ""
    moved: bool = False

    @property
    def command(self) -> str:
        """The command that downloads the files, run in the folder that holds `models`."""
        download = " ".join(filter(None, ("hf download", self.repository, self.choice, f"--local-dir models/{self.folder}")))
        return f"{download} && mv models/{self.folder}/{self.choice} models/{self.folder}/" if self.moved else download


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


def _comfyui(repository: str, folder: str, name: str, gigabytes: float) -> Download:
    return Download(gigabytes, (Part(f"Comfy-Org/{repository}", folder, f"split_files/{folder}/{name}", moved=True),))


def _wan_video(repository: str, name: str, gigabytes: float) -> tuple[str, Download]:
    return name, _comfyui(repository, "diffusion_models", name, gigabytes)


TOKENIZER = "tokenizer.json tokenizer_config.json special_tokens_map.json spiece.model"
WAN21, WAN22 = "Wan_2.1_ComfyUI_repackaged", "Wan_2.2_ComfyUI_Repackaged"
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
    _wan_video(WAN22, "wan2.2_ti2v_5B_fp16.safetensors", 10),
    _wan_video(WAN22, "wan2.2_t2v_high_noise_14B_fp8_scaled.safetensors", 14),
    _wan_video(WAN22, "wan2.2_t2v_low_noise_14B_fp8_scaled.safetensors", 14),
    _wan_video(WAN21, "wan2.1_t2v_1.3B_fp16.safetensors", 3),
    _wan_video(WAN21, "wan2.1_t2v_14B_fp16.safetensors", 29),
    ("TangoFlux", Download(4, (
        Part("declare-lab/TangoFlux", "duet/TangoFlux"),
        Part("google/flan-t5-large", "duet/TangoFlux/tokenizer", TOKENIZER),
    ))),
])  # fmt: skip
"""By the names that the loaders show."""

PARTS: dict[str, Download] = {
    "UMT5": _comfyui(WAN21, "text_encoders", "umt5_xxl_fp8_e4m3fn_scaled.safetensors", 7),
    "the VAE of Wan 2.2": _comfyui(WAN22, "vae", "wan2.2_vae.safetensors", 1.4),
    "the VAE of Wan 2.1": _comfyui(WAN22, "vae", "wan_2.1_vae.safetensors", 0.3),
    "T5 v1.1 or FLAN-T5": Download(3, (Part("google/flan-t5-large", "text_encoders/flan-t5-large"),)),
    "T5": Download(0.9, (Part("google-t5/t5-base", "text_encoders/t5-base", '--exclude "*.msgpack" --exclude "*.h5"'),)),
    "Oobleck": Download(0.7, (Part("declare-lab/TangoFlux", "duet/TangoFlux", "vae.safetensors config.json"),)),
}
"""Of the parts of experts, by how `Found.model` of each begins."""

BINDERS: dict[str, Part] = {
    name: Part(f"facebook/{name}", f"duet/{name}")
    for size in ("small", "base", "large")
    for name in (f"pe-av-{size}", f"pe-av-{size}-16-frame")
}
"""PE-AV, for the aligner, by the names of its folders."""
