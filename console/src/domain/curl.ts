/** Lines for a shell, to be copied: what the page does can be done by hand. */

/** Quote for a POSIX shell. */
export const quoted = (text: string) => `'${text.replaceAll("'", `'\\''`)}'`

export function curlPost(url: string, body: unknown, headers: Record<string, string> = {}): string {
  const extra = Object.entries(headers).map(([name, value]) => ` -H ${quoted(`${name}: ${value}`)}`)
  return `curl ${quoted(url)}${extra.join('')} -d ${quoted(JSON.stringify(body))}`
}
