import { expect, it } from 'vitest'

import { answeredIds, frames } from '../src/domain/framing'
import { idOf, message, reply } from './messages'

const shape = (messages: Parameters<typeof frames>[0]) =>
  frames(messages).map(({ kind, inbound, reply: answer }) => [kind, inbound.map(({ position }) => position), answer?.position ?? null])

it('frames a burst together with the reply that names it', () => {
  expect(shape([message(1), message(2), message(3), reply(4, 1, 2, 3)])).toEqual([['burst', [1, 2, 3], 4]])
})

it('leaves out what the reply does not name: it belongs to the next group', () => {
  expect(shape([message(1), message(2), reply(3, 1), reply(4, 2)])).toEqual([
    ['burst', [1], 3],
    ['burst', [2], 4],
  ])
})

it('frames all since the last reply where the reply has words of its own', () => {
  const own = message(3, 'OUTBOUND', 'Hello!\nHow are you?')
  expect(shape([message(1), message(2), own, message(4)])).toEqual([
    ['burst', [1, 2], 3],
    ['pending', [4], null],
  ])
})

it('shows a reply whose messages are on an older page', () => {
  expect(shape([reply(9, 7, 8)])).toEqual([['burst', [], 9]])
})

it('keeps expired messages apart', () => {
  expect(shape([message(1), message(2, 'EXPIRED'), reply(3, 1)])).toEqual([
    ['expired', [2], null],
    ['burst', [1], 3],
  ])
})

it('keeps the key of a frame while messages are added', () => {
  const keys = [[message(1)], [message(1), message(2)], [message(1), message(2), reply(3, 1, 2)]].map((all) => frames(all)[0]?.key)
  expect(new Set(keys).size).toBe(1)
})

it('reads ids below the first line alone', () => {
  expect(answeredIds(`Mensagens recebidas:\n${idOf(1)}\n${idOf(2)}`)).toEqual([idOf(1), idOf(2)])
  expect(answeredIds(idOf(1))).toEqual([])
  expect(answeredIds(`About:\n${idOf(1)}\nthank you`)).toEqual([])
})
