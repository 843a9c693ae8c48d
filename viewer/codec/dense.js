// @ts-check
/**
 * Layers of networks in integers.
 *
 * Sums of products are exact, since they stay below 2^53. Where they leave room, which the weights tell, one number
 * holds two of them: the weights of two outputs are packed as `low + high * unit`, and so are their sums then.
 */

import { powerOfTwo } from "./numbers.js";

export const ROWS = 4; // rows of inputs that are multiplied at a time

const PER_WEIGHT = 1 / 128; // weights are in units of 1 / 128
export const ACTIVE = 4095; // largest activation

/** Layer of H outputs. */
export class Dense {
  /**
   * @param {Float64Array} weights (H, I) integers.
   * @param {Float64Array} bias (H,) integers.
   * @param {ArrayLike<number>} most (I,) largest magnitude of each input.
   * @param {boolean} isActive True if outputs are activations: divided by 128, rounded down, and limited to 0 to 4095.
   */
  constructor(weights, bias, most, isActive) {
    const outputs = bias.length;
    const inputs = most.length;
    this.outputs = outputs;
    this.inputs = inputs;
    this.isActive = isActive;
    const bounds = Array.from(bias, (value, output) => {
      let bound = Math.abs(value) + 1;
      for (let input = 0; input < inputs; input++) bound += Math.abs(weights[output * inputs + input]) * most[input];
      return bound;
    });
    const half = (outputs + 1) >> 1;
    const exponent = 1 + Math.ceil(Math.log2(Math.max(...bounds.slice(0, half), 1)));
    const room = powerOfTwo(53 - exponent) - 1;
    /** True if a packed row holds the outputs `row` and `row + step`. */
    this.isPacked = bounds.slice(half).every((bound) => bound < room);
    this.unit = powerOfTwo(exponent);
    this.step = this.isPacked ? half : outputs;
    // Rows are multiplied in pairs, so there may be a row of zeros at the end.
    this.rows = this.step + (this.step & 1);
    this.weights = new Float64Array(this.rows * inputs);
    for (let row = 0; row < this.step; row++) {
      for (let input = 0; input < inputs; input++) {
        const low = weights[row * inputs + input];
        const high = row + this.step < outputs ? weights[(row + this.step) * inputs + input] : 0;
        this.weights[row * inputs + input] = low + high * this.unit;
      }
    }
    this.bias = this.pack(bias);
    this.sums = new Float64Array(ROWS * this.rows);
  }

  /**
   * Return a number for each row of weights.
   *
   * @param {Float64Array} values (H,) a number for each output.
   * @returns {Float64Array}
   */
  pack(values) {
    const packed = new Float64Array(this.rows);
    for (let row = 0; row < this.step; row++) {
      packed[row] = values[row] + (row + this.step < this.outputs ? values[row + this.step] * this.unit : 0);
    }
    return packed;
  }

  /**
   * Multiply four rows of inputs with the weights.
   *
   * @param {Float64Array} x Inputs.
   * @param {number} at Index of the first input of the first row.
   * @param {number} stride Distance between the rows.
   * @param {Float64Array} bias What is added, as `pack` returns it.
   * @param {Float64Array} out Outputs, H of each row; filled in.
   * @param {number} start Index of the first output of the first row.
   * @param {number} width Distance between the rows of outputs.
   */
  multiply(x, at, stride, bias, out, start, width) {
    const { inputs, rows, weights, sums } = this;
    for (let row = 0; row < rows; row += 2) {
      let a0 = bias[row];
      let a1 = a0;
      let a2 = a0;
      let a3 = a0;
      let b0 = bias[row + 1];
      let b1 = b0;
      let b2 = b0;
      let b3 = b0;
      let place0 = at;
      let place1 = at + stride;
      let place2 = at + 2 * stride;
      let place3 = at + 3 * stride;
      let other = (row + 1) * inputs;
      for (let place = row * inputs, end = other; place < end; place++) {
        const a = weights[place];
        const b = weights[other++];
        const x0 = x[place0++];
        const x1 = x[place1++];
        const x2 = x[place2++];
        const x3 = x[place3++];
        a0 += a * x0;
        a1 += a * x1;
        a2 += a * x2;
        a3 += a * x3;
        b0 += b * x0;
        b1 += b * x1;
        b2 += b * x2;
        b3 += b * x3;
      }
      const place = ROWS * row;
      sums[place] = a0;
      sums[place + 1] = a1;
      sums[place + 2] = a2;
      sums[place + 3] = a3;
      sums[place + 4] = b0;
      sums[place + 5] = b1;
      sums[place + 6] = b2;
      sums[place + 7] = b3;
    }
    this.unpack(out, start, width);
  }

  /**
   * Write the outputs that the sums of four rows stand for.
   *
   * @param {Float64Array} out
   * @param {number} start
   * @param {number} width
   */
  unpack(out, start, width) {
    const { outputs, step, sums, unit, isPacked, isActive } = this;
    const perUnit = 1 / unit; // exact, as unit is a power of two
    const pairs = isPacked ? outputs - step : 0;
    for (let item = 0; item < ROWS; item++) {
      const first = start + item * width;
      for (let row = 0; row < pairs; row++) {
        const sum = sums[ROWS * row + item];
        const high = Math.floor(sum * perUnit + 0.5);
        out[first + row] = sum - high * unit;
        out[first + row + step] = high;
      }
      for (let row = pairs; row < step; row++) out[first + row] = sums[ROWS * row + item];
      if (isActive) for (let place = first; place < first + outputs; place++) out[place] = activate(out[place]);
    }
  }
}

/**
 * Return the activation of a sum.
 *
 * @param {number} sum
 * @returns {number}
 */
function activate(sum) {
  const active = Math.floor(sum * PER_WEIGHT);
  return active < 0 ? 0 : active > ACTIVE ? ACTIVE : active;
}
