// @ts-check
/** Columns of symbols, level by level: each symbol is predicted from its neighbours, and a residual is read. */

import { CLASSES, FRACTION, classify, findMeans, findSpreads } from "./contexts.js";
import { damaged } from "./error.js";
import { leastOf, powerOfTwo } from "./numbers.js";
import { bell } from "./tables.js";

/** Kinds of contexts: the spread of the neighbours, the symbol of the first column, the density of the neighbours. */
export const BY_SPREAD = 0;
export const BY_FIRST = 1;
export const BY_DENSITY = 2;

const WIDTHS = Array.from({ length: 48 }, (_, n) => ((4 + (n % 4)) / 4) * powerOfTwo(Math.floor(n / 4) - 2));

// Mean of the neighbours' alpha, in units of 1 / FRACTION, from which their colours are scaled to that of a Gaussian.
const MIN_ALPHA = 3 * FRACTION;
const MAX_SCALED = 1 << 18; // largest scaled mean by magnitude, in units of 1 / FRACTION
const MAX_TABLES = 128; // that are kept: 64 MB at most

/**
 * Parameters of the distribution of a column.
 *
 * @typedef {object} Model
 * @property {number} center Symbol that is predicted where no neighbours are known.
 * @property {number} share Weight of the neighbours, from 0 to 16.
 * @property {number} width Index into a table of widths, four per octave, from 1 / 4.
 * @property {number} tail Shape of the distribution, from 0 (heavy tails) to 3 (light).
 * @property {number} reach Half octave of the bound of the residuals.
 * @property {number} context Kind of the context that the classes are of.
 * @property {number} gain Steps of `width` from one class to the next, from -5 to 5.
 */

/**
 * Return a model.
 *
 * @param {number} center
 * @param {number} share
 * @param {number} width
 * @param {number} tail
 * @param {number} reach
 * @param {number} context
 * @param {number} gain
 * @returns {Model}
 */
export function makeModel(center, share, width, tail, reach, context, gain) {
  return { center, share, width, tail, reach, context, gain };
}

/**
 * Range of each parameter: its name, its least and largest value, and the width of the bell that codes its change.
 *
 * @type {[keyof Model, number, number, number][]}
 */
const RANGES = [
  ["center", -32768, 32768, 10],
  ["share", 0, 16, 2],
  ["width", 0, WIDTHS.length - 1, 2],
  ["tail", 0, 3, 0.75],
  ["reach", 0, 30, 2],
  ["context", 0, 2, 0.5],
  ["gain", -5, 5, 1],
];

/** Tables of the changes of parameters, made when they are first needed. */
const changes = new Map();

/** Tables of residuals by their parameters, the oldest first. */
const residuals = new Map();

/**
 * Return a table out of a map, or make it; the oldest ones make room.
 *
 * @param {Map<number, import("./tables.js").Table>} tables
 * @param {number} key
 * @param {() => import("./tables.js").Table} make
 * @returns {import("./tables.js").Table}
 */
function remember(tables, key, make) {
  let table = tables.get(key);
  if (!table) {
    if (tables.size >= MAX_TABLES) tables.delete(tables.keys().next().value ?? 0);
    table = make();
    tables.set(key, table);
  }
  return table;
}

/**
 * Read a model as differences to that of the same column in the layer before.
 *
 * @param {import("./range-decoder.js").RangeDecoder} decoder
 * @param {Model} before
 * @returns {Model}
 * @throws {FgsError} A parameter is out of range.
 */
export function readModel(decoder, before) {
  const model = { ...before };
  RANGES.forEach(([name, low, high, spread], index) => {
    model[name] += decoder.symbol(remember(changes, index, () => bell(spread, 0, high - low)));
    if (model[name] < low || model[name] > high) throw damaged(`the ${name} of a column makes no sense`);
  });
  return model;
}

/**
 * Return the distribution of the residuals where the context is of a class.
 *
 * @param {Model} model
 * @param {number} ofClass
 * @returns {import("./tables.js").Table}
 */
function makeResidualTable(model, ofClass) {
  const width = Math.min(Math.max(model.width + model.gain * (ofClass - 1), 0), WIDTHS.length - 1);
  const key = (width * 4 + model.tail) * 32 + model.reach;
  return remember(residuals, key, () => bell(WIDTHS[width], model.tail, leastOf(model.reach)));
}

/**
 * Read columns of symbols.
 *
 * @param {import("./range-decoder.js").RangeDecoder} decoder
 * @param {number} count Number N of Gaussians.
 * @param {import("./contexts.js").Level[]} levels Levels of the Gaussians.
 * @param {Model[]} models Models of the columns.
 * @param {boolean} byAlpha True if the first column is alpha, and the others are colours that are multiplied by it.
 * @param {Uint8Array[] | null} known For a decoder of a cut stream, an array (N,) of each column, which gets 1 for the
 *   symbols that were read. The others are as predicted, as if their residuals were 0.
 * @returns {{columns: Int32Array[], bits: number[]}} (N,) symbols of each column, and the bits of each, which are 0
 *   where the decoder does not count them.
 * @throws {FgsError} No encoder writes such bytes.
 */
export function readColumns(decoder, count, levels, models, byAlpha = false, known = null) {
  const columns = models.map(() => new Int32Array(count));
  const bits = models.map(() => 0);
  for (const level of levels) {
    if (!level.size) continue;
    const firstMeans = level.weights && findMeans(level, columns[0]);
    models.forEach((model, index) => {
      const begin = decoder.bits;
      const values = columns[index];
      const mask = known && known[index];
      if (!level.weights || !firstMeans) {
        readResiduals(decoder, level, model, values, null, null, mask);
      } else {
        const means = index ? findMeans(level, values) : firstMeans;
        const classes = model.gain ? classify(findContext(level, model, columns, values, means)) : null;
        // Scaling follows the spread, which is that of the plain mean.
        if (byAlpha && index) scaleMeans(means, firstMeans, level, columns[0]);
        readResiduals(decoder, level, model, values, means, classes, mask);
      }
      bits[index] += decoder.bits - begin;
    });
  }
  return { columns, bits };
}

/**
 * Return the context of each Gaussian of a level, whose classes choose the width of the distribution.
 *
 * @param {import("./contexts.js").Level} level
 * @param {Model} model
 * @param {Int32Array[]} columns
 * @param {Int32Array} values
 * @param {Int32Array} means
 * @returns {Int32Array}
 */
function findContext(level, model, columns, values, means) {
  if (model.context === BY_SPREAD) return findSpreads(level, values, means);
  if (model.context === BY_DENSITY) return level.density;
  const first = new Int32Array(level.size);
  for (let item = 0; item < level.size; item++) first[item] = columns[0][level.first + item * level.stride];
  return first;
}

/**
 * Scale the means of the neighbours' symbols, in place, from their alpha to that of each Gaussian.
 *
 * @param {Int32Array} means (n,) means of a column.
 * @param {Int32Array} alphaMeans (n,) means of alpha.
 * @param {import("./contexts.js").Level} level Level of the n Gaussians.
 * @param {Int32Array} alpha (N,) symbols of alpha.
 */
function scaleMeans(means, alphaMeans, level, alpha) {
  for (let item = 0; item < level.size; item++) {
    if (alphaMeans[item] < MIN_ALPHA) continue;
    const own = alpha[level.first + item * level.stride];
    const scaled = Math.floor((means[item] * own * FRACTION) / alphaMeans[item]);
    means[item] = Math.min(Math.max(scaled, -MAX_SCALED), MAX_SCALED);
  }
}

/**
 * Read the residuals of a level, and set its symbols.
 *
 * @param {import("./range-decoder.js").RangeDecoder} decoder
 * @param {import("./contexts.js").Level} level Level of n Gaussians.
 * @param {Model} model
 * @param {Int32Array} values (N,) symbols of the column.
 * @param {Int32Array | null} means (n,) means of the neighbours; null if there are none.
 * @param {Uint8Array | null} classes (n,) classes of the contexts; null if there is no context.
 * @param {Uint8Array | null} mask (N,) gets 1 for the symbols that were read.
 */
function readResiduals(decoder, level, model, values, means, classes, mask) {
  const { first, stride, size } = level;
  const { center, share } = model;
  for (let each = classes ? 0 : 1; each < (classes ? CLASSES : 2); each++) {
    /** @type {import("./tables.js").Table | null} */
    let table = null;
    for (let item = 0; item < size; item++) {
      if (classes && classes[item] !== each) continue;
      table ??= makeResidualTable(model, each);
      const predicted = means ? center + ((share * (means[item] - FRACTION * center) + 128) >> 8) : center;
      const residual = decoder.available(table);
      values[first + item * stride] = predicted + (residual ?? 0);
      if (mask && residual !== null) mask[first + item * stride] = 1;
    }
  }
}
