/**
 * The part of a conversation that is in memory: a contiguous stretch of positions, bounded.
 *
 * Pages come from both ends, and live messages at the newest one. A position and an id are there once, whoever tells
 * them, and however often. A stretch that does not reach the newest message takes no live ones: they come with its pages.
 */
import type { Message } from '../wire/types'

export const MOST_MESSAGES = 1000
/** So many are kept where the viewer watches the newest ones come: a busy conversation must not grow heavy. */
export const MOST_WATCHED = 200

export interface Stretch {
  messages: readonly Message[]
  /** The stretch begins with the conversation's first message. */
  atStart: boolean
  /** The stretch ends with the conversation's newest message. */
  atEnd: boolean
}

export const EMPTY: Stretch = { messages: [], atStart: false, atEnd: true }

/** Add a page at the old end. What is too much goes at the new end. */
export function prepend({ messages, atEnd }: Stretch, page: readonly Message[], atStart: boolean): Stretch {
  const all = merged(messages, page)
  const cut = all.length > MOST_MESSAGES
  return { messages: cut ? all.slice(0, MOST_MESSAGES) : all, atStart, atEnd: atEnd && !cut }
}

/** Add a page at the new end. What is too much goes at the old end. */
export function append({ messages, atStart }: Stretch, page: readonly Message[], atEnd: boolean, most = MOST_MESSAGES): Stretch {
  const all = merged(messages, page)
  const cut = all.length > most
  return { messages: cut ? all.slice(-most) : all, atStart: atStart && !cut, atEnd }
}

/** Take live messages. */
export function withLive(stretch: Stretch, told: readonly Message[], isWatched = false): Stretch {
  return stretch.atEnd && told.length ? append(stretch, told, true, isWatched ? MOST_WATCHED : MOST_MESSAGES) : stretch
}

/** Both, in the order of positions. Where an id or a position is in both, the second one's message counts. */
function merged(known: readonly Message[], told: readonly Message[]): Message[] {
  const ids = new Set(told.map(({ id }) => id))
  const byPosition = new Map<number, Message>()
  for (const message of known) if (!ids.has(message.id)) byPosition.set(message.position, message)
  for (const message of told) byPosition.set(message.position, message)
  return [...byPosition.values()].sort((one, other) => one.position - other.position)
}
