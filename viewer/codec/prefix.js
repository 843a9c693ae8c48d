// @ts-check
/**
 * Decoder of the first bytes of a stream: it returns the numbers that these bytes settle, and no others.
 *
 * Whatever bytes are missing lie between zeros and ones. So the stream is read twice, once with zeros in their place and
 * once with ones: as long as both give the same numbers, so does the whole stream.
 */

import { FgsError } from "./error.js";
import { RangeDecoder } from "./range-decoder.js";

const ONES = 16; // bytes that stand for missing ones: the state has eight bytes, so both readings part before their end

/** Error for a number that must be known and that the bytes do not settle. */
export class EndOfPrefixError extends FgsError {}

/**
 * Decoder of a stream that was cut.
 *
 * `available` returns null for symbols beyond the cut. All other methods throw `EndOfPrefixError` there.
 */
export class PrefixDecoder extends RangeDecoder {
  /**
   * @param {Uint8Array} data First bytes of the stream.
   */
  constructor(data) {
    super(data); // zeros follow
    const longer = new Uint8Array(data.length + ONES).fill(255);
    longer.set(data);
    this.upper = new RangeDecoder(longer);
    this.ended = false;
  }

  /**
   * Return a symbol of a table; null if it is not settled, as all are from then on.
   *
   * @override
   * @param {import("./tables.js").Distribution} table
   * @returns {number | null}
   */
  available(table) {
    return this.settle(
      () => super.symbol(table),
      () => this.upper.symbol(table),
    );
  }

  /**
   * @override
   * @param {import("./tables.js").Distribution} table
   * @returns {number}
   */
  symbol(table) {
    return refuseNull(this.available(table));
  }

  /**
   * @override
   * @param {number} bits
   * @returns {number}
   */
  rawPiece(bits) {
    return refuseNull(
      this.settle(
        () => super.rawPiece(bits),
        () => this.upper.rawPiece(bits),
      ),
    );
  }

  /**
   * Return what both readings give; null if they differ.
   *
   * @param {() => number} readLower
   * @param {() => number} readUpper
   * @returns {number | null}
   */
  settle(readLower, readUpper) {
    if (this.ended) return null;
    try {
      const number = readLower();
      if (number === readUpper()) return number;
    } catch (error) {
      if (!(error instanceof FgsError)) throw error; // bytes of ones may be such as no encoder writes
    }
    this.ended = true;
    return null;
  }
}

/**
 * Return a number, which must be settled.
 *
 * @param {number | null} number
 * @returns {number}
 * @throws {EndOfPrefixError}
 */
function refuseNull(number) {
  if (number === null) throw new EndOfPrefixError("The file is cut.");
  return number;
}
