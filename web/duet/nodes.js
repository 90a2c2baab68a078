/** Our nodes, and where in a graph they are. */

export const PACK = 'duet-av'
export const VERSION = '0.8.0'

export const isOurs = node => Boolean(node.comfyClass?.startsWith('Duet'))

/** Writes on a node which pack it needs, so that ComfyUI can name the pack where it is absent. */
export function markNode(node) {
  node.properties.cnr_id = PACK
  node.properties.ver = VERSION
}

/** Every node of a graph and of its subgraphs, subgraphs first, as ComfyUI goes through them. */
export function everyNode(graph) {
  return graph.nodes.flatMap(node => [...(node.subgraph ? everyNode(node.subgraph) : []), node])
}

/** The node of an id as the server sends it: that of a node in subgraphs has their ids before it, such as 5:2. */
export function nodeAt(graph, id) {
  const path = String(id).split(':')
  const inner = path.slice(0, -1).reduce((within, each) => within?.getNodeById(each)?.subgraph, graph)
  return inner?.getNodeById(path.at(-1))
}

/** The key of a node among the page's outputs. */
export const outputKey = node => (node.graph.isRootGraph ? `${node.id}` : `${node.graph.id}:${node.id}`)

/** The files that a node shows as clips. */
export const clips = output => (output?.animated?.some(Boolean) && output.images) || []
