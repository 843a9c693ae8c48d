// @ts-check
/**
 * Renderer of Gaussians in plain JavaScript: the image that `fastgs.render` defines, on one core.
 *
 * For Gaussian k and the centre x of a pixel, with the distance d in standard deviations along the axes of the ellipse:
 *
 *     w_k(x) = exp(-d^2 / 2) * fade(d^2)
 *     sum:         I(x) = sum_k w_k c_k
 *     normalized:  I(x) = sum_k w_k c_k / (sum_k w_k + 0.01)
 *
 * The fade is 1 up to 3 standard deviations, and falls linearly in d^2 to 0 at 3.5.
 */

import { FgsError } from "./codec/error.js";

const FADE_START = 3;
const CUTOFF = 3.5;
const EPSILON = 1e-2; // sum of weights at which the normalized blend is halfway between the colours and black
const LEAST_ALPHA = 1e-6; // smallest divisor of colours that are multiplied by alpha

/**
 * Largest number of pixels of an image, as of `fastgs decode`.
 *
 * @type {number}
 */
export const MAX_PIXELS = 89_478_485;

// Pixels of all Gaussians together, above which rendering would take minutes. Photos have 10 to 100 per pixel.
const MAX_WORK = 2 ** 35;

const BAND = 1 << 19; // numbers of accumulated rows at a time: 2 MB, which caches hold

// Weights by d^2, in steps between which they are interpolated linearly: an error below 3e-7. A step ends at the start
// of the fade and another at the cutoff.
const STEPS_PER_UNIT = 336;
const STEPS = CUTOFF * CUTOFF * STEPS_PER_UNIT;
const WEIGHTS = new Float64Array(2 * STEPS); // pairs of a weight and the difference to the next one
for (let step = 0; step < STEPS; step++) {
  WEIGHTS[2 * step] = weigh(step / STEPS_PER_UNIT);
  WEIGHTS[2 * step + 1] = weigh((step + 1) / STEPS_PER_UNIT) - WEIGHTS[2 * step];
}

/**
 * Return the weight of a Gaussian at a squared distance in standard deviations.
 *
 * @param {number} d2
 * @returns {number}
 */
function weigh(d2) {
  const fade = (CUTOFF ** 2 - d2) / (CUTOFF ** 2 - FADE_START ** 2);
  return Math.exp(-0.5 * d2) * Math.min(Math.max(fade, 0), 1);
}

/**
 * What the renderer needs of Gaussians; `decode` returns it.
 *
 * @typedef {object} Drawable
 * @property {Float32Array} means (K, 2)
 * @property {Float32Array} scales (K, 2)
 * @property {Float32Array} rotations (K,)
 * @property {Float32Array} colors (K, C)
 * @property {number} width
 * @property {number} height
 * @property {number} channels
 * @property {"normalized" | "sum"} [blend] Rule, by default "normalized".
 * @property {boolean} [alpha] True if the last channel is opacity, by default false.
 */

/**
 * Grid of samples, and the rows of it that Gaussians reach.
 *
 * @typedef {object} Grid
 * @property {number} width Number of columns.
 * @property {number} height Number of rows.
 * @property {number} pitchX Distance of columns in pixels of the canvas.
 * @property {number} pitchY Distance of rows.
 * @property {Int32Array} tops (K,) first row that each Gaussian reaches.
 * @property {Int32Array} bottoms (K,) row behind the last one.
 */

/**
 * Render Gaussians as 8-bit RGBA, for `ImageData`.
 *
 * Gray becomes three equal channels. Colours that are multiplied by alpha are divided by it, as `ImageData` has them.
 * Of other channels, the first three are shown, and of two the first one as gray.
 *
 * @param {Drawable} gaussians
 * @param {number} [width] Width of the image in pixels; by default that of the canvas. Another size scales the Gaussians.
 * @param {number} [height] Height of the image in pixels; by default that of the canvas.
 * @param {object} [options]
 * @param {boolean} [options.antialias] True to average over the area of each pixel where the image is smaller than the
 *   canvas.
 * @returns {Uint8ClampedArray<ArrayBuffer>} (height, width, 4)
 * @throws {FgsError} A size is no integer of at least 1, or there would be too many pixels or too much work.
 */
export function renderPixels(
  gaussians,
  width = gaussians.width,
  height = gaussians.height,
  { antialias = false } = {},
) {
  checkSize(width, height);
  const pixels = new Uint8ClampedArray(4 * width * height);
  const { channels, alpha = false } = gaussians;
  const opaque = channels - (alpha ? 1 : 0);
  const [green, blue] = opaque >= 3 ? [1, 2] : [0, 0];
  forEachRow(gaussians, width, height, antialias, (row, colors) => {
    for (let column = 0; column < width; column++) {
      const source = channels * column;
      const place = 4 * (width * row + column);
      const opacity = alpha ? clamp(colors[source + opaque]) : 1;
      const factor = opacity > 0 ? 255 / Math.max(opacity, LEAST_ALPHA) : 0;
      pixels[place] = clamp(colors[source]) * factor;
      pixels[place + 1] = clamp(colors[source + green]) * factor;
      pixels[place + 2] = clamp(colors[source + blue]) * factor;
      pixels[place + 3] = 255 * opacity;
    }
  });
  return pixels;
}

/**
 * Render Gaussians as numbers, which are not clamped.
 *
 * @param {Drawable} gaussians
 * @param {number} [width] Width of the image in pixels; by default that of the canvas.
 * @param {number} [height] Height of the image in pixels; by default that of the canvas.
 * @param {object} [options]
 * @param {boolean} [options.antialias] As for `renderPixels`.
 * @returns {Float32Array} (height, width, C)
 * @throws {FgsError} As for `renderPixels`.
 */
export function renderColors(
  gaussians,
  width = gaussians.width,
  height = gaussians.height,
  { antialias = false } = {},
) {
  checkSize(width, height);
  const stride = gaussians.channels * width;
  const image = new Float32Array(stride * height);
  forEachRow(gaussians, width, height, antialias, (row, colors) => image.set(colors, stride * row));
  return image;
}

/**
 * Return the sums of weights and of weighted colours at the samples of a grid over the canvas.
 *
 * @param {Drawable} gaussians
 * @param {number} width Number of columns.
 * @param {number} height Number of rows.
 * @returns {Float32Array} (height, width, 1 + C)
 * @throws {FgsError} There would be too much work.
 */
export function accumulate(gaussians, width, height) {
  const planes = new Float32Array((gaussians.channels + 1) * width * height);
  drawBand(gaussians, layOut(gaussians, width, height), 0, height, planes);
  return planes;
}

/**
 * Render an image row after row.
 *
 * @param {Drawable} gaussians
 * @param {number} width
 * @param {number} height
 * @param {boolean} antialias
 * @param {(row: number, colors: Float32Array) => void} emit Function that takes the (width, C) colours of a row, which
 *   are overwritten afterwards.
 */
export function forEachRow(gaussians, width, height, antialias, emit) {
  // With antialias, each pixel is the mean of down x across samples.
  const across = antialias ? Math.ceil(gaussians.width / width) : 1;
  const down = antialias ? Math.ceil(gaussians.height / height) : 1;
  const { channels, blend = "normalized" } = gaussians;
  const grid = layOut(gaussians, width * across, height * down);
  const stride = channels + 1;
  const rows = Math.min(Math.max(1, Math.floor(BAND / (stride * grid.width * down))), height);
  const planes = new Float32Array(stride * grid.width * down * rows);
  const colors = new Float32Array(channels * width);
  const share = 1 / (across * down);
  for (let top = 0; top < height; top += rows) {
    const bottom = Math.min(top + rows, height);
    drawBand(gaussians, grid, down * top, down * bottom, planes);
    for (let row = top; row < bottom; row++) {
      colors.fill(0);
      for (let sample = 0; sample < down * grid.width; sample++) {
        const place = stride * ((row - top) * down * grid.width + sample);
        const target = channels * Math.floor((sample % grid.width) / across);
        const factor = blend === "normalized" ? share / (planes[place] + EPSILON) : share;
        for (let channel = 0; channel < channels; channel++) {
          colors[target + channel] += factor * planes[place + 1 + channel];
        }
      }
      emit(row, colors);
    }
  }
}

/**
 * Return a grid over the canvas, and the rows that Gaussians reach.
 *
 * @param {Drawable} gaussians
 * @param {number} width Number of columns.
 * @param {number} height Number of rows.
 * @returns {Grid}
 */
function layOut({ means, scales, rotations, ...canvas }, width, height) {
  const count = rotations.length;
  const pitchX = canvas.width / width;
  const pitchY = canvas.height / height;
  const tops = new Int32Array(count);
  const bottoms = new Int32Array(count);
  let work = 0;
  for (let index = 0; index < count; index++) {
    const cosine = Math.cos(rotations[index]);
    const sine = Math.sin(rotations[index]);
    const first = CUTOFF * scales[2 * index];
    const second = CUTOFF * scales[2 * index + 1];
    const reachX = Math.hypot(first * cosine, second * sine) / pitchX;
    const reachY = Math.hypot(first * sine, second * cosine) / pitchY;
    const y = means[2 * index + 1] / pitchY - 0.5;
    tops[index] = Math.min(Math.max(Math.ceil(y - reachY), 0), height);
    bottoms[index] = Math.min(Math.max(Math.floor(y + reachY) + 1, 0), height);
    work += Math.max(bottoms[index] - tops[index], 0) * Math.min(2 * reachX + 1, width);
  }
  if (work > MAX_WORK) throw new FgsError("The Gaussians are too many and too large to draw; choose a smaller image.");
  return { width, height, pitchX, pitchY, tops, bottoms };
}

/**
 * Add the weights and the weighted colours of all Gaussians in a band of rows.
 *
 * @param {Drawable} gaussians
 * @param {Grid} grid
 * @param {number} top First row.
 * @param {number} bottom Row behind the last one.
 * @param {Float32Array} planes (bottom - top, width, 1 + C), or larger; it is cleared first.
 */
function drawBand({ means, scales, rotations, colors, channels }, grid, top, bottom, planes) {
  const { width, pitchX, pitchY, tops, bottoms } = grid;
  const stride = channels + 1;
  planes.fill(0);
  for (let index = 0; index < rotations.length; index++) {
    if (bottoms[index] <= top || tops[index] >= bottom) continue;
    const cosine = Math.cos(rotations[index]);
    const sine = Math.sin(rotations[index]);
    const [first, second] = [scales[2 * index], scales[2 * index + 1]];
    const [meanX, meanY] = [means[2 * index], means[2 * index + 1]];
    // Standard deviation of y, that of x where y is given, and the slope of the middle of x.
    const deviation = Math.hypot(first * sine, second * cosine);
    const across = (first * second) / deviation;
    const slope = (((first - second) * (first + second)) / deviation / deviation) * cosine * sine;
    const stepU = (cosine / first) * pitchX;
    const stepV = (-sine / second) * pitchX;
    const color = channels * index;
    const end = Math.min(bottoms[index], bottom);
    for (let row = Math.max(tops[index], top); row < end; row++) {
      const dy = (row + 0.5) * pitchY - meanY;
      const room = CUTOFF * CUTOFF - (dy / deviation) * (dy / deviation);
      if (!(room > 0)) continue;
      const half = across * Math.sqrt(room);
      const middle = meanX + dy * slope;
      const begin = Math.max(Math.ceil((middle - half) / pitchX - 0.5), 0);
      const last = Math.min(Math.floor((middle + half) / pitchX - 0.5), width - 1);
      const dx = (begin + 0.5) * pitchX - meanX;
      let u = (dx * cosine + dy * sine) / first;
      let v = (dy * cosine - dx * sine) / second;
      let place = stride * ((row - top) * width + begin);
      for (let column = begin; column <= last; column++, u += stepU, v += stepV, place += stride) {
        const distance = (u * u + v * v) * STEPS_PER_UNIT;
        if (!(distance < STEPS)) continue;
        const step = Math.floor(distance);
        const weight = WEIGHTS[2 * step] + (distance - step) * WEIGHTS[2 * step + 1];
        planes[place] += weight;
        if (channels === 3) {
          planes[place + 1] += weight * colors[color];
          planes[place + 2] += weight * colors[color + 1];
          planes[place + 3] += weight * colors[color + 2];
        } else {
          for (let channel = 0; channel < channels; channel++) {
            planes[place + 1 + channel] += weight * colors[color + channel];
          }
        }
      }
    }
  }
}

/**
 * Return a number limited to [0, 1].
 *
 * @param {number} value
 * @returns {number}
 */
function clamp(value) {
  return Math.min(Math.max(value, 0), 1);
}

/**
 * Refuse sizes of images that cannot be.
 *
 * @param {number} width
 * @param {number} height
 */
function checkSize(width, height) {
  if (!(Number.isInteger(width) && Number.isInteger(height) && width >= 1 && height >= 1)) {
    throw new FgsError(`The size of an image must be two integers of at least 1, not ${width} x ${height}.`);
  }
  if (width * height > MAX_PIXELS) {
    throw new FgsError(`An image of ${width} x ${height} pixels is larger than ${MAX_PIXELS} pixels.`);
  }
}
