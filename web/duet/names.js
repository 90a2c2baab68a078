/** Tokens in file names, such as %date:yyyy-MM-dd% and %Sampler.steps%, replaced as by ComfyUI's own save nodes. */

const PARTS = {
  d: date => date.getDate(),
  M: date => date.getMonth() + 1,
  h: date => date.getHours(),
  m: date => date.getMinutes(),
  s: date => date.getSeconds(),
}
const NOT_IN_NAMES = /[/?<>\\:*|"\x00-\x1F\x7F]/g

/** Replaces the tokens in `text`; a token that names nothing stays. nodes: those that tokens can name. */
export function replaceTokens(nodes, text, now = new Date()) {
  return text.replace(/%([^%]+)%/g, (token, inner) => {
    const [name, ...rest] = inner.split('.')
    if (rest.length !== 1 && name.startsWith('date:')) return formatDate(name.slice(5), now)
    const node = nodes.find(each => each.properties?.['Node name for S&R'] === name) ?? nodes.find(({ title }) => title === name)
    const widget = rest.length && node?.widgets?.find(each => each.name === rest.join('.'))
    return widget ? `${widget.value ?? ''}`.replace(NOT_IN_NAMES, '_') : token
  })
}

function formatDate(pattern, date) {
  return pattern.replace(/dd?|MM?|hh?|mm?|ss?|yyy?y?/g, part => {
    if (part === 'yy') return `${date.getFullYear()}`.slice(2)
    if (part === 'yyyy') return `${date.getFullYear()}`
    return part[0] in PARTS ? `${PARTS[part[0]](date)}`.padStart(part.length, '0') : part
  })
}
