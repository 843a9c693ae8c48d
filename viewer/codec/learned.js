// @ts-check
/** Columns of symbols of RGB by the learned model: each symbol by a distribution of its own. */

import { ROWS } from "./dense.js";
import { damaged } from "./error.js";
import { leastOf } from "./numbers.js";
import { getModel } from "./models.js";
import { GROUPS, Mixture } from "./symbol-model.js";
import { COLUMNS, COMMON, FEATURES, NEIGHBOURS, SCALES, Surroundings } from "./surroundings.js";
import { bell } from "./tables.js";

/** @typedef {import("./attributes.js").Attributes} Attributes */

/**
 * What the header of a layer tells of a column.
 *
 * @typedef {object} Summary
 * @property {number} center Middle value in units of 1 / 16.
 * @property {number} spread Mean difference from it, 2^(spread / 4) / 256.
 * @property {number} reach Half octave of the bound of the residuals.
 */

const PER_CENTER = 16;

/**
 * Range of each number: its name, its least and largest value, and the width of the bell that codes its change.
 *
 * @type {[keyof Summary, number, number, number][]}
 */
const RANGES = [
  ["center", -2048, 2048, 8],
  ["spread", 0, 63, 3],
  ["reach", 0, 16, 2],
];

/** Summaries before the first layer, of area to chroma2. */
const FIRST = [
  { center: 64, spread: 33, reach: 10 },
  { center: 0, spread: 32, reach: 10 },
  { center: 0, spread: 32, reach: 10 },
  { center: 13, spread: 26, reach: 10 },
  { center: 0, spread: 16, reach: 10 },
  { center: 0, spread: 12, reach: 10 },
];

/**
 * Reader of the columns by the learned model.
 *
 * @implements {Attributes}
 */
export class LearnedAttributes {
  /**
   * @param {number} width Width of the canvas in pixels.
   * @param {number} height Height of the canvas in pixels.
   * @param {number} number Number of the model.
   * @throws {FgsError} Its weights have not been loaded.
   */
  constructor(width, height, number) {
    this.model = getModel(number);
    this.around = new Surroundings(width, height, this.model.exponential);
    this.summaries = FIRST;
  }

  /** @param {import("./range-decoder.js").RangeDecoder} decoder */
  readParameters(decoder) {
    const tables = RANGES.map(([, low, high, width]) => bell(width, 0, high - low));
    this.summaries = this.summaries.map((before) => {
      const summary = { ...before };
      RANGES.forEach(([name, low, high], index) => {
        summary[name] += decoder.symbol(tables[index]);
        if (summary[name] < low || summary[name] > high) throw damaged("the summary of a column makes no sense");
      });
      return summary;
    });
  }

  /**
   * @param {import("./range-decoder.js").RangeDecoder} decoder
   * @param {Int32Array} x
   * @param {Int32Array} y
   * @param {import("./layer.js").Steps} steps
   * @param {Uint8Array[] | null} known
   * @returns {{columns: Float64Array[], bits: number[]}} Symbols, which no range limits yet.
   */
  read(decoder, x, y, steps, known = null) {
    const { model, around, summaries } = this;
    const columns = summaries.map(() => new Float64Array(x.length));
    const bits = summaries.map(() => 0);
    const chroma = steps.chroma ?? 0;
    const units = [steps.area, steps.shape, steps.shape, steps.luma, chroma, chroma];
    const centers = summaries.map(({ center }) => center);
    around.beginLayer(x, y, steps.position, units, centers, summaries.map(({ spread }) => spread)); // prettier-ignore
    const mixtures = summaries.map(({ reach }) => new Mixture(model.logistic, leastOf(reach)));
    const each = new Float64Array(NEIGHBOURS * FEATURES);
    for (const level of around.levels()) {
      GROUPS.forEach(({ first: begin, end }, group) => {
        // A row of inputs: activations of the neighbours, features of all of them, and the values of columns before.
        const common = 2 * model.groups[group].size;
        const own = common + COMMON;
        const stride = own + COLUMNS;
        const inputs = new Float64Array(stride * Math.ceil(level.size / ROWS) * ROWS);
        for (let item = 0; item < level.size; item++) {
          const at = item * stride;
          around.describe(level, item, group > 0, each, inputs, at + common);
          model.pool(group, each, inputs, at);
          for (let column = 0; column < begin; column++) {
            inputs[at + own + column] = around.own(level.first + item * level.stride, column);
          }
        }
        for (let column = begin; column < end; column++) {
          const network = model.prepare(column, around.ofLayer);
          const mixture = mixtures[column];
          const center = summaries[column].center / PER_CENTER;
          const before = decoder.bits;
          for (let item = 0; item < level.size; item++) {
            const row = item % ROWS;
            if (!row) model.predict(network, inputs, item * stride, stride, common);
            model.mix(row, units[column], SCALES[column], center, mixture);
            const residual = decoder.available(mixture);
            const symbol = mixture.nearest + (residual ?? 0);
            const index = level.first + item * level.stride;
            columns[column][index] = symbol;
            around.setValue(index, column, symbol);
            inputs[item * stride + own + column] = around.own(index, column);
            if (known && residual !== null) known[column][index] = 1;
          }
          bits[column] += decoder.bits - before;
        }
      });
    }
    return { columns, bits };
  }
}
