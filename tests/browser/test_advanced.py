"""Inputs that few change are hidden at first, in either renderer."""

import pytest

from duet_av.tests.browser.canvas import Canvas, shipped

ALIGNER = "DuetAligner"
FEW = ["binder", "task", "video_rate", "audio_rate", "fps"]
_SEEN = "node.widgets.filter(widget => node.isWidgetVisible(widget)).map(widget => widget.name)"
_MENU = "app.canvas.getNodeMenuOptions(node).filter(Boolean)"


@pytest.fixture
def aligner(canvas: Canvas) -> Canvas:
    canvas.errors.clear()
    canvas.clear()
    canvas.page.evaluate("app.graph.add(Object.assign(LiteGraph.createNode('DuetAligner'), { pos: [300, 200] }))")
    return canvas


def test_an_aligner_shows_few_inputs_until_asked_for_the_others(aligner, renderer):
    assert aligner.node(ALIGNER, _SEEN) == FEW
    height = aligner.node(ALIGNER, "node.size[1]")
    if renderer:
        inside = aligner.page.locator(f'[data-node-id="{aligner.node(ALIGNER)}"]')
        inside.get_by_text("binder", exact=True).first.wait_for()
        assert inside.get_by_text("inner_steps", exact=True).count() == 0
        inside.get_by_text("Show advanced inputs").click()
        inside.get_by_text("inner_steps", exact=True).wait_for()
        return
    aligner.node(ALIGNER, f"({_MENU}).find(item => item.content === 'Show advanced inputs').callback()")
    assert len(aligner.node(ALIGNER, _SEEN)) == 22 and aligner.node(ALIGNER, "node.size[1]") > height
    aligner.node(ALIGNER, f"({_MENU}).find(item => item.content === 'Hide advanced inputs').callback()")
    assert aligner.node(ALIGNER, _SEEN) == FEW and aligner.node(ALIGNER, "node.size[1]") == height
    assert aligner.errors == []


def test_hidden_inputs_keep_their_values(canvas):
    graph = shipped("bounce_align_joint")
    canvas.open(graph)
    (saved,) = (node for node in graph["nodes"] if node["type"] == ALIGNER)
    (open_,) = (node for node in canvas.graph()["nodes"] if node["type"] == ALIGNER)
    assert open_["widgets_values"] == saved["widgets_values"]
