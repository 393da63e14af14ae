import './style/index.css'

import { createApp } from 'vue'

import App from './App.vue'
import { router } from './router'
import { firstLanguage, i18n, speak } from './state/preferences'

// Only the language that is needed is loaded, and the page shows nothing before it can speak.
await speak(firstLanguage(), false)
createApp(App).use(i18n).use(router).mount('#app')
