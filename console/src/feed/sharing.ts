/**
 * One stream for all tabs: whoever holds the lock has it, and tells the others over a channel.
 *
 * A tab that follows takes the lock over when the leader ends, and takes it by force when the leader has said nothing
 * for a while, as a frozen one does. Where the browser has no locks (outside secure contexts), each tab has its own stream.
 */
import type { Change } from '../wire/types'
import { Stream, type Health, type Told } from './stream'

type Word =
  | { word: 'change'; change: Change; cursor: string }
  | { word: 'health'; health: Health }
  | { word: 'gap' }
  | { word: 'beat' }
  | { word: 'hello' }

const LOCK = 'realmate.changes'
const BEAT_MS = 5000
const SILENCE_MS = 16_000

export class Sharing {
  private stream: Stream | null = null
  private channel: BroadcastChannel | null = null
  private cursor: string | null = null
  private health: Health = 'connecting'
  private heardAt = Date.now()
  /** What the leader told between our load and our first word of it, we have not heard. */
  private mayHaveMissed = true
  private readonly leaving = new AbortController()
  private readonly timers: ReturnType<typeof setInterval>[] = []

  constructor(
    private readonly name: string,
    private readonly addressFrom: (cursor: string | null) => string,
    private readonly told: Told,
  ) {}

  /** Begin from this cursor, if nobody has a stream yet. */
  start(cursor: string | null): void {
    this.cursor = cursor
    if (typeof BroadcastChannel === 'undefined' || !navigator.locks) {
      this.lead()
      return
    }
    this.channel = new BroadcastChannel(`${LOCK}.${this.name}`)
    this.channel.onmessage = ({ data }: MessageEvent<Word>) => this.hear(data)
    this.say({ word: 'hello' })
    this.stand({ signal: this.leaving.signal })
    this.timers.push(setInterval(() => this.beat(), BEAT_MS))
  }

  /** The machine slept, or the network changed: a connection that looks well may be dead. */
  renew(): void {
    this.stream?.open()
  }

  stop(): void {
    this.leaving.abort()
    this.timers.forEach(clearInterval)
    this.stream?.close()
    this.channel?.close()
    this.stream = null
    this.channel = null
  }

  /** Hold the lock for as long as this tab lives, or until another one takes it by force. */
  private stand(options: LockOptions): void {
    const holding = () =>
      new Promise<void>((resolve) => {
        this.leaving.signal.addEventListener('abort', () => resolve())
        this.lead()
      })
    navigator.locks.request(`${LOCK}.${this.name}`, options, holding).catch(() => {
      if (this.leaving.signal.aborted) return
      this.stream?.close()
      this.stream = null
      this.heardAt = Date.now()
      this.stand({ signal: this.leaving.signal })
    })
  }

  private lead(): void {
    this.mayHaveMissed = false // the stream begins where our load ended
    this.stream?.close()
    this.stream = new Stream(
      this.addressFrom,
      {
        change: (change, cursor) => this.tell({ word: 'change', change, cursor }),
        health: (health) => this.tell({ word: 'health', health }),
        gap: () => this.tell({ word: 'gap' }),
        rejected: () => this.told.rejected(),
      },
      this.cursor,
    )
    this.stream.open()
  }

  private tell(word: Word): void {
    this.say(word)
    this.take(word)
  }

  private say(word: Word): void {
    this.channel?.postMessage(word)
  }

  private hear(word: Word): void {
    if (word.word === 'hello') {
      if (this.stream) this.say({ word: 'health', health: this.health })
      return
    }
    this.heardAt = Date.now()
    if (this.stream) return
    if (this.mayHaveMissed) this.told.gap()
    this.mayHaveMissed = false
    this.take(word)
  }

  private take(word: Word): void {
    if (word.word === 'change') {
      this.cursor = word.cursor || this.cursor
      this.told.change(word.change, word.cursor)
    } else if (word.word === 'health') {
      this.health = word.health
      this.told.health(word.health)
    } else if (word.word === 'gap') {
      this.told.gap()
    }
  }

  private beat(): void {
    if (this.stream) this.say({ word: 'beat' })
    else if (document.visibilityState === 'visible' && Date.now() - this.heardAt > SILENCE_MS) {
      this.heardAt = Date.now()
      this.stand({ steal: true })
    }
  }
}
