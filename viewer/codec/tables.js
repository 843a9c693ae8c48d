// @ts-check
/** Distributions of symbols as integer frequencies, the same on every machine. */

import { leastOf, powerOfTwo, restLength } from "./numbers.js";

export const TOTAL = 1 << 24; // sum of the frequencies of a table

const FLOOR = 1 << 10; // one part in so many of the probability is shared evenly by the symbols of a bell
const NUMERATOR = 1 << 26; // weight of the middle of a bell

/**
 * Distribution over the symbols low, low + 1, ...
 *
 * @typedef {object} Distribution
 * @property {number} low Least symbol.
 * @property {number} size Number n of symbols.
 * @property {(quantile: number) => number} locate Function that returns the symbol, counted from 0, that a number from 0
 *   to `TOTAL - 1` belongs to, and sets `begin` and `end`.
 * @property {number} begin Sum of the frequencies before the symbol that was located.
 * @property {number} end The same with its own.
 */

/** Distribution whose frequencies are all there. */
export class Table {
  /**
   * @param {number} low Least symbol.
   * @param {Uint32Array} starts (n + 1,) sum of the frequencies before each symbol; the last is `TOTAL`.
   */
  constructor(low, starts) {
    this.low = low;
    this.starts = starts;
    this.size = starts.length - 1;
    this.begin = 0;
    this.end = TOTAL;
  }

  /**
   * @param {number} quantile
   * @returns {number}
   */
  locate(quantile) {
    const { starts } = this;
    let low = 0;
    let high = this.size;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if (starts[middle] <= quantile) low = middle;
      else high = middle;
    }
    this.begin = starts[low];
    this.end = starts[low + 1];
    return low;
  }

  /**
   * Return the table whose frequencies are in proportion to weights.
   *
   * Products and sums stay below 2^53, so quotients that are rounded down are exact.
   *
   * @param {Float64Array} weights (n,) integers from 0 to 2^27, with a sum of at least 1; n is at most 2^20.
   * @param {number} low Least symbol.
   * @returns {Table}
   */
  static of(weights, low = 0) {
    const size = weights.length;
    let sum = 0;
    let largest = 0;
    for (let place = 0; place < size; place++) {
      sum += weights[place];
      if (weights[place] > weights[largest]) largest = place;
    }
    const starts = new Uint32Array(size + 1);
    let start = 0;
    for (let place = 0; place < size; place++) {
      start += Math.floor((weights[place] * (TOTAL - size)) / sum) + 1;
      starts[place + 1] = start;
    }
    // What rounding left over goes to the largest weight.
    for (let place = largest + 1; place <= size; place++) starts[place] += TOTAL - start;
    return new Table(low, starts);
  }
}

/**
 * Return a bell-shaped distribution over -bound, ..., bound.
 *
 * Symbol k has a probability in proportion to `(1 + (k / width)^2 / (2 m - 1)) ^ -m` with `m = 2 ** doublings`. Each
 * operation is one of 64-bit floating point with one rounding.
 *
 * @param {number} width Scale in symbols, positive.
 * @param {number} doublings Shape of the tails, from 0 (heavy) up (light).
 * @param {number} bound Largest symbol.
 * @returns {Table}
 */
export function bell(width, doublings, bound) {
  const weights = new Float64Array(2 * bound + 1);
  const degrees = 2 * (1 << doublings) - 1;
  let sum = 0;
  for (let symbol = 0; symbol <= bound; symbol++) {
    const distance = symbol / width;
    let density = 1 + (distance * distance) / degrees;
    for (let doubling = 0; doubling < doublings; doubling++) density *= density;
    const weight = Math.floor(NUMERATOR / density);
    weights[bound + symbol] = weights[bound - symbol] = weight;
    sum += symbol ? 2 * weight : weight;
  }
  const share = Math.floor(Math.floor(sum / FLOOR) / weights.length) + 1;
  for (let place = 0; place < weights.length; place++) weights[place] += share;
  return Table.of(weights, -bound);
}

/**
 * Return the distribution of symbols whose counts have given half octaves.
 *
 * @param {Int32Array} magnitudes (n,) half octaves from 0 to 48.
 * @returns {Table}
 */
export function makeHistogram(magnitudes) {
  const weights = Float64Array.from(
    magnitudes,
    (magnitude) => 2 * leastOf(magnitude) + powerOfTwo(restLength(magnitude)) - 1,
  );
  return Table.of(weights.some((weight) => weight > 0) ? weights : weights.fill(1));
}
