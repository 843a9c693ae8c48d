// @ts-check
/** Reading of .fgs files, for fgs.js and for pages, which bring the weights of models themselves. */

import { decodeBaseline, readBaseline } from "./codec/baselines.js";
import { complete } from "./codec/coarse.js";
import { readFrame } from "./codec/container.js";
import { decodeCutLayers } from "./codec/cut-layer.js";
import { FgsError } from "./codec/error.js";
import { decodeLayers } from "./codec/layer.js";
import { setModel } from "./codec/models.js";
import { dequantize } from "./codec/symbols.js";

export { FgsError, setModel };

/**
 * Read the Gaussians of a .fgs file.
 *
 * A file that is cut short, or of which only some layers are asked for, gives a coarse image, as in Python: a layer that
 * is cut is read as far as it goes, what is missing of its Gaussians is guessed, and blurry Gaussians fill the holes that
 * missing layers leave.
 *
 * @param {Uint8Array | ArrayBuffer} bytes Whole file, or its beginning if `partial` is true.
 * @param {object} [options]
 * @param {number} [options.layers] Largest number of layers to read, from 1 up; all by default.
 * @param {boolean} [options.partial] True to take a file that is cut anywhere behind the places of its first
 *   Gaussians.
 * @returns {import("./types.js").Gaussians}
 * @throws {FgsError} The bytes are no .fgs file, damaged, cut, or of a version or scheme that is not known; or an option
 *   makes no sense.
 */
export function decode(bytes, options) {
  const { layers = Infinity, partial = false } = options ?? {};
  if (layers !== Infinity && !(Number.isInteger(layers) && layers >= 1)) {
    throw new FgsError(`The option "layers" must be an integer of at least 1, not ${String(layers)}.`);
  }
  return withinMemory(() => {
    const frame = readFrame(toBytes(bytes), partial);
    if (layers < frame.layers.length) {
      frame.layers.length = layers;
      frame.whole = false;
    }
    if (layers <= frame.layers.length) frame.cut = new Uint8Array();
    return decodeFrame(frame);
  });
}

/**
 * Read the facts about a .fgs file, and how many of its bits each attribute takes.
 *
 * @param {Uint8Array | ArrayBuffer} bytes Whole file.
 * @returns {import("./types.js").Facts}
 * @throws {FgsError} As for `decode`.
 */
export function inspect(bytes) {
  const data = toBytes(bytes);
  const frame = readFrame(data, false);
  const { version, scheme, width, height, channels, symbols } = frame;
  const { bits, count } = withinMemory(() => (scheme === "fastgs" ? countBits(frame) : countBaselineBits(frame)));
  const total = 8 * data.length;
  return {
    version,
    scheme,
    width,
    height,
    channels: channels.count,
    alpha: channels.alpha,
    blend: scheme === "fastgs" ? "normalized" : "sum",
    symbols: symbols || null,
    layerBytes: frame.layers.map((layer) => layer.length),
    numGaussians: count,
    bytes: data.length,
    bpp: total / (width * height),
    bits: { ...bits, header: Object.values(bits).reduce((rest, each) => rest - each, total) },
  };
}

/**
 * Return the Gaussians of the parts of a file.
 *
 * @param {import("./codec/container.js").Frame} frame
 * @returns {import("./types.js").Gaussians}
 */
function decodeFrame(frame) {
  const { scheme, width, height, channels, whole, count } = frame;
  let arrays;
  if (scheme === "fastgs") {
    if (whole) {
      arrays = dequantize(decodeLayers(frame), channels);
    } else {
      const { layers, hasColor } = decodeCutLayers(frame);
      arrays = complete(dequantize(layers, channels), hasColor, width, height);
    }
  } else {
    arrays = decodeBaseline(frame, readBaseline(frame));
  }
  return {
    ...arrays,
    width,
    height,
    blend: scheme === "fastgs" ? "normalized" : "sum",
    alpha: channels.alpha,
    channels: channels.count,
    numGaussians: arrays.rotations.length,
    numLayers: frame.layers.length,
    totalLayers: count,
    whole,
  };
}

/**
 * Return the rounded bits of each attribute of a file of the scheme "fastgs", and its number of Gaussians.
 *
 * @param {import("./codec/container.js").Frame} frame
 * @returns {{bits: Record<string, number>, count: number}}
 */
function countBits(frame) {
  /** @type {Record<string, number>} */
  const sums = {};
  let count = 0;
  for (const layer of decodeLayers(frame, true)) {
    count += layer.count;
    for (const [name, value] of Object.entries(layer.bits)) sums[name] = (sums[name] ?? 0) + value;
  }
  delete sums.header;
  return { bits: Object.fromEntries(Object.entries(sums).map(([name, value]) => [name, Math.round(value)])), count };
}

/**
 * Return the bits of each attribute of a file of another scheme, and its number of Gaussians.
 *
 * @param {import("./codec/container.js").Frame} frame
 * @returns {{bits: Record<string, number>, count: number}}
 */
function countBaselineBits(frame) {
  const content = readBaseline(frame);
  decodeBaseline(frame, content); // refuses what `decode` refuses
  const { bytes, count } = content;
  return { bits: Object.fromEntries(Object.entries(bytes).map(([name, value]) => [name, 8 * value])), count };
}

/**
 * Return what a function returns, or say that a file is too large, within the limits of the format, for this machine.
 *
 * @template Result
 * @param {() => Result} read
 * @returns {Result}
 */
function withinMemory(read) {
  try {
    return read();
  } catch (error) {
    // Arrays for which there is no memory throw RangeError.
    if (!(error instanceof RangeError)) throw error;
    throw new FgsError("The file holds more Gaussians than there is memory for.", { cause: error });
  }
}

/**
 * Return bytes as an array, without a copy.
 *
 * @param {unknown} bytes
 * @returns {Uint8Array}
 */
function toBytes(bytes) {
  // Not by instanceof, which fails for buffers of another frame or realm.
  if (ArrayBuffer.isView(bytes)) return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (Object.prototype.toString.call(bytes) === "[object ArrayBuffer]") {
    return new Uint8Array(/** @type {ArrayBuffer} */ (bytes));
  }
  throw new FgsError("The bytes of a file must be a Uint8Array or an ArrayBuffer.");
}
