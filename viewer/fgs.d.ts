import type { DecodeOptions, Facts, Gaussians } from "./types.js";

export type { DecodeOptions, Facts, Gaussians };

/** Error for bytes that are no proper .fgs file, and for arguments that make no sense; the message is one sentence. */
export class FgsError extends Error {
  constructor(message: string, options?: ErrorOptions);
}

/**
 * Read the Gaussians of a .fgs file.
 *
 * @throws {FgsError} The bytes are no .fgs file, damaged, cut, or of a version or scheme that is not known; or an option
 *   makes no sense.
 */
export function decode(bytes: Uint8Array | ArrayBuffer, options?: DecodeOptions): Gaussians;

/**
 * Read the facts about a .fgs file, and how many of its bits each attribute takes.
 *
 * @throws {FgsError} As for `decode`.
 */
export function inspect(bytes: Uint8Array | ArrayBuffer): Facts;
