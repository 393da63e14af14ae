import './style/index.css'

import { createApp } from 'vue'

import App from './App.vue'
import { fetchAllAhead, router } from './router'
import { firstLanguage, i18n, speak } from './state/preferences'
import { knowSession } from './state/session'

// Who we are is asked while the language comes; the router waits for the answer.
void knowSession().catch(() => undefined)

// Only the language that is needed is loaded, and the page shows nothing before it can speak.
await speak(firstLanguage(), false)
createApp(App).use(i18n).use(router).mount('#app')
void router.isReady().then(() => setTimeout(fetchAllAhead, 300))
