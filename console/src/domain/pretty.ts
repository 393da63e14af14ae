/**
 * A body as lines, with the place of each in the document, so that an error can stand at the field that caused it.
 *
 * The tokens stay as they were sent: numbers beyond a double, doubled keys and odd escapes are what one looks for here,
 * and a parser would mend them. What is not JSON is shown as it is.
 */
import type { FieldError } from '../wire/types'

export interface Line {
  text: string
  depth: number
  /** `data.content`, `items.0`; empty: the document itself. */
  path: string
  errors: FieldError[]
}

const TOKEN = /\s*("(?:[^"\\]|\\[\s\S])*"|[{}[\],:]|[^\s{}[\],:"]+)/y

export function prettyLines(body: string, errors: readonly FieldError[] = []): Line[] {
  const lines = isJson(body) ? jsonLines(tokens(body)) : plainLines(body)
  for (const error of errors) lineOf(lines, error.field).errors.push(error)
  return lines
}

function isJson(body: string): boolean {
  try {
    JSON.parse(body)
    return true
  } catch {
    return false
  }
}

function tokens(body: string): string[] {
  const found: string[] = []
  TOKEN.lastIndex = 0
  for (let token = TOKEN.exec(body); token; token = TOKEN.exec(body)) if (token[1]) found.push(token[1])
  return found
}

const plainLines = (body: string): Line[] =>
  body.split('\n').map((text) => ({ text, depth: 0, path: '', errors: [] }))

interface Container {
  path: string
  isArray: boolean
  index: number
}

function jsonLines(all: readonly string[]): Line[] {
  const lines: Line[] = []
  const open: Container[] = []
  let prefix = ''
  let path = ''
  const push = (text: string, depth: number, at: string) => lines.push({ text, depth, path: at, errors: [] })
  const place = () => {
    const top = open.at(-1)
    if (top?.isArray) path = joined(top.path, String(top.index++))
  }
  all.forEach((token, index) => {
    const top = open.at(-1)
    if (token === ',') {
      const last = lines.at(-1)
      if (last) last.text += ','
    } else if (token === '}' || token === ']') {
      const closed = open.pop()
      push(token, open.length, closed?.path ?? '')
      path = closed?.path ?? ''
    } else if (top && !top.isArray && all[index + 1] === ':') {
      prefix = `${token}: `
      path = joined(top.path, nameOf(token))
    } else if (token === '{' || token === '[') {
      place()
      push(prefix + token, open.length, path)
      open.push({ path, isArray: token === '[', index: 0 })
      prefix = ''
    } else if (token !== ':') {
      place()
      push(prefix + token, open.length, path)
      prefix = ''
    }
  })
  return lines
}

const joined = (parent: string, name: string) => (parent ? `${parent}.${name}` : name)
const nameOf = (token: string) => JSON.parse(token) as string

/** The line of a field; where the body has no such field, the nearest one that would hold it. */
function lineOf(lines: Line[], field: string): Line {
  for (let path = field.replace(/\[(\d+)\]/g, '.$1'); path; path = path.slice(0, Math.max(path.lastIndexOf('.'), 0))) {
    const found = lines.find((line) => line.path === path)
    if (found) return found
  }
  const [first] = lines
  if (first) return first
  const empty: Line = { text: '', depth: 0, path: '', errors: [] }
  lines.push(empty)
  return empty
}
