"""Load PE-AV from a transformers folder, as it is published."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..build_from_card import Allowance, NoInitialValues, one_line
from ..card_fields import AGAIN, check_config, read_table
from ..checkpoint import Shape, check_fit, copy_tensors, read_shapes
from ..printable import quoted
from ..published.folder import check_settings, has_vocabulary
from ..published.pe_av_folder import CONFIG, KIND, how_to_get, processor_tables
from ..published.tensor_files import read_headers, tensor_paths
from .pe_av import PEAV, Tokenize
from .pe_av_features import Processing
from .pe_av_vision import vision_sizes

LONGEST_TEXT = 512  # tokens
TIED = {
    "text_model.": ("audio_model.text_model.", "video_model.text_model."),
    "audio_model.audio_encoder.": ("audio_video_encoder.embedder.audio_encoder.",),
    "video_model.video_encoder.": ("audio_video_encoder.embedder.video_encoder.",),
}
"""Other names of tensors that the model has once, of which the files may have any."""


def load_pe_av(path: str | Path) -> PEAV:
    """Load PE-AV from its folder, frozen and in evaluation mode, in float32.

    Without a tokenizer in the folder, it cannot embed text. Raises FileNotFoundError or ValueError, in one line, for a folder
    without weights, of another model, or with damaged files.
    """
    path = Path(path)
    config = _config(path)
    files = tensor_paths(path)
    if not files:
        raise FileNotFoundError(f"{path} has no weights, such as model.safetensors; finish the download: {how_to_get(path.name)}")
    shapes = dict(read_headers(files).shapes)
    with one_line(path, "PE-AV"):
        settings, tokenize = _processing(path, config), _tokenizer(path)
        with torch.device("meta"), Allowance(shapes) as allowance:
            needed = {name: tuple(x.shape) for name, x in PEAV(config, settings, tokenize).state_dict().items()}
        names = _names(needed, shapes)
        check_fit(needed, {name: shapes[key] for name, key in names.items()}, "PE-AV", path)
        allowance.check_largest()
        with torch.random.fork_rng(devices=[]), NoInitialValues():
            binder = PEAV(config, settings, tokenize)
    for file in files:
        own = read_shapes(file)
        copy_tensors(binder, file, {name: key for name, key in names.items() if key in own})
    return binder.eval().requires_grad_(False)


def _config(path: Path) -> Any:
    """Return transformers' config of a folder. Raises ValueError for another model."""
    if not (path / CONFIG).is_file():
        raise FileNotFoundError(f"{path} has no {CONFIG}; use the folder of a binder: {how_to_get(path.name)}")
    table = read_table(path / CONFIG, AGAIN)
    kind = table.get("model_type")
    if kind != KIND:
        raise ValueError(f"{path} holds a model of type {quoted(kind)}, which is no binder; use PE-AV: {how_to_get(path.name)}")
    check_settings(table, path / CONFIG)
    check_config(table, path / CONFIG)
    from huggingface_hub.errors import StrictDataclassError
    from transformers import PeAudioVideoConfig

    with one_line(path, "PE-AV"):
        try:
            return PeAudioVideoConfig.from_dict(table)
        except StrictDataclassError as error:  # a field of another type
            raise TypeError(str(error)) from error


def _processing(path: Path, config: Any) -> Processing:
    vision = config.audio_video_config.video_config.vision_config
    side = vision_sizes(vision.architecture, vision.model_args).img_size
    return Processing.read(*processor_tables(path), side, config.audio_video_config.audio_config.dac_config.hop_length, path)


def _tokenizer(path: Path) -> Tokenize | None:
    """Return the folder's tokenizer, or None if it has none."""
    if not has_vocabulary(path):
        return None
    from transformers import AutoTokenizer

    for file in sorted(path.glob("*token*_*.json")):
        check_settings(read_table(file, AGAIN), file)
    words = AutoTokenizer.from_pretrained(path, local_files_only=True)

    def tokenize(texts: list[str]) -> dict[str, Tensor]:
        found = words(texts, padding=True, truncation=True, max_length=LONGEST_TEXT, return_tensors="pt")
        return {name: found[name] for name in ("input_ids", "attention_mask")}

    return tokenize


def _names(needed: Mapping[str, Shape], shapes: Mapping[str, Shape]) -> dict[str, str]:
    """Return by the names of the binder's tensors those in the files."""
    found = {}
    for name in needed:
        others = [other + name.removeprefix(own) for own, each in TIED.items() if name.startswith(own) for other in each]
        key = next((key for key in (name, *others) if key in shapes), None)
        if key is not None:
            found[name] = key
    return found
