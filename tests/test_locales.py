"""Every language has the words of every node, and none of a node, input or output that is gone."""

import json
from pathlib import Path

import pytest

import duet_av
from duet_av.nodes.extension import NODES
from duet_av.tests.schemas import every_input

FILES = sorted((Path(duet_av.__file__).parent / "locales").glob("*/nodeDefs.json"))
MARKUP = set("{}|@")  # the page's message format would take them for more than letters

LANGUAGES = pytest.mark.parametrize(
    "words", [json.loads(file.read_text("utf-8")) for file in FILES], ids=[f.parent.name for f in FILES]
)


def texts(words) -> list[str]:
    return [words] if isinstance(words, str) else [text for each in words.values() for text in texts(each)]


def top_level(info: dict) -> set[str]:
    return {name for kind in ("required", "optional") for name in info["input"].get(kind, {})}


def all_inputs(info: dict) -> set[str]:
    """As the page looks them up: a dot would be a level of its own."""
    return {name.replace(".", "_") for name, _, _ in every_input(info["input"])}


def test_there_are_languages():
    assert {file.parent.name for file in FILES} == {"es", "fr", "ja", "ko", "ru", "zh"}


@LANGUAGES
def test_every_node_and_no_other(words):
    assert set(words) == {cls.__name__ for cls in NODES}


@LANGUAGES
@pytest.mark.parametrize("cls", NODES)
def test_every_input_and_output_and_no_other(words, cls):
    """What a choice brings may be without words; the page then shows its own."""
    info, node = cls.GET_NODE_INFO_V1(), words[cls.__name__]
    assert set(node) == {"display_name", "description", "inputs", "outputs"}
    assert top_level(info) <= set(node["inputs"]) <= all_inputs(info)
    assert set(node["outputs"]) == {str(index) for index in range(len(info["output"]))}
    assert all(set(each) == {"name", "tooltip"} for each in (*node["inputs"].values(), *node["outputs"].values()))


@LANGUAGES
def test_words_are_plain_text(words):
    assert all(text.strip() == text != "" and not MARKUP & set(text) for text in texts(words))
