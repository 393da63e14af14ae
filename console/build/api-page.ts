import { readFileSync } from 'node:fs'
import { join } from 'node:path'

import type { Plugin } from 'vite'

const OWN = join(import.meta.dirname, '../docs-page')
const SWAGGER = join(import.meta.dirname, '../node_modules/swagger-ui-dist')
const PICTURE = /url\((["']?)data:image\/(svg\+xml|png|jpeg)([^,]*),((?:(?!\1\)).)*)\1\)/g

/** Put the API's page into `docs/`: Swagger UI as its package brings it, and a page of our own that starts it. */
export function apiPage(): Plugin {
  return {
    name: 'realmate:api-page',
    apply: 'build',
    generateBundle() {
      const emit = (fileName: string, source: string | Uint8Array) =>
        this.emitFile({ type: 'asset', fileName: `docs/${fileName}`, source })
      const { css, pictures } = withoutDataUrls(readFileSync(join(SWAGGER, 'swagger-ui.css'), 'utf8'))
      emit('swagger-ui.css', css)
      for (const { name, content } of pictures) emit(name, content)
      emit('swagger-ui-bundle.js', readFileSync(join(SWAGGER, 'swagger-ui-bundle.js')))
      for (const name of ['docs.html', 'docs.js', 'docs.css']) emit(name, readFileSync(join(OWN, name)))
    },
  }
}

interface Picture {
  name: string
  content: Uint8Array
}

/** Swagger UI's style sheet has its pictures inside, which `default-src 'self'` forbids: they become files beside it. */
function withoutDataUrls(css: string): { css: string; pictures: Picture[] } {
  const pictures: Picture[] = []
  const replaced = css.replace(PICTURE, (_all, _quote, type: string, parameters: string, data: string) => {
    const name = `picture-${pictures.length}.${type.replace('+xml', '')}`
    const content = parameters.endsWith('base64') ? Buffer.from(data, 'base64') : Buffer.from(decodeURIComponent(data))
    pictures.push({ name, content })
    return `url(${name})`
  })
  return { css: replaced, pictures }
}
