import type { Change, ChangeType, Message, MessageType } from '../src/wire/types'

export const idOf = (number: number) => `00000000-0000-4000-8000-${String(number).padStart(12, '0')}`

/** A message whose id follows from its position. */
export function message(position: number, type: MessageType = 'INBOUND', content = `text ${position}`): Message {
  return { id: idOf(position), type, content, timestamp: '2026-01-01T00:00:00Z', position }
}

export const reply = (position: number, ...answered: number[]) =>
  message(position, 'OUTBOUND', ['Mensagens recebidas:', ...answered.map(idOf)].join('\n'))

let count = 0

export function change(type: ChangeType, conversation: number, told?: Message): Change {
  return {
    id: `evt_${count++}`,
    type,
    timestamp: '2026-01-01T00:00:10Z',
    source: 'shop',
    conversation_id: idOf(conversation),
    data: told ? { message: told } : {},
  }
}
