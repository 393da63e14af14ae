/** The language and the theme: the browser's, until the viewer chooses. The choice is kept on this machine. */
import { ref } from 'vue'
import { createI18n } from 'vue-i18n'

export const LANGUAGES = ['en', 'pt-BR'] as const
export type Language = (typeof LANGUAGES)[number]
export type Theme = 'light' | 'dark'

const LANGUAGE = 'realmate.language'
const THEME = 'realmate.theme'

const load: Record<Language, () => Promise<{ default: Record<string, unknown> }>> = {
  en: () => import('../messages/en.json'),
  'pt-BR': () => import('../messages/pt-BR.json'),
}

export const i18n = createI18n({ legacy: false, locale: 'en', fallbackLocale: 'en', missingWarn: false })

export async function speak(language: Language, isChosen = true): Promise<void> {
  const messages = await load[language]()
  i18n.global.setLocaleMessage(language, messages.default as never)
  i18n.global.locale.value = language as never
  document.documentElement.lang = language
  if (isChosen) keep(LANGUAGE, language)
}

export function firstLanguage(): Language {
  const kept = recall(LANGUAGE)
  if (LANGUAGES.some((language) => language === kept)) return kept as Language
  for (const wanted of navigator.languages) {
    if (/^pt\b/i.test(wanted)) return 'pt-BR'
    if (/^en\b/i.test(wanted)) return 'en'
  }
  return 'en'
}

const systemIsDark = window.matchMedia('(prefers-color-scheme: dark)')
export const theme = ref<Theme>(currentTheme())

function currentTheme(): Theme {
  const kept = recall(THEME)
  if (kept === 'dark' || kept === 'light') return kept
  return systemIsDark.matches ? 'dark' : 'light'
}

export function switchTheme(): void {
  theme.value = theme.value === 'dark' ? 'light' : 'dark'
  document.documentElement.dataset.theme = theme.value
  keep(THEME, theme.value)
}

systemIsDark.addEventListener('change', () => (theme.value = currentTheme()))

/** A browser may forbid storage; the choice lasts for the visit then. */
function keep(name: string, value: string): void {
  try {
    localStorage.setItem(name, value)
  } catch {
    // Nothing is lost that the viewer would miss.
  }
}

function recall(name: string): string | null {
  try {
    return localStorage.getItem(name)
  } catch {
    return null
  }
}
