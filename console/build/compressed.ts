/** Writes each text file of the bundle a second time, compressed: the server need not do it at each request. */
import { gzipSync } from 'node:zlib'

import type { Plugin } from 'vite'

const LEAST_BYTES = 1024

export function compressed(): Plugin {
  return {
    name: 'realmate:compressed',
    apply: 'build',
    enforce: 'post',
    generateBundle(_options, bundle) {
      for (const [fileName, file] of Object.entries(bundle)) {
        const source = file.type === 'chunk' ? file.code : file.source
        if (!/\.(js|css|svg)$/.test(fileName) || source.length < LEAST_BYTES) continue
        this.emitFile({ type: 'asset', fileName: `${fileName}.gz`, source: gzipSync(source, { level: 9 }) })
      }
    },
  }
}
