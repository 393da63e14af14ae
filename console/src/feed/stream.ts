/**
 * One stream of changes that heals.
 *
 * EventSource comes back by itself when a connection breaks, and gives up when it gets an answer that is no stream, such
 * as 503 or 401. Then this asks again, later and later, from behind the last change that it was told.
 */
import type { Change } from '../wire/types'

export type Health = 'connecting' | 'live' | 'reconnecting'

export interface Told {
  change(change: Change, cursor: string): void
  health(health: Health): void
  /** Changes may be missing before this moment: what was loaded must be loaded again. */
  gap(): void
  /** The server rejected the stream. Asking why is the caller's matter. */
  rejected(): void
}

/** A break that heals within this time is not worth a word. */
const QUIET_MS = 800
const FIRST_WAIT_MS = 500
const LONGEST_WAIT_MS = 15_000

export class Stream {
  private source: EventSource | null = null
  private waitMs = FIRST_WAIT_MS
  private timers: { retry?: ReturnType<typeof setTimeout>; notice?: ReturnType<typeof setTimeout> } = {}
  private wasLive = false

  constructor(
    private readonly addressFrom: (cursor: string | null) => string,
    private readonly told: Told,
    private cursor: string | null,
  ) {}

  open(): void {
    this.source?.close()
    clearTimeout(this.timers.retry)
    const [source, fromNow] = [new EventSource(this.addressFrom(this.cursor)), this.cursor === null]
    this.source = source
    source.onopen = () => this.opened(fromNow)
    source.onerror = () => this.broke(source)
    source.onmessage = ({ data, lastEventId }: MessageEvent<string>) => {
      this.cursor = lastEventId || this.cursor
      this.told.change(JSON.parse(data) as Change, lastEventId)
    }
    source.addEventListener('caught_up', ({ lastEventId }: MessageEvent<string>) => {
      this.cursor = lastEventId || this.cursor
    })
    source.addEventListener('reset', () => this.told.gap())
  }

  close(): void {
    this.source?.close()
    this.source = null
    clearTimeout(this.timers.retry)
    clearTimeout(this.timers.notice)
  }

  private opened(fromNow: boolean): void {
    clearTimeout(this.timers.notice)
    delete this.timers.notice
    this.waitMs = FIRST_WAIT_MS
    this.wasLive = true
    this.told.health('live')
    if (fromNow && this.cursor === null) this.told.gap()
  }

  private broke(source: EventSource): void {
    const notice = () => this.told.health(this.wasLive ? 'reconnecting' : 'connecting')
    this.timers.notice ??= setTimeout(notice, QUIET_MS)
    if (source.readyState !== EventSource.CLOSED || source !== this.source) return
    this.told.rejected()
    this.timers.retry = setTimeout(() => this.open(), this.waitMs * (0.75 + Math.random() / 2))
    this.waitMs = Math.min(this.waitMs * 2, LONGEST_WAIT_MS)
  }
}
