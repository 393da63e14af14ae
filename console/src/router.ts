/** The pages and their addresses. They are in the hash, so that the server needs no fallback. */
import { createRouter, createWebHashHistory, type LocationQuery, type RouteRecordRaw } from 'vue-router'

import type { IconName } from './parts/AppIcon.vue'
import { knowSession, may, session } from './state/session'
import type { Scope } from './wire/types'

interface PageOf {
  name: string
  scope: Scope
  icon: IconName
}

export const PAGES: readonly PageOf[] = [
  { name: 'conversations', scope: 'read', icon: 'conversations' },
  { name: 'rejected', scope: 'operate', icon: 'rejected' },
  { name: 'sources', scope: 'operate', icon: 'sources' },
  { name: 'endpoints', scope: 'operate', icon: 'endpoints' },
  { name: 'live', scope: 'read', icon: 'live' },
  { name: 'try', scope: 'read', icon: 'try' },
  { name: 'audit', scope: 'admin', icon: 'audit' },
]

declare module 'vue-router' {
  interface RouteMeta {
    page?: string
    scope?: Scope
  }
}

const routes: RouteRecordRaw[] = [
  { path: '/sign-in', name: 'sign-in', component: () => import('./pages/SignInPage.vue') },
  page('conversations', '/conversations/:source?/:id?', () => import('./pages/conversations/ConversationsPage.vue')),
  page('rejected', '/rejected/:id(\\d+)?', () => import('./pages/rejected/RejectedPage.vue')),
  page('sources', '/sources', () => import('./pages/sources/SourcesPage.vue')),
  page('endpoints', '/endpoints/:name?', () => import('./pages/endpoints/EndpointsPage.vue')),
  page('live', '/live', () => import('./pages/LivePage.vue')),
  page('try', '/try', () => import('./pages/TryPage.vue')),
  page('audit', '/audit', () => import('./pages/AuditPage.vue')),
  { path: '/:rest(.*)*', redirect: () => ({ name: firstPage() }) },
]

function page(name: string, path: string, component: () => Promise<unknown>): RouteRecordRaw {
  const scope = PAGES.find((one) => one.name === name)?.scope ?? 'admin'
  return { path, name, component: component as never, meta: { page: name, scope } }
}

export const firstPage = () => PAGES.find(({ scope }) => may(scope))?.name ?? 'sign-in'

export const router = createRouter({ history: createWebHashHistory(), routes })

router.beforeEach(async (to) => {
  for (const { components } of to.matched) fetchAhead(components?.default)
  await knowSession().catch(() => undefined)
  if (!session.value) return to.name === 'sign-in' || { name: 'sign-in', query: { to: to.fullPath } }
  if (to.name === 'sign-in' || (to.meta.scope && !may(to.meta.scope))) return { name: firstPage() }
  return true
})

/** Let a page's file come while we ask who we are. */
function fetchAhead(component: unknown): void {
  if (typeof component === 'function') void (component as () => Promise<unknown>)().catch(() => undefined)
}

/** Let the files of all pages come: each must open while the console is away, or is a newer one. */
export function fetchAllAhead(): void {
  for (const { components } of router.getRoutes()) fetchAhead(components?.default)
}

/** All values of a parameter that may be repeated. */
export function several(query: LocationQuery, name: string): string[] {
  const value = query[name]
  return (Array.isArray(value) ? value : [value]).filter((one): one is string => Boolean(one))
}

export const one = (query: LocationQuery, name: string): string => several(query, name)[0] ?? ''
