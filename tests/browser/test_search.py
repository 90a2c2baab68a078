"""The page finds the nodes for ComfyUI's own joint models by the words that people search for, beside ComfyUI's own."""

import re

import pytest

from duet_av.tests.browser.canvas import SHOW

FOR = "(LTX-2, MiniMax-H3, joined models)"
GUIDER, NOISE, PATCH = f"Joint Guider {FOR}", f"Joint Noise {FOR}", f"Joint Guidance for KSampler {FOR}"
FOUND = {  # by a word: one of ComfyUI's nodes, and ours
    "ltx": ("LTXVConditioning", GUIDER, NOISE, PATCH), "minimax": ("MiniMax H3 Image to Video", GUIDER, NOISE, PATCH),
    "guider": ("CFG Guider", GUIDER), "noise": ("RandomNoise", NOISE), "ksampler": ("KSampler", PATCH),
}  # fmt: skip


@pytest.fixture
def search_box(canvas):
    _run(canvas, "Workspace.SearchBox.Toggle")
    box = canvas.page.get_by_placeholder("Add a node")
    box.wait_for(timeout=SHOW)
    yield box
    canvas.page.keyboard.press("Escape")
    box.wait_for(state="hidden", timeout=SHOW)


@pytest.fixture
def library(canvas):
    _run(canvas, "Workspace.ToggleSidebarTab.node-library")
    box = canvas.page.get_by_placeholder(re.compile("^Search")).first
    box.wait_for(timeout=SHOW)
    yield box
    box.fill("")
    _run(canvas, "Workspace.ToggleSidebarTab.node-library")


def _run(canvas, command: str) -> None:
    canvas.page.evaluate("command => void app.extensionManager.command.execute(command)", command)


@pytest.mark.parametrize("word", FOUND)
def test_the_search_box_lists_ours_beside_those_of_comfyui(canvas, search_box, word):
    search_box.fill(word)
    for name in FOUND[word]:
        canvas.page.get_by_test_id("result-item").filter(has_text=name).first.wait_for(state="attached", timeout=SHOW)


@pytest.mark.parametrize("word", FOUND)
def test_the_node_library_lists_ours(canvas, library, word):
    library.fill(word)
    for name in FOUND[word][1:]:
        canvas.page.get_by_text(name, exact=True).first.wait_for(state="attached", timeout=SHOW)


TITLE = """type => {
  const node = LiteGraph.createNode(type), draw = document.createElement('canvas').getContext('2d')
  draw.font = `${LiteGraph.NODE_TEXT_SIZE}px ${LiteGraph.NODE_FONT}`
  return [draw.measureText(node.title).width + LiteGraph.NODE_TITLE_HEIGHT, node.size[0]]
}"""


@pytest.mark.parametrize("node_type", ["DuetJointGuider", "DuetJointNoise", "DuetModelGuidance"])
def test_a_new_node_is_as_wide_as_its_title(canvas, node_type):
    needed, width = canvas.page.evaluate(TITLE, node_type)
    assert needed < width < needed + 90
