// @ts-check
/** Layers of the scheme "fastgs" out of their payloads. */

import { FittedAttributes } from "./attributes.js";
import { areMixed, listAttributes } from "./channels.js";
import { BY_DENSITY, BY_SPREAD, makeModel, readColumns, readModel } from "./columns.js";
import { plainLevels } from "./contexts.js";
import { damaged } from "./error.js";
import * as hilbert from "./hilbert.js";
import { LearnedAttributes } from "./learned.js";
import { fromHalf, leastOf, powerOfTwo, restLength } from "./numbers.js";
import { RangeDecoder } from "./range-decoder.js";

const MAX_GAUSSIANS = 1 << 22; // in a layer of an image of up to three channels, and fewer the more channels there are
const MAX_PER_BYTE = 16; // Gaussians of up to three channels per byte of a payload
const MAX_SYMBOL = (1 << 14) - 1; // by magnitude, except for positions
const MAX_COLOR = 5000; // by magnitude, of any column of colours
const LOG_SCALES = [-9.21034, 27.631022]; // twice the logarithms of the least and largest scale, 0.01 and 10^6 pixels
const RAW_BITS = 16;

// Models that those of the first layer are written as differences to.
const GAPS = makeModel(18, 4, 9, 3, 10, BY_SPREAD, 0);
const SHAPES = [
  makeModel(18, 14, 16, 2, 10, BY_DENSITY, 0),
  makeModel(0, 8, 15, 2, 10, BY_SPREAD, 0),
  makeModel(0, 8, 15, 2, 10, BY_SPREAD, 0),
];
const COLORS = [
  makeModel(22, 2, 22, 2, 13, BY_SPREAD, 0),
  makeModel(0, 8, 11, 1, 10, BY_SPREAD, 1),
  makeModel(0, 8, 8, 0, 10, BY_SPREAD, 1),
];
const CHANNEL = makeModel(0, 6, 14, 1, 9, BY_SPREAD, 1);
const WITH_ALPHA = [
  makeModel(60, 2, 12, 0, 12, BY_SPREAD, 4),
  makeModel(60, 16, 20, 0, 13, BY_SPREAD, 2),
  makeModel(0, 16, 17, 0, 11, BY_SPREAD, 2),
  makeModel(0, 16, 13, 0, 9, BY_SPREAD, 2),
];

/**
 * Units of the symbols of a layer.
 *
 * @typedef {object} Steps
 * @property {number} position Exponent from -3 to 6; the unit of x and y is `2 ** -position` pixels.
 * @property {number} area Unit of the logarithm of the area.
 * @property {number} shape Unit of the two components of the shape.
 * @property {number} luma Unit of luma, or of all channels of an image that is neither gray nor RGB.
 * @property {number} [chroma] Unit of both chroma components, if there are any.
 * @property {number} [alpha] Unit of alpha, if there is any.
 */

/**
 * Set of N Gaussians.
 *
 * @typedef {object} Layer
 * @property {number} count Number N of Gaussians.
 * @property {Int32Array[]} columns 5 + C columns (N,) of symbols: x, y, area, u, v and the colours.
 * @property {Steps} steps Units of the symbols.
 * @property {Int8Array | null} mixing (C, C) channels that each column of colours is a mixture of, in units of 1 / 127;
 *   null if the columns are those of the basis of the channels.
 * @property {Record<string, number>} bits Bits by attribute, if they are counted.
 */

/**
 * What a layer refers to, besides the layers before it.
 *
 * @typedef {object} State
 * @property {import("./columns.js").Model} gaps Model of the gaps of the layer before.
 * @property {import("./attributes.js").Attributes} attributes Reader of the columns behind x and y.
 */

/**
 * Read all layers of a file.
 *
 * @param {import("./container.js").Frame} frame
 * @param {boolean} counts True to count bits.
 * @returns {Layer[]}
 * @throws {FgsError} No encoder writes such bytes.
 */
export function decodeLayers(frame, counts = false) {
  return readLayers(frame, counts).layers;
}

/**
 * Read all layers of a file that are whole.
 *
 * @param {import("./container.js").Frame} frame
 * @param {boolean} counts True to count bits.
 * @returns {{layers: Layer[], state: State}} The layers, and what the next one refers to.
 * @throws {FgsError} No encoder writes such bytes.
 */
export function readLayers(frame, counts = false) {
  /** @type {Layer[]} */
  const layers = [];
  const state = { gaps: GAPS, attributes: makeAttributes(frame) };
  for (const data of frame.layers) {
    layers.push(readLayer(new RangeDecoder(data, counts), data.length, frame, layers, state));
  }
  return { layers, state };
}

/**
 * Return the largest number of Gaussians in a payload.
 *
 * @param {import("./channels.js").Channels} channels
 * @param {number} size Bytes of the payload.
 * @returns {number}
 */
export function mostGaussians(channels, size) {
  return Math.floor((Math.min(MAX_GAUSSIANS, MAX_PER_BYTE * size) * 3) / Math.max(channels.count, 3));
}

/**
 * Return the unit of each of the 5 + C columns.
 *
 * @param {Steps} steps
 * @param {import("./channels.js").Channels} channels
 * @returns {number[]}
 */
export function listUnits(steps, channels) {
  const pixel = powerOfTwo(-steps.position);
  const units = { luma: steps.luma, channels: steps.luma, chroma: steps.chroma ?? 0, alpha: steps.alpha ?? 0 };
  const colors = listAttributes(channels).map((attribute) => units[attribute]);
  return [pixel, pixel, steps.area, steps.shape, steps.shape, ...colors];
}

/**
 * Return the reader of the columns behind x and y of all layers of a file.
 *
 * @param {import("./container.js").Frame} frame
 * @returns {import("./attributes.js").Attributes}
 */
function makeAttributes({ width, height, channels, symbols }) {
  if (symbols) return new LearnedAttributes(width, height, symbols);
  if (areMixed(channels)) {
    return new FittedAttributes(channels, [...SHAPES, ...new Array(channels.count).fill(CHANNEL)]);
  }
  return new FittedAttributes(channels, [
    ...SHAPES,
    ...(channels.alpha ? WITH_ALPHA : COLORS).slice(0, channels.count),
  ]);
}

/**
 * Read a layer.
 *
 * @param {RangeDecoder} decoder
 * @param {number} size Bytes of the payload.
 * @param {import("./container.js").Frame} frame
 * @param {Layer[]} before Layers before it.
 * @param {State} state
 * @returns {Layer}
 */
function readLayer(decoder, size, frame, before, state) {
  const { channels } = frame;
  const count = decoder.number();
  if (count > mostGaussians(channels, size)) throw damaged(`${count} Gaussians in ${size} bytes`);
  const { steps, mixing } = readHeader(decoder, channels, before);
  state.gaps = readModel(decoder, state.gaps);
  state.attributes.readParameters(decoder);
  const begin = decoder.bits;
  const gaps = readColumns(decoder, count, plainLevels(count), [state.gaps]).columns[0];
  const [x, y] = readPositions(decoder, gaps, frame, steps);
  /** @type {Record<string, number>} */
  const bits = { header: 0, positions: decoder.bits - begin };
  const read = state.attributes.read(decoder, x, y, steps);
  ["area", "shape", "shape", ...listAttributes(channels)].forEach((name, column) => {
    bits[name] = (bits[name] ?? 0) + read.bits[column];
  });
  bits.header = Object.values(bits).reduce((rest, each) => rest - each, 8 * size);
  if (!areInRange(read.columns)) throw damaged("a symbol is out of range");
  const columns = read.columns.map((values) => Int32Array.from(values));
  const layer = { count, columns: [x, y, ...columns], steps, mixing, bits };
  const problem = findProblem(layer, channels);
  if (problem) throw damaged(problem);
  return layer;
}

/**
 * Tell whether all symbols behind x and y are in the range of the format.
 *
 * @param {ArrayLike<number>[]} columns
 * @returns {boolean}
 */
export function areInRange(columns) {
  return columns.every((values) => Array.prototype.every.call(values, (symbol) => Math.abs(symbol) <= MAX_SYMBOL));
}

/**
 * Read the steps and the mixing, behind the number of Gaussians.
 *
 * @param {RangeDecoder} decoder
 * @param {import("./channels.js").Channels} channels
 * @param {Layer[]} before
 * @returns {{steps: Steps, mixing: Int8Array | null}}
 */
export function readHeader(decoder, channels, before) {
  const last = before.at(-1);
  if (last && decoder.rawPiece(1)) return last;
  const attributes = listAttributes(channels);
  /** @type {Steps} */
  const steps = { position: decoder.rawPiece(4) - 3, area: 0, shape: 0, luma: 0 };
  /** @type {("area" | "shape" | "luma" | "chroma" | "alpha")[]} */
  const names = ["area", "shape", "luma"];
  if (attributes.includes("chroma")) names.push("chroma");
  if (attributes.includes("alpha")) names.push("alpha");
  for (const name of names) steps[name] = fromHalf(decoder.rawPiece(16));
  if (steps.position > 6) throw damaged("its positions make no sense");
  for (const name of names) {
    const step = steps[name] ?? 0;
    if (!(step > 0 && step < Infinity)) throw damaged(`the step of ${name} makes no sense`);
  }
  if (last) return { steps, mixing: last.mixing };
  if (!areMixed(channels) || !decoder.rawPiece(1)) return { steps, mixing: null };
  const mixing = new Int8Array(channels.count * channels.count);
  for (let place = 0; place < mixing.length; place++) mixing[place] = decoder.rawPiece(8);
  return { steps, mixing };
}

/**
 * Read columns and rows from the half octaves of the gaps along the curve.
 *
 * @param {RangeDecoder} decoder
 * @param {Int32Array} magnitudes (N,) half octaves.
 * @param {import("./container.js").Frame} frame
 * @param {Steps} steps
 * @returns {[Int32Array, Int32Array]} Two arrays (N,).
 */
export function readPositions(decoder, magnitudes, { width, height }, steps) {
  const perPixel = powerOfTwo(steps.position);
  // The grid reaches from edge to edge of the canvas.
  const columns = Math.floor(width * perPixel) + 1;
  const rows = Math.floor(height * perPixel) + 1;
  const order = hilbert.orderFor(columns, rows);
  if (magnitudes.some((magnitude) => magnitude < 0 || magnitude > 4 * order + 1)) {
    throw damaged("a gap is out of range");
  }
  const gaps = readGaps(decoder, magnitudes, 4 * order + 1);
  let distance = 0;
  for (let place = 0; place < gaps.length; place++) distance = gaps[place] += distance;
  if (distance >= powerOfTwo(2 * order)) throw damaged("a position is off the canvas");
  const [x, y] = hilbert.position(gaps, order);
  if (x.some((each) => each >= columns) || y.some((each) => each >= rows)) {
    throw damaged("a position is off the canvas");
  }
  return [x, y];
}

/**
 * Read gaps whose half octaves are known: for each number of bits in ascending order, those of all gaps of that many.
 *
 * @param {RangeDecoder} decoder
 * @param {Int32Array} magnitudes (N,) half octaves.
 * @param {number} largest Largest half octave.
 * @returns {Float64Array} (N,) gaps of up to 45 bits.
 */
function readGaps(decoder, magnitudes, largest) {
  const gaps = Float64Array.from(magnitudes, leastOf);
  /** @type {number[][]} */
  const ofLength = Array.from({ length: restLength(largest) + 1 }, () => []);
  magnitudes.forEach((magnitude, place) => ofLength[restLength(magnitude)].push(place));
  ofLength.forEach((places, length) => {
    // The low pieces of all gaps come before the high ones.
    for (let shift = 0; shift < length; shift += RAW_BITS) {
      const unit = powerOfTwo(shift);
      const bits = Math.min(RAW_BITS, length - shift);
      for (const place of places) gaps[place] += unit * decoder.rawPiece(bits);
    }
  });
  return gaps;
}

/**
 * Return what is wrong with the Gaussians that the symbols of a layer stand for; empty if nothing is.
 *
 * @param {Layer} layer
 * @param {import("./channels.js").Channels} channels
 * @returns {string}
 */
export function findProblem({ count, columns, steps }, channels) {
  const units = listUnits(steps, channels);
  const [, , areas, us, vs, ...colors] = columns;
  for (let place = 0; place < count; place++) {
    const area = areas[place] * steps.area;
    const u = us[place] * steps.shape;
    const v = vs[place] * steps.shape;
    // Twice the logarithms of the scales are area +- ratio.
    const room = Math.min(LOG_SCALES[1] - area, area - LOG_SCALES[0]);
    if (room < 0 || u * u + v * v > room * room) return "a Gaussian has a scale that is not from 0.01 to 1e+06 pixels";
  }
  const isBeyond = colors.some((values, color) =>
    values.some((symbol) => Math.abs(symbol * units[5 + color]) > MAX_COLOR),
  );
  return isBeyond ? `a colour is beyond ${MAX_COLOR}` : "";
}
