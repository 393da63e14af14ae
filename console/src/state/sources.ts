/** The sources' names and windows, as far as the viewer may know them. */
import { computed, ref } from 'vue'

import { ask } from '../wire/client'
import type { Page, Source } from '../wire/types'
import { may, session } from './session'

export const DEFAULT_SOURCE = 'default'
export const DEFAULT_WINDOW_S = 5
const REFRESH_MS = 60_000

const known = ref<Source[]>([])
const seen = ref(new Set<string>())
let loadedAt = -Infinity

export const sources = computed(() => known.value)

/** The names to choose from: all that there are, or that the token has, or else those that were seen. */
export const sourceNames = computed(() => {
  const names = [...known.value.map(({ name }) => name), ...(session.value?.sources ?? []), ...seen.value]
  return [...new Set(names)].sort()
})

/** The sources that take events, as far as the viewer may know. */
export const enabledSources = computed(() => known.value.filter(({ enabled }) => enabled))

/** The source to begin with: the default one, or else one that takes events without a signature. */
export const easiestSource = computed(() => {
  const enabled = enabledSources.value
  const names = enabled.length ? enabled.map(({ name }) => name) : (session.value?.sources ?? [])
  if (!names.length || names.includes(DEFAULT_SOURCE)) return DEFAULT_SOURCE
  return enabled.find(({ signature }) => signature === null)?.name ?? names[0] ?? DEFAULT_SOURCE
})

/** Return the path to which the events of a source are sent, from the prefix on. */
export const webhookOf = (source: string) => (source === DEFAULT_SOURCE ? 'webhook/' : `webhook/${source}/`)

export function noteSources(names: Iterable<string>): void {
  for (const name of names) if (!seen.value.has(name)) seen.value.add(name)
}

/** Load the sources' settings, if they are not fresh. Raises Problem. */
export async function loadSources(isForced = false): Promise<void> {
  if (!may('operate') || (!isForced && performance.now() - loadedAt < REFRESH_MS)) return
  loadedAt = performance.now()
  known.value = (await ask<Page<Source>>('admin/sources/')).items
}

/** The seconds of silence after which a group of this source is answered; null: nobody is answered. */
export function windowOf(name: string): number | null {
  const source = known.value.find((one) => one.name === name)
  if (!source) return DEFAULT_WINDOW_S
  return source.reply === 'none' ? null : source.window_s
}
