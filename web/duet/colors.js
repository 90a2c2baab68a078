/** A colour for each kind of socket of ours; none is near one of ComfyUI's, and each is readable on dark and on light. */

export const COLORS = {
  DUET_MODEL: '#c02bf0',
  DUET_PROMPTS: '#a68608',
  DUET_GUIDANCE: '#078c7f',
  DUET_ALIGNER: '#f0289a',
  DUET_VIDEO_EXPERT: '#5574f2',
  DUET_AUDIO_EXPERT: '#08a608',
  DUET_COMPARISON: '#e0431f',
}

/** Style rules for sockets that Vue draws. */
export const COLOR_RULES = Object.entries(COLORS).map(([type, color]) => `--color-datatype-${type}: ${color};`).join(' ')

/** Colours sockets and links on the canvas. A palette writes '' for types that it does not colour: those keep ours. */
export function colorSockets(canvas) {
  for (const colors of [canvas.default_connection_color_byType, canvas.constructor.link_type_colors])
    for (const [type, ours] of Object.entries(COLORS)) keep(colors, type, ours)
}

function keep(colors, type, ours) {
  let chosen = colors[type]
  Object.defineProperty(colors, type, {
    get: () => chosen || ours,
    set: color => (chosen = color),
    configurable: true,
    enumerable: true,
  })
}
