import { expect, it } from 'vitest'

import { prettyLines } from '../src/domain/pretty'

const BODY = '{"type":"NEW_MESSAGE","data":{"id":12345678901234567890,"tags":["a",{"b":null}]}}'
const text = (body: string) => prettyLines(body).map(({ text: line, depth }) => '  '.repeat(depth) + line)
const errorAt = (body: string, field: string) =>
  prettyLines(body, [{ field, message: 'is wrong' }]).find(({ errors }) => errors.length)?.text

it('indents, and keeps every token as it was sent', () => {
  expect(text(BODY)).toEqual([
    '{',
    '  "type": "NEW_MESSAGE",',
    '  "data": {',
    '    "id": 12345678901234567890,',
    '    "tags": [',
    '      "a",',
    '      {',
    '        "b": null',
    '      }',
    '    ]',
    '  }',
    '}',
  ])
})

it.each([
  ['data.id', '"id": 12345678901234567890,'],
  ['data.tags.1.b', '"b": null'],
  ['data.tags[0]', '"a",'],
  ['data.content', '"data": {'],
  ['timestamp', '{'],
])('puts the reason for %s at its line, or at the nearest one', (field, line) => {
  expect(errorAt(BODY, field)).toBe(line)
})

it('shows what is no JSON as it is', () => {
  expect(text('{"type": \n oh')).toEqual(['{"type": ', ' oh'])
  expect(errorAt('', 'type')).toBe('')
})

it('reads braces and escapes in strings as text', () => {
  expect(text('["{\\"a\\":1}",[]]')).toEqual(['[', '  "{\\"a\\":1}",', '  [', '  ]', ']'])
})
