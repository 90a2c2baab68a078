"""The menu of our players, and the rest of what a right click brings, in either renderer."""

import pytest

from duet_av.tests.browser.canvas import SHOW, Canvas, shipped
from duet_av.tests.browser.test_previews import loop, send

MUX, SAMPLER = "DuetMux", "DuetJointSampler"
ENTRIES = ["Hide preview", "Pause preview", "Mute preview", "Play all in step", "Open preview", "Copy output path"]
OURS = {*ENTRIES, "Show preview", "Resume preview", "Unmute preview"}
# Not those that the page keeps of graphs that are no longer open.
_VIDEOS = """app.graph.nodes.filter(node => node.type === 'DuetMux')
  .map(node => LiteGraph.vueNodesMode ? document.querySelector(`[data-node-id="${node.id}"]`) : node.videoContainer)
  .flatMap(within => [...within?.querySelectorAll('video') ?? []])"""
_ALL_PLAY = f"({_VIDEOS}).every(video => !video.paused && video.currentTime > 0.2)"
_RULES = "document.getElementById('duet-hidden-players')?.textContent ?? ''"
_AS_API = "app.graphToPrompt().then(({ output }) => app.loadApiJson(output, 'again'))"
_ITEMS = "app.canvas.getNodeMenuOptions(node).filter(Boolean)"


@pytest.fixture(scope="module")
def played(canvas: Canvas, renderer) -> Canvas:
    """A page in which two save nodes show a clip."""
    graph = shipped()
    mux = next(node for node in graph["nodes"] if node["type"] == MUX)
    canvas.errors.clear()
    canvas.open(graph)
    canvas.set(SAMPLER, "steps", 2)
    canvas.set(SAMPLER, "video_seed", 500 + renderer)
    assert canvas.queue()[-1][0] == "execution_success"
    other = canvas.page.evaluate(
        """() => {
          const first = app.graph.nodes.find(node => node.type === 'DuetMux')
          const second = LiteGraph.createNode('DuetMux')
          second.pos = [first.pos[0] + 350, first.pos[1]]
          app.graph.add(second)
          return String(second.id)
        }"""
    )
    output = canvas.node(MUX, "app.nodeOutputs[node.id]")
    canvas.hear("executed", {"node": other, "display_node": other, "output": output, "prompt_id": canvas.job})
    canvas.page.wait_for_function(f"({_VIDEOS}).length === 2", timeout=SHOW)
    assert mux
    return canvas


def labels(canvas: Canvas, node_type: str = MUX) -> list[str]:
    return [each for each in canvas.node(node_type, f"{_ITEMS}.map(item => item.content)") if each in OURS]


def choose(canvas: Canvas, label: str, node_type: str = MUX) -> None:
    canvas.node(node_type, f"{_ITEMS}.find(item => item.content === args[0]).callback()", label)


def videos(canvas: Canvas, what: str) -> list:
    return canvas.page.evaluate(f"({_VIDEOS}).map(video => {what})")


def test_the_menu_of_a_node_with_a_clip_has_our_entries(played):
    choose(played, "Play all in step")
    played.page.wait_for_function(_ALL_PLAY, timeout=SHOW)
    assert labels(played) == ENTRIES
    assert labels(played, "DuetDecode") == []


def test_a_right_click_shows_them(played, renderer):
    if renderer:
        played.page.locator(f'[data-node-id="{played.node(MUX)}"]').get_by_text("Mux", exact=True).click(button="right")
    else:
        x, y = played.node(MUX, "app.canvasPosToClientPos([node.pos[0] + 60, node.pos[1] - 15])")
        played.page.mouse.click(x, y, button="right")
    played.page.get_by_text("Play all in step").first.wait_for(timeout=SHOW)
    played.page.keyboard.press("Escape")


def test_pause_and_mute_and_their_opposites(played):
    choose(played, "Play all in step")
    played.page.wait_for_function(_ALL_PLAY, timeout=SHOW)
    choose(played, "Pause preview")
    assert sorted(videos(played, "video.paused")) == [False, True]
    assert "Resume preview" in labels(played)
    choose(played, "Resume preview")
    assert videos(played, "video.paused") == [False, False]
    choose(played, "Mute preview")
    assert sorted(videos(played, "video.muted")) == [False, True]
    choose(played, "Unmute preview")
    assert videos(played, "video.muted") == [False, False]


def test_players_start_in_step(played):
    played.page.evaluate(f"({_VIDEOS})[0].currentTime = 1.2")
    send(played, 3)
    loop(played)
    played.page.wait_for_timeout(350)
    choose(played, "Play all in step")
    played.page.wait_for_function(_ALL_PLAY, timeout=SHOW)
    first, second = videos(played, "video.currentTime")
    assert abs(first - second) < 0.1
    played.hear("execution_success", {"prompt_id": played.job})


def test_a_hidden_player_is_gone_until_it_is_shown(played):
    tall = played.node(MUX, "node.size[1]")
    choose(played, "Hide preview")
    visible = f"({_VIDEOS}).filter(video => video.offsetHeight > 0).length"
    played.page.wait_for_function(f"{visible} === 1", timeout=SHOW)
    assert labels(played)[0] == "Show preview"
    if not played.page.evaluate("LiteGraph.vueNodesMode"):
        assert played.node(MUX, "node.size[1]") < tall - 50
    choose(played, "Show preview")
    played.page.wait_for_function(f"{visible} === 2", timeout=SHOW)
    assert labels(played)[0] == "Hide preview"


def test_the_path_is_copied_and_the_clip_opens(played, comfyui):
    played.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    choose(played, "Copy output path")
    played.page.get_by_text("Path copied").first.wait_for(timeout=SHOW)
    copied = played.page.evaluate("navigator.clipboard.readText()")
    (shown,) = played.node(MUX, "app.nodeOutputs[node.id].images")
    assert copied == str(comfyui.base / "output" / shown["subfolder"] / shown["filename"])
    with played.page.expect_popup() as opened:
        choose(played, "Open preview")
    assert shown["filename"] in opened.value.url
    opened.value.close()
    assert played.errors == []


def test_a_live_preview_has_a_menu_too(canvas):
    canvas.open(shipped())
    send(canvas, 3)
    panel = loop(canvas)
    assert labels(canvas, SAMPLER) == ["Hide preview", "Pause preview", "Unmute preview", "Play all in step"]
    choose(canvas, "Pause preview", SAMPLER)
    assert "Resume preview" in labels(canvas, SAMPLER)
    choose(canvas, "Hide preview", SAMPLER)
    assert not panel.is_visible()
    choose(canvas, "Show preview", SAMPLER)
    panel.wait_for_element_state("visible")


def test_what_is_hidden_stays_so_in_the_next_run_and_a_node_without_a_preview_has_no_menu(opened):
    send(opened, 20)
    loop(opened)
    choose(opened, "Hide preview", SAMPLER)
    opened.hear("executing", opened.node(SAMPLER))
    opened.hear("execution_success", {"prompt_id": opened.job})
    assert labels(opened, SAMPLER) == []
    send(opened, 3)
    assert labels(opened, SAMPLER)[0] == "Show preview"
    hidden = "node.widgets.find(widget => widget.name === 'duet_preview').element.matches('.duet-hidden')"
    assert opened.node(SAMPLER, hidden)
    choose(opened, "Show preview", SAMPLER)
    assert loop(opened).is_visible()
    assert opened.errors == []


def test_a_new_graph_shows_what_was_hidden_in_another(opened):
    for again in (opened.open, lambda _: opened.page.evaluate(_AS_API)):
        send(opened, 3)
        loop(opened)
        choose(opened, "Hide preview", SAMPLER)
        again(shipped())
        opened.jobs += 1
        send(opened, 3)
        assert loop(opened).is_visible() and opened.page.evaluate(_RULES) == ""


def test_only_players_of_the_graph_on_the_screen_are_hidden(opened):
    outer = opened.page.evaluate(
        """() => {
          const decode = app.graph.nodes.find(node => node.type === 'DuetDecode')
          return app.graph.convertToSubgraph(new Set([decode])).node.id
        }"""
    )
    send(opened, 3)
    loop(opened)
    choose(opened, "Hide preview", SAMPLER)
    assert f'"{opened.node(SAMPLER)}"' in opened.page.evaluate(_RULES)
    opened.page.evaluate("id => { const node = app.graph.getNodeById(id); app.canvas.openSubgraph(node.subgraph, node) }", outer)
    assert opened.page.evaluate(_RULES) == ""
    opened.page.evaluate("app.canvas.setGraph(app.rootGraph)")
    assert f'"{opened.node(SAMPLER)}"' in opened.page.evaluate(_RULES)
    opened.node(SAMPLER, "node.graph.remove(node)")
    assert opened.page.evaluate(_RULES) == ""
    assert opened.errors == []
