"""Audio files and animated images that a node saves are shown on the node."""

import pytest

from duet_av.tests.browser.canvas import SHOW
from duet_av.tests.comfyui.graphs import node

PLAYER = "app.graph.nodes.find(each => each.type === 'DuetMux').widgets.find(each => each.type === 'audioUI')?.element"


def graph(container: str) -> dict:
    options = {"filename_prefix": "sound", "crf": -1.0, "audio_kbps": 192, "audio_fit": "fade"}
    return {
        "1": node("DuetBounceClip", seed=1, split="val", balls="1"),
        "2": node("DuetMux", images=["1", 0], audio=["1", 1], fps=["1", 4], container=container, **options),
    }


def test_an_audio_file_has_a_player(canvas):
    canvas.errors.clear()
    canvas.page.evaluate("graph => app.loadApiJson(graph, 'sound')", graph("mp3"))
    assert canvas.queue()[-1][0] == "execution_success"
    canvas.page.wait_for_function(f"{PLAYER}?.src?.includes('.mp3')", timeout=SHOW)
    assert canvas.page.evaluate(f"fetch({PLAYER}.src).then(answer => answer.headers.get('content-type'))").startswith("audio/")
    sent = canvas.page.evaluate("app.graphToPrompt().then(({ output }) => Object.keys(output[2].inputs))")
    assert "container" in sent and "container.audioUI" not in sent
    assert canvas.errors == []


@pytest.mark.parametrize("container", ["gif", "webp"])
def test_an_animated_image_is_shown(canvas, renderer, container):
    canvas.errors.clear()
    canvas.page.evaluate("graph => app.loadApiJson(graph, 'image')", graph(container))
    assert canvas.queue()[-1][0] == "execution_success"
    on_canvas = "app.graph.nodes.find(each => each.type === 'DuetMux').imgs?.[0]"
    image = "document.querySelector('[data-node-id=\"2\"] img')" if renderer else on_canvas
    canvas.page.wait_for_function(f"{image}?.src.includes('.{container}') && {image}.naturalWidth > 0", timeout=SHOW)
    assert canvas.errors == []
