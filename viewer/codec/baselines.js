// @ts-check
/**
 * Files of the published codecs GaussianImage and GaussianImage++: one layer of columns, each coded by its histogram.
 *
 * Values are computed in 32-bit floating point, one rounding at a time, as the Python package does.
 */

import { Reader } from "./container.js";
import { FgsError, damaged } from "./error.js";
import { fromHalf } from "./numbers.js";
import { RangeDecoder } from "./range-decoder.js";
import { makeArrays } from "./symbols.js";
import { bell, makeHistogram } from "./tables.js";

const MAX_GAUSSIANS = 1 << 20; // in a file
const COUNT_BYTES = 4;
const MAX_COUNT = 48; // largest half octave of a count in a histogram
const SMALLEST_STEP = Math.fround(1e-6); // of a quantizer
const SMALLEST = Math.fround(1e-6); // square of the length in pixels of an axis that a matrix gets which is no covariance
const ROOT_OF_EPSILON = 2 ** -11.5; // square root of the precision of 32-bit floating point
const { fround } = Math;

/**
 * Content of a file.
 *
 * @typedef {object} Content
 * @property {number} count Number K of Gaussians.
 * @property {Float32Array} parameters Parameters of the quantizers.
 * @property {Int32Array[]} columns Columns (K,) of symbols.
 * @property {{positions: number, covariance: number, color: number}} bytes Bytes by attribute.
 */

/** Widths in bits of the symbols of positions, covariances and colours, and the number and bytes of parameters of each. */
const LAYOUTS = {
  gaussianimage: {
    widths: [
      [16, 16],
      [6, 6, 6],
      [3, 3],
    ],
    parameters: [0, 6, 48],
    sizes: [4, 4, 2],
  },
  "gaussianimage-plus": {
    widths: [
      [12, 12],
      [10, 10, 10],
      [6, 6, 6],
    ],
    parameters: [4, 6, 6],
    sizes: [4, 4, 4],
  },
};

/**
 * Read the layer of a file.
 *
 * @param {import("./container.js").Frame} frame
 * @returns {Content}
 * @throws {FgsError} The layer is damaged.
 */
export function readBaseline(frame) {
  if (!frame.whole) throw new FgsError("The file is cut, and has a single layer.");
  if (frame.channels.count !== 3) throw damaged(`${frame.channels.count} channels in a scheme of RGB only`);
  if (frame.layers.length !== 1) throw damaged(`${frame.layers.length} layers instead of 1`);
  const [layer] = frame.layers;
  const { widths, parameters, sizes } = LAYOUTS[/** @type {keyof typeof LAYOUTS} */ (frame.scheme)];
  const header = parameters.reduce((sum, number, part) => sum + number * sizes[part], COUNT_BYTES);
  const view = new DataView(layer.buffer, layer.byteOffset, layer.byteLength);
  const count = layer.length < header ? Infinity : view.getUint32(0, true);
  if (count > MAX_GAUSSIANS) throw damaged(`too many Gaussians in a layer of ${layer.length} bytes`);
  /** @type {number[]} */
  const numbers = [];
  let place = COUNT_BYTES;
  const lengths = [0, 0, 0];
  parameters.forEach((number, part) => {
    for (let index = 0; index < number; index++, place += sizes[part]) {
      numbers.push(sizes[part] === 4 ? view.getFloat32(place, true) : fromHalf(view.getUint16(place, true)));
    }
    lengths[part] += number * sizes[part];
  });
  if (!numbers.every(Number.isFinite)) throw damaged("a quantizer holds NaN or infinity");
  const reader = new Reader(layer, place);
  /** @type {Int32Array[]} */
  const columns = [];
  widths.forEach((each, part) => {
    const start = reader.place;
    for (const width of each) columns.push(readHistogram(reader, count, width));
    lengths[part] += reader.place - start;
  });
  if (reader.place !== layer.length) throw damaged(`${layer.length - reader.place} bytes too many in its layer`);
  const [positions, covariance, color] = lengths;
  return { count, parameters: Float32Array.from(numbers), columns, bytes: { positions, covariance, color } };
}

/**
 * Read a column that is coded by its own histogram.
 *
 * @param {Reader} reader
 * @param {number} count Number of symbols.
 * @param {number} width Bits of a symbol.
 * @returns {Int32Array} (count,)
 */
function readHistogram(reader, count, width) {
  const decoder = new RangeDecoder(reader.take(reader.varint()));
  const merged = decoder.rawPiece(width < 16 ? 4 : 5);
  if (merged > width) throw damaged("a histogram makes no sense");
  const magnitudes = new Int32Array(1 << (width - merged));
  const ofCounts = bell(0.75, 0, MAX_COUNT);
  let magnitude = 0;
  for (let symbol = 0; symbol < magnitudes.length; symbol++) {
    magnitude += decoder.symbol(ofCounts);
    magnitudes[symbol] = magnitude;
  }
  if (magnitudes.some((each) => each < 0 || each > MAX_COUNT)) throw damaged("a histogram makes no sense");
  const histogram = makeHistogram(magnitudes);
  const symbols = new Int32Array(count);
  for (let item = 0; item < count; item++) symbols[item] = decoder.symbol(histogram) << merged;
  if (merged) for (let item = 0; item < count; item++) symbols[item] |= decoder.rawPiece(merged);
  return symbols;
}

/**
 * Return the Gaussians of a file.
 *
 * @param {import("./container.js").Frame} frame
 * @param {Content} content Content of its layer.
 * @returns {import("./symbols.js").Arrays}
 * @throws {FgsError} The layer is damaged, or holds what Gaussians cannot.
 */
export function decodeBaseline(frame, content) {
  const arrays = makeArrays(content.count, 3);
  if (frame.scheme === "gaussianimage") fillGaussianImage(arrays, content, frame);
  else fillGaussianImagePlus(arrays, content);
  for (const values of Object.values(arrays)) {
    if (!values.every(Number.isFinite)) throw damaged("a Gaussian holds NaN or infinity");
  }
  return arrays;
}

/**
 * Write the Gaussians of GaussianImage into arrays: positions by tanh, Cholesky factors, sums of two codebooks.
 *
 * @param {import("./symbols.js").Arrays} arrays
 * @param {Content} content
 * @param {import("./container.js").Frame} frame
 */
function fillGaussianImage({ means, scales, rotations, colors }, { count, parameters, columns }, frame) {
  const [x, y, first, mixed, second, ...chosen] = columns;
  const factor = [first, mixed, second].map((symbols, row) => {
    const shift = row === 1 ? 0 : 0.5;
    return unscale(symbols, parameters[row], parameters[3 + row]).map((value) => value + shift);
  });
  const books = parameters.subarray(6);
  for (let item = 0; item < count; item++) {
    means[2 * item] = toCanvas(x[item], frame.width);
    means[2 * item + 1] = toCanvas(y[item], frame.height);
    const [l11, l21, l22] = factor.map((values) => values[item]);
    setAxes(scales, rotations, item, l11 * l11, l11 * l21, fround(l21 * l21) + fround(l22 * l22));
    for (let channel = 0; channel < 3; channel++) {
      colors[3 * item + channel] = books[3 * chosen[0][item] + channel] + books[24 + 3 * chosen[1][item] + channel];
    }
  }
}

/**
 * Return the coordinate that a symbol of 16-bit floating point stands for, in pixels.
 *
 * @param {number} symbol
 * @param {number} size Side of the canvas in pixels.
 * @returns {number}
 */
function toCanvas(symbol, size) {
  const value = fromHalf(symbol);
  if (!Number.isFinite(value)) throw damaged("a 16-bit floating-point number is NaN or infinite");
  return fround(size / 2) * fround(fround(Math.tanh(value)) + 1);
}

/**
 * Write the Gaussians of GaussianImage++ into arrays: entries of covariances, variances on a logarithmic scale.
 *
 * @param {import("./symbols.js").Arrays} arrays
 * @param {Content} content
 */
function fillGaussianImagePlus({ means, scales, rotations, colors }, { count, parameters, columns }) {
  const [x, y, xx, xy, yy, ...ofColors] = columns;
  const [stepX, stepY, offsetX, offsetY, lowX, lowY, highX, highY, step, offset, ...colorParameters] = parameters;
  const ofMeans = [unscale(x, stepX, offsetX), unscale(y, stepY, offsetY)];
  const variances = [unscaleLogarithm(xx, lowX, highX), unscaleLogarithm(yy, lowY, highY)];
  const covariances = unscale(xy, step, offset);
  const values = ofColors.map((symbols, channel) =>
    unscale(symbols, colorParameters[channel], colorParameters[3 + channel]),
  );
  for (let item = 0; item < count; item++) {
    means[2 * item] = ofMeans[0][item];
    means[2 * item + 1] = ofMeans[1][item];
    setAxes(scales, rotations, item, variances[0][item], covariances[item], variances[1][item]);
    for (let channel = 0; channel < 3; channel++) colors[3 * item + channel] = values[channel][item];
  }
}

/**
 * Return `symbol * step + offset`.
 *
 * @param {Int32Array} symbols (K,)
 * @param {number} step
 * @param {number} offset
 * @returns {Float32Array} (K,)
 */
function unscale(symbols, step, offset) {
  if (!(step >= SMALLEST_STEP)) throw damaged("a quantizer has a step that is not positive");
  return Float32Array.from(symbols, (symbol) => fround(symbol * step) + offset);
}

/**
 * Return the numbers whose logarithms are in equal steps from low to high.
 *
 * @param {Int32Array} symbols (K,) from 0 to 1023.
 * @param {number} low
 * @param {number} high
 * @returns {Float32Array} (K,)
 */
function unscaleLogarithm(symbols, low, high) {
  if (!(low <= high)) throw damaged("a quantizer has a range that ends before it begins");
  const step = Math.max(fround(fround(high - low) / 1023), SMALLEST_STEP);
  return Float32Array.from(symbols, (symbol) => Math.exp(fround(fround(symbol * step) + low)));
}

/**
 * Write the standard deviations along the axes of a covariance, the larger first, and the angle of the larger.
 *
 * @param {Float32Array} scales (K, 2)
 * @param {Float32Array} rotations (K,)
 * @param {number} item Index of the Gaussian.
 * @param {number} xx Entry of the matrix in squared pixels, rounded to 32 bits here like the others.
 * @param {number} xy
 * @param {number} yy
 */
function setAxes(scales, rotations, item, xx, xy, yy) {
  [xx, xy, yy] = [fround(xx), fround(xy), fround(yy)];
  const mean = fround(fround(xx + yy) / 2);
  const half = fround(fround(xx - yy) / 2);
  // A circle is drawn as an ellipse whose eigenvalues are a little apart.
  const radius = Math.max(fround(Math.hypot(half, xy)), fround(ROOT_OF_EPSILON * mean));
  scales[2 * item] = Math.sqrt(Math.max(fround(mean + radius), SMALLEST));
  scales[2 * item + 1] = Math.sqrt(Math.max(fround(mean - radius), SMALLEST));
  rotations[item] = fround(Math.atan2(xy, half)) / 2;
}
