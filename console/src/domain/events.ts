/** The events that a sender sends. */
import { newId } from './ids'

export interface SentEvent {
  type: 'NEW_CONVERSATION' | 'NEW_MESSAGE' | 'CLOSE_CONVERSATION'
  timestamp: string
  data: { id: string; content?: string; conversation_id?: string }
}

const stamp = (now: number) => new Date(now).toISOString()

export const opening = (conversation: string, now: number): SentEvent => ({
  type: 'NEW_CONVERSATION',
  timestamp: stamp(now),
  data: { id: conversation },
})

export const saying = (conversation: string, content: string, now: number): SentEvent => ({
  type: 'NEW_MESSAGE',
  timestamp: stamp(now),
  data: { id: newId(), content, conversation_id: conversation },
})

export const closing = (conversation: string, now: number): SentEvent => ({
  type: 'CLOSE_CONVERSATION',
  timestamp: stamp(now),
  data: { id: conversation },
})
