"""What the server tells of a run is shown on the graph that it was queued from, and on no other that has nodes of the same ids."""

import pytest

from duet_av.tests.browser.canvas import RUN, Canvas, shipped
from duet_av.tests.browser.test_previews import loop, send

SAMPLER = "DuetJointSampler"
_AGAIN = """index => {
  const { openWorkflows } = app.extensionManager.workflow
  const workflow = openWorkflows.at(index)
  return app.loadGraphData(JSON.parse(JSON.stringify(workflow.activeState)), true, true, workflow)
}"""
_TWO_RUNS = """async seed => {
  heard.length = 0
  const sampler = app.graph.nodes.find(node => node.type === 'DuetJointSampler')
  const set = (name, value) => (sampler.widgets.find(widget => widget.name === name).value = value)
  for (const plus of [0, 1]) {
    set('steps', 12)
    set('video_seed', seed + plus)
    await app.queuePrompt(0, 1)
  }
}"""
_TELL_WHILE_OPENING = """([graph, node, executed]) => {
  const opens = app.loadGraphData(graph)
  const tell = () => {
    app.api.dispatchCustomEvent('duet.text', { prompt_id: executed.prompt_id, node, text: 'costs' })
    app.api.dispatchCustomEvent('executed', executed)
  }
  const timer = setInterval(tell, 1)
  return opens.then(() => clearInterval(timer))
}"""
_HEARD = "heard.filter(([name]) => name === '{}').length"


def tell(canvas: Canvas, job: str, text: str) -> None:
    """Lets the page hear of `job` what its sampler costs and shows."""
    canvas.hear("duet.text", {"prompt_id": job, "node": canvas.node(SAMPLER), "text": text})


@pytest.fixture
def two(opened) -> tuple[str, str]:
    """A run of the first of two graphs with the same ids, and one of the second, which is open."""
    first = opened.job
    opened.hear("execution_start", {"prompt_id": first, "timestamp": 0})
    opened.open(shipped())
    return first, opened.job


def test_a_run_of_another_graph_shows_nothing_here(opened, two):
    first, second = two
    here = opened.node(SAMPLER)
    report = {"text": ["of the first"], "duet": [{"warnings": []}]}
    tell(opened, first, "costs of the first")
    send(opened, 3, job=first)
    opened.hear("executing", here)
    opened.hear("executed", {"node": here, "display_node": here, "output": report, "prompt_id": first})
    opened.page.wait_for_timeout(200)
    assert opened.report(SAMPLER) == "" and loop(opened) is None
    opened.page.evaluate("app.loadGraphData(app.graph.serialize(), false)")  # as when a step is undone
    assert opened.report(SAMPLER) == ""
    tell(opened, opened.job, "costs of the second")
    opened.page.wait_for_timeout(200)  # events wait until the graph is open
    assert opened.report(SAMPLER) == "costs of the second"
    assert opened.errors == []


def test_each_graph_shows_its_own_run_when_it_is_opened_again(opened, two):
    first, second = two
    tell(opened, second, "costs of the second")
    opened.page.evaluate(_AGAIN, -2)
    tell(opened, first, "costs of the first")
    tell(opened, second, "more costs of the second")
    assert opened.report(SAMPLER) == "costs of the first"
    send(opened, 3, job=first)
    assert loop(opened)
    opened.page.evaluate(_AGAIN, -1)
    tell(opened, second, "costs of the second")
    assert opened.report(SAMPLER) == "costs of the second"
    opened.hear("execution_success", {"prompt_id": first})


def test_while_a_graph_is_being_opened_nothing_is_shown_on_it(opened):
    report = {"text": ["of the first"], "duet": [{"warnings": []}]}
    here, first = opened.node(SAMPLER), opened.job
    opened.hear("execution_start", {"prompt_id": first, "timestamp": 0})
    executed = {"node": here, "display_node": here, "output": report, "prompt_id": first}
    opened.page.evaluate(_TELL_WHILE_OPENING, [shipped(), here, executed])
    opened.page.wait_for_timeout(300)
    assert opened.report(SAMPLER) == ""
    opened.page.evaluate("app.loadGraphData(app.graph.serialize(), false)")
    assert opened.report(SAMPLER) == "" and opened.errors == []


def test_the_end_of_a_run_of_another_page_ends_no_preview(opened):
    send(opened, 3)
    loop(opened)
    opened.hear("executing", opened.node(SAMPLER))
    opened.hear("execution_interrupted", {"prompt_id": "of another page", "node_id": "1"})
    assert loop(opened)
    opened.hear("execution_interrupted", {"prompt_id": opened.job, "node_id": "1"})
    assert loop(opened) is None


def test_runs_that_were_queued_show_nothing_on_a_graph_that_was_opened_then(opened, renderer):
    opened.page.evaluate(_TWO_RUNS, 800 + 10 * renderer)
    opened.open(shipped())
    opened.page.wait_for_function(f"{_HEARD.format('execution_success')} === 2", timeout=RUN)
    assert opened.page.evaluate(_HEARD.format("duet.preview")) > 0
    assert opened.report(SAMPLER) == opened.report("DuetMux") == "" and loop(opened) is None
    assert opened.errors == []
