/** Gaussians in order of importance, and what the page asks about them. */

import { CUTOFF, EPSILON, FADE_START, TEXELS, TEXTURE_WIDTH } from "./shaders.js";

/**
 * @typedef {object} Decoded Gaussians as files have them.
 * @property {number} width Width of the canvas in pixels.
 * @property {number} height Height of the canvas in pixels.
 * @property {string} blend "normalized" or "sum".
 * @property {boolean} alpha True if the last channel is opacity and the other ones are multiplied by it.
 * @property {number} channels Number C of channels.
 * @property {Float32Array} means 2K values: x, y in pixels.
 * @property {Float32Array} scales 2K standard deviations in pixels.
 * @property {Float32Array} rotations K angles in radians.
 * @property {Float32Array} colors C K values.
 */

/** Contrast that every Gaussian counts as having at least, so that large ones of the mean colour come early, too. */
const LEAST_CONTRAST = 0.05;

/**
 * Return the order of importance: layer by layer as the file has them, and by falling importance within a layer.
 *
 * The importance is area times contrast: the product of the standard deviations, times the largest difference of a
 * channel to the mean colour (to black under the rule "sum", where black is what no Gaussian leaves).
 * @param {Decoded} gaussians Gaussians in the order of the file.
 * @param {number[]} ends Number of Gaussians up to the end of each layer; one number without layers.
 * @returns {Uint32Array} Places in the file, the most important first.
 */
export function orderByImportance(gaussians, ends) {
  const { scales, colors, channels, rotations } = gaussians;
  const count = rotations.length;
  const mean = new Float64Array(channels);
  if (gaussians.blend !== "sum") {
    let total = 0;
    for (let place = 0; place < count; place++) {
      const area = scales[2 * place] * scales[2 * place + 1];
      total += area;
      for (let channel = 0; channel < channels; channel++) mean[channel] += area * colors[place * channels + channel];
    }
    for (let channel = 0; channel < channels; channel++) mean[channel] /= total || 1;
  }
  const importance = new Float64Array(count);
  for (let place = 0; place < count; place++) {
    let contrast = LEAST_CONTRAST;
    for (let channel = 0; channel < channels; channel++) {
      contrast = Math.max(contrast, Math.abs(colors[place * channels + channel] - mean[channel]));
    }
    importance[place] = scales[2 * place] * scales[2 * place + 1] * contrast;
  }
  const order = new Uint32Array(count);
  for (let place = 0; place < count; place++) order[place] = place;
  let begin = 0;
  for (const end of [...ends, count]) {
    order.subarray(begin, end).sort((one, other) => importance[other] - importance[one] || one - other);
    begin = Math.max(begin, end);
  }
  return order;
}

/** Gaussians of one picture, ready to be drawn. Indices count from the most important one. */
export class Scene {
  /**
   * @param {Decoded} gaussians Gaussians in the order of the file.
   * @param {number[]} ends Number of Gaussians up to the end of each layer.
   */
  constructor(gaussians, ends = []) {
    const count = gaussians.rotations.length;
    this.file = gaussians;
    this.length = count;
    this.width = gaussians.width;
    this.height = gaussians.height;
    this.normalized = gaussians.blend === "normalized";
    this.alpha = gaussians.alpha;
    this.order = orderByImportance(gaussians, ends);
    this.x = new Float32Array(count);
    this.y = new Float32Array(count);
    this.reachX = new Float32Array(count);
    this.reachY = new Float32Array(count);
    this.areas = new Float32Array(count);
    this.turns = new Float32Array(2 * count);
    this.everything = new Uint32Array(count);
    for (let index = 0; index < count; index++) {
      const place = this.order[index];
      const [cosine, sine] = [Math.cos(gaussians.rotations[place]), Math.sin(gaussians.rotations[place])];
      const [first, second] = [gaussians.scales[2 * place], gaussians.scales[2 * place + 1]];
      this.x[index] = gaussians.means[2 * place];
      this.y[index] = gaussians.means[2 * place + 1];
      this.reachX[index] = CUTOFF * Math.hypot(first * cosine, second * sine);
      this.reachY[index] = CUTOFF * Math.hypot(first * sine, second * cosine);
      this.areas[index] = 4 * CUTOFF * CUTOFF * first * second;
      this.turns[2 * index] = cosine;
      this.turns[2 * index + 1] = sine;
      this.everything[index] = index;
    }
    this.show(gaussians.channels === 2 && !gaussians.alpha ? "0" : "");
  }

  /**
   * Choose the channels that are shown.
   * @param {string} channel Number of a channel to show as gray; "" for the colours: gray, RGB, or the first three.
   */
  show(channel) {
    const { channels } = this.file;
    const colors = this.file.alpha ? channels - 1 : channels;
    this.alpha = this.file.alpha && channel === "";
    this.gray = channel !== "" || colors < 3;
    this.shown = channel === "" ? (colors < 3 ? [0, 0, 0] : [0, 1, 2]) : [channel, channel, channel].map(Number);
  }

  /** Return the area in square pixels of the quadrilateral that is drawn for a Gaussian. */
  area(index) {
    return this.areas[index];
  }

  /**
   * Return the texture that the graphics card reads.
   * @param {number} rows Number of its rows.
   */
  texels(rows) {
    const { file } = this;
    const data = new Float32Array(4 * TEXTURE_WIDTH * rows);
    for (let index = 0; index < this.length; index++) {
      const place = this.order[index];
      const at = 4 * TEXELS * index;
      data[at] = this.x[index];
      data[at + 1] = this.y[index];
      data[at + 2] = file.scales[2 * place];
      data[at + 3] = file.scales[2 * place + 1];
      data[at + 4] = this.turns[2 * index];
      data[at + 5] = this.turns[2 * index + 1];
      for (let channel = 0; channel < 3; channel++) {
        data[at + 8 + channel] = file.colors[place * file.channels + this.shown[channel]];
      }
      data[at + 11] = this.alpha ? file.colors[(place + 1) * file.channels - 1] : 1;
    }
    return data;
  }

  /**
   * Return the indices of the Gaussians that reach a rectangle of the canvas.
   * @param {number} left Its edges.
   * @param {number} count Number of Gaussians to take, from the most important.
   * @returns {Uint32Array} Indices in ascending order.
   */
  within(left, top, right, bottom, count) {
    count = Math.min(count, this.length);
    const found = new Uint32Array(count);
    let size = 0;
    for (let index = 0; index < count; index++) {
      const [x, y] = [this.x[index], this.y[index]];
      const [reachX, reachY] = [this.reachX[index], this.reachY[index]];
      if (x + reachX > left && x - reachX < right && y + reachY > top && y - reachY < bottom) found[size++] = index;
    }
    return found.subarray(0, size);
  }

  /**
   * Return the Gaussians that touch a point, the heaviest first, and the colour that they make.
   * @param {number} x Position on the canvas.
   * @param {number} y Position on the canvas.
   * @param {number} count Number of Gaussians that are shown.
   * @returns {{touching: {index: number, weight: number}[], color: number[], total: number}} Weights, the colour of
   *     all channels, and the sum of the weights.
   */
  touch(x, y, count) {
    const { file } = this;
    const touching = [];
    const color = new Array(file.channels).fill(0);
    let total = 0;
    for (const index of this.within(x, y, x, y, count)) {
      const place = this.order[index];
      const [dx, dy] = [x - this.x[index], y - this.y[index]];
      const [cosine, sine] = [this.turns[2 * index], this.turns[2 * index + 1]];
      const u = (dx * cosine + dy * sine) / file.scales[2 * place];
      const v = (dy * cosine - dx * sine) / file.scales[2 * place + 1];
      const squared = u * u + v * v;
      if (squared >= CUTOFF ** 2) continue;
      const fade = Math.min((CUTOFF ** 2 - squared) / (CUTOFF ** 2 - FADE_START ** 2), 1);
      const weight = Math.exp(-0.5 * squared) * fade;
      touching.push({ index, weight });
      total += weight;
      for (let channel = 0; channel < color.length; channel++) {
        color[channel] += weight * file.colors[place * file.channels + channel];
      }
    }
    touching.sort((one, other) => other.weight - one.weight);
    const divisor = this.normalized ? total + EPSILON : 1;
    return { touching, color: color.map((value) => value / divisor), total };
  }
}
