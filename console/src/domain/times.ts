/** Times in the viewer's zone and language: short for the eye, exact for whoever asks. */

const DAY_MS = 86_400_000
const formats = new Map<string, Intl.DateTimeFormat>()

function format(language: string, name: string, options: Intl.DateTimeFormatOptions): Intl.DateTimeFormat {
  const key = `${language} ${name}`
  const known = formats.get(key) ?? new Intl.DateTimeFormat(language, options)
  formats.set(key, known)
  return known
}

/** The time of today, the day of another day, and the year of another year. */
export function shortTime(at: string, now: number, language: string): string {
  const date = new Date(at)
  const today = new Date(now)
  if (date.toDateString() === today.toDateString()) {
    return format(language, 'time', { hour: '2-digit', minute: '2-digit' }).format(date)
  }
  if (Math.abs(now - date.getTime()) < 180 * DAY_MS) {
    return format(language, 'day', { day: 'numeric', month: 'short', hour: '2-digit', minute: '2-digit' }).format(date)
  }
  return format(language, 'year', { day: 'numeric', month: 'short', year: 'numeric' }).format(date)
}

/** With seconds: for lines of a log. */
export function clockTime(at: string, language: string): string {
  const options = { hour: '2-digit', minute: '2-digit', second: '2-digit', fractionalSecondDigits: 3, hourCycle: 'h23' } as const
  return format(language, 'clock', options).format(new Date(at))
}

export function exactTime(at: string, language: string): string {
  const shown = format(language, 'exact', { dateStyle: 'full', timeStyle: 'long' }).format(new Date(at))
  return `${shown} · ${at}`
}

/** What `<input type="datetime-local">` has for this moment, and back. */
export function toLocalInput(at: string | null | undefined): string {
  const date = new Date(at ?? NaN)
  if (Number.isNaN(date.getTime())) return ''
  return new Date(date.getTime() - date.getTimezoneOffset() * 60_000).toISOString().slice(0, 16)
}

export function fromLocalInput(text: string): string | null {
  const date = new Date(text)
  return text && !Number.isNaN(date.getTime()) ? date.toISOString() : null
}
