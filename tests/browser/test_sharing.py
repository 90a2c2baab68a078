"""A shared graph names the pack that it needs, keeps its values, and its files get the names it asks for."""

import json
import re

import pytest

from duet_av.tests.browser.canvas import SHOW, Canvas, shipped
from duet_av.tests.comfyui.server import NAME, PACK, named_by_environment

VERSION = re.search(r'^version = "(.+)"', (PACK / "pyproject.toml").read_text(encoding="utf-8"), re.M)[1]
OURS = {"cnr_id": NAME, "ver": VERSION}
_MARKS = "node => ({ cnr_id: node.properties.cnr_id, ver: node.properties.ver })"


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory, chromium):
    """The page of a ComfyUI without this pack."""
    with named_by_environment(tmp_path_factory.mktemp("bare"), ours=False) as server:
        server.post("/settings", {"Comfy.TutorialCompleted": True})
        page = chromium.new_page(viewport={"width": 1800, "height": 1150})
        yield Canvas(page, server.url)
        page.close()


def marked(canvas: Canvas) -> list[dict]:
    return canvas.page.evaluate(f"app.graph.nodes.filter(node => /^Duet/.test(node.type)).map({_MARKS})")


def test_nodes_made_in_the_page_name_the_pack(canvas):
    canvas.clear()
    for name in json.loads((PACK / "locales/fr/nodeDefs.json").read_text(encoding="utf-8")):
        canvas.page.evaluate("name => app.graph.add(LiteGraph.createNode(name))", name)
    assert marked(canvas) == [OURS] * len(marked(canvas)) and len(marked(canvas)) > 15
    assert canvas.errors == []


def test_loaded_nodes_name_the_pack_of_now(canvas):
    graph = shipped()
    for node in graph["nodes"]:
        node["properties"] |= {"cnr_id": NAME, "ver": "0.1.0"}
    canvas.open(graph)
    saved = [node["properties"] for node in canvas.graph()["nodes"] if node["type"].startswith("Duet")]
    assert all(OURS.items() <= properties.items() for properties in saved) and saved
    assert not [node for node in canvas.graph()["nodes"] if node["type"] == "Note" and "cnr_id" in node.get("properties", {})]


def test_without_the_pack_the_page_names_it(opened, elsewhere):
    elsewhere.open(opened.graph())
    assert "DuetJointSampler" in elsewhere.unknown_nodes()
    elsewhere.page.get_by_test_id("error-overlay-see-errors").click()
    elsewhere.page.get_by_text(NAME, exact=True).first.wait_for(timeout=SHOW)
