import { expect, it } from 'vitest'

import { withChanges, withPage, type Choice } from '../src/domain/listing'
import type { Change, Conversation } from '../src/wire/types'
import { change, idOf, message } from './messages'

const ALL: Choice = { sources: [], status: null }
const apply = (known: readonly Conversation[], changes: Change[], choice = ALL) => withChanges(known, changes, choice, () => 5)
const opened = (...numbers: number[]) => apply([], numbers.map((number) => change('conversation.opened', number)))
const ids = (items: readonly Conversation[]) => items.map(({ id }) => id)

it('puts the newest activity first', () => {
  const list = opened(1, 2, 3)
  expect(ids(list)).toEqual([idOf(3), idOf(2), idOf(1)])
  expect(ids(apply(list, [change('message.received', 1, message(1))]))).toEqual([idOf(1), idOf(3), idOf(2)])
})

it('shows nothing twice, whether pages or changes tell it', () => {
  const list = opened(1, 2)
  expect(ids(withPage(list, opened(2, 3)))).toEqual([idOf(2), idOf(1), idOf(3)])
  expect(apply(list, [change('conversation.opened', 1)])).toBe(list)
})

it('does not go back when an older message is told again', () => {
  const list = apply(opened(1), [change('message.received', 1, message(2))])
  expect(apply(list, [change('message.received', 1, message(1))])).toBe(list)
})

it('waits for the window after a message, and no longer after the reply', () => {
  const waiting = apply(opened(1), [change('message.received', 1, message(1))])
  expect(waiting[0]?.reply_due_at).toBe('2026-01-01T00:00:15.000Z')
  expect(apply(waiting, [change('reply.created', 1, message(2, 'OUTBOUND'))])[0]?.reply_due_at).toBeNull()
})

it('promises no reply for a source that has none', () => {
  const list = withChanges(opened(1), [change('message.received', 1, message(1))], ALL, () => null)
  expect(list[0]?.reply_due_at).toBeNull()
})

it('takes out what the filters do not choose any more', () => {
  const open: Choice = { sources: [], status: 'OPEN' }
  expect(ids(apply(opened(1, 2), [change('conversation.closed', 1)], open))).toEqual([idOf(2)])
  expect(apply([], [change('conversation.opened', 1)], { sources: ['store'], status: null })).toEqual([])
})

it('forgets what was erased', () => {
  expect(ids(apply(opened(1, 2), [change('conversation.erased', 2)]))).toEqual([idOf(1)])
})
