"""What is wrong with the layout of the open graph, measured as the page draws it."""

from __future__ import annotations

from duet_av.tests.browser.canvas import SHOW, Canvas

_PROBLEMS = """() => {
  const edges = ([x, y, width, height]) => ({ left: x, top: y, right: x + width, bottom: y + height })
  const cover = (a, b) => a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom
  const within = (a, b) => a.left >= b.left && a.right <= b.right && a.top >= b.top && a.bottom <= b.bottom
  const boxes = app.graph.nodes.map(node => ({ node, name: node.title, ...edges(node.boundingRect) }))
  const groups = app.graph.groups.map(group => ({ name: group.title, ...edges(group._bounding) }))
  const found = []

  for (const items of [boxes, groups])
    items.forEach((a, i) => items.slice(i + 1).forEach(b => cover(a, b) && found.push(`${a.name} covers ${b.name}`)))
  for (const box of boxes) {
    const around = groups.filter(group => cover(box, group))
    if (around.length !== (box.node.type === 'MarkdownNote' ? 0 : 1)) found.push(`${box.name} is in ${around.length} groups`)
    for (const group of around) if (!within(box, group)) found.push(`${box.name} is partly in ${group.name}`)
  }

  const pen = document.createElement('canvas').getContext('2d')
  pen.lineWidth = 6
  const crosses = (box, path) => {
    for (let x = box.left; x <= box.right; x += 4)
      if (pen.isPointInStroke(path, x, box.top) || pen.isPointInStroke(path, x, box.bottom)) return true
    for (let y = box.top; y <= box.bottom; y += 4)
      if (pen.isPointInStroke(path, box.left, y) || pen.isPointInStroke(path, box.right, y)) return true
    return false
  }
  for (const link of app.graph.links.values()) {
    const bends = [...app.graph.reroutes.values()].filter(bend => bend.linkIds.has(link.id))
    const paths = [link, ...bends].map(part => part.path)
    if (!paths.every(Boolean)) found.push(`wire ${link.id} is not drawn`)
    for (const box of boxes)
      if (box.node.id !== link.origin_id && box.node.id !== link.target_id && paths.some(path => path && crosses(box, path)))
        found.push(`the wire to ${app.graph.getNodeById(link.target_id).title} is behind ${box.name}`)
  }
  return found
}"""

_SHOW_NOTE = """() => {
  const note = app.graph.nodes.find(node => node.type === 'MarkdownNote')
  app.canvas.ds.scale = 1
  app.canvas.ds.offset = [300 - note.pos[0], 200 - note.pos[1]]
  app.canvas.setDirty(true, true)
}"""
_NOTE = """() => {
  const text = document.querySelector('.comfy-markdown .tiptap, .comfy-markdown-content')
  return text && text.clientHeight ? [text.scrollHeight, text.clientHeight] : null
}"""


def problems(canvas: Canvas) -> list[str]:
    """Nodes or groups that cover another, nodes outside their group, wires behind nodes, a note that does not fit."""
    return canvas.page.evaluate(_PROBLEMS) + _note_problems(canvas)


def _note_problems(canvas: Canvas) -> list[str]:
    canvas.page.evaluate(_SHOW_NOTE)  # far away it is not drawn
    needed, given = canvas.page.wait_for_function(_NOTE, timeout=SHOW).json_value()
    return ["the note does not fit"] if needed > given + 1 else []


def fit(canvas: Canvas) -> None:
    """Shows the whole graph, so that all of it is drawn."""
    canvas.page.evaluate("app.extensionManager.command.execute('Comfy.Canvas.FitView')")
    canvas.page.wait_for_timeout(1000)  # it moves there
