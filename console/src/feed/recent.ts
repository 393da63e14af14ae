/** The ids that were seen last: changes are told at least once, and the page shows each of them once. */
export class Recent {
  private readonly ids = new Set<string>()

  constructor(private readonly most = 5000) {}

  /** Whether the id is new. It is known from then on. */
  add(id: string): boolean {
    if (this.ids.has(id)) return false
    this.ids.add(id)
    if (this.ids.size > this.most) for (const oldest of this.ids) return this.ids.delete(oldest)
    return true
  }
}
