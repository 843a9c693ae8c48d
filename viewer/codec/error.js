// @ts-check
/** Error for bytes that are no proper .fgs file, and for arguments that make no sense; the message is one sentence. */
export class FgsError extends Error {
  /**
   * @param {string} message One sentence for users.
   * @param {ErrorOptions} [options]
   */
  constructor(message, options) {
    super(message, options);
    this.name = "FgsError";
  }
}

/**
 * Make the error for a file that no encoder writes.
 *
 * @param {string} fault What is wrong, in a few words.
 * @returns {FgsError}
 */
export function damaged(fault) {
  return new FgsError(`The file is damaged (${fault}).`);
}
