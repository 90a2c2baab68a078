/** A sound that loops. Through Web Audio: where ComfyUI keeps its page from the network, audio elements may not play what was sent. */

let context

export class Sound {
  /** Decodes a data URL. */
  static async from(url) {
    context ??= new AudioContext()
    const bytes = Uint8Array.from(atob(url.slice(url.indexOf(',') + 1)), letter => letter.charCodeAt(0))
    return new Sound(await context.decodeAudioData(bytes.buffer))
  }

  constructor(buffer) {
    this.buffer = buffer
  }

  /** Plays from `at` seconds on, the first `length` seconds again and again. */
  play(at, length) {
    this.stop()
    context.resume() // only a click lets a page be heard, and one has asked for the sound
    this.length = Math.min(length, this.buffer.duration)
    this.source = new AudioBufferSourceNode(context, { buffer: this.buffer, loop: true, loopEnd: this.length })
    this.source.connect(context.destination)
    this.source.start(0, at % this.length)
    this.began = context.currentTime - (at % this.length)
  }

  stop() {
    this.source?.stop()
    this.source?.disconnect()
    this.source = null
  }

  get heard() {
    return Boolean(this.source) && context.state === 'running'
  }

  /** Seconds into the loop. */
  get time() {
    return (context.currentTime - this.began) % this.length
  }
}

/** Lets the device rest when nothing is heard. */
export const rest = () => context?.suspend()
