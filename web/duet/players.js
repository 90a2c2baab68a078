/** The menu of our players: clips that ComfyUI shows on our nodes, and live previews. */
import { isVue } from './advanced.js'
import { isHidden, setHidden } from './hidden.js'
import { clips, isOurs, outputKey } from './nodes.js'
import { openMenuFrom, redraw, shrink } from './panel.js'
import { loopOf } from './preview.js'

const CORE_WIDGET = 'video-preview'

/** The entries for the menu of `node`; none where it shows no clip. */
export function playerItems(app, node) {
  const files = clips(app.nodeOutputs[outputKey(node)])
  const players = playersOf(app, node)
  if (!players.length) return []
  const hidden = isHidden(node)
  const quiet = players.every(({ muted }) => muted)
  const stopped = players.every(({ paused }) => paused)
  const entry = (content, callback) => ({ content, callback })
  return [
    null,
    entry(hidden ? 'Show preview' : 'Hide preview', () => hide(app, node, !hidden)),
    entry(stopped ? 'Resume preview' : 'Pause preview', () => players.forEach(each => each.pause(!stopped))),
    entry(quiet ? 'Unmute preview' : 'Mute preview', () => players.forEach(each => each.mute(!quiet))),
    entry('Play all in step', () => playInStep(app)),
    ...(files.length ? fileItems(app, node, files) : []),
  ]
}

function fileItems(app, node, files) {
  const place = new URLSearchParams(files[0])
  return [
    { content: 'Open preview', callback: () => window.open(app.api.apiURL(`/view?${place}`), '_blank', 'noopener') },
    { content: 'Copy output path', callback: () => copy(app, pathOf(app.nodeOutputs[outputKey(node)])) },
  ]
}

/** The path of the file that a node shows: that of its report, or below ComfyUI's folder. */
function pathOf(output) {
  const [{ type, subfolder, filename }] = clips(output)
  return output.duet?.[0]?.files?.[0]?.path ?? [type, subfolder, filename].filter(Boolean).join('/')
}

async function copy(app, path) {
  const say = (severity, summary) => app.extensionManager.toast.add({ severity, summary, detail: path, life: 4000 })
  try {
    await navigator.clipboard.writeText(path)
    say('success', 'Path copied')
  } catch {
    say('info', 'Path of the file') // a page that is not served securely may not write to the clipboard
  }
}

/** Starts every player of ours that is on the canvas from its beginning, all at once. */
async function playInStep(app) {
  const players = app.canvas.graph.nodes.filter(isOurs).flatMap(node => playersOf(app, node))
  players.forEach(each => each.pause(true))
  await Promise.all(players.map(each => each.rewind()))
  players.forEach(each => each.pause(false))
}

function playersOf(app, node) {
  const loop = loopOf(node)
  return [...videosOf(app, node).map(asPlayer), ...(loop ? [ofLoop(loop)] : [])]
}

function videosOf(app, node) {
  const within = isVue(app) ? document.querySelector(`[data-node-id="${node.id}"]`) : node.videoContainer
  return [...(within?.querySelectorAll('video') ?? [])]
}

/** Lets a node on the canvas fit a clip that has come, and its menu open from the clip. */
export function settle(app, node, tries = 20) {
  if (isVue(app) || !node.graph) return
  const fresh = videosOf(app, node).filter(video => !video.dataset.duet)
  for (const video of fresh) {
    video.dataset.duet = 'settled'
    openMenuFrom(video)
    video.addEventListener('loadeddata', () => redraw(node))
    redraw(node)
  }
  if (!fresh.length && tries) setTimeout(settle, 100, app, node, tries - 1) // ComfyUI loads a clip before it shows it
}

const asPlayer = video => ({
  muted: video.muted,
  paused: video.paused,
  mute: muted => (video.muted = muted),
  pause: paused => (paused ? video.pause() : video.play().catch(() => {})), // paused again before it began
  rewind: () =>
    new Promise(resolve => {
      video.addEventListener('seeked', resolve, { once: true })
      setTimeout(resolve, 1000)
      video.currentTime = 0
    }),
})

const ofLoop = loop => ({
  muted: loop.muted,
  paused: loop.paused,
  mute: muted => loop.mute(muted),
  pause: paused => loop.pause(paused),
  rewind: () => loop.rewind(),
})

function hide(app, node, hidden) {
  setHidden(app.canvas, node, hidden)
  loopOf(node)?.hide(hidden)
  videosOf(app, node).forEach(video => hidden && video.pause())
  hideOnCanvas(node, hidden)
  redraw(node)
}

function hideOnCanvas(node, hidden) {
  const widget = node.widgets?.find(({ name }) => name === CORE_WIDGET)
  if (!widget) return
  widget.hidden = hidden
  if (hidden) shrink(node, widget.computedHeight ?? 0)
}
