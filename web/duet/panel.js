/** A DOM element on a node, under its inputs. It is not saved, and not sent with a prompt. */

const MARGIN = 10
let added = 0

/** Adds `element`. height: returns how high it wants to be, and at most. Returns the widget. */
export function addPanel(node, name, element, height) {
  const type = `${name} ${++added}` // Vue mounts an element once for each type that a node of some id has
  const widget = node.addDOMWidget(name, type, element, {
    serialize: false,
    hideInPanel: true,
    margin: MARGIN,
    getMinHeight: () => height()[0] + 2 * MARGIN,
    getMaxHeight: () => height()[1] + 2 * MARGIN,
  })
  widget.serialize = false
  element.addEventListener('wheel', event => passOn(event, element), { passive: false })
  openMenuFrom(element)
  redraw(node)
  return widget
}

/** A right click on an element above the canvas opens the menu of the node below, as beside the element. (Vue does so itself.) */
export function openMenuFrom(element) {
  element.addEventListener('contextmenu', event => {
    const canvas = document.getElementById('graph-canvas')
    if (!element.closest('.dom-widget') || !canvas) return
    event.preventDefault()
    const { clientX, clientY, pointerId = 1 } = event
    const options = { clientX, clientY, pointerId, button: 2, bubbles: true, cancelable: true, isPrimary: true }
    canvas.dispatchEvent(new PointerEvent('pointerdown', { ...options, buttons: 2 }))
    canvas.dispatchEvent(new PointerEvent('pointerup', options))
  })
}

/** Takes a panel away, and the height that the node had for it. */
export function removePanel(node, widget) {
  const freed = widget.computedHeight || widget.element.offsetHeight
  node.removeWidget(widget)
  shrink(node, freed)
}

export function shrink(node, height) {
  node.setSize([node.size[0], Math.max(node.computeSize()[1], node.size[1] - height)])
  redraw(node)
}

/** Draws twice: the canvas lets a node grow after it has drawn the node. */
export function redraw(node) {
  const draw = () => node.graph?.setDirtyCanvas(true, true)
  draw()
  requestAnimationFrame(draw)
}

/** Turns of the wheel scroll an element that has more to show; all others move the canvas, as beside the element. */
function passOn(event, element) {
  const scrolls = element.scrollHeight > element.clientHeight + 1 && !event.ctrlKey && !event.metaKey
  if (scrolls) return event.stopPropagation()
  event.preventDefault()
  event.stopPropagation()
  document.getElementById('graph-canvas')?.dispatchEvent(new WheelEvent('wheel', event))
}
