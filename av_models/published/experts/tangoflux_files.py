"""Reads off TangoFlux's files what they hold, and finds its parts beside them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...card_fields import LARGEST_SIZE, read_table
from ...checkpoint import Shape
from ...printable import quoted
from ..expert_options import ExpertOptions
from ..folder import has_vocabulary
from ..oobleck_file import is_oobleck
from ..t5_file import t5_width
from ..tensor_files import Header, read_header, tensor_paths

MODEL, SETTINGS, VAE = "tangoflux.safetensors", "config.json", "vae.safetensors"
STEPS, MAX_SECONDS = 645, 30  # of the published model, whose settings say so too
ROOTS = ("", "model.", "model.diffusion_model.", "diffusion_model.")
COMFYUI = ("model.diffusion_model.", "diffusion_model.")
TRANSFORMER = ("x_embedder.weight", "context_embedder.weight", "transformer_blocks.0.attn.norm_q.weight",
               "single_transformer_blocks.0.proj_mlp.weight", "time_text_embed.text_embedder.linear_1.weight")  # fmt: skip
FREQUENCIES = "time_positional_embedding.0.weights"
REPOSITORY, T5 = "declare-lab/TangoFlux", "google/flan-t5-large"
TOKENIZER_FILES = "tokenizer.json tokenizer_config.json special_tokens_map.json spiece.model"


@dataclass(frozen=True)
class Prefixes:
    """How the names of each part begin. fc ends before "weight". text_encoder: None if the file has none."""

    transformer: str
    fc: str
    duration: str
    text_encoder: str | None

    @property
    def names(self) -> str:
        """Whose names these are, as in `Found`."""
        if self.transformer == "transformer.":
            return "original"
        return "comfyui" if self.transformer.startswith(COMFYUI) else "diffusers"


def find_prefixes(shapes: Mapping[str, Shape]) -> Prefixes | None:
    """Return how the names of TangoFlux's parts begin; None for another file. Flux for images has no token of a length."""
    transformer = _first(shapes, ("transformer.", ""), *TRANSFORMER)
    fc = _first(shapes, ("fc.0.",), "weight", "bias")
    duration = _first(shapes, ("duration_emebdder.", "duration_embedder."), FREQUENCIES)
    if transformer is None or fc is None or duration is None:
        return None
    texts = (root + "text_encoder." for root in ROOTS)
    return Prefixes(transformer, fc, duration, next((text for text in texts if t5_width(shapes, text)), None))


def _first(shapes: Mapping[str, Shape], parts: tuple[str, ...], *names: str) -> str | None:
    prefixes = (root + part for root in ROOTS for part in parts)
    return next((prefix for prefix in prefixes if all(prefix + name in shapes for name in names)), None)


def transformer_config(shapes: Mapping[str, Shape], prefixes: Prefixes) -> dict[str, Any]:
    """Return the arguments of FluxTransformer2DModel, read off the shapes."""
    start = prefixes.transformer
    (width, channels), head_size = shapes[f"{start}x_embedder.weight"], shapes[f"{start}transformer_blocks.0.attn.norm_q.weight"][0]
    dual, single = (_count(shapes, f"{start}{kind}transformer_blocks.") for kind in ("", "single_"))
    return {
        "in_channels": channels, "num_layers": dual, "num_single_layers": single, "attention_head_dim": head_size,
        "num_attention_heads": width // head_size, "joint_attention_dim": shapes[f"{start}context_embedder.weight"][1],
        "pooled_projection_dim": shapes[f"{start}time_text_embed.text_embedder.linear_1.weight"][1],
        "axes_dims_rope": rotary_axes(head_size),
    }  # fmt: skip


def _count(shapes: Mapping[str, Shape], start: str) -> int:
    return len({name[len(start) :].partition(".")[0] for name in shapes if name.startswith(start)})


def rotary_axes(head_size: int) -> tuple[int, int, int]:
    """Return the sizes of the rotary axes, which are not in the file: Flux's (16, 56, 56) of 128, or the same shares of others."""
    first = max(2, head_size // 16 * 2)
    second = (head_size - first) // 4 * 2
    return first, second, head_size - first - second


@dataclass(frozen=True)
class TangoFluxFiles:
    """The files of TangoFlux; None for parts that were not found.

    model: a file, or a folder of shards. settings: its config.json. vae: a file or a folder. tokenizer: a folder.
    text_encoder: a file or a folder; `model` if it is in there.
    """

    model: Path
    header: Header
    prefixes: Prefixes
    settings: Path | None
    vae: Path | None
    text_encoder: Path | None
    tokenizer: Path | None

    @property
    def network(self) -> Header:
        """The header of the expert's tensors, without those of the text encoder."""
        own, text = (
            self.header.part(self.prefixes.transformer, self.prefixes.fc, self.prefixes.duration),
            self.prefixes.text_encoder,
        )
        names = [name for name in own.shapes if text is None or not name.startswith(text)]
        return Header({name: own.shapes[name] for name in names}, {name: own.dtypes[name] for name in names})

    @property
    def in_plain_8_bits(self) -> bool:
        """Whether weights of the expert are stored in 8 bits, without scales."""
        return "fp8" in self.network.precision.split(" and ")

    @property
    def text_prefix(self) -> str:
        """How the names of the text encoder's tensors begin."""
        return (self.prefixes.text_encoder or "") if self.text_encoder == self.model else ""

    @property
    def text_width(self) -> int:
        """The width of the text embeddings."""
        return self.header.shapes[f"{self.prefixes.transformer}context_embedder.weight"][1]

    @property
    def lengths(self) -> tuple[int, int]:
        """The latent steps of every clip, and the seconds of the longest one. Raises ValueError if the settings are wrong."""
        settings = read_table(self.settings, "download it again") if self.settings else {}
        found = settings.get("audio_seq_len", STEPS), settings.get("max_duration", MAX_SECONDS)
        for name, value in zip(("audio_seq_len", "max_duration"), found):
            if type(value) is not int or not 1 <= value <= LARGEST_SIZE:
                raise ValueError(f"{self.settings}: {name} is {quoted(value)}; use a whole number of at least 1")
        return found

    def missing(self, codec: Any) -> dict[str, str]:
        """Return what is missing, in words, with where it is published. codec: one that is used in place of the VAE."""
        words = {
            "vae": f"the VAE ({VAE} of {REPOSITORY})",
            "text_encoder": f"the text encoder ({T5}; {MODEL} of {REPOSITORY} has it too)",
            "tokenizer": f"its tokenizer (of {T5})",
        }
        return {part: text for part, text in words.items() if getattr(self, part) is None and not (part == "vae" and codec)}

    @property
    def all(self) -> list[Path]:
        """All files that the loaded expert depends on."""
        networks = [part for part in (self.model, self.vae, self.text_encoder) if part is not None]
        tensors = {file for part in networks for file in tensor_paths(part)}
        others = [file for folder in (self.vae, self.tokenizer) if folder and folder.is_dir() for file in folder.glob("*.json")]
        models = [*self.tokenizer.glob("*.model")] if self.tokenizer else []
        return sorted({*tensors, *others, *models, *([self.settings] if self.settings else [])})


def tokenizer_command(model: Path) -> str:
    """Return the command that downloads the tokenizer of the text encoder beside a file."""
    folder = model / "tokenizer" if model.is_dir() else model.parent / "tokenizer"
    return f"hf download {T5} {TOKENIZER_FILES} --local-dir {folder}"


def find_model(path: Path) -> tuple[Path, Header, Prefixes] | None:
    """Return where the transformer is, with what it holds: a file, or a folder with it or with its shards. None: no TangoFlux."""
    model = path / MODEL if (path / MODEL).is_file() else path
    header = header_of(model)
    prefixes = find_prefixes(header.shapes) if header else None
    return (model, header, prefixes) if header and prefixes else None


def header_of(path: Path) -> Header | None:
    """Return the header of a file or folder; None if it has none or is not complete."""
    try:
        return read_header(path)
    except (ValueError, OSError):
        return None


def find_parts(path: Path, options: ExpertOptions) -> TangoFluxFiles:
    """Find TangoFlux's parts: as the options say, else in its file, beside it, and in the folders beside it.

    Raises ValueError if `path` holds no TangoFlux, FileNotFoundError for a part that is named and is not there.
    """
    found = find_model(path)
    if found is None:
        raise ValueError(f"{path} holds no TangoFlux; use {MODEL} of {REPOSITORY}, or its folder")
    for name in ("vae", "text_encoder", "tokenizer"):
        named = getattr(options, name)
        if named is not None and not named.exists():
            raise FileNotFoundError(f"there is no {name} {named}; check the name")
    model, header, prefixes = found
    folder = model if model.is_dir() else model.parent
    settings = folder / SETTINGS
    text = options.text_encoder or _find_text_encoder(model, header, prefixes, folder)
    return TangoFluxFiles(
        model, header, prefixes, settings if settings.is_file() and _is_own(settings) else None,
        options.vae or next((each for each in _near(folder) if _holds_oobleck(each)), None),
        text, options.tokenizer or next(filter(has_vocabulary, _tokenizer_folders(text, model, folder)), None),
    )  # fmt: skip


def _find_text_encoder(model: Path, header: Header, prefixes: Prefixes, folder: Path) -> Path | None:
    if prefixes.text_encoder is not None:
        return model
    width = header.shapes[f"{prefixes.transformer}context_embedder.weight"][1]
    return next((each for each in _near(folder) if (found := header_of(each)) and t5_width(found.shapes) == width), None)


def _tokenizer_folders(text: Path | None, model: Path, folder: Path) -> Iterator[Path]:
    """Yield the folders that the tokenizer may be in: with the text encoder, then with the model."""
    if text is not None and text != model:
        home = text if text.is_dir() else text.parent
        yield from (home, home / "tokenizer", home.parent / "tokenizer")
    yield from (folder, folder / "tokenizer", *_folders(folder))


def _near(folder: Path) -> list[Path]:
    return [*sorted(folder.glob("*.safetensors")), *_folders(folder)]


def _folders(folder: Path) -> list[Path]:
    return sorted(each for each in folder.iterdir() if each.is_dir())


def _holds_oobleck(path: Path) -> bool:
    header = header_of(path)
    return header is not None and is_oobleck(header.shapes)


def _is_own(settings: Path) -> bool:
    """Return whether a config.json is that of TangoFlux, and not that of another model in this folder."""
    try:
        return "audio_seq_len" in read_table(settings, "download it again")
    except (ValueError, OSError):
        return settings.with_name(MODEL).is_file()
