/**
 * The server's time, as far as the page can know it: the viewer's own clock may be wrong by hours.
 *
 * The header `Date` has whole seconds, so that a difference below two seconds says nothing and is left out.
 */
import { onScopeDispose, ref, type Ref } from 'vue'

const UNSURE_MS = 2000
let aheadMs = 0

export function learnTime(date: string | null, sentAt: number, receivedAt: number): void {
  const told = date ? Date.parse(date) : NaN
  if (Number.isNaN(told)) return
  const difference = told + 500 - (sentAt + receivedAt) / 2
  aheadMs = Math.abs(difference) < UNSURE_MS ? 0 : difference
}

/** Milliseconds of the server's clock. */
export const serverNow = () => Date.now() + aheadMs

/** The server's time as a reactive value, for as long as the component lives. */
export function useNow(everyMs: number): Ref<number> {
  const now = ref(serverNow())
  const timer = setInterval(() => (now.value = serverNow()), everyMs)
  onScopeDispose(() => clearInterval(timer))
  return now
}
