import { expect, it } from 'vitest'

import { curlPost } from '../src/domain/curl'
import { areaPath, linePath } from '../src/domain/curve'
import { parseHeaders } from '../src/domain/headers'
import { isWanted, MOST_LINES, newest } from '../src/domain/lines'
import { fromLocalInput, toLocalInput } from '../src/domain/times'
import { Recent } from '../src/feed/recent'
import { change, message } from './messages'

it('quotes for a shell', () => {
  expect(curlPost('http://x/', { a: "it's" })).toBe(`curl 'http://x/' -d '{"a":"it'\\''s"}'`)
})

it('draws a curve into its box', () => {
  expect(linePath([0, 10, 5], 10, { width: 10, height: 10 })).toBe('M0 10L5 0L10 5')
  expect(areaPath([], 1, { width: 10, height: 10 })).toBe('')
})

it.each(['webhook-id: msg_1', '> Webhook-Id: msg_1', "-H 'webhook-id: msg_1' \\", '"webhook-id": "msg_1",'])('reads a header of %j', (line) => {
  expect(parseHeaders(line)).toEqual({ 'webhook-id': 'msg_1' })
})

it('keeps the end of a signature', () => {
  expect(parseHeaders('webhook-signature: v1,K5oZ=')).toEqual({ 'webhook-signature': 'v1,K5oZ=' })
})

it('keeps a bounded number of lines, the newest first', () => {
  const many = Array.from({ length: MOST_LINES + 5 }, (_, index) => change('conversation.opened', index))
  const lines = newest(newest([], many.slice(0, 10)), many)
  expect([lines.length, lines[0]]).toEqual([MOST_LINES, many.at(-1)])
})

it('finds a line by its text, type and source', () => {
  const line = change('message.received', 1, message(1, 'INBOUND', 'Olá'))
  expect(isWanted(line, { types: [], source: '', text: 'olá' })).toBe(true)
  expect(isWanted(line, { types: ['reply.created'], source: '', text: '' })).toBe(false)
  expect(isWanted(line, { types: [], source: 'store', text: '' })).toBe(false)
})

it('knows an id for as long as its memory reaches', () => {
  const recent = new Recent(2)
  expect(['a', 'a', 'b', 'c', 'a'].map((id) => recent.add(id))).toEqual([true, false, true, true, true])
})

it('goes from a moment to a local input and back', () => {
  expect(fromLocalInput(toLocalInput('2026-05-04T10:20:00.000Z'))).toBe('2026-05-04T10:20:00.000Z')
  expect([toLocalInput(''), fromLocalInput('')]).toEqual(['', null])
})
