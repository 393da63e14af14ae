/**
 * Which messages belong together: a burst of inbound messages and the one reply that answers it.
 *
 * The default reply names the ids of the messages that it answers, a line each, below a first line. Any other reply
 * answers everything that came in since the last one. What no reply answers yet is the pending burst at the end.
 */
import type { Message } from '../wire/types'
import { parseId } from './ids'

export interface Frame {
  /** The reply before it: stable while messages come, are answered, and leave the memory at the old end. */
  key: string
  kind: 'burst' | 'pending' | 'expired'
  inbound: Message[]
  reply: Message | null
}

const FIRST = 'first'

/** Frame messages that are in the order of their positions. */
export function frames(messages: readonly Message[]): Frame[] {
  const framed: Frame[] = []
  let waiting: Message[] = []
  let before = FIRST
  for (const message of messages) {
    if (message.type === 'INBOUND') {
      waiting.push(message)
    } else if (message.type === 'EXPIRED') {
      framed.push({ key: message.id, kind: 'expired', inbound: [message], reply: null })
    } else {
      const named = new Set(answeredIds(message.content))
      const inbound = named.size ? waiting.filter(({ id }) => named.has(id)) : waiting
      waiting = named.size ? waiting.filter(({ id }) => !named.has(id)) : []
      framed.push({ key: before, kind: 'burst', inbound, reply: message })
      before = message.id
    }
  }
  if (waiting.length) framed.push({ key: before, kind: 'pending', inbound: waiting, reply: null })
  return framed
}

/** The ids that a default reply names; none, where any line below the first is something else. */
export function answeredIds(content: string): string[] {
  const [, ...lines] = content.trimEnd().split('\n')
  const ids = lines.map((line) => (/^\s*[0-9a-f-]{32,36}\s*$/i.test(line) ? parseId(line) : null))
  return ids.every((id) => id !== null) ? ids : []
}
