"""The tokenizer in a text encoder's file of ComfyUI: the bytes of a SentencePiece model, which are a protocol buffer."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from struct import unpack
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import Unigram
from transformers import PreTrainedTokenizerFast

from ..checkpoint import open_tensors, real_tensor

SPIECE = "spiece_model"
PIECES, NORMALIZER, CHARACTERS = 1, 3, 2  # fields of the model, and of its normalizer
TEXT, SCORE, KIND = 1, 2, 3  # fields of a piece
UNKNOWN, CONTROL = 2, 3  # kinds of pieces
END, PAD = "</s>", "<pad>"


@dataclass(frozen=True)
class Words:
    """What a SentencePiece model holds. pieces: with their scores. unknown: the number of the piece for what has none."""

    pieces: list[tuple[str, float]]
    special: list[str]
    unknown: int
    characters: bytes


def read_tokenizer(path: Path) -> Any:
    """Return the tokenizer in a safetensors file. Raises ValueError, in one line, if it is damaged."""
    with open_tensors(path) as file:
        data = real_tensor(file, SPIECE, path).numpy().tobytes()
    try:
        return make_tokenizer(parse(data))
    except Exception as error:  # tokenizers raises Exception itself
        raise ValueError(f"{path}: {SPIECE} is not a SentencePiece model; download the file again") from error


def make_tokenizer(words: Words) -> Any:
    """Return a tokenizer of T5's kind: pieces of words, an end after them, padding on the right."""
    tokenizer = Tokenizer(Unigram(words.pieces, words.unknown, byte_fallback=False))
    spaces = normalizers.Replace(Regex(" {2,}"), " ")
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Precompiled(words.characters), spaces] if words.characters else [spaces]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    tokenizer.decoder = decoders.Metaspace()
    names = [piece for piece, _ in words.pieces]
    tokenizer.post_processor = processors.TemplateProcessing(single=f"$A {END}", special_tokens=[(END, names.index(END))])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token=END, pad_token=PAD, unk_token=names[words.unknown],
        additional_special_tokens=[name for name in words.special if name not in (END, PAD)],
    )  # fmt: skip


def parse(data: bytes) -> Words:
    """Read a SentencePiece model."""
    pieces: list[tuple[str, float]] = []
    special: list[str] = []
    unknown, characters = 0, b""
    for number, value in _fields(data):
        if number == PIECES:
            piece = dict(_fields(value))
            text = piece[TEXT].decode()
            if piece.get(KIND) == UNKNOWN:
                unknown = len(pieces)
            if piece.get(KIND) == CONTROL:
                special.append(text)
            pieces.append((text, unpack("<f", piece.get(SCORE, bytes(4)))[0]))
        elif number == NORMALIZER:
            characters = dict(_fields(value)).get(CHARACTERS, b"")
    return Words(pieces, special, unknown, characters)


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    """Iterate over the fields of a protocol buffer: numbers, or bytes."""
    at = 0
    while at < len(data):
        key, at = _number(data, at)
        kind = key & 7
        if kind == 0:
            value, at = _number(data, at)
            yield key >> 3, value
            continue
        size, at = _number(data, at) if kind == 2 else ({1: 8, 5: 4}[kind], at)
        if at + size > len(data):
            raise ValueError("the data ends inside a field")
        yield key >> 3, data[at : at + size]
        at += size


def _number(data: bytes, at: int) -> tuple[int, int]:
    """Return the number of variable length at `at`, and where it ends."""
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at
