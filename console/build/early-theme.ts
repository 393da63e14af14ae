import { createHash } from 'node:crypto'

import type { Plugin } from 'vite'

const SCRIPT = `try {
  const chosen = localStorage.getItem('realmate.theme')
  if (chosen) document.documentElement.dataset.theme = chosen
} catch {}
`

/**
 * A chosen theme must stand before the first paint, and the module that is the page comes later.
 * This emits a small script under a hashed name, since the policy forbids an inline one.
 */
export function earlyTheme(): Plugin {
  const name = `assets/theme-${createHash('sha256').update(SCRIPT).digest('hex').slice(0, 8)}.js`
  return {
    name: 'realmate:early-theme',
    apply: 'build',
    generateBundle() {
      this.emitFile({ type: 'asset', fileName: name, source: SCRIPT })
    },
    transformIndexHtml: () => [{ tag: 'script', attrs: { src: `./${name}` }, injectTo: 'head-prepend' }],
  }
}
