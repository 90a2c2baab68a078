"""The page shows our nodes in the user's language."""

import json

import pytest

from duet_av.tests.browser.canvas import Canvas
from duet_av.tests.comfyui.server import PACK

_NAMES = """types => types.map(type => {
  const node = LiteGraph.createNode(type)
  return [type, {
    title: node.title,
    inputs: node.inputs.map(input => [input.name.replaceAll('.', '_'), input.localized_name]),
    outputs: node.outputs.map(output => output.localized_name),
  }]
})"""


@pytest.mark.parametrize("language", ["fr", "zh"])
def test_nodes_inputs_and_outputs_are_named_in_the_users_language(comfyui, chromium, language):
    words = json.loads((PACK / "locales" / language / "nodeDefs.json").read_text(encoding="utf-8"))
    comfyui.post("/settings", {"Comfy.Locale": language})
    page = chromium.new_page()
    try:
        shown = dict(Canvas(page, comfyui.url).page.evaluate(_NAMES, list(words)))
    finally:
        page.close()
        comfyui.post("/settings", {"Comfy.Locale": "en"})
    for name, node in words.items():
        assert shown[name]["title"] == node["display_name"]
        known = {key: text for key, text in shown[name]["inputs"] if key in node["inputs"]}
        assert known and known == {key: node["inputs"][key]["name"] for key in known}
        assert shown[name]["outputs"] == [each["name"] for each in node["outputs"].values()]
