/** The filters of the rejected events, as they stand in the address, and as the calls want them. */
import type { LocationQuery } from 'vue-router'

import { one, several } from '../../router'
import type { ReplayFilter } from '../../wire/types'

export interface Filters {
  source: string
  codes: string[]
  since: string
  until: string
  conversation: string
  /** Empty: both. */
  replayed: '' | 'true' | 'false'
}

export const NAMES = ['source', 'code', 'since', 'until', 'conversation', 'replayed'] as const

export function filtersOf(query: LocationQuery): Filters {
  const replayed = one(query, 'replayed')
  return {
    source: one(query, 'source'),
    codes: several(query, 'code'),
    since: one(query, 'since'),
    until: one(query, 'until'),
    conversation: one(query, 'conversation'),
    replayed: replayed === 'true' || replayed === 'false' ? replayed : '',
  }
}

export const listParameters = ({ codes, ...rest }: Filters) => ({ ...rest, code: codes, limit: 50 })

/** What a replay of all that is listed would ask for. With `replayed=true`, it is about what was sent already. */
export function replayOf(filters: Filters, rate: number, ids: number[] | null = null): ReplayFilter {
  return {
    source: ids ? null : filters.source || null,
    codes: ids ? [] : filters.codes,
    since: ids ? null : filters.since || null,
    until: ids ? null : filters.until || null,
    conversation: ids ? null : filters.conversation || null,
    ids,
    again: ids !== null || filters.replayed === 'true',
    rate,
  }
}
