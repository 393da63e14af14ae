/** UUIDs in any of their usual forms, as the server takes them, and as people paste them. */

const HEX = /^[0-9a-f]{32}$/
const INSIDE = /[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}/i

/** Return the canonical form, or null where the text has no id: `{…}`, `urn:uuid:…`, upper case, no hyphens, quotes. */
export function parseId(text: string): string | null {
  const bare = text
    .trim()
    .toLowerCase()
    .replace(/^["'`]+|["'`,;]+$/g, '')
    .replace(/^urn:uuid:/, '')
    .replace(/^\{|\}$/g, '')
    .replaceAll('-', '')
  if (HEX.test(bare)) return hyphened(bare)
  return INSIDE.exec(text)?.[0].toLowerCase() ?? null // in a longer text, such as a line of a log or an address
}

function hyphened(hex: string): string {
  return [hex.slice(0, 8), hex.slice(8, 12), hex.slice(12, 16), hex.slice(16, 20), hex.slice(20)].join('-')
}

/** The first block of an id is enough for the eye. */
export const shortId = (id: string) => id.slice(0, 8)

/** A random id. `crypto.randomUUID` is there in secure contexts alone, and the page may be behind plain HTTP. */
export function newId(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(16))
  bytes[6] = ((bytes[6] ?? 0) & 0x0f) | 0x40
  bytes[8] = ((bytes[8] ?? 0) & 0x3f) | 0x80
  return hyphened(Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join(''))
}
