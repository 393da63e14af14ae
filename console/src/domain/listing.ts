/** The list of conversations, and what a change does to it. Nothing is there twice; the newest activity is first. */
import type { Change, Conversation, Status } from '../wire/types'

const EXCERPT_CHARACTERS = 160

export interface Choice {
  sources: readonly string[]
  status: Status | null
}

/** The seconds of silence after which a source's groups are answered; null: nobody is answered. */
export type WindowOf = (source: string) => number | null

export const keyOf = ({ source, id }: { source: string; id: string }) => `${source}/${id}`

/** Add a page behind what is known. In this order a conversation may move forward while one turns the pages. */
export function withPage(known: readonly Conversation[], page: readonly Conversation[]): Conversation[] {
  const keys = new Set(known.map(keyOf))
  return [...known, ...page.filter((conversation) => !keys.has(keyOf(conversation)))]
}

/** Return the list after these changes: those that they touch come first, the last one at the top. */
export function withChanges(
  known: readonly Conversation[],
  changes: readonly Change[],
  choice: Choice,
  windowOf: WindowOf,
): readonly Conversation[] {
  const before = new Map(known.map((conversation) => [keyOf(conversation), conversation]))
  const touched = new Map<string, Conversation | null>()
  for (const change of changes) {
    const key = keyOf({ source: change.source, id: change.conversation_id })
    const current = touched.has(key) ? (touched.get(key) ?? null) : (before.get(key) ?? null)
    const next = changed(current, change, windowOf)
    if (next === current) continue
    touched.delete(key)
    touched.set(key, next)
  }
  if (!touched.size) return known
  const front = [...touched.values()].filter((one): one is Conversation => one !== null && isChosen(one, choice))
  return [...front.reverse(), ...known.filter((conversation) => !touched.has(keyOf(conversation)))]
}

/** What one change makes of one conversation. A change that is told again changes nothing. */
function changed(current: Conversation | null, change: Change, windowOf: WindowOf): Conversation | null {
  const { type, timestamp } = change
  if (type === 'conversation.erased') return null
  if (type === 'message.expired') return current
  if (type === 'conversation.opened') return current ?? opened(change)
  if (type === 'conversation.closed') {
    if (current?.status === 'CLOSED') return current
    return { ...(current ?? opened(change)), status: 'CLOSED', updated_at: timestamp, reply_due_at: null }
  }
  return told(current ?? opened(change), change, windowOf)
}

function opened({ source, conversation_id: id, timestamp: at }: Change): Conversation {
  return {
    id,
    source,
    status: 'OPEN',
    created_at: at,
    updated_at: at,
    active_at: at,
    reply_due_at: null,
    last_message: null,
  }
}

function told(current: Conversation, change: Change, windowOf: WindowOf): Conversation {
  const { message } = change.data
  if (!message || (current.last_message && current.last_message.position >= message.position)) return current
  return {
    ...current,
    updated_at: change.timestamp,
    active_at: change.timestamp,
    reply_due_at: message.type === 'INBOUND' ? dueAt(change.timestamp, windowOf(change.source)) : null,
    last_message: {
      id: message.id,
      type: message.type,
      excerpt: message.content.slice(0, EXCERPT_CHARACTERS),
      truncated: message.content.length > EXCERPT_CHARACTERS,
      timestamp: message.timestamp,
      position: message.position,
    },
  }
}

/** When a group is answered that a message at this moment leaves waiting. */
export function dueAt(timestamp: string, windowS: number | null): string | null {
  return windowS === null ? null : new Date(Date.parse(timestamp) + windowS * 1000).toISOString()
}

function isChosen({ source, status }: Conversation, choice: Choice): boolean {
  const bySource = !choice.sources.length || choice.sources.includes(source)
  return bySource && (choice.status === null || choice.status === status)
}
