/** How reports and previews look: in the colours of the page, under each of its renderers. */
import { COLOR_RULES } from './colors.js'

const RULES = `
:root { ${COLOR_RULES} --duet-warning: #7a4d00; }
.dark-theme { --duet-warning: #f2b33d; }
.duet-report, .duet-preview { box-sizing: border-box; flex: 1 0 auto; min-width: 0; border-radius: 6px; transition: opacity 0.2s; }
.duet-report {
  overflow: auto; overscroll-behavior: contain; scrollbar-width: thin; contain: inline-size;
  background: var(--component-node-widget-background); color: var(--component-node-foreground);
  font: 11px/1.45 ui-sans-serif, system-ui, sans-serif; user-select: text; cursor: text; outline: none;
}
.dom-widget > .duet-report { background: var(--comfy-input-bg); color: var(--input-text); }
.lg-node-widget .duet-report { flex: 1 0 0; min-height: min(var(--duet-height, 0px), 96px); max-height: var(--duet-height); }
.lg-node-widget .duet-with-table { min-height: min(var(--duet-height, 0px), 180px); }
.duet-body { padding: 6px 9px; overflow-wrap: anywhere; }
.duet-body p { margin: 0; white-space: pre-wrap; }
.duet-body > * + p { margin-top: 4px; }
.duet-body table + p, .duet-body p + table { margin-top: 6px; }
.duet-warning { color: var(--duet-warning); padding-left: 8px; border-left: 2px solid currentColor; }
.duet-body table { border-collapse: collapse; font-size: 10px; line-height: 1.35; overflow-wrap: normal; }
.duet-body th { font-weight: 500; opacity: 0.7; vertical-align: bottom; }
.duet-body th, .duet-body td { padding: 2px 7px 2px 0; text-align: left; border-bottom: 1px solid color-mix(in srgb, currentColor 15%, transparent); }
.duet-body .duet-number { font-variant-numeric: tabular-nums; white-space: nowrap; }
.duet-old { opacity: 0.45; }
.duet-preview { position: relative; overflow: hidden; background: #000; cursor: pointer; user-select: none; }
.duet-preview canvas { display: block; width: 100%; height: 100%; object-fit: contain; }
.lg-node-widget .duet-preview canvas { max-height: 160px; }
.duet-preview span {
  position: absolute; bottom: 4px; left: 6px; padding: 0 4px; border-radius: 3px; pointer-events: none;
  background: #0009; color: #fff; font: 10px/1.5 ui-sans-serif, system-ui, sans-serif; font-variant-numeric: tabular-nums;
}
.duet-preview .duet-sound { left: auto; right: 6px; }
.duet-sound svg { display: block; margin-block: 1.5px; }
[data-sound='off'] .duet-loud, [data-sound='on'] .duet-muted, [data-sound='awaited'] .duet-muted { display: none; }
[data-sound='awaited'] .duet-sound { opacity: 0.55; }
.duet-hidden { display: none; }
`

/** Adds the rules to the page. */
export function addStyle() {
  addRules('duet-style', RULES)
}

/** Puts `rules` in the place of the earlier ones of this id. */
export function addRules(id, rules) {
  const sheet = document.getElementById(id) ?? document.head.appendChild(document.createElement('style'))
  sheet.id = id
  sheet.textContent = rules
}
