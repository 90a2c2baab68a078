/** Duet's part of ComfyUI's page. Its modules in `duet/` only export, so that ComfyUI may load them as extensions too. */
import { app } from '../../scripts/app.js'
import { advancedItems, hideAdvanced } from './duet/advanced.js'
import { colorSockets } from './duet/colors.js'
import { hideInVue } from './duet/hidden.js'
import { endJob, isOpen, whenOpened } from './duet/jobs.js'
import { replaceTokens } from './duet/names.js'
import { clips, everyNode, isOurs, markNode, nodeAt } from './duet/nodes.js'
import { mendGraph, mendNewNode } from './duet/old_graphs.js'
import { playerItems } from './duet/players.js'
import { askForSound, endPreviews, muteAll, preview, startNode } from './duet/preview.js'
import { fadeReport, restoreReports, showReport } from './duet/report.js'
import { addStyle } from './duet/style.js'

const SAVE_NODES = ['DuetMux', 'DuetReplaceSound']

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
    const prefix = SAVE_NODES.includes(node.comfyClass) && node.widgets?.find(({ name }) => name === 'filename_prefix')
    if (prefix) prefix.serializeValue = () => replaceTokens(everyNode(app.rootGraph), prefix.value)
  },

  loadedGraphNode(node) {
    if (isOurs(node)) markNode(node)
  },

  afterConfigureGraph() {
    restoreReports(app.rootGraph, app.nodeOutputs)
  },

  onNodeOutputsUpdated(outputs) {
    restoreReports(app.rootGraph, outputs)
  },

  getNodeMenuItems(node) {
    return isOurs(node) ? [...advancedItems(app, node), ...playerItems(app, node)] : []
  },
})

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
    if (isOurs(node)) showReport(node, output)
    if (clips(output).length) muteAll()
  })
  for (const end of ['execution_success', 'execution_error', 'execution_interrupted'])
    on(end, ({ prompt_id: job }) => endJob(job) && endPreviews())
  on('duet.text', ({ prompt_id: job, node: id, text }) => ours(job, id, node => showReport(node, { text: [text], duet: [{}] })))
  on('duet.preview', event => {
    ours(event.prompt_id, event.node, node => preview(node, event, () => askForSound(app.api, event.node)))
  })
}
