/** A replay: first how many would go, then the job, watched until it ends. */
import { onScopeDispose, shallowRef } from 'vue'

import { newId } from '../../domain/ids'
import { ask, Problem } from '../../wire/client'
import type { DryRun, Job, ReplayFilter } from '../../wire/types'

const POLL_MS = 700

export function useReplay(ended: () => void) {
  const counted = shallowRef<DryRun | null>(null)
  const job = shallowRef<Job | null>(null)
  const problem = shallowRef<unknown>(null)
  const isBusy = shallowRef(false)
  /** One intention has one key, so that a request that is sent again makes no second job. */
  let key = newId()
  let timer: ReturnType<typeof setTimeout> | undefined
  let watched: string | null = null

  onScopeDispose(() => ((watched = null), clearTimeout(timer)))

  async function busily<Answer>(action: () => Promise<Answer>): Promise<Answer | null> {
    isBusy.value = true
    problem.value = null
    try {
      return await action()
    } catch (error) {
      problem.value = error
      return null
    } finally {
      isBusy.value = false
    }
  }

  const post = <Answer>(body: object, headers: Record<string, string> = {}) =>
    busily(() => ask<Answer>('admin/replays/', {}, { method: 'POST', body, headers }))

  async function count(filter: ReplayFilter): Promise<void> {
    key = newId()
    job.value = null
    counted.value = await post<DryRun>({ ...filter, dry_run: true })
  }

  async function start(filter: ReplayFilter): Promise<string | null> {
    const begun = await post<Job>({ ...filter, dry_run: false }, { 'Idempotency-Key': key })
    if (!begun) return null
    counted.value = null
    job.value = begun
    return begun.id
  }

  async function stop(id: string): Promise<void> {
    job.value = (await busily(() => ask<Job>(`admin/replays/${id}/`, {}, { method: 'DELETE' }))) ?? job.value
  }

  /** Follow a job to its end, through outages of the server, too. */
  async function watchJob(id: string | null): Promise<void> {
    clearTimeout(timer)
    watched = id
    if (!id) return void (job.value = null)
    try {
      const answer = await ask<Job>(`admin/replays/${id}/`)
      if (watched !== id) return
      const wasRunning = job.value?.id !== id || job.value.state === 'running'
      job.value = answer
      problem.value = null
      if (answer.state !== 'running') return void (wasRunning && ended())
    } catch (error) {
      if (watched !== id) return
      problem.value = error
      if (error instanceof Problem && error.status === 404) return
    }
    timer = setTimeout(() => void watchJob(id), POLL_MS)
  }

  return { counted, job, problem, isBusy, count, start, stop, watchJob }
}
