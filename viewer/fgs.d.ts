import type { DecodeOptions, Facts, Gaussians } from "./types.js";

export type { DecodeOptions, Facts, Gaussians };

/** Error for bytes that are no proper .fgs file, and for arguments that make no sense; the message is one sentence. */
export class FgsError extends Error {
  constructor(message: string, options?: ErrorOptions);
}

/**
 * Load the weights of the learned models, which `decode` and `inspect` need for files of version 3; once is enough.
 *
 * They are read from `symbols.safetensors` beside this module, by `fetch` from a web server and from the disk in Node.
 *
 * @param weights Bytes of `symbols.safetensors`, for programs that have them elsewhere.
 * @throws {FgsError} The weights are not there, or are no such weights.
 */
export function loadModels(weights?: Uint8Array | ArrayBuffer): Promise<void>;

/**
 * Read the Gaussians of a .fgs file.
 *
 * @throws {FgsError} The bytes are no .fgs file, damaged, cut, or of a version or scheme that is not known; or an option
 *   makes no sense; or the file is of version 3, and `loadModels` has not been called.
 */
export function decode(bytes: Uint8Array | ArrayBuffer, options?: DecodeOptions): Gaussians;

/**
 * Read the facts about a .fgs file, and how many of its bits each attribute takes.
 *
 * @throws {FgsError} As for `decode`.
 */
export function inspect(bytes: Uint8Array | ArrayBuffer): Facts;
