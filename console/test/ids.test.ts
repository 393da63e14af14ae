import { describe, expect, it } from 'vitest'

import { newId, parseId } from '../src/domain/ids'

const ID = '6a41b347-8d80-4ce9-84ba-7af66f369f6a'

describe('parseId', () => {
  it.each([
    ID,
    ID.toUpperCase(),
    ID.replaceAll('-', ''),
    `{${ID}}`,
    `urn:uuid:${ID}`,
    `"${ID}",`,
    `  ${ID}\n`,
    `GET /conversations/${ID}/ HTTP/1.1`,
  ])('finds the id in %j', (text) => {
    expect(parseId(text)).toBe(ID)
  })

  it.each(['', 'hello', '6a41b347', `${ID.slice(0, -1)}g`, '6a41b3478d804ce984ba7af66f369f6'])('finds none in %j', (text) => {
    expect(parseId(text)).toBeNull()
  })
})

it('makes ids of version 4 that it can read', () => {
  const id = newId()
  expect(id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/)
  expect(parseId(id)).toBe(id)
})
