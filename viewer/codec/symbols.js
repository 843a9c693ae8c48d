// @ts-check
/** Gaussians that the symbols of layers stand for. */

import { makeBasis } from "./channels.js";
import { listUnits } from "./layer.js";

/**
 * Gaussians as plain arrays; the fields are those of `Gaussians` in ../types.d.ts.
 *
 * @typedef {object} Arrays
 * @property {Float32Array} means (K, 2) centres x, y in pixels.
 * @property {Float32Array} scales (K, 2) standard deviations in pixels.
 * @property {Float32Array} rotations (K,) angles of the first axis in radians.
 * @property {Float32Array} colors (K, C) colours.
 */

/**
 * Return arrays for a number of Gaussians.
 *
 * @param {number} count Number K.
 * @param {number} channels Number C.
 * @returns {Arrays}
 */
export function makeArrays(count, channels) {
  return {
    means: new Float32Array(2 * count),
    scales: new Float32Array(2 * count),
    rotations: new Float32Array(count),
    colors: new Float32Array(channels * count),
  };
}

/**
 * Return the Gaussians of layers, in their order. They are computed in 64-bit floating point and rounded to 32.
 *
 * @param {import("./layer.js").Layer[]} layers
 * @param {import("./channels.js").Channels} channels
 * @returns {Arrays}
 */
export function dequantize(layers, channels) {
  const total = layers.reduce((sum, layer) => sum + layer.count, 0);
  const arrays = makeArrays(total, channels.count);
  const mixing = layers.length ? layers[0].mixing : null;
  const basis = mixing ? Float64Array.from(mixing, (symbol) => symbol / 127) : makeBasis(channels);
  let start = 0;
  for (const layer of layers) {
    fillLayer(arrays, start, layer, listUnits(layer.steps, channels), basis);
    start += layer.count;
  }
  return arrays;
}

/**
 * Write the Gaussians of a layer into arrays.
 *
 * @param {Arrays} arrays
 * @param {number} start Index of the first of them.
 * @param {import("./layer.js").Layer} layer
 * @param {number[]} units Units of the columns.
 * @param {Float64Array} basis (C, C) matrix of which a colour is the product with its columns.
 */
function fillLayer({ means, scales, rotations, colors }, start, { count, columns }, units, basis) {
  const [x, y, areas, us, vs, ...ofColors] = columns;
  const channels = ofColors.length;
  const sums = new Float64Array(channels);
  for (let item = 0; item < count; item++) {
    const index = start + item;
    means[2 * index] = x[item] * units[0];
    means[2 * index + 1] = y[item] * units[1];
    const area = areas[item] * units[2];
    const u = us[item] * units[3];
    const v = vs[item] * units[4];
    const ratio = Math.hypot(u, v);
    scales[2 * index] = Math.exp(0.5 * (area + ratio));
    scales[2 * index + 1] = Math.exp(0.5 * (area - ratio));
    rotations[index] = 0.5 * Math.atan2(v, u);
    sums.fill(0);
    for (let column = 0; column < channels; column++) {
      const value = ofColors[column][item] * units[5 + column];
      if (value === 0) continue;
      for (let channel = 0; channel < channels; channel++) sums[channel] += value * basis[column * channels + channel];
    }
    colors.set(sums, channels * index);
  }
}
