/** The lines of the live page: bounded, the newest first. */
import type { Change } from '../wire/types'

export const MOST_LINES = 1000

export interface LineFilter {
  types: readonly string[]
  source: string
  text: string
}

export function newest(known: readonly Change[], told: readonly Change[]): readonly Change[] {
  return [...told.slice(-MOST_LINES).reverse(), ...known].slice(0, MOST_LINES)
}

export function isWanted(change: Change, { types, source, text }: LineFilter): boolean {
  if (types.length && !types.includes(change.type)) return false
  if (source && change.source !== source) return false
  if (!text) return true
  const wanted = text.toLowerCase()
  const { message } = change.data
  return [change.conversation_id, change.source, change.type, message?.id, message?.content].some((part) =>
    part?.toLowerCase().includes(wanted),
  )
}
