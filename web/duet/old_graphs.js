/** Graphs saved by earlier versions: an input that they lack keeps the value it had then, not the default of new nodes. */

const SEEDS_TO_BATCH = 7 // values of a sampler's inputs before eta: two seeds with what follows them, steps, shift, batch_branches
const KEEP = 5 // of Aligner: once whether the rms is kept

const MENDS = {
  DuetJointSampler: addEta,
  DuetCompare: addEta,
  DuetAligner: nameKept,
}

const FIRST_ROW = 'guidances.guidance0' // the page names the others without the name of their group

/** Mends the nodes of a saved graph and of its subgraphs, in place. */
export function mendGraph(graph) {
  for (const { nodes } of [graph, ...(graph.definitions?.subgraphs ?? [])])
    for (const { type, inputs, widgets_values: values, widgets_values_named: named } of nodes ?? []) {
      if (Array.isArray(values)) MENDS[type]?.(values, named)
      if (type === 'DuetCompare') inputs?.forEach(labelFirstRow)
    }
}

function labelFirstRow(input) {
  if (input.name === FIRST_ROW) input.label ??= FIRST_ROW.split('.')[1]
}

/**
 * Mends a new node of a graph in API form, which no hook announces: the page sets its values, and calls its widgets back,
 * in the task that makes the node. An eta that the graph has is there by then, or is set later.
 */
export function mendNewNode(node) {
  if (MENDS[node.comfyClass] !== addEta) return
  const [shift, eta] = ['shift', 'eta'].map(name => node.widgets.find(widget => widget.name === name))
  const { callback } = shift
  const start = eta.value
  let isNew = true
  const mend = (...args) => {
    if (isNew && eta.value === start) eta.value = 0
    isNew = false
    return callback?.apply(shift, args)
  }
  shift.callback = mend
  queueMicrotask(() => {
    isNew = false
    if (shift.callback === mend) shift.callback = callback
  })
}

function addEta(values, named) {
  if (values.length !== SEEDS_TO_BATCH) return
  values.push(0)
  if (named) named.eta = 0
}

function nameKept(values) {
  if (typeof values[KEEP] === 'boolean') values[KEEP] = values[KEEP] ? 'rms' : 'nothing'
}
