// @ts-check
/**
 * What is known around Gaussians while their symbols are decoded by the learned model, as features in integers.
 *
 * Every operation is one of 64-bit floating point with one rounding, in the order of FORMAT.md, so that all readers get
 * the same features.
 */

import * as hilbert from "./hilbert.js";
import { powerOfTwo } from "./numbers.js";

export const COLUMNS = 6; // area, u, v, luma, chroma1, chroma2
export const NEIGHBOURS = 8;
export const FEATURES = 15; // of a neighbour; the last two depend on the shape of the Gaussian itself
export const COMMON = 8 + 3 * COLUMNS; // features of all neighbours together
export const OF_LAYER = 2 * COLUMNS + 1; // features of a layer

const CANDIDATES = 8; // on each side along the curve, of which the nearest are taken
const COARSEST = 5; // level that is read first: every 2^5th Gaussian
const SUBPIXEL = 64; // units of positions in a pixel
const FINEST = 6; // exponent of these units
const CURVE = 4; // exponent of the cells of the curve in these units: a quarter of a pixel
const FINE = 256; // units of values in 1
export const UNIT = 64; // units of features in 1
const PER_CENTER = 16; // units of middle values in 1
export const LARGEST = 1023; // largest feature by magnitude
const MAX_LAYER = 15;
const MOST = powerOfTwo(40); // no value that a proper file has
/** Factors of values in features, by column: chroma varies less than luma. */
export const SCALES = [1, 1, 1, 1, 3, 3];

/**
 * Set of n Gaussians of a layer that are read together, coarse to fine.
 *
 * @typedef {object} Level
 * @property {number} first Index in the layer of the first of them.
 * @property {number} stride Distance between the indices of two of them.
 * @property {number} size Number n of them.
 * @property {number[]} features Features 4 to 7 of all neighbours together, which are those of the level.
 * @property {Int32Array} chosen (n, 8) indices of the neighbours, the nearest first; -1 where there are too few.
 */

/** Gaussians that are known. */
export class Surroundings {
  /**
   * @param {number} width Width of the canvas in pixels.
   * @param {number} height Height of the canvas in pixels.
   * @param {Float64Array} exponential Table of the exponential function.
   */
  constructor(width, height, exponential) {
    this.exponential = exponential;
    this.pixels = height * width;
    this.order = hilbert.orderFor(4 * width + 1, 4 * height + 1);
    /** Index of the first Gaussian of the layer, and number of all. */
    this.first = 0;
    this.count = 0;
    this.layers = -1;
    this.spacing = 1;
    /** @type {Float64Array} */
    this.x = new Float64Array();
    /** @type {Float64Array} */
    this.y = new Float64Array();
    /** @type {Float64Array} */
    this.along = new Float64Array();
    /** @type {Float64Array} */
    this.values = new Float64Array();
    this.sorted = new Uint32Array();
    /** @type {number[]} */
    this.units = [];
    this.centers = new Float64Array(COLUMNS);
    this.ofLayer = new Float64Array(OF_LAYER);
    // Of the neighbours of one Gaussian.
    this.near = new Float64Array(NEIGHBOURS);
    this.over = new Float64Array(NEIGHBOURS);
    this.differences = new Float64Array(NEIGHBOURS * COLUMNS);
    this.squares = new Float64Array(NEIGHBOURS);
  }

  /**
   * Add the Gaussians of a layer, whose values are not known yet.
   *
   * @param {Int32Array} x (N,) first coordinates, in the order of the curve, in units of `2 ** -position` pixels.
   * @param {Int32Array} y (N,) second coordinates.
   * @param {number} position Exponent of the unit of positions.
   * @param {number[]} units Units of the six columns.
   * @param {number[]} centers Middle values of the columns in units of 1 / 16.
   * @param {number[]} spreads Mean differences from them, as exponents of quarters of an octave of 1 / 256.
   */
  beginLayer(x, y, position, units, centers, spreads) {
    const { length } = x;
    const first = (this.first = this.count);
    const count = (this.count = first + length);
    this.layers = Math.min(this.layers + 1, MAX_LAYER);
    this.x = lengthen(this.x, count);
    this.y = lengthen(this.y, count);
    this.along = lengthen(this.along, count);
    this.values = lengthen(this.values, COLUMNS * count);
    for (let item = 0; item < length; item++) {
      const right = x[item] << (FINEST - position);
      const down = y[item] << (FINEST - position);
      this.x[first + item] = right;
      this.y[first + item] = down;
      this.along[first + item] = hilbert.index(right >> CURVE, down >> CURVE, this.order);
    }
    this.sort();
    this.units = units;
    this.centers = Float64Array.from(centers, (center) => center * (FINE / PER_CENTER));
    this.spacing = Math.sqrt(this.pixels / Math.max(length, 1));
    for (let column = 0; column < COLUMNS; column++) {
      const middle = column ? centers[column] * (UNIT / PER_CENTER) * SCALES[column] : 0;
      this.ofLayer[column] = limit(middle);
      this.ofLayer[COLUMNS + column] = limit((spreads[column] - 20) * 4);
    }
    this.ofLayer[2 * COLUMNS] = limit(Math.floor(this.spacing * 4 + 0.5));
  }

  /** Sort all Gaussians along the curve; those of the same cell stay in their order. */
  sort() {
    const { along, first, count } = this;
    const before = this.sorted;
    const added = Uint32Array.from({ length: count - first }, (_, item) => first + item);
    added.sort((one, other) => along[one] - along[other] || one - other);
    const sorted = new Uint32Array(count);
    for (let place = 0, old = 0, fresh = 0; place < count; place++) {
      const isOld = fresh === added.length || (old < first && along[before[old]] <= along[added[fresh]]);
      sorted[place] = isOld ? before[old++] : added[fresh++];
    }
    this.sorted = sorted;
  }

  /**
   * Yield the levels of the layer, in the order in which they are read.
   *
   * @returns {Generator<Level>}
   */
  *levels() {
    const length = this.count - this.first;
    const features = [0, this.layers * 32, this.units[0] * 256, this.units[3] * 20 * UNIT];
    for (let number = COARSEST; number >= 0; number--) {
      const first = number === COARSEST ? 0 : 1 << number;
      const stride = number === COARSEST ? 1 << number : 2 << number;
      const size = Math.ceil((length - first) / stride);
      if (size <= 0) continue;
      features[0] = (number * UNIT) / 3;
      const level = { first, stride, size, features: features.map((value) => limit(Math.floor(value + 0.5))) };
      yield { ...level, chosen: this.findNeighbours(level, number === COARSEST ? 0 : stride) };
    }
  }

  /**
   * Return the nearest known Gaussians around those of a level.
   *
   * @param {{first: number, stride: number, size: number}} level
   * @param {number} known Distance between the indices of those of the layer that are known; 0 if none are.
   * @returns {Int32Array} (n, 8) indices, the nearest first; -1 where there are too few.
   */
  findNeighbours({ first, stride, size }, known) {
    const { x, y, along, squares } = this;
    const order = this.sorted.filter((one) => one < this.first || (known > 0 && (one - this.first) % known === 0));
    const count = order.length;
    const chosen = new Int32Array(NEIGHBOURS * size).fill(-1);
    for (let item = 0; item < size; item++) {
      const me = this.first + first + item * stride;
      const begin = item * NEIGHBOURS;
      let middle = 0;
      for (let end = count; middle < end;) {
        const half = (middle + end) >> 1;
        if (along[order[half]] < along[me]) middle = half + 1;
        else end = half;
      }
      const last = Math.min(middle + CANDIDATES, count);
      let filled = 0;
      for (let candidate = Math.max(middle - CANDIDATES, 0); candidate < last; candidate++) {
        const other = order[candidate];
        const right = x[other] - x[me];
        const down = y[other] - y[me];
        const square = right * right + down * down;
        let place = filled;
        while (place > 0 && squares[place - 1] > square) place--;
        if (place >= NEIGHBOURS) continue;
        filled = Math.min(filled + 1, NEIGHBOURS);
        for (let each = filled - 1; each > place; each--) {
          squares[each] = squares[each - 1];
          chosen[begin + each] = chosen[begin + each - 1];
        }
        squares[place] = square;
        chosen[begin + place] = other;
      }
    }
    return chosen;
  }

  /**
   * Tell a symbol of a Gaussian of the layer.
   *
   * @param {number} index Index of the Gaussian in the layer.
   * @param {number} column
   * @param {number} symbol
   */
  setValue(index, column, symbol) {
    const value = Math.floor(symbol * this.units[column] * FINE + 0.5);
    this.values[(this.first + index) * COLUMNS + column] = Math.min(Math.max(value, -MOST), MOST);
  }

  /**
   * Return the value of a Gaussian of the layer in a column as a feature.
   *
   * @param {number} index Index of the Gaussian in the layer.
   * @param {number} column
   * @returns {number}
   */
  own(index, column) {
    const shifted = this.values[(this.first + index) * COLUMNS + column] - this.centers[column];
    return limit(Math.floor((shifted * SCALES[column] * UNIT) / FINE));
  }

  /**
   * Compute the features around a Gaussian.
   *
   * @param {Level} level
   * @param {number} item Number of the Gaussian in the level.
   * @param {boolean} isShaped True if the shapes of the Gaussians of the level are known.
   * @param {Float64Array} each (8, 15) features of each neighbour; filled in.
   * @param {Float64Array} common (..., 26) features of all together; filled in from `at` on.
   * @param {number} at
   */
  describe({ first, stride, chosen, features }, item, isShaped, each, common, at) {
    const { x, y, values, centers, spacing, near, over, differences } = this;
    const me = this.first + first + item * stride;
    each.fill(0);
    let sumNear = 0;
    let sumOver = 0;
    let sumOwn = 0;
    let count = 0;
    for (; count < NEIGHBOURS; count++) {
      const other = chosen[item * NEIGHBOURS + count];
      if (other < 0) break;
      const right = (x[other] - x[me]) / SUBPIXEL;
      const down = (y[other] - y[me]) / SUBPIXEL;
      const spacedRight = right / spacing;
      const spacedDown = down / spacing;
      const square = spacedRight * spacedRight + spacedDown * spacedDown;
      const nearness = 1 / (0.1 + square);
      near[count] = nearness;
      sumNear += nearness;
      const place = count * FEATURES;
      each[place] = feature(Math.min(Math.max(spacedRight, -4), 4));
      each[place + 1] = feature(Math.min(Math.max(spacedDown, -4), 4));
      each[place + 2] = feature(Math.min(nearness, 5));
      each[place + 3] = feature(Math.min(square * 0.25, 4));
      for (let column = 0; column < COLUMNS; column++) {
        const difference = ((values[other * COLUMNS + column] - centers[column]) * SCALES[column]) / FINE;
        differences[count * COLUMNS + column] = difference;
        each[place + 4 + column] = feature(difference);
      }
      const distance = this.measure(right, down, other);
      const overlap = overlapAt(distance);
      over[count] = overlap;
      sumOver += overlap;
      each[place + 10] = feature(overlap);
      each[place + 11] = feature(Math.sqrt(Math.min(distance, 81)) / 3);
      each[place + 12] = other < this.first ? UNIT : 0;
      if (isShaped) {
        const ownDistance = this.measure(right, down, me);
        const ownOverlap = overlapAt(ownDistance);
        sumOwn += ownOverlap;
        each[place + 13] = feature(ownOverlap);
        each[place + 14] = feature(Math.sqrt(Math.min(ownDistance, 81)) / 3);
        // From here on, weights are those of both shapes.
        over[count] = Math.sqrt(overlap * ownOverlap);
      }
    }
    let weightNear = 0;
    let weightOver = 0;
    for (let neighbour = 0; neighbour < count; neighbour++) {
      over[neighbour] += near[neighbour] * 0.001;
      weightNear += near[neighbour];
      weightOver += over[neighbour];
    }
    common[at] = feature(Math.min(sumNear, 20) / 5);
    common[at + 1] = feature(sumOver);
    common[at + 2] = feature(sumOwn);
    common[at + 3] = feature(count / NEIGHBOURS);
    for (let place = 0; place < features.length; place++) common[at + 4 + place] = features[place];
    for (let column = 0; column < COLUMNS; column++) {
      let meanNear = 0;
      let meanOver = 0;
      let spread = 0;
      if (count) {
        for (let neighbour = 0; neighbour < count; neighbour++) {
          const difference = differences[neighbour * COLUMNS + column];
          meanNear += near[neighbour] * difference;
          meanOver += over[neighbour] * difference;
        }
        meanNear /= weightNear;
        meanOver /= weightOver;
        for (let neighbour = 0; neighbour < count; neighbour++) {
          spread += over[neighbour] * Math.abs(differences[neighbour * COLUMNS + column] - meanOver);
        }
        spread /= weightOver;
      }
      common[at + 8 + column] = feature(meanNear);
      common[at + 8 + COLUMNS + column] = feature(meanOver);
      common[at + 8 + 2 * COLUMNS + column] = feature(spread);
    }
  }

  /**
   * Return the square of a distance in standard deviations of a Gaussian.
   *
   * @param {number} right First component in pixels.
   * @param {number} down Second component.
   * @param {number} index Index of the Gaussian among all.
   * @returns {number}
   */
  measure(right, down, index) {
    const { values, exponential } = this;
    const area = values[index * COLUMNS] / FINE;
    const u = values[index * COLUMNS + 1] / FINE;
    const v = values[index * COLUMNS + 2] / FINE;
    const ratio = Math.sqrt(u * u + v * v);
    const square = right * right + down * down;
    const along = ratio > 0 ? ((right * right - down * down) * u + 2 * right * down * v) / ratio : 0;
    const first = lookUp(exponential, -area - ratio);
    const second = lookUp(exponential, ratio - area);
    return 0.5 * ((square + along) * first + (square - along) * second);
  }
}

/**
 * Return e^x by a table of e^(k / 64) with k = 0 in its middle.
 *
 * @param {Float64Array} table
 * @param {number} x
 * @returns {number}
 */
export function lookUp(table, x) {
  const middle = (table.length - 1) / 2;
  return table[Math.min(Math.max(Math.floor(x * 64 + 0.5), -middle), middle) + middle];
}

/**
 * Return about exp(-distance / 2).
 *
 * @param {number} distance
 * @returns {number}
 */
function overlapAt(distance) {
  const half = 0.5 * Math.min(distance, 64);
  return 1 / (1 + half * (1 + half * (0.5 + half * 0.1666)));
}

/**
 * Return a feature in its units.
 *
 * @param {number} value
 * @returns {number}
 */
function feature(value) {
  return limit(Math.floor(value * UNIT + 0.5));
}

/**
 * @param {number} value
 * @returns {number}
 */
function limit(value) {
  return value < -LARGEST ? -LARGEST : value > LARGEST ? LARGEST : value;
}

/**
 * Return an array with zeros behind its numbers.
 *
 * @param {Float64Array} array
 * @param {number} length
 * @returns {Float64Array}
 */
function lengthen(array, length) {
  const longer = new Float64Array(length);
  longer.set(array);
  return longer;
}
