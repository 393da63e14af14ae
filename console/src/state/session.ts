/** Who is signed in, and what they may do. The token itself is in a cookie that no script can read. */
import { readonly, ref } from 'vue'

import { unfollow } from '../feed/feed'
import { ask, Problem, whenSignedOut } from '../wire/client'
import type { Scope, Session } from '../wire/types'

const current = ref<Session | null>(null)
let asked: Promise<void> | null = null

export const session = readonly(current)

/** `admin` is all of `operate`. */
export function may(scope: Scope): boolean {
  const scopes = current.value?.scopes ?? []
  return scopes.includes(scope) || (scope === 'operate' && scopes.includes('admin'))
}

/** Ask once who we are. Raises Problem where the server does not answer. */
export function knowSession(): Promise<void> {
  asked ??= ask<Session>('console/session')
    .then((answer) => void (current.value = answer))
    .catch((problem: unknown) => {
      if (problem instanceof Problem && problem.status === 401) return
      asked = null
      throw problem
    })
  return asked
}

export async function signIn(token: string): Promise<void> {
  current.value = await ask<Session>('console/session', {}, { method: 'POST', body: { token } })
  asked = Promise.resolve()
}

export async function signOut(): Promise<void> {
  await ask('console/session', {}, { method: 'DELETE' }).catch(() => undefined)
  forget()
}

function forget(): void {
  unfollow()
  current.value = null
}

whenSignedOut(forget)
