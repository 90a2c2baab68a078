/** Shows on a node what it reports: lines of text, warnings apart, a table. */
import { everyNode, isOurs, outputKey } from './nodes.js'
import { addPanel, redraw, removePanel } from './panel.js'

const NAME = 'duet_report'
const MOST = 96 // pixels; what is longer scrolls until the node is made larger
const MOST_TABLE = 180
const panels = new WeakMap()

/** Shows the report in the UI output of a node, in the place of an earlier one. Without an output, that one stays. */
export function showReport(node, output) {
  if (!output) return
  const parts = read(output)
  const shown = panels.get(node)
  if (!parts.length) return shown && shown.remove()
  const { body } = shown ?? open(node)
  body.parentElement.classList.remove('duet-old')
  body.parentElement.classList.toggle('duet-with-table', parts.some(({ tagName }) => tagName === 'TABLE'))
  body.replaceChildren(...parts)
  redraw(node)
}

export const hasReport = node => panels.has(node)

/** Says what a node warns of that is in a subgraph which is not open: no report of it can be seen. */
export function tellInside(app, node, output) {
  const warnings = output?.duet?.[0]?.warnings ?? []
  if (!warnings.length || node.graph === app.canvas.graph || node.graph.isRootGraph) return
  app.extensionManager.toast.add({ severity: 'warn', summary: node.title, detail: warnings.join('\n'), life: 10000 })
}

/** Marks the report of a node that runs: until it reports again, what is seen is of an earlier run. */
export function fadeReport(node) {
  panels.get(node)?.body.parentElement.classList.add('duet-old')
}

/** Shows the reports among `outputs`, those that the page holds by node. */
export function restoreReports(graph, outputs) {
  if (!graph || !Object.values(outputs).some(output => output?.duet)) return
  for (const node of everyNode(graph)) {
    const output = isOurs(node) && outputs[outputKey(node)]
    if (output) showReport(node, output)
  }
}

function open(node) {
  const frame = make('div', 'duet-report')
  frame.dataset.captureWheel = true // with focus, as the page has it
  frame.tabIndex = -1
  const body = frame.appendChild(make('div', 'duet-body'))
  let height = 0
  const widget = addPanel(node, NAME, frame, () => [Math.min(height, frame.matches('.duet-with-table') ? MOST_TABLE : MOST), height])
  const watch = new ResizeObserver(() => {
    if (!body.offsetHeight || body.offsetHeight === height) return // 0: not on the page now
    height = body.offsetHeight
    frame.style.setProperty('--duet-height', `${height}px`)
    redraw(node)
  })
  watch.observe(body)
  const unregister = widget.onRemove
  widget.onRemove = () => {
    watch.disconnect()
    panels.delete(node)
    unregister.call(widget)
  }
  const panel = { body, remove: () => removePanel(node, widget) }
  panels.set(node, panel)
  return panel
}

function read(output) {
  const [facts] = output?.duet ?? []
  const { table, warnings = [] } = facts ?? {}
  const lines = facts ? (output.text ?? []) : []
  const plain = lines.slice(table?.lines ?? 0, warnings.length ? lines.length - warnings.length : undefined)
  return [
    ...warnings.map(line => make('p', 'duet-warning', line)), // first: what is long must be scrolled to be seen
    ...(table ? [draw(table)] : []),
    ...plain.filter(Boolean).map(line => make('p', '', line)),
  ]
}

function draw({ head, rows }) {
  const table = make('table')
  const row = (tag, cells) => {
    const line = make('tr')
    line.append(...cells.map(cell => make(tag, isNumber(cell) ? 'duet-number' : '', cell)))
    return line
  }
  table.append(row('th', head), ...rows.map(cells => row('td', cells)))
  return table
}

const isNumber = cell => cell !== '' && cell !== null && !Number.isNaN(Number(cell))

function make(tag, name = '', text = '') {
  const element = document.createElement(tag)
  element.className = name
  element.textContent = text ?? ''
  return element
}
