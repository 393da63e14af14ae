/** The list of conversations: loaded in pages, kept up by the changes. */
import { computed, onScopeDispose, shallowRef, watch, type Ref } from 'vue'

import { withChanges, withPage, type Choice } from '../../domain/listing'
import { follow, useChanges } from '../../feed/feed'
import { session } from '../../state/session'
import { loadSources, noteSources, windowOf } from '../../state/sources'
import { ask } from '../../wire/client'
import { patience } from '../../wire/patience'
import type { Change, Conversation, ConversationList } from '../../wire/types'

export function useList(choice: Ref<Choice>) {
  const items = shallowRef<readonly Conversation[]>([])
  const next = shallowRef<string | null>(null)
  const problem = shallowRef<unknown>(null)
  const isLoading = shallowRef(true)
  const hasMore = computed(() => next.value !== null)
  let early: Change[] | null = []
  let loading: AbortController | null = null
  const retry = patience(() => void load())

  useChanges({ changes: take, gap: () => void load() })
  watch(choice, () => void load(), { immediate: true })
  onScopeDispose(() => (loading?.abort(), retry.stop()))
  loadSources().catch(() => undefined)

  function take(changes: readonly Change[]): void {
    if (early) early.push(...changes)
    else items.value = withChanges(items.value, changes, choice.value, windowOf)
  }

  /** Load the first page. What is told meanwhile is applied to it. */
  async function load(): Promise<void> {
    loading?.abort()
    retry.stop()
    const mine = (loading = new AbortController())
    early ??= []
    try {
      const page = await ask<ConversationList>('conversations/', parameters(choice.value), { signal: mine.signal })
      const told = early
      early = null
      items.value = withChanges(withPage([], page.items), told, choice.value, windowOf)
      next.value = page.next
      problem.value = null
      noteSources(page.items.map(({ source }) => source))
      if (session.value) follow(session.value, page.changes)
    } catch (error) {
      if (mine.signal.aborted) return
      problem.value = error
      retry.after(error)
    }
    isLoading.value = false
  }

  async function more(): Promise<void> {
    const path = next.value
    if (!path || problem.value) return
    next.value = null // one page at a time
    try {
      const page = await ask<ConversationList>(path)
      items.value = withPage(items.value, page.items)
      next.value = page.next
    } catch (error) {
      next.value = path
      problem.value = error
    }
  }

  return { items, problem, isLoading, hasMore, load, more }
}

const parameters = ({ sources, status }: Choice) => ({ source: sources, status, order: '-active', limit: 50 })
