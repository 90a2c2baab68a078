"""Blueprints in the page: found, put on the canvas, connected and run."""

import pytest

from duet_av.tests.browser.canvas import SHOW, Canvas
from duet_av.tests.comfyui.test_new_audio import packets, write

SAVED = {"Text to video with audio (Duet)": ["video"], "Compare guidances (Duet)": ["images", "audio", "fps"]}
AUDIO = "Audio for a video, foley (Duet)"
_CONNECT = """([type, names]) => {
  const [made] = app.graph.nodes
  const save = LiteGraph.createNode(type)
  app.graph.add(save)
  save.pos = [made.pos[0] + 500, made.pos[1]]
  for (const name of names)
    made.connect(made.outputs.findIndex(output => output.name === name), save, save.inputs.findIndex(input => input.name === name))
}"""
_NEW_AUDIO = """() => {
  const [made] = app.graph.nodes
  const [video, save] = ['LoadVideo', 'DuetReplaceSound'].map(type => LiteGraph.createNode(type))
  for (const node of [video, save]) app.graph.add(node)
  video.widgets.find(widget => widget.name === 'file').value = 'blueprint.mp4'
  video.connect(0, made, made.inputs.findIndex(input => input.name === 'video'))
  video.connect(0, save, save.inputs.findIndex(input => input.name === 'video'))
  made.connect(0, save, save.inputs.findIndex(input => input.name === 'audio'))
}"""
_SET = "([name, value]) => { app.graph.nodes[0].widgets.find(widget => widget.name === name).value = value }"


@pytest.fixture(scope="module")
def canvas(comfyui, chromium, renderer):
    """A page of its own: one in which the search has placed a node takes no right click in later tests."""
    comfyui.post("/settings", {"Comfy.VueNodes.Enabled": renderer})
    page = chromium.new_page(viewport={"width": 1800, "height": 1150})
    made = Canvas(page, comfyui.url)
    page.wait_for_function("app.graph.nodes.length", timeout=SHOW)  # the graph that ComfyUI opens with
    yield made
    page.close()


def insert(canvas, name: str) -> None:
    """Puts a blueprint on an empty canvas, as a user does: by the search for nodes."""
    page = canvas.page
    canvas.clear()
    page.evaluate("app.extensionManager.command.execute('Workspace.SearchBox.Toggle')")
    page.get_by_role("dialog").get_by_role("combobox").or_(page.get_by_role("dialog").locator("input")).first.fill(name)
    page.get_by_role("option", name=name).or_(page.get_by_text(name, exact=True)).first.wait_for(timeout=SHOW)
    page.wait_for_timeout(500)  # the first of what is found is then the best
    page.keyboard.press("Enter")
    page.wait_for_function("app.graph.nodes.length", timeout=SHOW)
    page.mouse.click(700, 500)  # where it is dropped
    page.wait_for_timeout(300)


def saved_file(canvas, comfyui):
    events = canvas.queue()
    assert events[-1][0] == "execution_success", events[-1]
    shown = [detail["output"]["images"] for name, detail in events if name == "executed" and "images" in (detail["output"] or {})]
    (last,) = shown[-1]
    return comfyui.base / last["type"] / last["subfolder"] / last["filename"]


@pytest.mark.parametrize("name", SAVED)
def test_a_blueprint_runs_to_a_file(canvas, comfyui, name, renderer):
    insert(canvas, name)
    assert canvas.page.evaluate("app.graph.nodes.map(node => node.title)") == [name]
    canvas.page.evaluate(_SET, ["seconds", 0.5])
    canvas.page.evaluate(_SET, ["video_seed", 900 + renderer])
    canvas.page.evaluate(_CONNECT, ["SaveVideo" if SAVED[name] == ["video"] else "DuetMux", SAVED[name]])
    assert saved_file(canvas, comfyui).stat().st_size > 1000
    assert canvas.complaint() == "" and canvas.errors == []


def test_new_audio_for_a_video_takes_three_nodes(canvas, comfyui):
    source = write(comfyui.base / "input" / "blueprint.mp4")
    insert(canvas, AUDIO)
    canvas.page.evaluate(_NEW_AUDIO)
    assert len(canvas.graph()["nodes"]) == 3
    assert packets(saved_file(canvas, comfyui)) == packets(source) and canvas.errors == []
