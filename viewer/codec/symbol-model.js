// @ts-check
/**
 * Learned model of symbols: a small network in integers, which tells the distribution of each symbol from what is around
 * its Gaussian.
 */

import { ACTIVE, Dense, ROWS } from "./dense.js";
import { COLUMNS, COMMON, FEATURES, LARGEST, NEIGHBOURS, OF_LAYER, UNIT, lookUp } from "./surroundings.js";
import { TOTAL } from "./tables.js";
import { Tensors } from "./tensors.js";

const WEIGHT = 128; // units of weights in 1
const COMPONENTS = 3; // logistic distributions that a symbol's is a mixture of
const OUTPUTS = 3 * COMPONENTS; // their places, logarithms of scales and of shares
const MEANS = 2 * COLUMNS; // features that the last layer sees, too
const MEANS_BEGIN = 8; // first of them among the common features
const SHARES = 256; // sum of the shares of the components
const PART = 64; // units of places in a symbol, and of the argument of the logistic function in 1
const WHOLE = 2 ** 28; // sum of the shares times the largest value of the logistic function
const FLOOR = 1 << 14; // part of the frequencies of a table that all symbols share evenly
const SIZES = { exponential: 1537, logistic: 2049 }; // of the tables of functions

/** Columns that share the activations of neighbours. */
export const GROUPS = [
  { name: "shape", first: 0, end: 3 },
  { name: "color", first: 3, end: COLUMNS },
];

/**
 * Network of a column.
 *
 * @typedef {object} Head
 * @property {Dense} first
 * @property {Float64Array} ofLayer (H, 13) weights of the features of the layer, which `first` adds to its bias.
 * @property {Float64Array} bias (H,)
 * @property {Dense} last
 * @property {Float64Array} hidden (4, H + 12) room for the inputs of `last`.
 */

/** Model of the columns of Gaussians of RGB. */
export class SymbolModel {
  /**
   * @param {Uint8Array} bytes File of weights.
   * @throws {FgsError} It is none, or weights are missing or have wrong shapes.
   */
  constructor(bytes) {
    const tensors = new Tensors(bytes);
    this.exponential = tensors.take("exponential", SIZES.exponential).values;
    this.logistic = tensors.take("logistic", SIZES.logistic).values;
    this.groups = GROUPS.map(({ name, first, end }) => {
      const { values, shape } = tensors.take(`${name}.neighbours.weight`, null, FEATURES);
      const bias = tensors.take(`${name}.neighbours.bias`, shape[0]).values;
      const neighbours = new Dense(values, bias, new Array(FEATURES).fill(LARGEST), true);
      const heads = [];
      for (let column = first; column < end; column++) {
        heads.push(readHead(tensors, `${name}.heads.${column - first}`, 2 * shape[0], column));
      }
      return { neighbours, heads, active: new Float64Array(NEIGHBOURS * shape[0]), size: shape[0] };
    });
    this.outputs = new Float64Array(ROWS * OUTPUTS);
    this.weights = new Float64Array(COMPONENTS);
  }

  /**
   * Average the activations of the neighbours of a Gaussian over the two nearest and over all.
   *
   * @param {number} group Index in `GROUPS`.
   * @param {Float64Array} each (8, 15) features of the neighbours.
   * @param {Float64Array} inputs 2 E averages are written into it from `at` on.
   * @param {number} at
   */
  pool(group, each, inputs, at) {
    const { neighbours, active, size } = this.groups[group];
    for (let first = 0; first < NEIGHBOURS; first += ROWS) {
      neighbours.multiply(each, first * FEATURES, FEATURES, neighbours.bias, active, first * size, size);
    }
    for (let place = 0; place < size; place++) {
      const two = active[place] + active[place + size];
      let all = two;
      for (let other = 2; other < NEIGHBOURS; other++) all += active[place + other * size];
      inputs[at + place] = Math.floor(two / 2);
      inputs[at + size + place] = Math.floor(all / NEIGHBOURS);
    }
  }

  /**
   * Return the network of a column for a layer.
   *
   * @param {number} column Index of the column, 0 for area.
   * @param {Float64Array} ofLayer (13,) features of the layer.
   * @returns {{head: Head, bias: Float64Array}}
   */
  prepare(column, ofLayer) {
    const group = column < GROUPS[0].end ? 0 : 1;
    const head = this.groups[group].heads[column - GROUPS[group].first];
    const bias = head.bias.map((value, output) => {
      let sum = value;
      for (let place = 0; place < OF_LAYER; place++) sum += head.ofLayer[output * OF_LAYER + place] * ofLayer[place];
      return sum;
    });
    return { head, bias: head.first.pack(bias) };
  }

  /**
   * Compute the outputs of four Gaussians.
   *
   * @param {{head: Head, bias: Float64Array}} prepared Network of the column.
   * @param {Float64Array} inputs Rows of activations of `pool`, features of all neighbours, and values of the Gaussian.
   * @param {number} at Index of the first input of the first row.
   * @param {number} stride Distance between the rows.
   * @param {number} means Place of the features of all neighbours in a row.
   */
  predict({ head, bias }, inputs, at, stride, means) {
    const { first, last, hidden } = head;
    const width = last.inputs;
    const size = first.outputs;
    first.multiply(inputs, at, stride, bias, hidden, 0, width);
    for (let row = 0; row < ROWS; row++) {
      const from = at + row * stride + means + MEANS_BEGIN;
      for (let place = 0; place < MEANS; place++) hidden[row * width + size + place] = inputs[from + place];
    }
    last.multiply(hidden, 0, width, last.bias, this.outputs, 0, OUTPUTS);
  }

  /**
   * Set a mixture to what the outputs of one of the four Gaussians stand for.
   *
   * @param {number} row
   * @param {number} unit Value of a symbol.
   * @param {number} scale Factor of values in features.
   * @param {number} center Middle value of the layer.
   * @param {Mixture} mixture
   */
  mix(row, unit, scale, center, { places, inverses, shares }) {
    const { outputs, weights, exponential } = this;
    const at = row * OUTPUTS;
    const one = UNIT * WEIGHT;
    let total = 0;
    for (let part = 0; part < COMPONENTS; part++) {
      const value = (part ? outputs[at] + outputs[at + part] : outputs[at]) / one;
      places[part] = Math.floor(((value / scale + center) / unit) * PART + 0.5);
      inverses[part] = unit * scale * lookUp(exponential, -outputs[at + COMPONENTS + part] / one);
      const share = outputs[at + 2 * COMPONENTS + part] / one;
      weights[part] = lookUp(exponential, Math.min(Math.max(share, -8), 8));
      total += weights[part];
    }
    shares[0] = SHARES;
    for (let part = 1; part < COMPONENTS; part++) {
      shares[part] = Math.floor((SHARES * weights[part]) / total);
      shares[0] -= shares[part];
    }
  }
}

/** Distribution of a residual: a mixture of logistic distributions. */
export class Mixture {
  /**
   * @param {Float64Array} logistic Logistic function at multiples of 1 / `PART`, 0 in its middle.
   * @param {number} bound Largest residual by magnitude.
   */
  constructor(logistic, bound) {
    this.logistic = logistic;
    this.middle = (logistic.length - 1) / 2;
    this.low = -bound;
    this.size = 2 * bound + 1;
    this.floor = Math.max(Math.floor(FLOOR / this.size), 1);
    this.room = TOTAL - this.size * this.floor;
    this.places = new Float64Array(COMPONENTS); // in units of 1 / PART symbols
    this.inverses = new Float64Array(COMPONENTS); // inverse scales, per symbol
    this.shares = new Float64Array(COMPONENTS); // their sum is SHARES
    this.begin = 0;
    this.end = TOTAL;
  }

  /**
   * Return the symbol that residuals count from.
   *
   * @returns {number}
   */
  get nearest() {
    return Math.floor((this.places[0] + PART / 2) / PART);
  }

  /**
   * Return the sum of the frequencies before a residual.
   *
   * @param {number} index Residual, counted from 0, from 1 to the last.
   * @returns {number}
   */
  startOf(index) {
    const { logistic, middle, places, inverses, shares } = this;
    const edge = (this.nearest + this.low + index - 1) * PART + PART / 2;
    let total = 0;
    for (let part = 0; part < COMPONENTS; part++) {
      const distance = Math.floor((edge - places[part]) * inverses[part] + 0.5);
      total += shares[part] * logistic[Math.min(Math.max(distance, -middle), middle) + middle];
    }
    return Math.floor((total * this.room) / WHOLE) + index * this.floor;
  }

  /**
   * @param {number} quantile
   * @returns {number}
   */
  locate(quantile) {
    let low = 0;
    let high = this.size;
    this.begin = 0;
    this.end = TOTAL;
    while (high - low > 1) {
      const half = (low + high) >> 1;
      const start = this.startOf(half);
      if (start <= quantile) {
        low = half;
        this.begin = start;
      } else {
        high = half;
        this.end = start;
      }
    }
    return low;
  }
}

/**
 * Return the network of a column.
 *
 * @param {Tensors} tensors
 * @param {string} name
 * @param {number} pooled Number of activations of the neighbours.
 * @param {number} column
 * @returns {Head}
 */
function readHead(tensors, name, pooled, column) {
  const inputs = pooled + COMMON + column;
  const { values, shape } = tensors.take(`${name}.first.weight`, null, inputs + OF_LAYER);
  const size = shape[0];
  const bias = tensors.take(`${name}.first.bias`, size).values;
  const weights = new Float64Array(size * inputs);
  const ofLayer = new Float64Array(size * OF_LAYER);
  const most = bias.map(Math.abs);
  for (let output = 0; output < size; output++) {
    const row = values.subarray(output * shape[1], (output + 1) * shape[1]);
    weights.set(row.subarray(0, inputs), output * inputs);
    ofLayer.set(row.subarray(inputs), output * OF_LAYER);
    for (const weight of row.subarray(inputs)) most[output] += Math.abs(weight) * LARGEST;
  }
  const largest = Array.from({ length: inputs }, (_, input) => (input < pooled ? ACTIVE : LARGEST));
  const lastWeights = tensors.take(`${name}.last.weight`, OUTPUTS, size + MEANS).values;
  const lastBias = tensors.take(`${name}.last.bias`, OUTPUTS).values;
  const largestLast = Array.from({ length: size + MEANS }, (_, input) => (input < size ? ACTIVE : LARGEST));
  return {
    first: new Dense(weights, most, largest, true),
    ofLayer,
    bias,
    last: new Dense(lastWeights, lastBias, largestLast, false),
    hidden: new Float64Array(ROWS * (size + MEANS)),
  };
}
