// @ts-check
/**
 * Contexts of a symbol: the mean of its known neighbours along the curve, and how reliable that mean is.
 *
 * Gaussians are read coarse to fine: first every 32nd along the curve, then those halfway between, and so on. All
 * numbers are integers below 2^53, so quotients that are rounded down are exact.
 */

import { powerOfTwo } from "./numbers.js";

export const FRACTION = 16; // means are in units of 1 / 16 symbol
export const CLASSES = 3;

const COARSEST = 5; // level that is read first: every 2^5th Gaussian
// Neighbours, nearest first, as offsets in units of the stride from the known one before.
const OFFSETS = [0, 1, -1, 2, -2, 3];
const SOFTENING = 64; // square pixels: neighbours nearer than 8 pixels weigh about the same

/**
 * Set of n Gaussians that are read together.
 *
 * @typedef {object} Level
 * @property {number} first Index of the first of them, in the order of the curve.
 * @property {number} stride Distance between the indices of two of them.
 * @property {number} size Number n of them.
 * @property {number} known Number of Gaussians of the levels before.
 * @property {Int32Array | null} weights (n, 6) weights of the known neighbours of each, 0 where there is none; null at
 *   the coarsest level, where none are known.
 * @property {Int32Array} density (n,) sums of the weights.
 */

/**
 * Return the levels of a number of Gaussians, coarsest first.
 *
 * @param {number} count Number N of Gaussians.
 * @param {(first: number, second: number) => number} weigh Function that returns the weight of a neighbour, from 1 to
 *   2^15, given two indices of Gaussians.
 * @returns {Level[]}
 */
function makeLevels(count, weigh) {
  const size = Math.ceil(count / (1 << COARSEST));
  /** @type {Level[]} */
  const levels = [{ first: 0, stride: 1 << COARSEST, size, known: 0, weights: null, density: new Int32Array(size) }];
  for (let level = COARSEST - 1; level >= 0; level--) {
    if (count > 1 << level) levels.push(makeLevel(count, 1 << level, weigh));
  }
  return levels;
}

/**
 * Return the level whose first Gaussian has a given index, which is a power of two.
 *
 * @param {number} count
 * @param {number} first
 * @param {(first: number, second: number) => number} weigh
 * @returns {Level}
 */
function makeLevel(count, first, weigh) {
  const stride = 2 * first;
  const known = Math.ceil(count / stride);
  const size = Math.ceil((count - first) / stride);
  const weights = new Int32Array(OFFSETS.length * size);
  const density = new Int32Array(size);
  for (let item = 0; item < size; item++) {
    for (let neighbour = 0; neighbour < OFFSETS.length; neighbour++) {
      const other = item + OFFSETS[neighbour];
      if (other < 0 || other >= known) continue;
      const weight = weigh(first + item * stride, other * stride);
      weights[OFFSETS.length * item + neighbour] = weight;
      density[item] += weight;
    }
  }
  return { first, stride, size, known, weights, density };
}

/**
 * Return the levels of a number of Gaussians, with weights of 1.
 *
 * @param {number} count
 * @returns {Level[]}
 */
export function plainLevels(count) {
  return makeLevels(count, () => 1);
}

/**
 * Return the levels of Gaussians, with neighbours that are weighted by how near they are.
 *
 * @param {Int32Array} x (N,) first coordinates, in the order of the curve, in units of `2 ** -position` pixels.
 * @param {Int32Array} y (N,) second coordinates.
 * @param {number} position Exponent of the unit of positions, from -3 to 6.
 * @returns {Level[]}
 */
export function weightedLevels(x, y, position) {
  const perPixel = powerOfTwo(-2 * position);
  return makeLevels(x.length, (first, second) => {
    const right = x[second] - x[first];
    const down = y[second] - y[first];
    const square = Math.floor((right * right + down * down) * perPixel);
    return Math.floor((1 << 20) / (square + SOFTENING)) + 1;
  });
}

/**
 * Return the weighted means of the neighbours' symbols.
 *
 * @param {Level} level Level of n Gaussians, not the coarsest.
 * @param {ArrayLike<number>} values (N,) symbols.
 * @returns {Int32Array} (n,) means in units of 1 / `FRACTION`.
 */
export function findMeans(level, values) {
  const { size, stride, density } = level;
  const weights = /** @type {Int32Array} */ (level.weights);
  const means = new Int32Array(size);
  for (let item = 0; item < size; item++) {
    let sum = 0;
    for (let neighbour = 0; neighbour < OFFSETS.length; neighbour++) {
      const weight = weights[OFFSETS.length * item + neighbour];
      if (weight) sum += weight * values[stride * (item + OFFSETS[neighbour])];
    }
    means[item] = Math.floor((sum * FRACTION) / density[item]);
  }
  return means;
}

/**
 * Return the mean absolute deviations of the neighbours' symbols from their means.
 *
 * @param {Level} level Level of n Gaussians, not the coarsest.
 * @param {ArrayLike<number>} values (N,) symbols.
 * @param {Int32Array} means (n,) means as from `findMeans`.
 * @returns {Int32Array} (n,) deviations in units of 1 / `FRACTION`.
 */
export function findSpreads(level, values, means) {
  const { size, stride, density } = level;
  const weights = /** @type {Int32Array} */ (level.weights);
  const spreads = new Int32Array(size);
  for (let item = 0; item < size; item++) {
    let sum = 0;
    for (let neighbour = 0; neighbour < OFFSETS.length; neighbour++) {
      const weight = weights[OFFSETS.length * item + neighbour];
      if (weight) {
        const value = FRACTION * values[stride * (item + OFFSETS[neighbour])];
        sum += weight * Math.abs(value - means[item]);
      }
    }
    spreads[item] = Math.floor(sum / density[item]);
  }
  return spreads;
}

/**
 * Return a class for each value: 0 where values are low, 1 where they are near their mean, 2 where they are high.
 *
 * @param {ArrayLike<number>} values (n,) integers, n at least 1.
 * @returns {Uint8Array} (n,)
 */
export function classify(values) {
  const size = values.length;
  let sum = 0;
  for (let item = 0; item < size; item++) sum += values[item];
  const mean = Math.floor(sum / size);
  let apart = 0;
  for (let item = 0; item < size; item++) apart += Math.abs(values[item] - mean);
  const half = Math.floor(apart / (2 * size));
  const classes = new Uint8Array(size);
  for (let item = 0; item < size; item++) {
    classes[item] = (values[item] > mean - half ? 1 : 0) + (values[item] > mean + half ? 1 : 0);
  }
  return classes;
}
