/** What a page shows is loaded when it opens, and again while somebody looks. */
import { onMounted, onScopeDispose, shallowRef } from 'vue'

export function useRefreshed(fetched: () => Promise<void>, everyMs: number) {
  const problem = shallowRef<unknown>(null)
  const isLoading = shallowRef(true)

  async function load(): Promise<void> {
    try {
      await fetched()
      problem.value = null
    } catch (error) {
      problem.value = error
    }
    isLoading.value = false
  }

  onMounted(load)
  const timer = setInterval(() => document.visibilityState === 'visible' && void load(), everyMs)
  onScopeDispose(() => clearInterval(timer))

  return { problem, isLoading, load }
}
