/** The graph that a job was queued from: what the server tells of the job is for no other, which may have nodes of the same ids. */

const graphs = new Map() // of jobs that have not ended
const waiting = []
let latest // job: some events name none
let timer

/** Acts when no graph is being opened: while one is, the page takes it for the graph that was open before. */
export function whenOpened(app, act) {
  waiting.push(act)
  if (!timer) goOn(app)
}

function goOn(app) {
  timer = isOpening(app) ? setTimeout(goOn, 50, app) : 0
  while (!timer && waiting.length) waiting.shift()()
}

const isOpening = app => app.extensionManager.workflow.activeWorkflow?.changeTracker?.constructor.isLoadingGraph

/** Whether the graph of a job is open; of the job that was heard of last where none is given. */
export function isOpen(app, job = latest) {
  if (!job) return false
  latest = job
  const open = app.extensionManager.workflow.activeWorkflow
  const graph = queuedFrom(app, job) ?? graphs.get(job) ?? open
  graphs.set(job, graph)
  return graph === open
}

/** The page's own record. It does not know a job that begins at once yet, nor one queued before the page was loaded again. */
function queuedFrom(app, job) {
  return app.extensionManager._p?.state.value.execution?.queuedJobs?.[job]?.workflow
}

/** The outputs by node of the job that the open graph was made from: the page names a job's graph by the job, and leaves out its outputs. */
export async function openedJob(app) {
  const [, job] = /^Job ([\w-]{36})/.exec(app.extensionManager.workflow.activeWorkflow?.filename ?? '') ?? []
  if (!job) return {}
  const answer = await app.api.fetchApi(`/history/${job}`)
  return (await answer.json())[job]?.outputs ?? {}
}

/** Forgets a job that has ended. Returns whether it was the one that ran; of those of other pages some ends are heard too. */
export function endJob(job) {
  graphs.delete(job)
  return job === latest
}
