/**
 * The changes of all conversations, as the pages get them: each once, in order, a few at a time.
 *
 * A page subscribes first and loads then. Whatever was committed before the load is in what it loads, and whatever comes
 * later is told; both may happen, and the pages take a position only once.
 */
import { onScopeDispose, readonly, ref } from 'vue'

import { address, ask } from '../wire/client'
import type { Change, Session } from '../wire/types'
import { Recent } from './recent'
import { Sharing } from './sharing'
import type { Health } from './stream'

export type FeedState = Health | 'off'

interface Subscriber {
  changes?: (changes: readonly Change[]) => void
  gap?: () => void
}

/** Pages work on this many changes at once at most, so that no task is long when there are many. */
const MOST_AT_ONCE = 250
const BATCH_MS = 60
const SLEPT_MS = 30_000

const state = ref<FeedState>('off')
const subscribers = new Set<Subscriber>()
let recent = new Recent()
let queue: Change[] = []
let timer: ReturnType<typeof setTimeout> | null = null
let sharing: Sharing | null = null
let lastTick = Date.now()

export const feedState = readonly(state)

/** Begin to follow, from behind what was loaded. Nothing happens if this tab follows already. */
export function follow(session: Session, cursor: string | null = null): void {
  if (sharing || !session.scopes.includes('read')) return
  state.value = 'connecting'
  sharing = new Sharing(session.name, (after) => address('changes/', { after }), {
    change: take,
    health: (health) => (state.value = health),
    gap: () => subscribers.forEach(({ gap }) => gap?.()),
    rejected: () => void ask('console/session').catch(() => undefined), // 401 signs out
  })
  sharing.start(cursor)
}

export function unfollow(): void {
  sharing?.stop()
  sharing = null
  state.value = 'off'
  queue = []
  recent = new Recent()
}

/** Get the changes for as long as the component lives. */
export function useChanges(subscriber: Subscriber): void {
  subscribers.add(subscriber)
  onScopeDispose(() => subscribers.delete(subscriber))
}

function take(change: Change): void {
  if (!recent.add(change.id)) return
  queue.push(change)
  timer ??= setTimeout(flush, BATCH_MS)
}

function flush(): void {
  const some = queue.splice(0, MOST_AT_ONCE)
  timer = queue.length ? setTimeout(flush, BATCH_MS) : null
  subscribers.forEach(({ changes }) => changes?.(some))
}

function wakeUp(): void {
  if (Date.now() - lastTick > SLEPT_MS) sharing?.renew()
  lastTick = Date.now()
}

if (typeof window !== 'undefined') {
  window.addEventListener('online', () => sharing?.renew())
  document.addEventListener('visibilitychange', wakeUp)
  setInterval(() => {
    if (document.visibilityState === 'visible') wakeUp()
  }, 5000)
}
