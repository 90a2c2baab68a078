"""Every node has a help page in the folder that ComfyUI serves, in English and in each language that has pages."""

import json
import re
from pathlib import Path

import pytest

import duet_av
from duet_av.nodes.extension import NODES
from duet_av.tests.schemas import every_input

PACK = Path(duet_av.__file__).parent
PAGES = PACK / duet_av.WEB_DIRECTORY / "docs"
ROW = re.compile(r"^\| `(\w+)` \| .+ \|$", re.MULTILINE)

LANGUAGES = {"zh": ("**提示。** ", "**示例。** ")}
"""Languages with pages of their own: how they write "Tip." and "Example."."""
LABELLED_INPUT = re.compile(r"^\| `(\w+)` \| \*\*(.+?)\*\*", re.MULTILINE)
LABELLED_OUTPUT = re.compile(r"^- `(\w+)` ?[(（](.+?)[)）]", re.MULTILINE)
UNTRANSLATED = re.compile(r"`[^`]+`|-?\d+(?:\.\d+)?")
"""What is the same in every language: ids, values, commands and numbers."""

every_node = pytest.mark.parametrize("cls", NODES)
every_language = pytest.mark.parametrize("language", LANGUAGES)


def english(node: str) -> str:
    return (PAGES / f"{node}.md").read_text(encoding="utf-8")


def translated(node: str, language: str) -> str:
    """ComfyUI's page asks for this file first, and for the English one if there is none (its `nodeHelpService.ts`)."""
    return (PAGES / node / f"{language}.md").read_text(encoding="utf-8")


def inputs_in_order(info: dict) -> dict[str, str]:
    """What a page calls each input, and the key of its words in a locale."""
    named: dict[str, str] = {}
    for name, _, _ in every_input(info["input"]):
        named.setdefault(name.split(".")[-1], name.replace(".", "_"))
    return named


@every_node
def test_a_page_names_the_inputs_that_there_are(cls):
    info = cls.GET_NODE_INFO_V1()
    page = english(info["name"])
    assert ROW.findall(page) == list(inputs_in_order(info))
    assert "**Tip.**" in page and "**Example.**" in page


def test_no_page_is_left_of_a_node_that_is_gone():
    nodes = {cls.__name__ for cls in NODES}
    assert {page.stem for page in PAGES.glob("*.md")} == nodes
    assert {page.relative_to(PAGES) for page in PAGES.glob("*/*")} == {
        Path(node, f"{language}.md") for node in nodes for language in LANGUAGES
    }


@every_language
@every_node
def test_a_translated_page_names_the_inputs_that_there_are(cls, language):
    info = cls.GET_NODE_INFO_V1()
    page = translated(info["name"], language)
    assert ROW.findall(page) == list(inputs_in_order(info))
    assert all(word in page for word in LANGUAGES[language])


@every_language
@every_node
def test_a_translated_page_calls_inputs_and_outputs_what_the_node_shows(cls, language):
    info = cls.GET_NODE_INFO_V1()
    words = json.loads((PACK / "locales" / language / "nodeDefs.json").read_text(encoding="utf-8"))[info["name"]]
    page = translated(info["name"], language)
    shown = [(name, words["inputs"][key]["name"]) for name, key in inputs_in_order(info).items()]
    assert LABELLED_INPUT.findall(page) == shown
    shown = [(name, words["outputs"][str(index)]["name"]) for index, name in enumerate(info["output_name"])]
    assert LABELLED_OUTPUT.findall(page) == shown


@every_language
@every_node
def test_a_translated_page_says_what_the_english_one_says(cls, language):
    """Line by line, as far as ids, values and numbers show it."""
    lines = english(cls.__name__).splitlines(), translated(cls.__name__, language).splitlines()
    for line, other in zip(*lines, strict=True):
        assert sorted(UNTRANSLATED.findall(line)) == sorted(UNTRANSLATED.findall(other))
