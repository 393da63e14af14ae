/** Sends events as any sender does, and keeps the answers, the newest first. */
import { shallowRef } from 'vue'

import type { SentEvent } from '../domain/events'
import { attempt, type Answered } from '../wire/client'

const MOST_ANSWERS = 50

export interface Sent {
  key: number
  path: string
  event: SentEvent
  /** Null: the server said nothing. */
  answer: Answered | null
}

export function useSender() {
  const answers = shallowRef<readonly Sent[]>([])
  let key = 0

  async function send(path: string, event: SentEvent): Promise<void> {
    const answer = await attempt(path, event).catch(() => null)
    answers.value = [{ key: key++, path, event, answer }, ...answers.value].slice(0, MOST_ANSWERS)
  }

  return { answers, send }
}
