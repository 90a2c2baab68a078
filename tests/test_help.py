"""Every node has a help page, in the folder that ComfyUI serves."""

import re
from pathlib import Path

import pytest

import duet_av
from duet_av.nodes.extension import NODES
from duet_av.tests.schemas import every_input

PAGES = Path(duet_av.__file__).parent / duet_av.WEB_DIRECTORY / "docs"
ROW = re.compile(r"^\| `(\w+)` \| .+ \|$", re.MULTILINE)


@pytest.mark.parametrize("cls", NODES)
def test_a_page_names_the_inputs_that_there_are(cls):
    info = cls.GET_NODE_INFO_V1()
    page = (PAGES / f"{info['name']}.md").read_text(encoding="utf-8")
    inputs = [name.split(".")[-1] for name, _, _ in every_input(info["input"])]
    assert ROW.findall(page) == list(dict.fromkeys(inputs))
    assert "**Tip.**" in page and "**Example.**" in page


def test_no_page_is_left_of_a_node_that_is_gone():
    assert {page.stem for page in PAGES.glob("*.md")} == {cls.__name__ for cls in NODES}
