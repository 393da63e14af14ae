/** A list that comes in pages: the first one when the question changes, others when they are asked for. */
import { onScopeDispose, shallowRef, watch } from 'vue'

import { ask, type Parameters } from './client'
import { patience } from './patience'
import type { Page } from './types'

interface Question {
  path: string
  parameters: Parameters
}

export function usePages<Item>(question: () => Question) {
  const items = shallowRef<readonly Item[]>([])
  const next = shallowRef<string | null>(null)
  const problem = shallowRef<unknown>(null)
  const isLoading = shallowRef(true)
  let asked = new AbortController()

  const retry = patience(() => void load())

  onScopeDispose(() => (asked.abort(), retry.stop()))
  watch(() => address(question()), load, { immediate: true })

  async function load(): Promise<void> {
    const { path, parameters } = question()
    await turn([], (signal) => ask<Page<Item>>(path, parameters, { signal }))
  }

  async function more(): Promise<void> {
    const path = next.value
    if (path) await turn(items.value, (signal) => ask<Page<Item>>(path, {}, { signal }))
  }

  async function turn(before: readonly Item[], fetched: (signal: AbortSignal) => Promise<Page<Item>>): Promise<void> {
    asked.abort()
    retry.stop()
    const { signal } = (asked = new AbortController())
    try {
      const page = await fetched(signal)
      items.value = [...before, ...page.items]
      next.value = page.next
      problem.value = null
    } catch (error) {
      if (signal.aborted) return
      problem.value = error
      if (!before.length) retry.after(error)
    }
    isLoading.value = false
  }

  return { items, next, problem, isLoading, load, more }
}

const address = ({ path, parameters }: Question) => JSON.stringify([path, parameters])
