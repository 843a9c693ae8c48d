// @ts-check
/** Arrays of numbers by name, out of the bytes of a safetensors file. */

import { FgsError } from "./error.js";

/** Size in bytes and reader of a number, by the name of its type. */
const TYPES = new Map([
  ["I16", { size: 2, read: (/** @type {DataView} */ view, /** @type {number} */ at) => view.getInt16(at, true) }],
  ["I32", { size: 4, read: (/** @type {DataView} */ view, /** @type {number} */ at) => view.getInt32(at, true) }],
  ["F32", { size: 4, read: (/** @type {DataView} */ view, /** @type {number} */ at) => view.getFloat32(at, true) }],
]);

/** Arrays of a safetensors file. */
export class Tensors {
  /**
   * @param {Uint8Array} bytes Whole file: the length of a header in 8 bytes, the header as JSON, and the numbers.
   * @throws {FgsError} The bytes are no such file.
   */
  constructor(bytes) {
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    if (bytes.length < 8) throw new FgsError("The weights are no safetensors file.");
    this.begin = 8 + this.view.getUint32(0, true);
    try {
      /** @type {Record<string, {dtype: string, shape: number[], data_offsets: number[]}>} */
      this.header = JSON.parse(new TextDecoder().decode(bytes.subarray(8, this.begin)));
    } catch (error) {
      throw new FgsError("The weights are no safetensors file.", { cause: error });
    }
  }

  /**
   * Return the numbers of an array, row after row, and its shape.
   *
   * @param {string} name
   * @param {...(number | null)} shape Shape that it must have; null for a size that may be any.
   * @returns {{values: Float64Array, shape: number[]}}
   * @throws {FgsError} There is no such array.
   */
  take(name, ...shape) {
    const found = this.header[name];
    const type = TYPES.get(found?.dtype);
    if (!type) throw new FgsError(`The weights lack the array "${name}".`);
    const fits = found.shape.length === shape.length && shape.every((size, axis) => (size ?? found.shape[axis]) > 0);
    const count = found.shape.reduce((product, size) => product * size, 1);
    const begin = this.begin + found.data_offsets[0];
    const isThere = begin + type.size * count <= this.view.byteLength;
    if (!fits || !isThere || shape.some((size, axis) => size !== null && size !== found.shape[axis])) {
      throw new FgsError(`The array "${name}" of the weights has another shape than it should have.`);
    }
    const values = new Float64Array(count);
    for (let place = 0; place < count; place++) values[place] = type.read(this.view, begin + type.size * place);
    return { values, shape: found.shape };
  }
}
