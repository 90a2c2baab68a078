/** Inputs that few change: hidden on the canvas too, where ComfyUI shows them all. (Vue has a button of its own.) */

/** Hides the advanced inputs of a new node, unless the page is set to show them always. */
export function hideAdvanced(app, node) {
  const few = node.widgets?.filter(({ options }) => options?.advanced) ?? []
  if (!few.length || app.extensionManager.setting.get('Comfy.Node.AlwaysShowAdvancedWidgets')) return
  for (const widget of few) widget.advanced = true
  if (!isVue(app)) node.setSize([node.size[0], node.computeSize()[1]])
}

/** The menu entry that shows or hides them on the canvas. */
export function advancedItems(app, node) {
  if (isVue(app) || !node.hasAdvancedWidgets()) return []
  return [{ content: node.showAdvanced ? 'Hide advanced inputs' : 'Show advanced inputs', callback: () => toggle(node) }]
}

export const isVue = app => Boolean(app.extensionManager.setting.get('Comfy.VueNodes.Enabled'))

function toggle(node) {
  node.toggleAdvanced()
  if (!node.showAdvanced) node.setSize([node.size[0], node.computeSize()[1]])
}
