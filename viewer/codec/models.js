// @ts-check
/** Learned models of symbols by their numbers in files. */

import { FgsError } from "./error.js";
import { SymbolModel } from "./symbol-model.js";

/** Name of the file of weights by the number of the model. Files need them for ever: another model has another number. */
export const MODELS = new Map([[1, "symbols.safetensors"]]);

/** @type {Map<number, SymbolModel>} */
const loaded = new Map();

/**
 * Take the weights of a model.
 *
 * @param {number} number
 * @param {Uint8Array} bytes
 * @throws {FgsError} They are no such weights.
 */
export function setModel(number, bytes) {
  loaded.set(number, new SymbolModel(bytes));
}

/**
 * Tell whether the weights of a model are there.
 *
 * @param {number} number
 * @returns {boolean}
 */
export function hasModel(number) {
  return loaded.has(number);
}

/**
 * Return a model.
 *
 * @param {number} number
 * @returns {SymbolModel}
 * @throws {FgsError} Its weights have not been loaded.
 */
export function getModel(number) {
  const model = loaded.get(number);
  if (!model) {
    throw new FgsError(
      `The file needs the weights ${MODELS.get(number)}, which are not loaded; "await loadModels()" of fgs.js does it.`,
    );
  }
  return model;
}
