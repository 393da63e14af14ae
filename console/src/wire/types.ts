/** What the server says, as it says it. Times are ISO 8601 in UTC. */

export type Scope = 'read' | 'operate' | 'admin'

export interface Session {
  name: string
  scopes: readonly Scope[]
  /** Null: all of them. */
  sources: readonly string[] | null
  /** There are no tokens at all, and the server listens on loopback alone. */
  open: boolean
}

export interface FieldError {
  field: string
  message: string
}

export interface Page<Item> {
  items: Item[]
  /** The path of the next page, relative to the prefix. */
  next: string | null
}

export type Status = 'OPEN' | 'CLOSED'
export type MessageType = 'INBOUND' | 'OUTBOUND' | 'EXPIRED'

export interface Message {
  id: string
  type: MessageType
  content: string
  timestamp: string
  position: number
}

export interface LastMessage {
  id: string
  type: MessageType
  excerpt: string
  truncated: boolean
  timestamp: string
  position: number
}

export interface Conversation {
  id: string
  source: string
  status: Status
  created_at: string
  updated_at: string
  active_at: string
  /** The earliest moment at which the group that waits is answered. */
  reply_due_at: string | null
  last_message: LastMessage | null
}

export interface ConversationList extends Page<Conversation> {
  changes: string
}

export interface ConversationHead {
  id: string
  status: Status
  created_at: string
  updated_at: string
}

export const CHANGE_TYPES = [
  'conversation.opened',
  'message.received',
  'message.expired',
  'reply.created',
  'conversation.closed',
  'conversation.erased',
] as const
export type ChangeType = (typeof CHANGE_TYPES)[number]

export interface Change {
  id: string
  type: ChangeType
  timestamp: string
  source: string
  conversation_id: string
  data: { message?: Message }
}

export interface Rejection {
  id: number
  at: string
  source: string
  code: string
  detail: string
  request_id: string | null
  conversation_id: string | null
  message_id: string | null
  replayable: boolean
  replay: { at: string; status: number; code: string | null } | null
}

export interface RejectionDetail extends Rejection {
  body: string
  errors?: FieldError[]
}

export interface ReplayFilter {
  source: string | null
  codes: string[]
  since: string | null
  until: string | null
  conversation: string | null
  ids: number[] | null
  again: boolean
  /** Events a second. */
  rate: number
}

export interface DryRun {
  counts: { code: string; events: number; action: 'as_it_is' | 'with_new_id' | 'not_sent' }[]
  to_send: number
}

export interface Job {
  id: string
  state: 'running' | 'done' | 'failed' | 'cancelled'
  by: string
  created_at: string
  finished_at: string | null
  to_send: number
  sent: number
  answers: Record<string, number>
  error: string | null
}

export interface Source {
  name: string
  enabled: boolean
  paused: boolean
  signature: string | null
  limit: { events_per_s: number; burst: number } | null
  window_s: number
  tolerance_s: number
  reply: 'ids' | 'http' | 'none'
  reply_url: string | null
  retention_days: number | null
  last_event_at: string | null
  accepted: { hour: number; day: number; hours: number[] }
  rejected: { hour: Record<string, number>; day: Record<string, number>; hours: number[] }
}

export interface Attempt {
  id: number
  at: string
  outcome: 'delivered' | 'failed' | 'given_up'
  status: number | null
  failure: string
  /** The first bytes of what was answered. */
  answer: string
  took_ms: number
  number: number
}

export interface Endpoint {
  name: string
  url: string | null
  enabled: boolean
  state: 'new' | 'delivering' | 'failing' | 'paused'
  since: string | null
  pause_reason: 'asked' | 'failing' | 'gone' | 'expired' | 'recovering' | null
  /** Null: all of them. */
  events: readonly string[] | null
  sources: readonly string[] | null
  /** Conversations. */
  waiting: number
  counted_at_most: number
  /** Changes. */
  behind: number
  next_attempt_at: string | null
  last_success: Attempt | null
  last_failure: Attempt | null
  day: { delivered: number; failed: number; given_up: number }
}

export interface Delivery {
  event_id: string | null
  type: ChangeType
  at: string
  source: string
  conversation_id: string
  attempts: number
  pending: boolean
  next_attempt_at: string | null
  attempt: Attempt | null
}

export interface Tried {
  event_id: string
  type: ChangeType
  delivered: boolean
  status: number | null
  failure: string
  answer: string
  took_ms: number
}

export interface Resent {
  event_id: string
  paused: boolean
}

export interface Verdict {
  accepted: boolean
  code?: string
  detail: string
}

export interface Overview {
  open: number
  pending_groups: number
  held: number
  overdue_s: number
  feed_lag_s: number
  version: string
  schema: string
}

export interface AuditRow {
  id: number
  at: string
  who: string
  from: string
  action: string
  target: string
  outcome: string
  source: string | null
}
