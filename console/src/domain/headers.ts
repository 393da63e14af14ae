/** Headers as people paste them: lines of a log, of `curl -v`, of a browser, or options `-H` of a curl line. */

export function parseHeaders(text: string): Record<string, string> {
  const headers: Record<string, string> = {}
  for (const line of text.split('\n')) {
    const found = /^\s*(?:[<>]\s*)?(?:-H\s+)?['"]?([!#$%&'*+.^_`|~\w-]+)['"]?\s*:\s*(.*?)\s*['"]?[\s\\,]*$/.exec(line)
    if (found?.[1] && found[2] !== undefined) headers[found[1].toLowerCase()] = found[2].replace(/^['"]/, '')
  }
  return headers
}
