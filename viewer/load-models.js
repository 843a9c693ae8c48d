// @ts-check
/** Weights that files of version 3 need: found beside the reader, or given. */

import { FgsError } from "./codec/error.js";
import { MODELS, hasModel, setModel } from "./codec/models.js";

/**
 * Load the weights of the learned models, which `decode` and `inspect` need for files of version 3; once is enough.
 *
 * They are read from `symbols.safetensors` beside this module, as in the npm package, or in `../checkpoints/`, as in the
 * Python package: by `fetch` from a web server, and from the disk in Node.
 *
 * @param {Uint8Array | ArrayBuffer} [weights] Bytes of `symbols.safetensors`, for programs that have them elsewhere.
 * @returns {Promise<void>}
 * @throws {FgsError} The weights are not there, or are no such weights.
 */
export async function loadModels(weights) {
  if (weights) {
    for (const number of MODELS.keys()) {
      setModel(number, weights instanceof Uint8Array ? weights : new Uint8Array(weights));
    }
    return;
  }
  // Of many that ask at the same time, such as the elements of a page, one loads.
  loading ??= findAll().finally(() => (loading = null));
  await loading;
}

/** @type {Promise<void> | null} */
let loading = null;

/** Load the weights that have not been loaded. */
async function findAll() {
  for (const [number, name] of MODELS) if (!hasModel(number)) setModel(number, await find(name));
}

/**
 * Return the bytes of a file of weights.
 *
 * @param {string} name
 * @returns {Promise<Uint8Array>}
 */
async function find(name) {
  // In this form, bundlers see that the file belongs to the module.
  const beside = new URL("./symbols.safetensors", import.meta.url);
  const bytes = (await load(beside)) ?? (await load(new URL(`../checkpoints/${name}`, beside)));
  if (!bytes) throw new FgsError(`The weights ${name} are not at ${beside.href}; put the file of checkpoints/ there.`);
  return bytes;
}

/**
 * Return the bytes of a file; null if there is none.
 *
 * @param {URL} address
 * @returns {Promise<Uint8Array | null>}
 */
async function load(address) {
  if (address.protocol === "file:") {
    const module = "node:fs/promises"; // by a variable, so that bundlers for browsers leave it alone
    const { readFile } = await import(/* @vite-ignore */ /* webpackIgnore: true */ module);
    try {
      return await readFile(address);
    } catch {
      return null;
    }
  }
  const response = await fetch(address);
  return response.ok ? new Uint8Array(await response.arrayBuffer()) : null;
}
