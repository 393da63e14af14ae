import { expect, it } from 'vitest'

import { append, EMPTY, MOST_MESSAGES, MOST_WATCHED, prepend, withLive } from '../src/domain/thread'
import { message } from './messages'

const range = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, index) => message(from + index))
const positions = ({ messages }: { messages: readonly { position: number }[] }) => messages.map(({ position }) => position)

it('takes a live message once, however often it is told', () => {
  const page = prepend(EMPTY, range(1, 3), true)
  const once = withLive(page, [message(3), message(4)])
  expect(positions(withLive(once, [message(4), message(4)]))).toEqual([1, 2, 3, 4])
})

it('orders by positions, whatever the order of telling', () => {
  expect(positions(withLive(withLive(EMPTY, [message(3)]), [message(1), message(2)]))).toEqual([1, 2, 3])
})

it('lets a message that expired take the place of itself', () => {
  const stretch = withLive(prepend(EMPTY, [message(1)], true), [message(1, 'EXPIRED')])
  expect(stretch.messages.map(({ type }) => type)).toEqual(['EXPIRED'])
})

it('is bounded: older pages push the newest messages out, and live ones wait then', () => {
  let stretch = prepend(EMPTY, range(1001, 2000), false)
  expect(stretch.atEnd).toBe(true)
  stretch = prepend(stretch, range(901, 1000), false)
  expect([stretch.messages.length, stretch.atEnd, positions(stretch)[0]]).toEqual([MOST_MESSAGES, false, 901])
  expect(withLive(stretch, [message(2001)])).toBe(stretch)
})

it('keeps fewer messages where the viewer watches them come', () => {
  const stretch = withLive(prepend(EMPTY, range(1, 400), true), [message(401)], true)
  expect([stretch.messages.length, stretch.atStart, stretch.atEnd]).toEqual([MOST_WATCHED, false, true])
})

it('comes back to the end page by page', () => {
  const cut = { ...prepend(EMPTY, range(1, 1000), true), atEnd: false }
  const back = append(cut, range(1001, 1100), true)
  expect([back.atStart, back.atEnd, positions(back).at(-1), back.messages.length]).toEqual([false, true, 1100, MOST_MESSAGES])
})
