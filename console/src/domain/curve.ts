/** A day as a small curve: the points of an SVG path in a box of this size. */

export interface Box {
  width: number
  height: number
}

const round = (value: number) => Math.round(value * 10) / 10

export function linePath(values: readonly number[], most: number, { width, height }: Box): string {
  const step = width / Math.max(values.length - 1, 1)
  return values
    .map((value, index) => `${index ? 'L' : 'M'}${round(index * step)} ${round(height - (value / Math.max(most, 1)) * height)}`)
    .join('')
}

/** The same, closed along the bottom, to be filled. */
export function areaPath(values: readonly number[], most: number, box: Box): string {
  return values.length ? `${linePath(values, most, box)}L${box.width} ${box.height}L0 ${box.height}Z` : ''
}
