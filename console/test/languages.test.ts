import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'

import { expect, it } from 'vitest'

const SOURCES = join(import.meta.dirname, '../src')
const messagesOf = (language: string) =>
  JSON.parse(readFileSync(join(SOURCES, `messages/${language}.json`), 'utf8')) as object
const [en, pt] = [messagesOf('en'), messagesOf('pt-BR')]

function keysOf(messages: object, prefix = ''): string[] {
  return Object.entries(messages).flatMap(([name, value]) =>
    typeof value === 'object' && value !== null ? keysOf(value as object, `${prefix}${name}.`) : [prefix + name],
  )
}

function usedKeys(): string[] {
  const files = readdirSync(SOURCES, { recursive: true, encoding: 'utf8' }).filter((name) => /\.(vue|ts)$/.test(name))
  return files.flatMap((name) =>
    [...readFileSync(join(SOURCES, name), 'utf8').matchAll(/\bt\('([\w.]+)'/g)].map((found) => found[1] ?? ''),
  )
}

it('says everything in both languages', () => {
  expect(keysOf(pt)).toEqual(keysOf(en))
})

it('has every sentence that the pages use', () => {
  const known = new Set(keysOf(en))
  expect(usedKeys().filter((key) => !known.has(key))).toEqual([])
})
