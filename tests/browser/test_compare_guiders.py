"""Compare Guiders in the page: its table, its grid and its previews, of small models."""

import pytest

from duet_av.tests.browser.canvas import SHOW, Canvas
from duet_av.tests.comfyui.server import NATIVE_PACK, named_by_environment
from duet_av.tests.comfyui.test_compare_guiders import METHODS, compared

COMPARE = "DuetCompareGuiders"


@pytest.fixture(scope="module")
def native(tmp_path_factory, chromium, renderer):
    """A page of a ComfyUI with the small models."""
    with named_by_environment(tmp_path_factory.mktemp("native"), packs=[NATIVE_PACK]) as server:
        server.post("/settings", {"Comfy.TutorialCompleted": True, "Comfy.VueNodes.Enabled": renderer})
        page = chromium.new_page(viewport={"width": 1800, "height": 1150})
        yield Canvas(page, server.url)
        page.close()


def test_the_node_shows_its_table_and_plays_its_grid(native):
    graph = compared("ltx2")
    graph["sigmas"]["inputs"]["steps"] = 30
    native.page.wait_for_function("app.graph.nodes.length", timeout=SHOW)  # the page opens a graph of its own at first
    native.page.evaluate("graph => app.loadApiJson(graph, 'compare')", graph)
    native.page.wait_for_function(f"app.graph.nodes.some(node => node.type === '{COMPARE}')", timeout=SHOW)
    events = native.queue()
    assert events[-1][0] == "execution_success" and any(name == "duet.preview" for name, _ in events)
    node = f"app.graph.nodes.find(node => node.type === '{COMPARE}')"
    native.page.evaluate(f"app.canvas.ds.scale = 1, app.canvas.centerOnNode({node})")
    panel = native.panel(COMPARE, "duet_report")
    rows = panel.eval_on_selector_all("tr", "rows => rows.map(row => row.cells[0].innerText)")
    assert rows == ["guidance", *METHODS, "CFGGuider cfg 3"]
    assert panel.evaluate("panel => panel.scrollWidth <= panel.clientWidth")
    videos = f"""(LiteGraph.vueNodesMode ? document.querySelector(`[data-node-id="${{{node}.id}}"]`) : {node}.videoContainer)
      ?.querySelector('video')?.videoWidth > 700"""
    native.page.wait_for_function(videos, timeout=SHOW)
    assert native.errors == []
