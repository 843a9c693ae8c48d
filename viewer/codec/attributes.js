// @ts-check
/**
 * Columns of symbols behind x and y: shapes and colours, and what alpha changes.
 *
 * Where there is alpha, shapes of all Gaussians come first, then a flag for each that tells whether it has a colour,
 * and then the colours of those that have one, as if there were no other Gaussians.
 */

import { readColumns, readModel } from "./columns.js";
import { FRACTION, findMeans, weightedLevels } from "./contexts.js";
import { leastOf } from "./numbers.js";
import { Table } from "./tables.js";

export const SHAPES = 3; // number of columns of shapes: area, u, v

// Contexts of a flag: no neighbours are known; none of them has a colour; some have; all have.
const CONTEXTS = 4;
const ODDS_BITS = 5;
const ZERO = 512; // weight of the flag 0, where that of 1 is the least value of one of the half octaves from FIRST on
const FIRST = 2;

/**
 * Reader of the columns behind x and y, of one layer after the other.
 *
 * @typedef {object} Attributes
 * @property {(decoder: import("./range-decoder.js").RangeDecoder) => void} readParameters Function that reads the
 *   parameters of the next layer; it throws FgsError if no encoder writes such bytes, as the next one does.
 * @property {(
 *   decoder: import("./range-decoder.js").RangeDecoder,
 *   x: Int32Array,
 *   y: Int32Array,
 *   steps: import("./layer.js").Steps,
 *   known?: Uint8Array[] | null,
 * ) => {columns: ArrayLike<number>[], bits: number[]}} read Function that reads the columns of a layer, given its
 *   coordinates (N,) in the order of the curve. It returns 3 + C columns (N,), and the bits of each. For a decoder of a
 *   cut stream, it fills in 1 for the symbols that were read in 3 + C arrays (N,); others are as predicted.
 */

/**
 * Reader by models that are fitted to each column of each layer.
 *
 * @implements {Attributes}
 */
export class FittedAttributes {
  /**
   * @param {import("./channels.js").Channels} channels
   * @param {import("./columns.js").Model[]} models Models of the 3 + C columns before the first layer.
   */
  constructor(channels, models) {
    this.channels = channels;
    this.models = models;
  }

  /** @param {import("./range-decoder.js").RangeDecoder} decoder */
  readParameters(decoder) {
    this.models = this.models.map((model) => readModel(decoder, model));
  }

  /**
   * @param {import("./range-decoder.js").RangeDecoder} decoder
   * @param {Int32Array} x
   * @param {Int32Array} y
   * @param {import("./layer.js").Steps} steps
   * @param {Uint8Array[] | null} known
   * @returns {{columns: Int32Array[], bits: number[]}}
   */
  read(decoder, x, y, steps, known = null) {
    return readAttributes(decoder, x, y, steps.position, this.channels, this.models, known);
  }
}

/**
 * Read the columns of a layer.
 *
 * @param {import("./range-decoder.js").RangeDecoder} decoder
 * @param {Int32Array} x (N,) first coordinates, in the order of the curve.
 * @param {Int32Array} y (N,) second coordinates.
 * @param {number} position Exponent of the unit of positions.
 * @param {import("./channels.js").Channels} channels
 * @param {import("./columns.js").Model[]} models Models of the 3 + C columns.
 * @param {Uint8Array[] | null} known 3 + C arrays (N,) for a decoder of a cut stream, as for `readColumns`.
 * @returns {{columns: Int32Array[], bits: number[]}} 3 + C columns (N,), and the bits of each; those of the flags count
 *   for alpha.
 * @throws {FgsError} No encoder writes such bytes.
 */
function readAttributes(decoder, x, y, position, channels, models, known = null) {
  const count = x.length;
  const levels = weightedLevels(x, y, position);
  if (!channels.alpha) return readColumns(decoder, count, levels, models, false, known);
  const shapes = readColumns(decoder, count, levels, models.slice(0, SHAPES), false, known);
  const begin = decoder.bits;
  const flags = readFlags(decoder, count, levels);
  const bitsOfFlags = decoder.bits - begin;
  /** @type {number[]} */
  const chosen = [];
  for (let place = 0; place < count; place++) if (flags[place]) chosen.push(place);
  const near = weightedLevels(
    Int32Array.from(chosen, (place) => x[place]),
    Int32Array.from(chosen, (place) => y[place]),
    position,
  );
  const someKnown = known && known.slice(SHAPES).map(() => new Uint8Array(chosen.length));
  const some = readColumns(decoder, chosen.length, near, models.slice(SHAPES), true, someKnown);
  known?.slice(SHAPES).forEach((mask, column) => {
    mask.fill(1); // that others have no colour is known
    chosen.forEach((place, item) => (mask[place] = someKnown?.[column][item] ?? 0));
  });
  const colors = some.columns.map((values) => {
    const all = new Int32Array(count);
    chosen.forEach((place, item) => (all[place] = values[item]));
    return all;
  });
  some.bits[0] += bitsOfFlags;
  return { columns: [...shapes.columns, ...colors], bits: [...shapes.bits, ...some.bits] };
}

/**
 * Read a flag for each Gaussian.
 *
 * @param {import("./range-decoder.js").RangeDecoder} decoder
 * @param {number} count Number N of Gaussians.
 * @param {import("./contexts.js").Level[]} levels
 * @returns {Uint8Array} (N,) 0 or 1.
 */
function readFlags(decoder, count, levels) {
  const tables = [];
  for (let context = 0; context < CONTEXTS; context++) {
    tables.push(Table.of(Float64Array.of(ZERO, leastOf(FIRST + decoder.rawPiece(ODDS_BITS)))));
  }
  const flags = new Uint8Array(count);
  for (const level of levels) {
    const { first, stride, size } = level;
    const means = level.weights && findMeans(level, flags);
    tables.forEach((table, context) => {
      for (let item = 0; item < size; item++) {
        const own = means ? 1 + (means[item] > 0 ? 1 : 0) + (means[item] >= FRACTION ? 1 : 0) : 0;
        if (own === context) flags[first + item * stride] = decoder.symbol(table);
      }
    });
  }
  return flags;
}
