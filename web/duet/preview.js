/** The clip as it is while it is sampled: a short loop on the node, with its sound on a click. */
import { isHidden } from './hidden.js'
import { addPanel, redraw, removePanel } from './panel.js'
import { Sound, rest } from './sound.js'

const NAME = 'duet_preview'
const MOST = 160 // pixels
const ICON = `<svg viewBox="0 0 16 16" width="12" height="12" fill="none" stroke="currentColor" stroke-width="1.5">
  <path d="M2 6h2.5L8 3v10L4.5 10H2z" fill="currentColor" stroke="none"/>
  <path class="duet-loud" d="M10.5 5.5a4 4 0 0 1 0 5M12.5 3.5a7 7 0 0 1 0 9"/><path class="duet-muted" d="M10.5 6l4 4m0-4l-4 4"/></svg>`
const loops = new Map()

/** Shows an event of the server on its node, in the place of an earlier one. ask: asks the server for the sound. */
export function preview(node, event, ask) {
  const loop = loops.get(node) ?? new Loop(node)
  loop.ask = ask
  loop.show(event)
}

/** Before a node runs: what an earlier run left on it is old. */
export function startNode(node) {
  loops.get(node)?.start()
}

/** The loop on a node, for its menu. */
export const loopOf = node => loops.get(node)

export const muteAll = () => loops.forEach(loop => loop.mute(true))

export function endPreviews() {
  for (const loop of [...loops.values()]) loop.end()
}

export function askForSound(api, node) {
  return api.fetchApi('/duet/preview_audio', {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ node }),
  })
}

class Loop {
  constructor(node) {
    this.node = node
    this.muted = true
    this.paused = false
    this.began = performance.now()
    this.frame = document.createElement('div')
    this.frame.className = 'duet-preview'
    this.canvas = this.frame.appendChild(document.createElement('canvas'))
    this.steps = this.frame.appendChild(document.createElement('span'))
    const icon = this.frame.appendChild(document.createElement('span'))
    icon.className = 'duet-sound'
    icon.innerHTML = ICON
    this.frame.addEventListener('click', () => this.mute(!this.muted))
    this.frame.addEventListener('pointerenter', () => this.hover(true))
    this.frame.addEventListener('pointerleave', () => this.hover(false))
    this.place()
    loops.set(node, this)
    this.hide(isHidden(node))
  }

  place() {
    const widgets = this.node.widgets
    const report = widgets.findIndex(({ name }) => name === 'duet_report')
    this.widget = addPanel(this.node, NAME, this.frame, () => this.heights())
    if (report >= 0) widgets.splice(report, 0, widgets.pop()) // above the report
    const unregister = this.widget.onRemove
    this.widget.onRemove = () => {
      this.forget()
      unregister.call(this.widget)
    }
  }

  heights() {
    const { width, height } = this.canvas
    const high = this.hidden ? 0 : Math.min(MOST, Math.round((this.node.size[0] * height) / width))
    return [high, high]
  }

  async show(event) {
    const sheet = new Image()
    sheet.src = event.sheet
    this.latest = sheet
    this.running = true
    this.fresh = true
    this.seconds = event.count / event.fps
    if (event.audio) this.hear(event.audio)
    if (event.audio && !this.muted && event.step < event.steps) this.ask() // each is sent once
    await sheet.decode()
    if (this.latest !== sheet || !loops.has(this.node)) return
    Object.assign(this, { event, sheet })
    this.frame.classList.remove('duet-old')
    this.steps.textContent = `${event.step}/${event.steps}`
    if (this.canvas.width !== event.width || this.canvas.height !== event.height) {
      Object.assign(this.canvas, { width: event.width, height: event.height })
      redraw(this.node)
    }
    this.label()
    this.run()
    this.draw()
  }

  async hear(url) {
    const sound = await Sound.from(url)
    if (!loops.has(this.node)) return
    const at = this.time()
    this.sound?.stop()
    this.sound = sound
    this.play(at)
    this.label()
  }

  mute(muted) {
    if (this.muted === muted) return
    const at = this.time()
    this.muted = muted
    if (!muted && !this.sound) this.ask()
    this.play(at)
    this.label()
  }

  pause(paused) {
    const at = this.time()
    this.paused = paused
    this.play(at)
  }

  rewind() {
    this.play(0)
  }

  /** Goes on from `at`, with the sound if it is wanted. */
  play(at) {
    this.at = at
    this.began = performance.now() - 1000 * at
    if (this.sound && !this.muted && !this.paused) this.sound.play(at, this.seconds)
    else this.sound?.stop()
    if (![...loops.values()].some(({ sound }) => sound?.source)) rest()
    this.run()
  }

  /** Seconds since the loop began; those of the sound where it is heard, so that both are in step. */
  time() {
    if (this.paused) return this.at
    return this.sound?.heard ? this.sound.time : (performance.now() - this.began) / 1000
  }

  draw() {
    const { columns, count, width, height, fps } = this.event
    const index = Math.floor(this.time() * fps) % count
    const place = [(index % columns) * width, Math.floor(index / columns) * height]
    this.canvas.getContext('2d').drawImage(this.sheet, ...place, width, height, 0, 0, width, height)
  }

  /** The loop turns while the node's run goes on, while it is heard, and under the pointer. */
  run() {
    const heard = this.sound && !this.muted
    const turns = this.event && !this.paused && !this.hidden && (this.running || heard || this.hovered)
    clearInterval(this.timer)
    if (turns) this.timer = setInterval(() => this.draw(), 1000 / this.event.fps)
  }

  hover(over) {
    this.hovered = over
    this.run()
  }

  hide(hidden) {
    this.hidden = hidden
    this.frame.classList.toggle('duet-hidden', hidden)
    if (hidden) this.mute(true)
    this.run()
    redraw(this.node)
  }

  label() {
    const waits = !this.muted && !this.sound
    this.frame.dataset.sound = waits ? 'awaited' : this.muted ? 'off' : 'on'
    this.frame.title = waits ? 'The audio comes with the next preview.' : this.muted ? 'Click to hear the audio.' : 'Click to mute.'
  }

  start() {
    this.sound?.stop()
    this.sound = null
    this.fresh = false
    this.frame.classList.add('duet-old')
  }

  end() {
    if (!this.node.graph) return this.forget()
    if (!this.fresh && this.frame.classList.contains('duet-old')) return removePanel(this.node, this.widget)
    this.running = false
    this.frame.classList.toggle('duet-old', this.event?.step < this.event?.steps) // not the end of the run
    this.mute(true)
    this.run()
  }

  forget() {
    clearInterval(this.timer)
    this.sound?.stop()
    loops.delete(this.node)
  }
}
