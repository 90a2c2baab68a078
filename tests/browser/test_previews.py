"""The live preview: a clip that loops on its node while it is sampled. The events are made here, as the server would send them."""

import io
import wave
from base64 import b64encode

import pytest

from duet_av.tests.browser.canvas import SHOW, Canvas

SAMPLER = "DuetJointSampler"


def silence(seconds: float = 2.0, rate: int = 8000) -> str:
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setparams((1, 2, rate, 0, "NONE", ""))
        sound.writeframes(bytes(int(2 * rate * seconds)))
    return "data:audio/wav;base64," + b64encode(file.getvalue()).decode()


SOUND = silence()
HEARD = "sounds.length === 1 && sounds[0].plays && sounds[0].context.state === 'running'"
# Four frames: one colour each.
_SHEET = """() => {
  const sheet = document.createElement('canvas')
  sheet.width = sheet.height = 64
  const pen = sheet.getContext('2d')
  for (const [i, color] of ['red', 'lime', 'blue', 'white'].entries()) {
    pen.fillStyle = color
    pen.fillRect((i % 2) * 32, Math.floor(i / 2) * 32, 32, 32)
  }
  return sheet.toDataURL('image/jpeg', 1)
}"""
_COLOR = (
    "panel => [...panel.querySelector('canvas').getContext('2d').getImageData(16, 16, 1, 1).data].map(part => part > 128 ? 1 : 0)"
)
_RECORD = """() => {
  window.sounds = []
  window.AudioBufferSourceNode = class extends (window.PlainNode ??= window.AudioBufferSourceNode) {
    start(...args) { super.start(...args); this.plays = true; sounds.push(this) }
    stop(...args) { super.stop(...args); this.plays = false }
  }
}"""


@pytest.fixture
def asked(opened) -> list:
    """What the page asks the server for the sound of a preview."""
    found = []

    def answer(route) -> None:
        found.append(route.request.post_data_json)
        route.fulfill(status=200, body="")

    opened.page.route("**/duet/preview_audio", answer)
    opened.page.evaluate(_RECORD)
    yield found
    opened.page.unroute("**/duet/preview_audio")


def send(canvas: Canvas, step: int, audio: str | None = None, job: str = "") -> None:
    sheet = canvas.page.evaluate(_SHEET)
    shape = {"columns": 2, "count": 4, "width": 32, "height": 32, "fps": 10.0}
    event = {"prompt_id": job or canvas.job, "node": canvas.node(SAMPLER), "step": step, "steps": 20}
    canvas.hear("duet.preview", event | shape | {"sheet": sheet, "audio": audio})


def loop(canvas: Canvas):
    return canvas.panel(SAMPLER, "duet_preview")


def test_a_preview_loops_on_its_node_and_the_next_takes_its_place(opened):
    send(opened, 3)
    panel = loop(opened)
    seen = set()
    for _ in range(20):
        seen.add(tuple(panel.evaluate(_COLOR)))
        opened.page.wait_for_timeout(60)
    assert seen == {(1, 0, 0, 1), (0, 1, 0, 1), (0, 0, 1, 1), (1, 1, 1, 1)}
    assert "3/20" in panel.inner_text()
    send(opened, 6)
    opened.page.wait_for_function("panel => panel.innerText.includes('6/20')", arg=panel)
    assert opened.node(SAMPLER, "node.widgets.filter(widget => widget.name === 'duet_preview').length") == 1
    assert opened.errors == []


def test_a_preview_takes_no_focus(opened):
    opened.page.evaluate("document.activeElement?.blur()")
    before = opened.page.evaluate_handle("document.activeElement")
    send(opened, 3)
    loop(opened)
    assert opened.page.evaluate("before => document.activeElement === before", before)
    assert opened.page.evaluate("app.canvas.selectedItems.size") == 0


def test_a_click_asks_for_the_sound_and_another_mutes_it(opened, asked):
    send(opened, 3)
    panel = loop(opened)
    assert panel.get_attribute("data-sound") == "off" and panel.get_attribute("title") == "Click to hear the audio."
    panel.click()
    assert panel.get_attribute("data-sound") == "awaited" and "audio comes" in panel.get_attribute("title")
    send(opened, 6, SOUND)
    opened.page.wait_for_function(HEARD + " && sounds[0].loop", timeout=SHOW)
    assert asked == 2 * [{"node": opened.node(SAMPLER)}]  # of the next step too, while it is heard
    assert panel.get_attribute("data-sound") == "on"
    send(opened, 9)  # the sound is as it was
    opened.page.wait_for_function("panel => panel.innerText.includes('9/20')", arg=panel)
    assert opened.page.evaluate(HEARD)
    panel.click()
    assert opened.page.evaluate("!sounds[0].plays") and panel.get_attribute("data-sound") == "off"
    assert len(asked) == 2 and opened.errors == []


def test_with_its_node_a_preview_falls_silent(opened, asked):
    send(opened, 3)
    loop(opened).click()
    send(opened, 6, SOUND)
    opened.page.wait_for_function(HEARD, timeout=SHOW)
    opened.node(SAMPLER, "node.graph.remove(node)")
    assert opened.page.evaluate("!sounds[0].plays")
    assert opened.errors == []


def test_the_last_preview_stays_mute_when_the_run_ends(opened, asked):
    send(opened, 18)
    loop(opened).click()
    send(opened, 20, SOUND)
    opened.page.wait_for_function(HEARD, timeout=SHOW)
    opened.hear("execution_success", {"prompt_id": opened.job})
    opened.page.mouse.move(5, 5)
    assert opened.page.evaluate("!sounds[0].plays") and "20/20" in loop(opened).inner_text()
    first = loop(opened).evaluate(_COLOR)
    assert [loop(opened).evaluate(_COLOR) for _ in range(4) if not opened.page.wait_for_timeout(120)] == [first] * 4


def test_a_preview_falls_silent_when_a_clip_is_saved(opened, asked):
    send(opened, 20)
    loop(opened).click()
    send(opened, 20, SOUND)
    opened.page.wait_for_function(HEARD, timeout=SHOW)
    opened.executed("DuetMux", {"images": [{"filename": "gone.mp4", "subfolder": "", "type": "temp"}], "animated": [True]})
    assert opened.page.evaluate("!sounds[0].plays") and loop(opened).get_attribute("data-sound") == "off"


def test_the_next_run_asks_for_the_sound_anew(opened, asked):
    send(opened, 20, SOUND)
    loop(opened)
    opened.hear("execution_success", {"prompt_id": opened.job})
    opened.hear("executing", opened.node(SAMPLER))
    send(opened, 3)
    loop(opened).click()
    assert len(asked) == 1 and loop(opened).get_attribute("data-sound") == "awaited"


def test_a_run_without_previews_takes_the_old_one_away(opened):
    send(opened, 20)
    loop(opened)
    opened.hear("execution_success", {"prompt_id": opened.job})
    opened.hear("executing", opened.node(SAMPLER))
    assert "duet-old" in loop(opened).get_attribute("class")
    opened.hear("execution_success", {"prompt_id": opened.job})
    assert loop(opened) is None


def test_a_preview_is_above_the_report_and_not_saved(opened):
    before = opened.graph()["nodes"]
    opened.executed(SAMPLER, {"text": ["seed 1"], "duet": [{"warnings": []}]})
    send(opened, 3)
    preview, report = (opened.panel(SAMPLER, name).bounding_box() for name in ("duet_preview", "duet_report"))
    assert preview["y"] + preview["height"] <= report["y"] + 1
    assert [node.get("widgets_values") for node in opened.graph()["nodes"]] == [node.get("widgets_values") for node in before]
