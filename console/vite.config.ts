import vueI18n from '@intlify/unplugin-vue-i18n/vite'
import vue from '@vitejs/plugin-vue'
import { defineConfig } from 'vitest/config'

import { apiPage } from './build/api-page'
import { compressed } from './build/compressed'
import { earlyTheme } from './build/early-theme'

/** One chunk of libraries, one of what the pages share, and one a page: few requests, and long lives in the cache. */
function chunkOf(file: string): string | undefined {
  if (file.includes('/node_modules/') || file.includes('plugin-vue:export-helper')) return 'libraries'
  return /\/src\/(parts|wire|state|domain|feed)\//.test(file) ? 'shared' : undefined
}

// The page is served under a policy of `default-src 'self'`: nothing may be inlined, and no message may be compiled by eval.
export default defineConfig({
  base: './',
  plugins: [
    vue(),
    vueI18n({
      include: `${import.meta.dirname}/src/messages/**`,
      runtimeOnly: true,
      dropMessageCompiler: true,
      compositionOnly: true,
      fullInstall: false,
    }),
    earlyTheme(),
    apiPage(),
    compressed(),
  ],
  build: {
    target: 'es2022',
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    cssCodeSplit: false,
    rollupOptions: { output: { manualChunks: chunkOf } },
  },
  test: { include: ['test/**/*.test.ts'], environment: 'node' },
})
