/**
 * The one way in which the page asks the server.
 *
 * It knows the prefix under which the console is served, sends the header that the server wants of every unsafe
 * request, and turns a problem (RFC 9457) into a `Problem` that can be thrown, shown and switched on.
 */
import { learnTime } from '../state/clock'
import type { FieldError } from './types'

/** The console is at `{prefix}/console/`, so that everything else is one step up. */
export const BASE = typeof document === 'undefined' ? new URL('http://localhost/') : new URL('..', document.baseURI)

export class Problem extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    detail: string,
    readonly errors: FieldError[] = [],
    readonly retryAfterS: number | null = null,
    readonly sources: string[] = [],
  ) {
    super(detail)
  }
}

type Value = string | number | boolean | null | undefined
export type Parameters = Record<string, Value | readonly string[]>

interface Asked {
  method?: string
  body?: unknown
  headers?: Record<string, string>
  signal?: AbortSignal | undefined
}

/** The status of a problem that the network made: the server said nothing. */
export const NO_ANSWER = 0

let onSignedOut: () => void = () => undefined

/** Say what is to happen when the server does not know us any more. */
export function whenSignedOut(action: () => void): void {
  onSignedOut = action
}

/** The address of a path below the prefix; a `next` path, which begins with a slash, is meant so, too. */
export function address(path: string, parameters: Parameters = {}): string {
  const url = new URL(path.replace(/^\/+/, ''), BASE)
  for (const [name, value] of Object.entries(parameters)) {
    const values: readonly Value[] = Array.isArray(value) ? value : [value as Value]
    for (const one of values) {
      if (one !== null && one !== undefined && one !== '') url.searchParams.append(name, String(one))
    }
  }
  return url.href
}

/** Return the answer's JSON. Raises Problem, and AbortError where the signal said so. */
export async function ask<Answer>(path: string, parameters: Parameters = {}, asked: Asked = {}): Promise<Answer> {
  const answer = await reach(address(path, parameters), asked)
  const text = await answer.text()
  if (answer.ok) return (text ? JSON.parse(text) : null) as Answer
  const problem = problemOf(answer, text)
  if (answer.status === 401) onSignedOut()
  throw problem
}

export interface Answered {
  status: number
  text: string
  tookMs: number
}

/** Like `ask`, but any answer of the server is a result: for what is shown to the viewer as it came. */
export async function attempt(path: string, body: unknown): Promise<Answered> {
  const began = performance.now()
  const answer = await reach(address(path), { method: 'POST', body })
  return { status: answer.status, text: await answer.text(), tookMs: performance.now() - began }
}

async function reach(url: string, { method = 'GET', body, headers = {}, signal }: Asked): Promise<Response> {
  const all: Record<string, string> = { Accept: 'application/json', ...headers }
  if (method !== 'GET') all['X-Realmate-Console'] = '1'
  if (body !== undefined) all['Content-Type'] = 'application/json'
  const began = Date.now()
  try {
    const answer = await fetch(url, {
      method,
      headers: all,
      credentials: 'same-origin',
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
      ...(signal ? { signal } : {}),
    })
    learnTime(answer.headers.get('Date'), began, Date.now())
    return answer
  } catch (error) {
    if (signal?.aborted) throw error
    throw new Problem(NO_ANSWER, 'no_answer', '')
  }
}

function problemOf(answer: Response, text: string): Problem {
  const after = Number(answer.headers.get('Retry-After')) || null
  try {
    const told = JSON.parse(text) as { code?: string; detail?: string; errors?: FieldError[]; sources?: string[] }
    return new Problem(answer.status, told.code ?? 'unknown', told.detail ?? '', told.errors, after, told.sources)
  } catch {
    return new Problem(answer.status, 'unknown', '', [], after)
  }
}
