// @ts-check
/** Range decoder: symbols of tables out of bytes, behind whose end it sees zeros. */

import { damaged } from "./error.js";
import { powerOfTwo } from "./numbers.js";
import { TOTAL } from "./tables.js";

const WORD = 2 ** 32;
const RAW_BITS = 16; // bits of a uniform number that are coded in one piece

/**
 * Decoder of the integers of one stream.
 *
 * The state of 64 bits is two words each of the range and of the point in it. All steps are exact in floating point:
 * the range divided by 2^24 has 40 bits, and products of it with 24 bits are made of two.
 *
 * Every method throws FgsError if no encoder writes such bytes.
 */
export class RangeDecoder {
  /**
   * @param {Uint8Array} data Whole stream.
   * @param {boolean} counts True to count the bits that symbols take.
   */
  constructor(data, counts = false) {
    this.data = data;
    this.counts = counts;
    /** Number of bits read so far; 0 if they are not counted. */
    this.bits = 0;
    this.place = 0;
    this.rangeHigh = WORD - 1;
    this.rangeLow = WORD - 1;
    this.pointHigh = this.readWord();
    this.pointLow = this.readWord();
  }

  /**
   * Return the next word of the stream, high byte first.
   *
   * @returns {number}
   */
  readWord() {
    const { data, place } = this;
    this.place = place + 4;
    if (place + 4 <= data.length) {
      return ((data[place] << 24) | (data[place + 1] << 16) | (data[place + 2] << 8) | data[place + 3]) >>> 0;
    }
    let word = 0;
    for (let index = place; index < place + 4; index++) word = word * 256 + (index < data.length ? data[index] : 0);
    return word;
  }

  /**
   * Return a symbol of a table; that of a table of one symbol takes no bits.
   *
   * @param {import("./tables.js").Distribution} table
   * @returns {number}
   */
  symbol(table) {
    if (table.size === 1) return table.low;
    const scale = this.rangeHigh * 256 + (this.rangeLow >>> 24);
    const index = table.locate(this.findQuantile(scale));
    const frequency = table.end - table.begin;
    if (this.counts) this.bits += Math.log2(TOTAL / frequency);
    this.narrow(scale, table.begin, frequency);
    return index + table.low;
  }

  /**
   * Return a symbol of a table, as far as the stream settles it, which a whole stream does.
   *
   * @param {import("./tables.js").Distribution} table
   * @returns {number | null} Null if it does not.
   */
  available(table) {
    return this.symbol(table);
  }

  /**
   * Return a number of up to 62 bits; above 53 it is rounded.
   *
   * @param {number} bits From 0 up.
   * @returns {number}
   */
  raw(bits) {
    let value = 0;
    for (let shift = 0, unit = 1; shift < bits; shift += RAW_BITS, unit *= 1 << RAW_BITS) {
      value += unit * this.rawPiece(Math.min(RAW_BITS, bits - shift));
    }
    return value;
  }

  /**
   * Return a uniform number of few bits.
   *
   * @param {number} bits From 1 to 16.
   * @returns {number}
   */
  rawPiece(bits) {
    const scale = this.rangeHigh * 256 + (this.rangeLow >>> 24);
    const shift = 24 - bits;
    const value = this.findQuantile(scale) >> shift;
    if (this.counts) this.bits += bits;
    this.narrow(scale, value << shift, 1 << shift);
    return value;
  }

  /**
   * Return a number that is preceded by its length in bits; above 2^53 it is rounded.
   *
   * @returns {number}
   */
  number() {
    const length = this.raw(6);
    return length ? powerOfTwo(length - 1) + this.raw(length - 1) : 0;
  }

  /**
   * Return `floor(point / scale)`, which is below 2^24.
   *
   * @param {number} scale
   * @returns {number}
   */
  findQuantile(scale) {
    // The quotient of the rounded point may be off by one next to an integer; the remainder tells.
    let quantile = Math.floor((this.pointHigh * WORD + this.pointLow) / scale);
    const upper = Math.floor(scale / 65536);
    const product = quantile * upper;
    const carried = Math.floor(product / 65536);
    const rest = quantile * (scale - upper * 65536) + (product - carried * 65536) * 65536;
    const remainder = (this.pointHigh - carried) * WORD + (this.pointLow - rest);
    if (remainder < 0) quantile--;
    else if (remainder >= scale) quantile++;
    if (quantile >= TOTAL) throw damaged("its numbers make no sense");
    return quantile;
  }

  /**
   * Take a part of the range for the new range.
   *
   * @param {number} scale Unit of the range.
   * @param {number} start First quantile of the part.
   * @param {number} frequency Number of its quantiles.
   */
  narrow(scale, start, frequency) {
    const upper = Math.floor(scale / 65536);
    const lower = scale - upper * 65536;
    // point -= scale * start
    let product = start * upper;
    let high = Math.floor(product / 65536);
    let low = start * lower + (product - high * 65536) * 65536;
    let carry = Math.floor(low / WORD);
    let pointLow = this.pointLow - (low - carry * WORD);
    let pointHigh = this.pointHigh - high - carry;
    if (pointLow < 0) {
      pointLow += WORD;
      pointHigh -= 1;
    }
    // range = scale * frequency
    product = frequency * upper;
    high = Math.floor(product / 65536);
    low = frequency * lower + (product - high * 65536) * 65536;
    carry = Math.floor(low / WORD);
    const rangeHigh = high + carry;
    const rangeLow = low - carry * WORD;
    if (rangeHigh) {
      this.rangeHigh = rangeHigh;
      this.rangeLow = rangeLow;
      this.pointHigh = pointHigh;
      this.pointLow = pointLow;
    } else {
      this.rangeHigh = rangeLow;
      this.rangeLow = 0;
      this.pointHigh = pointLow;
      this.pointLow = this.readWord();
    }
  }
}
