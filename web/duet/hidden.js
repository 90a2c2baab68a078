/** The nodes whose clips are hidden: from their menu on, until they are removed. */
import { addRules } from './style.js'

const nodes = new Set()

export const isHidden = node => nodes.has(node)

/** Hides the clips of a node or shows them. canvas: that of the page. */
export function setHidden(canvas, node, hidden) {
  nodes[hidden ? 'add' : 'delete'](node)
  if (hidden) forgetWhenRemoved(canvas, node)
  hideInVue(canvas)
}

/** Vue builds its players anew at will, so that a rule of style hides them: for the graph on the screen, whose ids are its own. */
export function hideInVue(canvas) {
  const rules = [...nodes]
    .filter(({ graph }) => graph === canvas.graph)
    .map(({ id }) => `[data-node-id="${id}"] .video-preview { display: none; }`)
  addRules('duet-hidden-players', rules.join('\n'))
}

function forgetWhenRemoved(canvas, node) {
  const { onRemoved } = node
  node.onRemoved = () => {
    if (nodes.delete(node)) hideInVue(canvas)
    onRemoved?.call(node)
  }
}
