/** One conversation's messages: the newest page first, older ones on demand, kept up by the changes. */
import { computed, onScopeDispose, shallowRef } from 'vue'

import { frames } from '../../domain/framing'
import { dueAt } from '../../domain/listing'
import { append, EMPTY, prepend, withLive, type Stretch } from '../../domain/thread'
import { useChanges } from '../../feed/feed'
import { windowOf } from '../../state/sources'
import { ask } from '../../wire/client'
import { patience } from '../../wire/patience'
import type { Change, ConversationHead, Message, Page } from '../../wire/types'

const NEWEST = 2_147_483_647
const LIMIT = 100

export function useThread(id: string, source: string | null) {
  const stretch = shallowRef<Stretch>(EMPTY)
  const head = shallowRef<ConversationHead | null>(null)
  const problem = shallowRef<unknown>(null)
  const due = shallowRef<string | null>(null)
  const unseen = shallowRef(0)
  const isErased = shallowRef(false)
  /** The viewer is at the newest message, and stays there. */
  const isStuck = shallowRef(true)
  const leaving = new AbortController()
  const retry = patience(() => void load())
  let early: Change[] | null = []
  let isTurning = false

  const framed = computed(() => frames(stretch.value.messages))

  useChanges({ changes: take, gap: () => void load() })
  onScopeDispose(() => (leaving.abort(), retry.stop()))
  void load()

  function take(changes: readonly Change[]): void {
    const mine = changes.filter((one) => one.conversation_id === id && (!source || one.source === source))
    if (early) early.push(...mine)
    else if (mine.length) apply(mine)
  }

  function apply(changes: readonly Change[]): void {
    const told: Message[] = []
    for (const { type, timestamp, source: from, data } of changes) {
      if (type === 'conversation.erased') isErased.value = true
      if (type === 'conversation.closed' && head.value) head.value = { ...head.value, status: 'CLOSED' }
      if (type === 'message.received') due.value = dueAt(timestamp, windowOf(from))
      if (data.message) told.push(type === 'message.expired' ? { ...data.message, type: 'EXPIRED' } : data.message)
    }
    if (!stretch.value.atEnd) unseen.value += told.length
    stretch.value = withLive(stretch.value, told, isStuck.value)
  }

  /** Load the newest messages. What is told meanwhile is applied to them. */
  async function load(): Promise<void> {
    early ??= []
    retry.stop()
    const { signal } = leaving
    try {
      const [about, page] = await Promise.all([
        ask<ConversationHead>(`conversations/${id}/`, { source, messages: 0 }, { signal }),
        pageOf({ before: NEWEST }),
      ])
      head.value = about
      const last = page.items.at(-1)
      if (last?.type === 'INBOUND') due.value = dueAt(about.updated_at, windowOf(source ?? ''))
      stretch.value = prepend(EMPTY, page.items, page.next === null)
      problem.value = null
      unseen.value = 0
      const told = early
      early = null
      apply(told)
    } catch (error) {
      if (signal.aborted) return
      problem.value = error
      retry.after(error)
    }
  }

  /** Load a page at the old end, or at the new one, if there is more. */
  async function turn(direction: 'older' | 'newer'): Promise<void> {
    const { messages, atStart, atEnd } = stretch.value
    const [oldest, newest] = [messages[0], messages.at(-1)]
    if (isTurning || !oldest || !newest || (direction === 'older' ? atStart : atEnd)) return
    isTurning = true
    try {
      const page = await pageOf(direction === 'older' ? { before: oldest.position } : { after: newest.position })
      const isLast = page.next === null
      stretch.value = (direction === 'older' ? prepend : append)(stretch.value, page.items, isLast)
      if (direction === 'newer' && isLast) unseen.value = 0
    } catch (error) {
      if (!leaving.signal.aborted) problem.value = error
    } finally {
      isTurning = false
    }
  }

  function pageOf(place: { before: number } | { after: number }): Promise<Page<Message>> {
    return ask(`conversations/${id}/messages/`, { source, limit: LIMIT, ...place }, { signal: leaving.signal })
  }

  return { stretch, framed, head, problem, due, unseen, isErased, isStuck, load, turn }
}
