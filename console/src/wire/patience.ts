/** When it makes sense to ask again without being told to: what was busy or away comes back. */
import { NO_ANSWER, Problem } from './client'

const PASSING = new Set([NO_ANSWER, 429, 502, 503, 504])
const DEFAULT_WAIT_S = 2

/** The milliseconds to wait; null, where the same question gets the same answer. */
export function waitMs(problem: unknown): number | null {
  if (!(problem instanceof Problem) || !PASSING.has(problem.status)) return null
  return (problem.retryAfterS ?? DEFAULT_WAIT_S) * 1000
}

/** Ask again after the problem has passed, at most once at a time. */
export function patience(again: () => void) {
  let timer: ReturnType<typeof setTimeout> | undefined
  return {
    after(problem: unknown): void {
      const wait = waitMs(problem)
      clearTimeout(timer)
      if (wait !== null) timer = setTimeout(again, wait)
    },
    stop: () => clearTimeout(timer),
  }
}
