import { readFileSync, writeFileSync } from 'node:fs'
import { resolve } from 'node:path'
import { gzipSync } from 'node:zlib'

import type { Plugin } from 'vite'

const LEAST_BYTES = 1024

/**
 * The server sends what is compressed here, and need not do it at each request.
 * It is done when all is written: before that, other plugins still replace names in the code.
 */
export function compressed(): Plugin {
  return {
    name: 'realmate:compressed',
    apply: 'build',
    writeBundle({ dir = '.' }, bundle) {
      for (const fileName of Object.keys(bundle)) {
        if (!/\.(js|css|svg)$/.test(fileName)) continue
        const path = resolve(dir, fileName)
        const content = readFileSync(path)
        if (content.length >= LEAST_BYTES) writeFileSync(`${path}.gz`, gzipSync(content, { level: 9 }))
      }
    },
  }
}
