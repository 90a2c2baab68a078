"""ComfyUI's page, and what of it the tests need."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path
from typing import Any

from duet_av.tests.page import template

START, RUN, SHOW = 180_000, 300_000, 20_000  # milliseconds
NOT_OURS = ("/userdata", "Content Security Policy")  # what a new user has not saved; addresses outside
EVENTS = ("executed", "execution_success", "execution_error", "duet.preview")

_LISTEN = """names => {
  window.heard = []
  for (const name of names)
    app.api.addEventListener(name, ({ detail }) =>
      window.heard.push([name, name === 'duet.preview' ? detail.node : detail]))
}"""
_DROP = """([name, type, content]) => {
  const bytes = Uint8Array.from(atob(content), letter => letter.charCodeAt(0))
  const dataTransfer = new DataTransfer()
  dataTransfer.items.add(new File([bytes], name, { type }))
  const { x, y, width, height } = app.canvas.canvas.getBoundingClientRect()
  const place = { clientX: x + width / 2, clientY: y + height / 2 }
  for (const event of ['dragover', 'drop'])
    app.canvas.canvas.dispatchEvent(new DragEvent(event, { bubbles: true, cancelable: true, dataTransfer, ...place }))
}"""
_NODE = "app.graph.nodes.find(node => node.type === '{0}')"
_SET = """([type, name, value]) => {
  app.graph.nodes.find(node => node.type === type).widgets.find(widget => widget.name === name).value = value
}"""


def shipped(name: str = "bounce_t2av") -> dict[str, Any]:
    """The template of a workflow."""
    return template(name)


class Canvas:
    """The page at `url`. `errors`: what it has logged as errors since it was up. `job`: of a run of the open graph."""

    def __init__(self, page, url: str) -> None:
        self.page = page
        self.errors: list[str] = []
        self.jobs = 0
        page.goto(url, timeout=START)
        page.wait_for_function("window.app?.vueAppReady", timeout=START)
        page.on("console", self._log)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.evaluate(_LISTEN, EVENTS)

    @property
    def job(self) -> str:
        return f"job {self.jobs}"

    def open(self, graph: dict[str, Any]) -> None:
        self.jobs += 1
        self.page.evaluate("graph => app.loadGraphData(graph)", graph)
        self.page.wait_for_timeout(500)  # what is wrong with a graph shows a little later

    def clear(self) -> None:
        self.page.evaluate("app.graph.clear()")

    def drop(self, file: Path, kind: str) -> None:
        """Drops `file`, of the MIME type `kind`, in the middle of the canvas."""
        self.page.evaluate(_DROP, [file.name, kind, b64encode(file.read_bytes()).decode()])
        self.page.wait_for_function("app.graph.nodes.length", timeout=SHOW)

    def set(self, node_type: str, widget: str, value: Any) -> None:
        self.page.evaluate(_SET, [node_type, widget, value])

    def graph(self) -> dict[str, Any]:
        """The graph as the page would save it."""
        return self.page.evaluate("app.graph.serialize()")

    def node(self, node_type: str, does: str = "String(node.id)", *args: Any) -> Any:
        """The result of JavaScript on the first node of a type, as `node`. args: what it finds as `args`."""
        return self.page.evaluate(f"args => {{ const node = {_NODE.format(node_type)}; return {does} }}", args)

    def hear(self, name: str, detail: Any) -> None:
        """Lets the page hear an event, as if the server had sent it."""
        self.page.evaluate("([name, detail]) => app.api.dispatchCustomEvent(name, detail)", [name, detail])

    def executed(self, node_type: str, output: dict[str, Any] | None) -> None:
        """Lets the page hear that a node has run."""
        found = self.node(node_type)
        self.hear("executed", {"node": found, "display_node": found, "output": output, "prompt_id": self.job})

    def panel(self, node_type: str, name: str):
        """The element named `name` that our script shows on a node, once it can be seen; None where it has none."""
        widget = f"node.widgets.find(widget => widget.name === '{name}')"
        if not self.node(node_type, f"Boolean({widget})"):
            return None
        node = f"const node = {_NODE.format(node_type)}"
        seen = f"() => {{ {node}; const {{ element }} = {widget}; return element.offsetHeight > 1 && element }}"
        return self.page.wait_for_function(seen, timeout=SHOW).as_element()

    def report(self, node_type: str) -> str:
        """The words that a node reports in the page."""
        found = self.panel(node_type, "duet_report")
        return found.inner_text() if found else ""

    def inputs(self, node_type: str) -> list[str]:
        """The places of a node where something can be connected or set."""
        nodes = self.page.evaluate("app.graph.nodes.map(node => [node.type, node.inputs.map(each => each.name)])")
        return dict(nodes)[node_type]

    def unknown_nodes(self) -> list[str]:
        return self.page.evaluate("app.graph.nodes.map(node => node.type).filter(type => !LiteGraph.registered_node_types[type])")

    def marked_nodes(self) -> list[str]:
        """Those drawn in red."""
        return self.page.evaluate("app.graph.nodes.filter(node => node.has_errors).map(node => node.type)")

    def complaint(self) -> str:
        """What the page says is wrong with the graph; empty where nothing is."""
        shown = self.page.get_by_test_id("error-overlay")
        return shown.inner_text() if shown.count() else ""

    def queue(self) -> list[list]:
        """Runs the graph; [event, detail] of all that was heard until its end, of a preview the node's id."""
        self.page.evaluate("heard.length = 0, app.queuePrompt(0, 1)")
        self.page.wait_for_function("heard.some(([name]) => /^execution_/.test(name))", timeout=RUN)
        return self.page.evaluate("heard")

    def _log(self, message) -> None:
        text = f"{message.text} ({message.location['url']})"
        if message.type == "error" and not any(each in text for each in NOT_OURS):
            self.errors.append(text)


def close(dialog) -> None:
    """Closes a dialog of the page, and waits until it is gone: it would take the clicks of what comes next."""
    dialog.get_by_label("Close dialog").first.click()
    dialog.first.wait_for(state="hidden", timeout=SHOW)
