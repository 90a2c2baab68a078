/** Duet's part of ComfyUI's page. Its modules in `duet/` only export, so that ComfyUI may load them as extensions too. */
import { app } from '../../scripts/app.js'
import { advancedItems, hideAdvanced } from './duet/advanced.js'
import { colorSockets } from './duet/colors.js'
import { hideInVue } from './duet/hidden.js'
import { endJob, isOpen, openedJob, whenOpened } from './duet/jobs.js'
import { recall, remember } from './duet/memory.js'
import { replaceTokens } from './duet/names.js'
import { clips, everyNode, isOurs, markNode, nodeAt } from './duet/nodes.js'
import { mendGraph, mendNewNode } from './duet/old_graphs.js'
import { playerItems, settle } from './duet/players.js'
import { askForSound, endPreviews, muteAll, preview, startNode } from './duet/preview.js'
import { fadeReport, hasReport, restoreReports, showReport, tellInside } from './duet/report.js'
import { addStyle } from './duet/style.js'

const SAVE_NODES = ['DuetMux', 'DuetReplaceSound']
const WIDTHS = { // of new nodes, so that all columns of a table or the whole title are seen
  DuetCompare: 460, DuetCompareGuiders: 460, DuetJointGuider: 300, DuetJointNoise: 300, DuetModelGuidance: 410
}

app.registerExtension({
  name: 'Duet',

  setup() {
    addStyle()
    colorSockets(app.canvas)
    app.canvas.canvas.addEventListener('litegraph:set-graph', () => hideInVue(app.canvas))
    listen()
  },

  beforeConfigureGraph(graph) {
    mendGraph(graph)
  },

  nodeCreated(node) {
    if (!isOurs(node)) return
    markNode(node)
    hideAdvanced(app, node)
    mendNewNode(node)
    const width = WIDTHS[node.comfyClass]
    if (width) node.setSize([Math.max(width, node.size[0]), node.size[1]])
    const prefix = SAVE_NODES.includes(node.comfyClass) && node.widgets?.find(({ name }) => name === 'filename_prefix')
    if (prefix) prefix.serializeValue = () => replaceTokens(everyNode(app.rootGraph), prefix.value)
  },

  loadedGraphNode(node) {
    if (isOurs(node)) markNode(node)
  },

  afterConfigureGraph() {
    restoreReports(app.rootGraph, app.nodeOutputs)
    whenOpened(app, showJob)
  },

  onNodeOutputsUpdated(outputs) {
    restoreReports(app.rootGraph, outputs)
  },

  getNodeMenuItems(node) {
    return isOurs(node) ? [...advancedItems(app, node), ...playerItems(app, node)] : []
  },
})

/** Shows the reports of the job that was opened as a graph, if one was. */
async function showJob() {
  const outputs = await openedJob(app)
  for (const [id, output] of Object.entries(outputs)) {
    const node = nodeAt(app.rootGraph, id)
    if (node && isOurs(node)) showReport(node, output)
  }
}

function listen() {
  const on = (name, act) => app.api.addEventListener(name, ({ detail }) => whenOpened(app, () => act(detail)))
  const ours = (job, id, act) => {
    const node = isOpen(app, job) && nodeAt(app.rootGraph, id)
    if (node && isOurs(node)) act(node)
  }
  on('execution_start', ({ prompt_id: job }) => isOpen(app, job))
  on('executing', id => id && ours(undefined, id, node => (fadeReport(node), startNode(node))))
  on('executed', ({ node: id, display_node: shown, output, prompt_id: job }) => {
    const node = isOpen(app, job) && nodeAt(app.rootGraph, shown ?? id)
    if (!node) return output && delete output.duet // the page keeps it, for the graph that is open
    if (isOurs(node)) {
      showReport(node, output)
      remember(node, output)
      tellInside(app, node, output)
    }
    if (clips(output).length) {
      muteAll()
      if (isOurs(node)) settle(app, node)
    }
  })
  on('execution_cached', ({ nodes, prompt_id: job }) => {
    for (const id of nodes) ours(job, id, node => hasReport(node) || showReport(node, recall(node)))
  })
  for (const end of ['execution_success', 'execution_error', 'execution_interrupted'])
    on(end, ({ prompt_id: job }) => endJob(job) && endPreviews())
  on('duet.text', ({ prompt_id: job, node: id, text }) => ours(job, id, node => showReport(node, { text: [text], duet: [{}] })))
  on('duet.preview', event => {
    ours(event.prompt_id, event.node, node => preview(node, event, () => askForSound(app.api, event.node)))
  })
}
