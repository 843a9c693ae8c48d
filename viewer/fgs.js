// @ts-check
/**
 * Reader of .fgs files: photos as 2D Gaussians, written by the Python package fastgs.
 *
 * Files of version 3 need weights: `await loadModels()` loads them, once.
 *
 * The symbols of a file are exactly those that Python reads; numbers that they stand for agree to the rounding of 32-bit
 * floating point. The module needs neither a browser nor Node.
 */

export { loadModels } from "./load-models.js";
export { FgsError, decode, inspect } from "./reader.js";
