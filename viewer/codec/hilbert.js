// @ts-check
/** The Hilbert curve over a grid of positions. */

const DIGITS = 12; // base-4 digits of a distance in its lower part

/**
 * Return the order of the curve over a grid: the least n such that a square of `2 ** n` cells a side covers it.
 *
 * @param {number} columns Width of the grid in cells, below 2^30.
 * @param {number} rows Height of the grid in cells, below 2^30.
 * @returns {number}
 */
export function orderFor(columns, rows) {
  return 32 - Math.clz32(Math.max(columns, rows, 1) - 1);
}

/**
 * Return the distance of a cell along the curve.
 *
 * @param {number} x Column of the cell, from 0 to `2 ** order - 1`.
 * @param {number} y Row of the cell, in the same range.
 * @param {number} order Order of the curve, at most 24.
 * @returns {number}
 */
export function index(x, y, order) {
  const last = (1 << order) - 1;
  let distance = 0;
  for (let bit = order - 1; bit >= 0; bit--) {
    const isRight = (x >> bit) & 1;
    const isLower = (y >> bit) & 1;
    distance = distance * 4 + ((3 * isRight) ^ isLower);
    // The curve is turned within the quadrants of the upper half; here the positions in them are turned instead.
    const flip = isRight & ~isLower & 1 ? last : 0;
    x ^= flip;
    y ^= flip;
    if (!isLower) [x, y] = [y, x];
  }
  return distance;
}

/**
 * Return the columns and rows of cells at given distances along the curve.
 *
 * @param {Float64Array} distances (N,) integers from 0 to `4 ** order - 1`.
 * @param {number} order Order of the curve, at most 24.
 * @returns {[Int32Array, Int32Array]} Two arrays (N,).
 */
export function position(distances, order) {
  const columns = new Int32Array(distances.length);
  const rows = new Int32Array(distances.length);
  const unit = 1 << (2 * DIGITS);
  for (let place = 0; place < distances.length; place++) {
    const upper = Math.floor(distances[place] / unit);
    const lower = distances[place] - upper * unit;
    let x = 0;
    let y = 0;
    for (let bit = 0; bit < order; bit++) {
      const digit = (bit < DIGITS ? lower >> (2 * bit) : upper >> (2 * (bit - DIGITS))) & 3;
      const isRight = digit >> 1;
      const isLower = (digit ^ isRight) & 1;
      const flip = isRight & ~isLower & 1 ? (1 << bit) - 1 : 0;
      if (!isLower) [x, y] = [y, x];
      x = (x ^ flip) | (isRight << bit);
      y = (y ^ flip) | (isLower << bit);
    }
    columns[place] = x;
    rows[place] = y;
  }
  return [columns, rows];
}
