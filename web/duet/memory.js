/** What nodes reported, kept in this tab: of nodes whose results ComfyUI still has, it sends nothing, also after the page was loaded again. */
import { outputKey } from './nodes.js'

const KEY = 'duet.reports'
const MOST = 200 // reports

/** Keeps the report in the UI output of a node. */
export function remember(node, output) {
  if (!output?.duet) return
  const { [keyOf(node)]: last, ...others } = read()
  const kept = Object.entries(others).slice(1 - MOST)
  write(Object.fromEntries([...kept, [keyOf(node), { text: output.text, duet: output.duet }]]))
}

/** The last report of a node in this graph; undefined if there is none. */
export const recall = node => read()[keyOf(node)]

const keyOf = node => `${node.graph.rootGraph.id} ${outputKey(node)}`

function read() {
  try {
    return JSON.parse(sessionStorage.getItem(KEY)) ?? {}
  } catch {
    return {} // the browser keeps nothing
  }
}

function write(reports) {
  try {
    sessionStorage.setItem(KEY, JSON.stringify(reports))
  } catch {
    // the browser keeps nothing, or has no room
  }
}
